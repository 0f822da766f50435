// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The RAM of the guest, and the only unsafe request to KVM.

use std::fs::File;

use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::VmFd;
use nix::sys::memfd::{MFdFlags, memfd_create};
use vm_memory::{FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

use crate::error::kvm;
use crate::{Error, layout};

/// A VM together with its memory.
///
/// The machine and its vCPUs share this, so that the memory exists as long as any of them.
#[derive(Debug)]
pub(crate) struct Ram {
    pub(crate) vm: VmFd,
    pub(crate) memory: GuestMemoryMmap,
}

impl Ram {
    pub(crate) fn new(vm: VmFd, size: u64, shared: bool) -> Result<Self, Error> {
        if !(layout::MIN_RAM..=layout::MAX_RAM).contains(&size) || !size.is_multiple_of(0x1000) {
            return Err(Error::Layout("the RAM is 2 MiB to 2 GiB, in whole pages"));
        }
        let file = shared.then(|| file(size)).transpose()?;
        let range = (GuestAddress(0), size as usize, file);
        let memory = GuestMemoryMmap::from_ranges_with_files([range])?;
        // Created before the region is set, so that drop always undoes what was done.
        let ram = Self { vm, memory };
        let host = ram.memory.get_host_address(GuestAddress(0))? as u64;
        ram.set_region(host, size)?;
        Ok(ram)
    }

    /// Backs `size` bytes of the guest by those at `host`; none if `size` is 0.
    #[allow(unsafe_code)]
    fn set_region(&self, host: u64, size: u64) -> Result<(), Error> {
        let region = kvm_userspace_memory_region {
            slot: 0,
            flags: 0,
            guest_phys_addr: 0,
            memory_size: size,
            userspace_addr: host,
        };
        // SAFETY: this function is private, and its callers pass either no memory at all, or all of
        // `self.memory`. That is a mapping of its own, which Rust reaches by volatile and atomic
        // accesses only, and which stays until `drop` has removed the region from the VM.
        unsafe { self.vm.set_user_memory_region(region) }.map_err(kvm("KVM_SET_USER_MEMORY_REGION"))
    }
}

/// A file without a name, of `size` bytes, all 0.
fn file(size: u64) -> Result<FileOffset, Error> {
    let fd = memfd_create("guest", MFdFlags::MFD_CLOEXEC);
    let file = File::from(fd.map_err(|errno| Error::File(errno.into()))?);
    file.set_len(size).map_err(Error::File)?;
    Ok(FileOffset::new(file, 0))
}

impl Drop for Ram {
    fn drop(&mut self) {
        // With `Machine::vm` a caller can create vCPUs that outlive this. So the region must be
        // removed from the VM before the memory is unmapped. If that fails, the memory has to stay
        // for good.
        if self.set_region(0, 0).is_err() {
            std::mem::forget(self.memory.clone());
        }
    }
}
