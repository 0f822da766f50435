// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The RAM of the guest, and the only unsafe request of KVM.

use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::VmFd;
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

use crate::error::kvm;
use crate::{Error, layout};

/// A VM together with the memory it runs in.
///
/// The machine and its vCPUs share one of these, so that the memory is there as long as any of them.
#[derive(Debug)]
pub(crate) struct Ram {
    pub(crate) vm: VmFd,
    pub(crate) memory: GuestMemoryMmap,
}

impl Ram {
    pub(crate) fn new(vm: VmFd, size: u64) -> Result<Self, Error> {
        if !(layout::MIN_RAM..=layout::MAX_RAM).contains(&size) || !size.is_multiple_of(0x1000) {
            return Err(Error::Layout("the RAM is 2 MiB to 2 GiB, in whole pages"));
        }
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), size as usize)])?;
        // Made before the region is set, so that dropping it always undoes what was done.
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
        // SAFETY: it is private, and its callers pass either no memory at all, or all of
        // `self.memory`. That is a mapping of its own, which Rust reaches by volatile and atomic
        // accesses only, and which stays until `drop` has taken the region from the VM again.
        unsafe { self.vm.set_user_memory_region(region) }.map_err(kvm("KVM_SET_USER_MEMORY_REGION"))
    }
}

impl Drop for Ram {
    fn drop(&mut self) {
        // `Machine::vm` lets others make vCPUs, which may outlive this: the VM must forget the
        // memory before it is unmapped. If it does not, the memory has to stay for good.
        if self.set_region(0, 0).is_err() {
            std::mem::forget(self.memory.clone());
        }
    }
}
