// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The port: the requests that the upper crates make to a hypervisor.

mod claim;
mod extension;
pub(crate) mod flags;
mod kvm;
mod message;
mod platform;
mod request;
pub(crate) mod routes;
mod vcpu;

use std::fmt;
use std::io;

use crate::SysError;

pub use claim::RoutingClaim;
pub use extension::Extension;
pub use kvm::{KvmVcpu, KvmVm};
pub use message::MsiMessage;
pub use platform::Platform;
pub use request::{
    Bus, IoEventFdAction, IoEventFdRequest, IrqFdAction, IrqFdRequest, LineStatus, MsiOutcome,
};
pub use routes::{RouteBuffer, RouteEntry, RouteTarget};
pub use vcpu::Vcpu;

/// A VM: the requests that `irq-routing`, `irqfd` and `ioeventfd` (the upper crates) make to it.
///
/// The upper crates hold an `Arc<dyn Vm>`, so a VM stays open while any guard lives. (Closing the
/// last file descriptor of a KVM VM silently removes every irqfd in it.)
///
/// [`KvmVm`] is the implementation for KVM. The guide [`ports`](crate::ports) shows one over a
/// VMM's own hypervisor layer. Create one implementation for each VM, and share it in an `Arc`.
///
/// # What an implementation must do
///
/// - Each call is one request: it has its whole effect before it returns, or fails without effect.
/// - When a deassignment has returned, the file descriptor has no effect on the VM any more. No
///   injection for an earlier signal is still running.
/// - It accepts what KVM accepts, even if that is useless. The upper crates check first, so nothing
///   is checked twice.
/// - Calls come from any thread at any time, also from `drop` and with locks held. They must not
///   panic, and must not call the upper crates.
/// - A method that the hypervisor does not have returns [`io::ErrorKind::Unsupported`] each time,
///   as the defaults do. New methods of this trait will have such a default.
///
/// # Errors
///
/// The upper crates decide by [`io::Error::raw_os_error`] and [`io::Error::kind`]. These are the
/// errnos of KVM. An implementation for another hypervisor returns the same ones:
///
/// | errno | of | means | what the upper crates do |
/// |---|---|---|---|
/// | EINVAL | `irqfd`, `signal_msi`, `set_gsi_routing` | refused; or there is no interrupt controller | ask `platform`, and name the missing controller if it returns `None` |
/// | EINVAL | `set_gsi_routing` | an entry is refused | search for it by more requests, so that other commits and edits do not fail with it |
/// | EINVAL, `Unsupported` | `irqfd` with a resample eventfd | a split irqchip: EOIs are exits to user space | take them from `irqfd::EoiExits` |
/// | EAGAIN | `irqfd` | the interrupt controller is not initialised yet | temporary |
/// | EBUSY | `irqfd` | the eventfd is bound already | final: `AlreadyBound` |
/// | EEXIST | `ioeventfd` | another doorbell has the same key | final: `Taken` |
/// | ENOENT | `ioeventfd` that deassigns | the doorbell is gone | treat it as deassigned, and log a warning |
/// | ENXIO | `irq_line_status`, `irq_line` | there is no interrupt controller | final: `NoIrqChip` |
/// | ENOMEM, EMFILE, ENFILE, ENOSPC, EINTR, EAGAIN | `irqfd`, `set_gsi_routing` | a resource was short, or the call was interrupted | temporary |
/// | any other, or none | any | refused | final |
///
/// After a *temporary* error an `irqfd::ArmQueue` retries, and `irq_routing::Error::is_transient`
/// is true. Nothing else retries by itself. After a *final* error nothing is retried before the
/// caller acts.
///
/// After an error of a deassignment the descriptor counts as still bound, so its GSI stays out of
/// use. Do not return an error for a descriptor that is not bound any more, except ENOENT of
/// `ioeventfd`. KVM returns none for an irqfd that it does not have.
///
/// A VM that is being closed refuses with [`Retired`], and its deassignments succeed.
pub trait Vm: fmt::Debug + Send + Sync {
    /// Returns the value of a capability; 0 means that the VM lacks it (KVM_CHECK_EXTENSION).
    ///
    /// The upper crates ask for:
    ///
    /// | capability | when | if 0 | if it fails |
    /// |---|---|---|---|
    /// | [`IrqRouting`](Extension::IrqRouting) | a routing table is built | `NoRoutingTable` | `Limit` |
    /// | [`SignalMsi`](Extension::SignalMsi) | a vector is built | it has an irqfd of its own | the same |
    /// | [`IrqFdResample`](Extension::IrqFdResample) | a device that waits for EOIs joins a line | `NoResample` | the irqfd is tried |
    /// | [`IoEventFdAnyLength`](Extension::IoEventFdAnyLength) | a doorbell for any write is registered | `NoAnyWrite` | `Refused` |
    /// | [`IoEventFdNoLength`](Extension::IoEventFdNoLength) | `any_width` of a virtio layout | doorbells keep their width | the same error |
    ///
    /// # Errors
    ///
    /// Those of the ioctl. An unknown capability is 0, not an error.
    fn check_extension(&self, capability: Extension) -> io::Result<u32>;

