// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Wired`]: a device with rings, and with a kick, a call and an error eventfd for each.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::ioctl::Purpose::{Call, Error, Kick};
use crate::ioctl::{Purpose, Vhost};
use crate::memory::Memory;
use crate::missing::{NET, VSOCK};
use crate::ring::{Ring, SIZE};

/// The queue that the device writes to. The tests leave it empty.
pub(crate) const RX: u32 = 0;
/// The queue that the device reads packets from.
pub(crate) const TX: u32 = 1;
/// The descriptor that binds nothing.
pub(crate) const NONE: i32 = -1;
/// VIRTIO_F_VERSION_1.
pub(crate) const VERSION_1: u64 = 1 << 32;

/// Where packets are in the memory.
const PACKET: usize = 0x4_0000;

/// An eventfd that does not block.
pub(crate) fn event(count: u32) -> EventFd {
    EventFd::from_value_and_flags(count, EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC).unwrap()
}

/// Reads the counter, which clears it; 0 where nothing was signalled.
pub(crate) fn taken(event: &EventFd) -> u64 {
    match event.read() {
        Err(Errno::EAGAIN) => 0,
        count => count.unwrap(),
    }
}

/// A device with everything but its backend: it does not run yet.
pub(crate) struct Wired {
    pub(crate) vhost: Vhost,
    pub(crate) kick: EventFd,
    pub(crate) call: EventFd,
    pub(crate) err: EventFd,
    /// The kick of the empty queue, see [`Wired::settle`].
    idle: EventFd,
    packet_len: u32,
}

impl Wired {
    /// A vsock device with a context ID of its own.
    pub(crate) fn vsock() -> Self {
        static NEXT_CID: AtomicU64 = AtomicU64::new(0x4000_0000);

        let wired = Self::new(Vhost::open(VSOCK).unwrap(), 44);
        let cid = NEXT_CID.fetch_add(1, SeqCst);
        wired.vhost.vsock_set_guest_cid(cid).unwrap();
        wired
    }

    /// A running device. Its packets have no valid address: the device uses them, and sends no
    /// reply.
    pub(crate) fn running_vsock() -> Self {
        let wired = Self::vsock();
        wired.vhost.vsock_set_running(true).unwrap();
        wired
    }

    /// A network device. Its packets are a header of 12 bytes and a broadcast frame.
    pub(crate) fn net() -> Self {
        let wired = Self::new(Vhost::open(NET).unwrap(), 12 + 64);
        for byte in 12..18 {
            wired.vhost.memory().u8(PACKET + byte).store(0xff, SeqCst);
        }
        wired
    }

    fn new(vhost: Vhost, packet_len: u32) -> Self {
        vhost.set_owner().unwrap();
        vhost.set_mem_table().unwrap();
        vhost.set_features(VERSION_1).unwrap();
        let wired = Self {
            vhost,
            kick: event(0),
            call: event(0),
            err: event(0),
            idle: event(0),
            packet_len,
        };
        for queue in [RX, TX] {
            let ring = wired.ring(queue);
            let (descriptors, available, used) =
                (ring.descriptors(), ring.available(), ring.used());
            let vhost = &wired.vhost;
            vhost.set_vring_num(queue, SIZE.into()).unwrap();
            vhost.set_vring_base(queue, 0).unwrap();
            vhost
                .set_vring_addr(queue, descriptors, available, used)
                .unwrap();
        }
        wired.set(Kick, &wired.kick);
        wired.set(Call, &wired.call);
        wired.set(Error, &wired.err);
        wired.settle();
        wired
    }

    fn ring(&self, queue: u32) -> Ring<'_> {
        Ring::new(self.vhost.memory(), queue)
    }

    /// The queue that the device reads packets from.
    pub(crate) fn tx(&self) -> Ring<'_> {
        self.ring(TX)
    }

    /// Binds a descriptor to the queue that the device reads packets from.
    #[track_caller]
    pub(crate) fn set(&self, purpose: Purpose, eventfd: &impl AsFd) {
        let fd = eventfd.as_fd().as_raw_fd();
        assert_eq!(self.vhost.set(purpose, TX, fd), Ok(0));
    }

    /// Unbinds it.
    #[track_caller]
    pub(crate) fn unset(&self, purpose: Purpose) {
        assert_eq!(self.vhost.set(purpose, TX, NONE), Ok(0));
    }

    /// Puts a packet on the ring.
    pub(crate) fn offer(&self) {
        self.tx()
            .offer(Memory::guest_address(PACKET), self.packet_len);
    }

    /// Puts a packet on the ring and kicks.
    pub(crate) fn send(&self) {
        self.offer();
        self.kick.write(1).unwrap();
    }

    /// Returns when the device's worker has finished all earlier work.
    ///
    /// Unbinding a kick, here that of the empty queue, waits for all work of the device
    /// (`vhost_dev_flush`). The worker does work in the order in which it was queued, and a kick
    /// queues its work before the write to the eventfd returns. So what has not happened by then
    /// does not happen without another kick.
    pub(crate) fn settle(&self) {
        self.vhost.set(Kick, RX, NONE).unwrap();
        let idle = self.idle.as_raw_fd();
        self.vhost.set(Kick, RX, idle).unwrap();
    }

    /// Asserts that exactly so many packets were used since the device was created, and that so
    /// many signals came since the last call.
    #[track_caller]
    pub(crate) fn expect(&self, used: u16, calls: u64, errors: u64) {
        self.settle();
        let found = (self.tx().used_index(), taken(&self.call), taken(&self.err));
        assert_eq!(found, (used, calls, errors), "used, calls, errors");
    }
}
