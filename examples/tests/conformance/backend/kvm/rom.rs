// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A page of read-only memory.
#![allow(unsafe_code)]

use tiny_guest::kvm_bindings::{KVM_MEM_READONLY, kvm_userspace_memory_region};
use tiny_guest::kvm_ioctls::VmFd;

use crate::backend::ROM;

/// The slot after that of the RAM.
const SLOT: u32 = 1;

#[repr(C, align(4096))]
struct Page([u8; 4096]);

/// The page's memory, which must outlive the VM.
pub(super) struct Rom {
    _page: Box<Page>,
}

impl Rom {
    pub(super) fn new(vm: &VmFd) -> Self {
        let page = Box::new(Page([0; 4096]));
        let region = kvm_userspace_memory_region {
            slot: SLOT,
            flags: KVM_MEM_READONLY,
            guest_phys_addr: ROM,
            memory_size: size_of::<Page>() as u64,
            userspace_addr: (&raw const page.0) as u64,
        };
        // SAFETY: the page is a whole one, it is never written, and its box is freed only after the
        // VM: `Kvm` drops its fields in order, and holds all file descriptors of the VM.
        unsafe { vm.set_user_memory_region(region) }.unwrap();
        Self { _page: page }
    }
}
