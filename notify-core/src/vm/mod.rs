// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The port: what the upper crates ask of a hypervisor.

mod capability;
mod claim;
mod flags;
mod kvm;
mod platform;
mod request;
mod routes;
#[cfg(feature = "sim")]
pub mod sim;
mod vcpu;

use std::fmt;
use std::io;

pub use capability::Capability;
pub use claim::RoutingClaim;
pub use kvm::{KvmVcpu, KvmVm};
pub use platform::Platform;
pub use request::{
    Bus, IoEventFdAction, IoEventFdRequest, IrqFdAction, IrqFdRequest, LineStatus, MsiOutcome,
    MsiRequest,
};
pub use routes::{RouteBuffer, RouteEntry, RouteTarget};
pub use vcpu::Vcpu;

/// A virtual machine, as seen by notifications.
///
/// The upper crates hold an `Arc<dyn Vm>`, so a machine stays open while any guard lives: closing
/// the last file descriptor of a KVM machine silently kills every irqfd in it.
///
/// # What an implementation owes
///
/// - Each call is one request, carried out at once and completely, or refused with an error and no
///   effect. Errors carry the errno that KVM would give ([`io::Error::raw_os_error`]).
/// - When a deassignment has returned, the file descriptor has no effect on the machine any more.
/// - Nothing is checked twice: what KVM accepts, an implementation accepts, however useless. The
///   upper crates refuse it before it gets here.
/// - Calls come from any thread at any time, also from `drop` and with locks held: none may panic, or
///   call back into the crates that use the port.
/// - A method that an implementation does not know answers [`io::ErrorKind::Unsupported`], as the
///   defaults do. Methods will be added only with such a default.
pub trait Vm: fmt::Debug + Send + Sync {
    /// The machine's answer for a capability; 0 means that it lacks it.
    ///
    /// # Errors
    ///
    /// Those of KVM_CHECK_EXTENSION on a machine.
    fn capability(&self, capability: Capability) -> io::Result<u32>;

    /// KVM_IRQFD: binds an eventfd to a GSI, or takes it off.
    ///
    /// # Errors
    ///
    /// Those of the ioctl.
    fn irqfd(&self, request: &IrqFdRequest<'_>) -> io::Result<()>;

    /// KVM_IOEVENTFD: binds an eventfd to a guest address, or takes it off.
    ///
    /// # Errors
    ///
    /// Those of the ioctl.
    fn ioeventfd(&self, request: &IoEventFdRequest<'_>) -> io::Result<()>;

    /// KVM_SET_GSI_ROUTING: replaces the whole table, or nothing of it.
    ///
    /// # Errors
    ///
    /// Those of the ioctl.
    fn set_gsi_routing(&self, table: &RouteBuffer) -> io::Result<()>;

    /// KVM_SIGNAL_MSI: injects one message.
    ///
    /// A message that no local APIC takes is [`MsiOutcome::Blocked`], since a guest chooses its destination. For
    /// some such messages the ioctl fails with EPERM: for those of a VM without vCPUs on any kernel, and for a
    /// logical destination that no local APIC has on Linux 6.1.
    ///
    /// # Errors
    ///
    /// Those of the ioctl; EPERM if a system call filter refuses it.
    fn signal_msi(&self, message: &MsiRequest) -> io::Result<MsiOutcome>;

    /// KVM_IRQ_LINE_STATUS: drives a GSI, and says what became of it.
    ///
    /// # Errors
    ///
    /// Those of the ioctl.
    fn set_irq_line(&self, gsi: u32, level: bool) -> io::Result<LineStatus>;

    /// KVM_IRQ_LINE: drives a GSI, and does not ask what became of it.
    ///
    /// On x86 it is not the same without the answer: who asks for the status of the real-time clock's pin
    /// (8 of the IOAPIC) gets no second interrupt of it before the guest has ended the first.
    ///
    /// # Errors
    ///
    /// Those of the ioctl. Unless an implementation does better, the status is asked for and dropped.
    fn irq_line(&self, gsi: u32, level: bool) -> io::Result<()> {
        self.set_irq_line(gsi, level).map(drop)
    }

    /// Which interrupt controllers the VM has in the kernel; `None` if it has none that takes
    /// irqfds and routes, or none yet. Called when a routing table is built and committed for the
    /// first time, and to explain a refusal.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::Unsupported`] where it cannot be told. Then the builder of the routing
    /// table has to be told what the table starts with.
    fn platform(&self) -> io::Result<Option<Platform>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The claim that the routing table of this VM takes, so that a second table is refused. A
    /// decorator returns that of the VM below it.
    ///
    /// `None`, the default, means that a second table is not found out. Nor is it if two
    /// implementations stand over one VM: two `KvmVm`s over duplicates of one descriptor.
    fn routing_claim(&self) -> Option<&RoutingClaim> {
        None
    }

    /// Announces that the VM is about to be closed.
    ///
    /// From then on new requests fail with [`Retired`], and requests that undo earlier ones succeed
    /// without effect: the hypervisor frees everything when the VM is closed, so that the guards'
    /// drops need not do it one by one. Guards may then be dropped in any order.
    ///
    /// The caller has to close the VM. While it lives on, what was registered stays in force.
    /// Unless an implementation does better, this does nothing, and guards undo what they did.
    fn retire(&self) {}
}

/// The error of a new request on a machine that was said to be closing; see [`Vm::retire`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the virtual machine is being closed")]
pub struct Retired;

impl Retired {
    /// Whether this is why a request was refused.
    #[must_use]
    pub fn caused(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<Self>())
    }
}

impl From<Retired> for io::Error {
    fn from(retired: Retired) -> Self {
        Self::other(retired)
    }
}
