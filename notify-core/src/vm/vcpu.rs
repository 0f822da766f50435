// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Vcpu`]: the request that `irqfd` makes to a vCPU.

use std::fmt;
use std::io;

/// A virtual processor, to inject interrupts into it.
///
/// This is for a VMM that emulates an interrupt controller itself: all of them (no irqchip in the
/// kernel), or the PICs (split irqchip). Every other request is made to the VM, a
/// [`Vm`](crate::Vm).
///
/// # When to inject
///
/// - **Between two runs, on the vCPU's own thread.** KVM carries out the ioctls of a vCPU one after
///   the other, and KVM_RUN is one of them. Called from another thread, this blocks until the vCPU
///   exits to user space, and only a fatal signal interrupts that. So another thread leaves a note,
///   and makes the vCPU leave KVM_RUN (a signal and `immediate_exit`).
/// - **When the guest can take it.** If `kvm_run.ready_for_interrupt_injection` is 1 after KVM_RUN,
///   it can now. If it is 0, `kvm_run.request_interrupt_window = 1` makes KVM_RUN return
///   (KVM_EXIT_IRQ_WINDOW_OPEN) as soon as it can. Without an irqchip KVM does not check, and gives
///   the guest the vector whatever it does. On a split irqchip KVM keeps a vector until the guest
///   can take it, which it cannot while its local APIC's LINT0 is masked.
///
/// Kernel documentation: `Documentation/virt/kvm/api.rst`, 4.16 and 5.
///
/// # What an implementation must do
///
/// As for [`Vm`](crate::Vm): each call is one request, which has its whole effect, or fails with
/// KVM's errno and without effect; it does not panic. An implementation that does not know the
/// request returns [`io::ErrorKind::Unsupported`].
pub trait Vcpu: fmt::Debug + Send + Sync {
    /// KVM_INTERRUPT: makes the vCPU take this vector next. It is an external interrupt, without
    /// the local APIC's part: no priority, no EOI.
    ///
    /// # Errors
    ///
    /// Those of the ioctl, on x86: EINVAL for a vector of 256 or more; ENXIO if the PICs are in the
    /// kernel, which inject by themselves; EEXIST on a split irqchip, while an earlier vector
    /// waits. Without an irqchip a vector replaces one that waits. [`io::ErrorKind::Unsupported`]
    /// on other architectures.
    fn interrupt(&self, vector: u32) -> io::Result<()>;
}
