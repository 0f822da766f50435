// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Vcpu`]: what the upper crates ask of a vCPU.

use std::fmt;
use std::io;

/// A virtual processor, as seen by who injects interrupts into it.
///
/// This is for a VMM that emulates an interrupt controller itself: all of them (no irqchip in the kernel), or
/// the PICs (split irqchip). Everything else is asked of the machine, a [`Vm`](crate::Vm).
///
/// # When to ask
///
/// - **Between two runs, on the vCPU's own thread.** KVM carries out the ioctls of a vCPU one after the other,
///   and KVM_RUN is one of them: called from another thread, this blocks until the vCPU comes back to user
///   space, and only a fatal signal interrupts that. Another thread therefore leaves a note and makes the vCPU
///   leave KVM_RUN (a signal and `immediate_exit`).
/// - **When the guest can take it.** `kvm_run.ready_for_interrupt_injection`, as KVM_RUN left it, says that it can
///   now; if it is 0, `kvm_run.request_interrupt_window = 1` makes KVM_RUN come back (KVM_EXIT_IRQ_WINDOW_OPEN) as
///   soon as it can. Without an irqchip KVM does not look, and gives the guest the vector whatever it does. On a split
///   one it keeps a vector until the guest can take it, which it cannot while its local APIC's LINT0 is masked.
///
/// Kernel documentation: `Documentation/virt/kvm/api.rst`, 4.16 and 5.
///
/// # What an implementation owes
///
/// That of [`Vm`](crate::Vm): one request, carried out completely or refused with KVM's errno and no effect;
/// no panic. A request that it does not know answers [`io::ErrorKind::Unsupported`].
pub trait Vcpu: fmt::Debug + Send + Sync {
    /// KVM_INTERRUPT: the vCPU takes this vector next. An external interrupt, without the local APIC's part:
    /// no priority, no EOI.
    ///
    /// # Errors
    ///
    /// Those of the ioctl, on x86: EINVAL for a vector of 256 or more; ENXIO if the PICs are in the kernel, which
    /// inject by themselves; EEXIST on a split irqchip, while an earlier one waits to be taken. Without an irqchip
    /// a vector takes the place of one that waits. [`io::ErrorKind::Unsupported`] elsewhere.
    fn interrupt(&self, vector: u32) -> io::Result<()>;
}
