// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The eventfds that are bound as ioeventfds: what KVM_IOEVENTFD accepts, and which writes match.
//!
//! KVM registers an MMIO doorbell of any width on a second bus too, for a fast path that knows no
//! width. It is left out. What that bus refuses, the first one has refused before, and a guest
//! reaches it only through an exit that cannot be made from here.
//!
//! Kernel source: `virt/kvm/eventfd.c`.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::io;

use super::bus::{Device, IoBus};
use super::errno;
use super::eventfd::Held;
use super::irqfds::new_token;
use super::raw::IoEventFd;
use super::words::IoEventFdFlags;
use notify_core::Bus;

/// A channel of s390x, which other VMs accept and never use.
const CCW: u32 = 1 << 3;
/// Flags that the kernel knows, one of them without a name.
const KNOWN: u32 = 0x1f;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Space {
    Mmio,
    Pio,
    Channel,
}

#[derive(Debug)]
struct Doorbell {
    len: u32,
    datamatch: Option<u64>,
    eventfd: Held,
}

impl Doorbell {
    fn collides(&self, len: u32, datamatch: Option<u64>) -> bool {
        let same_value = match (self.datamatch, datamatch) {
            (Some(one), Some(other)) => one == other,
            _ => true,
        };
        self.len == 0 || len == 0 || (self.len == len && same_value)
    }

    fn matches(&self, bytes: &[u8]) -> bool {
        if self.len == 0 {
            return true;
        }
        let value = match *bytes {
            [a] => a.into(),
            [a, b] => u16::from_ne_bytes([a, b]).into(),
            [a, b, c, d] => u32::from_ne_bytes([a, b, c, d]).into(),
            [a, b, c, d, e, f, g, h] => u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
            _ => return false,
        };
        let same_len = u32::try_from(bytes.len()) == Ok(self.len);
        same_len && self.datamatch.is_none_or(|wanted| wanted == value)
    }
}

#[derive(Debug, Default)]
pub(super) struct Doorbells {
    mmio: IoBus,
    pio: IoBus,
    channels: IoBus,
    /// By address, and by token among those at one.
    bound: BTreeMap<(Space, u64, u64), Doorbell>,
}

impl Doorbells {
    pub(super) fn add_device(
        &mut self,
        bus: Bus,
        start: u64,
        len: u64,
        device: Device,
    ) -> io::Result<()> {
        let bus = if bus == Bus::Pio {
            &mut self.pio
        } else {
            &mut self.mmio
        };
        bus.register(start, len, device)
    }

    /// Takes the room of devices on the bus for MMIO.
    pub(super) fn reserve(&mut self, devices: usize) {
        self.mmio.reserve(devices);
    }

    pub(super) fn request(&mut self, args: &IoEventFd) -> io::Result<()> {
        let has = |flag: IoEventFdFlags| args.flags & flag.bits() != 0;
        let space = if has(IoEventFdFlags::PIO) {
            Space::Pio
        } else if args.flags & CCW != 0 {
            Space::Channel
        } else {
            Space::Mmio
        };
        let datamatch = has(IoEventFdFlags::DATAMATCH).then_some(args.datamatch);
        if has(IoEventFdFlags::DEASSIGN) {
            return self.deassign(space, datamatch, args);
        }
        if !matches!(args.len, 0 | 1 | 2 | 4 | 8)
            || args.addr.checked_add(args.len.into()).is_none()
            || args.flags & !KNOWN != 0
            || (args.len == 0 && datamatch.is_some())
        {
            return Err(errno(libc::EINVAL));
        }
        self.assign(space, datamatch, args)
    }

    fn bus(&mut self, space: Space) -> &mut IoBus {
        match space {
            Space::Mmio => &mut self.mmio,
            Space::Pio => &mut self.pio,
            Space::Channel => &mut self.channels,
        }
    }

    fn at(&self, space: Space, address: u64) -> impl Iterator<Item = (u64, &Doorbell)> {
        let keys = (space, address, 0)..=(space, address, u64::MAX);
        let here = self.bound.range(keys);
        here.map(|((_, _, token), doorbell)| (*token, doorbell))
    }

    fn assign(&mut self, space: Space, datamatch: Option<u64>, args: &IoEventFd) -> io::Result<()> {
        let eventfd = Held::get(args.fd)?;
        let mut here = self.at(space, args.addr);
        if here.any(|(_, other)| other.collides(args.len, datamatch)) {
            return Err(errno(libc::EEXIST));
        }
        drop(here);
        let token = new_token();
        let device = Device::Doorbell(token);
        self.bus(space)
            .register(args.addr, args.len.into(), device)?;
        let doorbell = Doorbell {
            len: args.len,
            datamatch,
            eventfd,
        };
        self.bound.insert((space, args.addr, token), doorbell);
        Ok(())
    }

    fn deassign(
        &mut self,
        space: Space,
        datamatch: Option<u64>,
        args: &IoEventFd,
    ) -> io::Result<()> {
        let eventfd = Held::get(args.fd)?;
        let same = |doorbell: &Doorbell| {
            doorbell.len == args.len
                && doorbell.datamatch == datamatch
                && doorbell.eventfd.order(&eventfd) == Ordering::Equal
        };
        let found = self
            .at(space, args.addr)
            .find(|(_, doorbell)| same(doorbell));
        let (token, _) = found.ok_or_else(|| errno(libc::ENOENT))?;
        self.bus(space).unregister(token);
        self.bound.remove(&(space, args.addr, token));
        Ok(())
    }

    /// The device that takes a write, if any does; a doorbell is signalled.
    pub(super) fn write(&self, bus: Bus, address: u64, bytes: &[u8]) -> Option<Device> {
        let (space, devices) = if bus == Bus::Pio {
            (Space::Pio, &self.pio)
        } else {
            (Space::Mmio, &self.mmio)
        };
        let len = u64::try_from(bytes.len()).ok()?;
        for range in devices.candidates(address, len) {
            match range.device {
                Device::Doorbell(token) => {
                    let doorbell = self.bound.get(&(space, address, token));
                    if let Some(hit) = doorbell.filter(|doorbell| doorbell.matches(bytes)) {
                        hit.eventfd.signal();
                        return Some(range.device);
                    }
                }
                // The two bytes of a port are the whole device, so that it gets no others.
                Device::Pic => return Some(range.device),
                Device::IoApic if (range.address..range.address + range.len).contains(&address) => {
                    return Some(range.device);
                }
                Device::Coalesced if inside(address, len, range.address, range.len) => {
                    return Some(range.device);
                }
                Device::IoApic | Device::Coalesced => {}
            }
        }
        None
    }
}

fn inside(address: u64, len: u64, start: u64, size: u64) -> bool {
    let end = address.checked_add(len);
    address >= start && end.is_some_and(|end| end <= start.saturating_add(size))
}
