// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Memory`]: the memory of the rings and packets of a test.
#![allow(unsafe_code)]

use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64};

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// The guest's memory, which this process and a vhost worker share. It is zero at first.
pub(crate) struct Memory(NonNull<u8>);

// SAFETY: the mapping belongs to the process, not to a thread, and is used by atomic operations
// only.
unsafe impl Send for Memory {}

impl Memory {
    pub(crate) const SIZE: usize = 1 << 20;
    /// The guest's address of it: not this process's, so that addresses are translated.
    const GUEST: u64 = 0x1000_0000;

    pub(crate) fn new() -> Self {
        let size = NonZeroUsize::new(Self::SIZE).unwrap();
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice, which nothing else uses.
        let mapped = unsafe { mmap_anonymous(None, size, access, MapFlags::MAP_SHARED) };
        Self(mapped.unwrap().cast())
    }

    /// The guest's address of `offset`.
    pub(crate) fn guest_address(offset: usize) -> u64 {
        Self::GUEST + offset as u64
    }

    /// This process's address of `offset`.
    pub(crate) fn address(&self, offset: usize) -> u64 {
        self.at::<u8>(offset).as_ptr().addr() as u64
    }

    fn at<T>(&self, offset: usize) -> NonNull<T> {
        assert!(offset.is_multiple_of(size_of::<T>()));
        assert!(offset + size_of::<T>() <= Self::SIZE);
        // SAFETY: the offset is below the size of the mapping.
        unsafe { self.0.add(offset) }.cast()
    }

    pub(crate) fn u8(&self, offset: usize) -> &AtomicU8 {
        // SAFETY: aligned memory that stays mapped as long as `self`, and that is used by atomic
        // operations only.
        unsafe { AtomicU8::from_ptr(self.at(offset).as_ptr()) }
    }

    pub(crate) fn u16(&self, offset: usize) -> &AtomicU16 {
        // SAFETY: as above.
        unsafe { AtomicU16::from_ptr(self.at(offset).as_ptr()) }
    }

    pub(crate) fn u32(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: as above.
        unsafe { AtomicU32::from_ptr(self.at(offset).as_ptr()) }
    }

    pub(crate) fn u64(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: as above.
        unsafe { AtomicU64::from_ptr(self.at(offset).as_ptr()) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the whole mapping, to which no reference is left. Its device was closed before.
        unsafe { munmap(self.0.cast(), Self::SIZE) }.unwrap();
    }
}
