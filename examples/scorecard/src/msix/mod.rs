// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Vectors of MSI-X: bringing them up, retargeting them, triggering them.

pub(crate) mod bringup;
mod device;
pub(crate) mod hostile;
pub(crate) mod limit;
mod others;
pub(crate) mod retarget;
pub(crate) mod trigger;

use std::error::Error;
use std::sync::Arc;

use kvm_ioctls::{Kvm, VmFd};
use notify_core::KvmVm;

const ADDRESS: u32 = 0xfee0_0000;
const VECTOR: u32 = 0x40;
/// The first GSI that no pin of a PC has.
const FIRST_GSI: u32 = 24;

/// A VM that never runs.
fn machine() -> Result<(VmFd, Arc<KvmVm>), Box<dyn Error>> {
    let vm_fd = Kvm::new()?.create_vm()?;
    vm_fd.create_irq_chip()?;
    let vm = Arc::new(KvmVm::try_from(&vm_fd)?);
    Ok((vm_fd, vm))
}
