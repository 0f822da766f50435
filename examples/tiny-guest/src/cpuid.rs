// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The features that the CPUID instruction returns to the guest.

use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES};
use kvm_ioctls::{Kvm, VcpuFd};

use crate::Error;
use crate::error::kvm;

/// All features that KVM supports, read once for all vCPUs.
pub(crate) fn supported(kvm_fd: &Kvm) -> Result<CpuId, Error> {
    kvm_fd
        .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
        .map_err(kvm("KVM_GET_SUPPORTED_CPUID"))
}

/// Gives `vcpu` the `supported` features, and the APIC ID `id` instead of that of a host processor.
pub(crate) fn set(vcpu: &VcpuFd, supported: &CpuId, id: u8) -> Result<(), Error> {
    let mut cpuid = supported.clone();
    for leaf in cpuid.as_mut_slice() {
        match leaf.function {
            0x1 => leaf.ebx = (leaf.ebx & 0x00ff_ffff) | u32::from(id) << 24,
            0xb | 0x1f => leaf.edx = u32::from(id),
            0x8000_001e => leaf.eax = u32::from(id),
            _ => {}
        }
    }
    vcpu.set_cpuid2(&cpuid).map_err(kvm("KVM_SET_CPUID2"))
}
