// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! VMs without vCPUs and RAM.

use kvm_bindings::{KVM_CAP_SPLIT_IRQCHIP, kvm_enable_cap};
use kvm_ioctls::{Error, Kvm, VmFd};

/// A VM without an irqchip.
pub fn bare() -> Result<VmFd, Error> {
    Kvm::new()?.create_vm()
}

/// A VM with a split irqchip, whose IOAPIC in user space has 24 pins.
pub fn split() -> Result<VmFd, Error> {
    let vm_fd = bare()?;
    vm_fd.enable_cap(&kvm_enable_cap {
        cap: KVM_CAP_SPLIT_IRQCHIP,
        args: [24, 0, 0, 0],
        ..Default::default()
    })?;
    Ok(vm_fd)
}
