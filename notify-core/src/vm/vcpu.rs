// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Vcpu`]: the request that `irqfd` makes to a vCPU.

use std::fmt;
use std::io;

/// A virtual processor, to inject interrupts into it.
///
/// For a VMM that emulates an interrupt controller itself: all of them (no irqchip in the kernel),
/// or the PICs (split irqchip). All other requests are made to the VM: see [`Vm`](crate::Vm).
///
/// # When to inject
///
/// - **Between two runs, on the vCPU's own thread.** KVM carries out the ioctls of a vCPU one after
///   the other, and KVM_RUN is one of them. Called from another thread, this blocks until the vCPU
///   exits to user space, and only a fatal signal interrupts that. So another thread leaves a
///   request in memory, and makes the vCPU leave KVM_RUN (a signal and `immediate_exit`).
/// - **When the guest can take it.** After KVM_RUN it can if
///   `kvm_run.ready_for_interrupt_injection` is 1. If that is 0, set
///   `kvm_run.request_interrupt_window = 1`: KVM_RUN then returns as soon as the guest can
///   (KVM_EXIT_IRQ_WINDOW_OPEN).
///
/// Without an irqchip KVM does not check, and gives the guest the vector in any state. On a split
/// irqchip KVM keeps a vector until the guest can take it, which it cannot while its local APIC's
/// LINT0 is masked.
///
/// Kernel documentation: `Documentation/virt/kvm/api.rst`, 4.16 and 5.
///
/// # What an implementation must do
///
/// As for [`Vm`](crate::Vm): each call is one request, which has its whole effect, or fails with
/// KVM's errno and without effect. It does not panic. An implementation that does not have the
/// request returns [`io::ErrorKind::Unsupported`].
pub trait Vcpu: fmt::Debug + Send + Sync {
    /// KVM_INTERRUPT: makes the vCPU take this vector next.
    ///
    /// It is an external interrupt, without the local APIC's part: it has no priority and no EOI.
    /// Blocks while another thread runs the vCPU.
    ///
    /// # Errors
    ///
    /// Those of the ioctl, on x86:
    ///
    /// - EINVAL for a vector of 256 or more;
    /// - ENXIO if the PICs are in the kernel, which inject by themselves;
    /// - EEXIST on a split irqchip while an earlier vector waits. Without an irqchip a vector
    ///   replaces one that waits.
    ///
    /// [`io::ErrorKind::Unsupported`] on other architectures.
    fn interrupt(&self, vector: u32) -> io::Result<()>;
}
