// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Variables in the guest's RAM that host and guest share.
//!
//! The guest uses aligned 8-byte accesses, the host atomic ones. A side that sees a value also sees
//! what was written before it: the host acquires and releases, and x86 orders accesses so anyway.

use std::sync::atomic::{AtomicU64, Ordering};

use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap, VolatileMemory};

use crate::{Error, layout};

/// One 8-byte variable on a cache line of its own.
#[derive(Clone, Debug)]
pub struct Slot {
    memory: GuestMemoryMmap,
    address: u64,
}

impl Slot {
    pub(crate) fn new(memory: GuestMemoryMmap, address: u64) -> Self {
        Self { memory, address }
    }

    /// The address of the variable in the guest.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Returns the current value.
    ///
    /// # Errors
    ///
    /// None in practice: the address was in RAM when this slot was allocated.
    pub fn load(&self) -> Result<u64, Error> {
        atomic(&self.memory, self.address, |value| {
            value.load(Ordering::Acquire)
        })
    }

    /// Sets the value.
    ///
    /// # Errors
    ///
    /// As for [`Slot::load`].
    pub fn store(&self, new: u64) -> Result<(), Error> {
        atomic(&self.memory, self.address, |value| {
            value.store(new, Ordering::Release)
        })
    }

    /// Adds to the value, and returns the previous value.
    ///
    /// # Errors
    ///
    /// As for [`Slot::load`].
    pub fn fetch_add(&self, more: u64) -> Result<u64, Error> {
        atomic(&self.memory, self.address, |value| {
            value.fetch_add(more, Ordering::AcqRel)
        })
    }
}

/// An array of 8-byte values, such as one sample for each round of a loop.
#[derive(Clone, Debug)]
pub struct Array {
    memory: GuestMemoryMmap,
    address: u64,
    len: u32,
}

impl Array {
    pub(crate) fn new(memory: GuestMemoryMmap, address: u64, len: u32) -> Self {
        Self {
            memory,
            address,
            len,
        }
    }

    /// The address of the first value in the guest.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// How many values there are.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// One value; 0 beyond the end.
    ///
    /// # Errors
    ///
    /// None in practice, as for [`Slot::load`].
    pub fn get(&self, index: u32) -> Result<u64, Error> {
        if index >= self.len {
            return Ok(0);
        }
        let address = self.address + u64::from(index) * 8;
        atomic(&self.memory, address, |value| value.load(Ordering::Acquire))
    }

    /// Sets all values to 0.
    ///
    /// # Errors
    ///
    /// None in practice, as for [`Slot::load`].
    pub fn clear(&self) -> Result<(), Error> {
        (self.address..)
            .step_by(8)
            .take(self.len as usize)
            .try_for_each(|address| {
                atomic(&self.memory, address, |value| {
                    value.store(0, Ordering::Release)
                })
            })
    }

    /// All values, in order.
    ///
    /// # Errors
    ///
    /// None in practice, as for [`Slot::load`].
    pub fn load(&self) -> Result<Vec<u64>, Error> {
        (self.address..)
            .step_by(8)
            .take(self.len as usize)
            .map(|address| atomic(&self.memory, address, |value| value.load(Ordering::Acquire)))
            .collect()
    }
}

/// Takes `size` bytes of RAM from `next` on, in whole cache lines.
pub(crate) fn allocate(
    memory: &GuestMemoryMmap,
    next: &AtomicU64,
    size: u64,
) -> Result<u64, Error> {
    let end = memory.last_addr().0 + 1;
    next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |address| {
        let after = address + size.next_multiple_of(layout::SLOT_SIZE);
        (after <= end).then_some(after)
    })
    .map_err(|_| Error::Layout("the RAM has no room for so many slots and arrays"))
}

fn atomic<R>(
    memory: &GuestMemoryMmap,
    address: u64,
    access: impl FnOnce(&AtomicU64) -> R,
) -> Result<R, Error> {
    let bytes = memory.get_slice(GuestAddress(address), size_of::<u64>())?;
    let value = bytes
        .get_atomic_ref::<AtomicU64>(0)
        .map_err(vm_memory::GuestMemoryError::from)?;
    Ok(access(value))
}
