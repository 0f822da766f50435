// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! KVM_INTERRUPT.

use notify_core::{SysError, Vcpu};

use super::InjectError;
use super::Injected;

/// Injects a vector of the VMM's own interrupt controller into a vCPU (KVM_INTERRUPT).
///
/// The controller is a PIC of a split irqchip, or any one if none is in the kernel. Call it on the
/// vCPU's own thread, between two runs, when the guest can take an interrupt; [`Vcpu`] describes
/// how the VMM knows. On another thread it blocks until the vCPU has left KVM_RUN. Make the
/// controller's acknowledge cycle only after the outcome [`Queued`](Injected::Queued), so that no
/// vector is lost.
///
/// The outcome is [`Queued`](Injected::Queued), or, on a split irqchip,
/// [`StillQueued`](Injected::StillQueued). With no irqchip at all the kernel does not report this:
/// a vector replaces one that the vCPU has not taken.
///
/// # Errors
///
/// [`InjectError::PicInKernel`]; [`InjectError::VectorRefused`] for any other refusal. The only one
/// known is that the architecture has no such ioctl
/// ([`Unsupported`](std::io::ErrorKind::Unsupported)).
///
/// ```
/// # use std::sync::Arc;
/// # use irqfd::inject::{self, Injected};
/// # use notify_sim::{Profile, SimVm};
/// # let vm = Arc::new(SimVm::builder().profile(Profile::X86Split { pins: 24 }).build());
/// let vcpu = SimVm::vcpu(Arc::clone(&vm), 0).ok_or("no vCPU")?; // or a KvmVcpu
/// assert_eq!(inject::vcpu(&vcpu, 0x60)?, Injected::Queued);
/// assert_eq!(inject::vcpu(&vcpu, 0x61)?, Injected::StillQueued);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The outcome must be used, or a vector is lost:
///
/// ```compile_fail
/// # #![deny(unused_must_use)]
/// # use std::sync::Arc;
/// # use irqfd::inject;
/// # use notify_sim::SimVm;
/// # let vm = Arc::new(SimVm::builder().build());
/// # let vcpu = SimVm::vcpu(Arc::clone(&vm), 0).ok_or("no vCPU")?;
/// inject::vcpu(&vcpu, 0x60)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[inline]
pub fn vcpu(vcpu: &dyn Vcpu, vector: u8) -> Result<Injected, InjectError> {
    let Err(error) = vcpu.interrupt(vector.into()) else {
        return Ok(Injected::Queued);
    };
    let cause = SysError::from(error);
    match cause.raw_os_error() {
        Some(libc::EEXIST) => Ok(Injected::StillQueued),
        Some(libc::ENXIO) => Err(InjectError::PicInKernel { vector, cause }),
        _ => Err(InjectError::VectorRefused { vector, cause }),
    }
}
