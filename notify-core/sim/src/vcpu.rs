// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`SimVcpu`]: a vCPU that never runs.
//!
//! Kernel source: `kvm_vcpu_ioctl_interrupt` and `kvm_cpu_get_extint` in `arch/x86/kvm/`.

use std::io;
use std::sync::Arc;

use super::calls::CallKind;
use super::interrupt::Chips;
use super::{SimVm, errno};
use notify_core::Vcpu;

/// A vCPU of a [`SimVm`], to inject interrupts into it. It never runs, so no call blocks.
///
/// ```
/// use std::sync::Arc;
/// use notify_core::Vcpu;
/// use notify_sim::{Profile, SimVm};
///
/// let vm = Arc::new(SimVm::builder().profile(Profile::X86Split { pins: 24 }).build());
/// let vcpu = Arc::clone(&vm).vcpu(0).ok_or("no vCPU")?;
/// vcpu.interrupt(0x60)?;
/// assert_eq!(vcpu.interrupt(0x61).unwrap_err().raw_os_error(), Some(17), "EEXIST: one waits");
/// assert_eq!(vm.take_interrupt(0), Some(0x60)); // the guest's part
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct SimVcpu {
    vm: Arc<SimVm>,
    index: usize,
}

impl Vcpu for SimVcpu {
    fn interrupt(&self, vector: u32) -> io::Result<()> {
        self.vm.kvm_interrupt(self.index, vector)?;
        Ok(())
    }
}

impl SimVm {
    /// Returns the vCPU of an index; `None` if there is no such vCPU.
    #[must_use]
    pub fn vcpu(self: Arc<Self>, index: usize) -> Option<SimVcpu> {
        let exists = index < self.lock().interrupts.len();
        exists.then_some(SimVcpu { vm: self, index })
    }

    /// KVM_INTERRUPT of a vCPU: 0.
    ///
    /// # Errors
    ///
    /// Those of the ioctl; EBADF if there is no such vCPU, [`io::ErrorKind::Unsupported`] for arm64
    /// and riscv64.
    #[doc(hidden)]
    pub fn kvm_interrupt(&self, vcpu: usize, vector: u32) -> io::Result<i32> {
        let mut state = self.call(CallKind::Interrupt)?;
        let state = &mut *state;
        let Some(waiting) = state.interrupts.get_mut(vcpu) else {
            return Err(errno(libc::EBADF));
        };
        if !state.profile.is_x86() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let vector = u8::try_from(vector).map_err(|_| errno(libc::EINVAL))?;
        match &state.chips {
            Chips::X86(_, Some(_)) => return Err(errno(libc::ENXIO)),
            Chips::X86(_, None) if waiting.is_some() => return Err(errno(libc::EEXIST)),
            _ => *waiting = Some(vector),
        }
        Ok(0)
    }

    /// Makes a vCPU take the interrupt of KVM_INTERRUPT. Returns its vector, if one is pending.
    pub fn take_interrupt(&self, vcpu: usize) -> Option<u8> {
        self.enter().interrupts.get_mut(vcpu)?.take()
    }
}
