// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Ring`]: a split virtqueue in the guest's RAM, set up so that the guest has little to do.
//!
//! Descriptor i always describes buffer i, and entry i of the available ring always names it. A
//! device that uses the buffers in order, as these do, gets and returns them in order, so the
//! driver only counts.

use std::sync::atomic::Ordering;

use vhost::VringConfigData;
use vm_memory::{
    Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryError, GuestMemoryMmap, GuestMemoryResult,
};

/// How many buffers a ring has: a power of two.
pub const SIZE: u16 = 64;
/// Bytes of a buffer: a power of two.
pub const BUFFER: u64 = 128;

const DESCRIPTOR: u64 = 16;
const AVAILABLE: u64 = SIZE as u64 * DESCRIPTOR;
const USED: u64 = 0x800;
const BUFFERS: u64 = 0x1000;
/// Bytes of RAM of a ring.
pub const RING: u64 = BUFFERS + SIZE as u64 * BUFFER;

// Two words of 16 bits, then the entries. Each part begins after the end of the part before.
const _: () = assert!(AVAILABLE + 4 + 2 * SIZE as u64 <= USED);
const _: () = assert!(USED + 4 + 8 * SIZE as u64 <= BUFFERS);

/// The offset of the index in the available and in the used ring, which both start with flags.
pub const INDEX: u64 = 2;
/// The offset of the entries in a ring.
pub const ENTRIES: u64 = 4;
/// A flag of the used ring: the driver need not kick.
pub const NO_NOTIFY: u16 = 1;
/// A flag of the available ring: the device need not interrupt.
pub const NO_INTERRUPT: u16 = 1;
/// A flag of a descriptor: the device writes to the buffer.
const WRITE: u16 = 2;

/// Which side fills the buffers of a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The device. The driver has made all of them available.
    Receive,
    /// The driver, with packets of this many bytes. It ignores interrupts.
    Transmit(u32),
}

/// A split virtqueue at a guest-physical address that is a multiple of 16.
#[derive(Debug, Clone, Copy)]
pub struct Ring {
    address: u64,
}

impl Ring {
    /// The ring at an address, which takes the next [`RING`] bytes of RAM.
    #[must_use]
    pub fn new(address: u64) -> Self {
        Self { address }
    }

    /// Guest-physical address of the descriptor table.
    #[must_use]
    pub fn descriptors(&self) -> u64 {
        self.address
    }

    /// Guest-physical address of the available ring.
    #[must_use]
    pub fn available(&self) -> u64 {
        self.address + AVAILABLE
    }

    /// Guest-physical address of the used ring.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.address + USED
    }

    /// Guest-physical address of the first buffer. The others follow it.
    #[must_use]
    pub fn buffers(&self) -> u64 {
        self.address + BUFFERS
    }

    /// Writes the ring's initial state, before its device starts.
    ///
    /// # Errors
    ///
    /// Where it is not in RAM.
    pub fn prepare(&self, memory: &GuestMemoryMmap, direction: Direction) -> GuestMemoryResult<()> {
        let (length, flags, suppressed, index) = match direction {
            Direction::Receive => (BUFFER as u32, WRITE, 0, SIZE),
            Direction::Transmit(length) => (length, 0, NO_INTERRUPT, 0),
        };
        for number in 0..SIZE {
            let at = u64::from(number);
            let descriptor = GuestAddress(self.descriptors() + at * DESCRIPTOR);
            memory.write_obj(self.buffers() + at * BUFFER, descriptor)?;
            memory.write_obj(length, GuestAddress(descriptor.0 + 8))?;
            memory.write_obj(flags, GuestAddress(descriptor.0 + 12))?;
            let entry = GuestAddress(self.available() + ENTRIES + at * 2);
            memory.write_obj(number, entry)?;
        }
        memory.write_obj(0_u32, GuestAddress(self.used()))?;
        memory.write_obj(suppressed, GuestAddress(self.available()))?;
        let address = GuestAddress(self.available() + INDEX);
        memory.store(index, address, Ordering::Release)
    }

    /// How many buffers the driver has made available, modulo 2^16.
    ///
    /// # Errors
    ///
    /// Where it is not in RAM.
    pub fn available_index(&self, memory: &GuestMemoryMmap) -> GuestMemoryResult<u16> {
        memory.load(GuestAddress(self.available() + INDEX), Ordering::Acquire)
    }

    /// How many buffers the device has used, modulo 2^16.
    ///
    /// # Errors
    ///
    /// Where it is not in RAM.
    pub fn used_index(&self, memory: &GuestMemoryMmap) -> GuestMemoryResult<u16> {
        memory.load(GuestAddress(self.used() + INDEX), Ordering::Acquire)
    }

    /// The argument of VHOST_SET_VRING_ADDR, with guest-physical addresses.
    #[must_use]
    pub fn config(&self) -> VringConfigData {
        VringConfigData {
            queue_max_size: SIZE,
            queue_size: SIZE,
            flags: 0,
            desc_table_addr: self.descriptors(),
            used_ring_addr: self.used(),
            avail_ring_addr: self.available(),
            log_addr: None,
        }
    }

    /// The same with addresses of this process.
    ///
    /// # Errors
    ///
    /// Where it is not in RAM.
    pub fn host_config(&self, memory: &GuestMemoryMmap) -> GuestMemoryResult<VringConfigData> {
        let host = |address| -> Result<u64, GuestMemoryError> {
            Ok(memory.get_host_address(GuestAddress(address))? as u64)
        };
        Ok(VringConfigData {
            desc_table_addr: host(self.descriptors())?,
            used_ring_addr: host(self.used())?,
            avail_ring_addr: host(self.available())?,
            ..self.config()
        })
    }
}