    /// KVM_IRQFD: binds an eventfd to a GSI, or unbinds it.
    ///
    /// One GSI may have many eventfds; one eventfd has one GSI. A signal that is in the counter
    /// when the eventfd is bound is delivered. A deassignment blocks until injections that have
    /// begun are finished, and leaves a counter of zero.
    ///
    /// # Errors
    ///
    /// Those of the ioctl. Assign and deassign are needed for every interrupt by an eventfd.
    ///
    /// An implementation without resampling returns [`Unsupported`](io::ErrorKind::Unsupported) for
    /// [`AssignResample`](IrqFdAction::AssignResample). Then a line whose GSI has a message takes
    /// its EOIs from the VMM. On a line to a pin no device that waits for EOIs can join
    /// (`NoResample`).
    fn irqfd(&self, request: &IrqFdRequest<'_>) -> io::Result<()>;

    /// KVM_IOEVENTFD: binds an eventfd to a guest address, or unbinds it.
    ///
    /// # Errors
    ///
    /// Those of the ioctl. An implementation returns [`Unsupported`](io::ErrorKind::Unsupported)
    /// for a doorbell that it cannot match, or could not unbind. That is final for the doorbell
    /// (`ioeventfd::Error::Refused`), and the VMM gets the write as an exit.
    fn ioeventfd(&self, request: &IoEventFdRequest<'_>) -> io::Result<()>;

    /// KVM_SET_GSI_ROUTING: replaces the whole table, or fails and changes nothing.
    ///
    /// When it has returned, no signal takes an old route.
    ///
    /// # Errors
    ///
    /// Those of the ioctl. An implementation returns EINVAL for an entry that it refuses: only then
    /// does a new translation block that one message. No commit succeeds without this method, so
    /// [`Unsupported`](io::ErrorKind::Unsupported) is final.
    fn set_gsi_routing(&self, table: &RouteBuffer) -> io::Result<()>;

    /// KVM_SIGNAL_MSI: injects one MSI message.
    ///
    /// A message that no local APIC takes is [`MsiOutcome::Blocked`] and not an error, since a
    /// guest chooses its destination.
    ///
    /// For some such messages the ioctl fails with EPERM: on any kernel if the VM has no vCPUs; on
    /// Linux 6.1 if no local APIC has the logical destination. An implementation returns `Blocked`
    /// for these too.
    ///
    /// # Errors
    ///
    /// Those of the ioctl; EPERM if a system call filter refuses it. Each one is final for the
    /// message: the trigger is lost. The vector sends nothing more until it gets another message,
    /// is unmasked again, or a trigger succeeds.
    ///
    /// An implementation that returns [`Unsupported`](io::ErrorKind::Unsupported) returns 0 for
    /// [`Extension::SignalMsi`]. Then no vector calls this method, and `irqfd::inject::message`
    /// fails.
    fn signal_msi(&self, message: &MsiMessage) -> io::Result<MsiOutcome>;

    /// KVM_IRQ_LINE_STATUS: sets the level of a GSI, and returns what KVM did with it.
    ///
    /// A GSI that is routed to a message sends it for `true`, and ignores `false`.
    ///
    /// # Errors
    ///
    /// Those of the ioctl. With [`Unsupported`](io::ErrorKind::Unsupported) a level-triggered line
    /// whose GSI has a message sends by an irqfd of its own. A line to a pin cannot be asserted
    /// (`NoIrqLine`), except by the irqfd of an exported device.
    fn irq_line_status(&self, gsi: u32, level: bool) -> io::Result<LineStatus>;

    /// KVM_IRQ_LINE: sets the level of a GSI, without asking for a status.
    ///
    /// On x86 asking for the status has a side effect on the pin of the real-time clock (8 of the
    /// IOAPIC). The pin then gives no second interrupt before the guest's EOI for the first.
    ///
    /// # Errors
    ///
    /// Those of the ioctl. The default calls [`irq_line_status`](Self::irq_line_status), and drops
    /// the status.
    fn irq_line(&self, gsi: u32, level: bool) -> io::Result<()> {
        self.irq_line_status(gsi, level).map(drop)
    }

    /// Returns which interrupt controllers the VM has in the kernel.
    ///
    /// `None` means: none that takes irqfds and routes, or none yet. It may change from `None` to
    /// `Some` once, when they are created. The upper crates call it when a routing table without a
    /// `Wiring` is built, again until it is known, and to explain a refusal.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::Unsupported`] if it is not known. Then the builder of the routing table
    /// needs a `Wiring`.
    fn platform(&self) -> io::Result<Option<Platform>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Returns the claim that the routing table of this VM takes, so that a second table is
    /// refused.
    ///
    /// A decorator returns that of the VM below it.
    ///
    /// With `None`, the default, a second table is not refused. Neither is it refused if one VM has
    /// two implementations, such as two `KvmVm`s over duplicates of one descriptor.
    fn routing_claim(&self) -> Option<&RoutingClaim> {
        None
    }

    /// Announces that the VM is about to be closed.
    ///
    /// From then on new requests fail with [`Retired`], and requests that undo earlier ones succeed
    /// without effect. The hypervisor frees everything when the VM is closed, so guards need no
    /// requests when they are dropped, and may be dropped in any order.
    ///
    /// The caller has to close the VM. While it lives on, what was registered stays in force. The
    /// default does nothing: then guards undo what they did.
    fn retire(&self) {}
}

/// The error of a new request to a VM that is being closed; see [`Vm::retire`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[error("the VM is being closed")]
pub struct Retired;

impl Retired {
    /// Returns whether a request was refused because of [`Vm::retire`].
    #[must_use]
    pub fn caused(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| {
            let within = inner.downcast_ref().and_then(SysError::other);
            inner.is::<Self>() || within.is_some_and(Self::caused)
        })
    }
}

impl From<Retired> for io::Error {
    fn from(retired: Retired) -> Self {
        Self::other(retired)
    }
}
