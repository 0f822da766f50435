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
/// The upper crates hold an `Arc<dyn Vm>`, so a VM stays open while any guard lives: closing the
/// last file descriptor of a KVM VM silently kills every irqfd in it.
///
/// [`KvmVm`] is the implementation for KVM. The guide [`ports`](crate::ports) shows one over a
/// hypervisor layer of a VMM's own.
///
/// # What an implementation owes
///
/// - Each call is one request, carried out at once and completely, or refused with an error and no
///   effect.
/// - When a deassignment has returned, the file descriptor has no effect on the VM any more, and
///   nothing that it was signalled for is still under way.
/// - Nothing is checked twice: what KVM accepts, an implementation accepts, however useless. The
///   upper crates refuse it before it gets here.
/// - Calls come from any thread at any time, also from `drop` and with locks held: none may panic,
///   or call back into the crates that use the port.
/// - A method that an implementation does not have returns [`io::ErrorKind::Unsupported`], each
///   time, as the defaults do. Methods will be added only with such a default.
///
/// # Errors
///
/// The upper crates decide by [`io::Error::raw_os_error`] and [`io::Error::kind`]. These are the
/// errnos of KVM, and an implementation for another hypervisor returns the same ones:
///
/// | errno | of | means | the upper crates |
/// |---|---|---|---|
/// | EINVAL | `irqfd`, `signal_msi`, `set_gsi_routing` | refused; or there is no interrupt controller | ask `platform`, and name the missing controller if it returns `None` |
/// | EINVAL | `set_gsi_routing` | an entry is refused | search for it by more requests, so that other commits and edits do not fail with it |
/// | EINVAL, `Unsupported` | `irqfd` with a resample eventfd | a split irqchip: EOIs leave the kernel | expect them from `irqfd::EoiExits` |
/// | EAGAIN | `irqfd` | the interrupt controller is not initialised yet | temporary |
/// | EBUSY | `irqfd` | the eventfd is bound already | final: `AlreadyBound` |
/// | EEXIST | `ioeventfd` | another doorbell has the same key | final: `Taken` |
/// | ENOENT | `ioeventfd` that deassigns | the doorbell is gone | take it as deassigned, and log a warning |
/// | ENXIO | `set_irq_line`, `irq_line` | there is no interrupt controller | final: `NoController` |
/// | ENOMEM, EMFILE, ENFILE, ENOSPC, EINTR, EAGAIN | `irqfd`, `set_gsi_routing` | something was short for a moment | temporary |
/// | any other, or none | | | final |
///
/// A *temporary* error is tried again by an `irqfd::ArmQueue`, and reported as such by
/// `irq_routing::Error::is_transient`; nothing else tries again by itself. A *final* one is not
/// tried again before the caller does something. After an error of a deassignment the descriptor
/// counts as still bound, so its GSI stays out of use: do not return one for what is not bound any
/// more, except ENOENT of `ioeventfd`. KVM does not return one for an irqfd that it does not have.
///
/// A VM that is being closed refuses with [`Retired`], and its deassignments succeed.
pub trait Vm: fmt::Debug + Send + Sync {
    /// Returns the VM's number for a capability; 0 means that it lacks it. These are asked for:
    ///
    /// | | when | if 0 | if it fails |
    /// |---|---|---|---|
    /// | [`IrqRouting`](Capability::IrqRouting) | a routing table is built | `NoRoutingTable` | `Limit` |
    /// | [`SignalMsi`](Capability::SignalMsi) | a vector is built | it has an irqfd of its own | the same |
    /// | [`IrqFdResample`](Capability::IrqFdResample) | a device that waits for EOIs joins a line | `NoResample` | it is tried |
    /// | [`IoEventFdAnyLength`](Capability::IoEventFdAnyLength) | a doorbell for any write is registered | `NoAnyWrite` | `Assign` |
    /// | [`IoEventFdNoLength`](Capability::IoEventFdNoLength) | `any_width` of a virtio layout | doorbells keep their width | the same error |
    ///
    /// # Errors
    ///
    /// Those of KVM_CHECK_EXTENSION on a VM. What is not known is 0, not an error.
    fn capability(&self, capability: Capability) -> io::Result<u32>;

    /// KVM_IRQFD: binds an eventfd to a GSI, or takes it off.
    ///
    /// One GSI may have many eventfds; one eventfd has one GSI. A signal that the eventfd has when
    /// it is bound counts. A deassignment waits for injections that have begun, and leaves a
    /// counter of zero.
    ///
    /// # Errors
    ///
    /// Those of the ioctl. An implementation without resampling returns
    /// [`Unsupported`](io::ErrorKind::Unsupported) for
    /// [`AssignResample`](IrqFdAction::AssignResample). Then a line whose GSI has a message takes
    /// its EOIs from the VMM, and on a line to a pin no device that waits for EOIs can join
    /// (`NoResample`). The other two actions are needed for every interrupt by an eventfd.
    fn irqfd(&self, request: &IrqFdRequest<'_>) -> io::Result<()>;

    /// KVM_IOEVENTFD: binds an eventfd to a guest address, or takes it off.
    ///
    /// # Errors
    ///
    /// Those of the ioctl. What an implementation cannot match, or could not take off again, it
    /// refuses with [`Unsupported`](io::ErrorKind::Unsupported). That is final for the doorbell
    /// (`ioeventfd::Error::Assign`). The VMM gets such a write as an exit.
    fn ioeventfd(&self, request: &IoEventFdRequest<'_>) -> io::Result<()>;

    /// KVM_SET_GSI_ROUTING: replaces the whole table, or nothing of it. When it has returned, no
    /// signal takes an old route.
    ///
    /// # Errors
    ///
    /// Those of the ioctl. For an entry that it refuses an implementation returns EINVAL: only then
    /// does a new translation block the one message that is refused. No commit succeeds without
    /// this method, so [`Unsupported`](io::ErrorKind::Unsupported) is final.
    fn set_gsi_routing(&self, table: &RouteBuffer) -> io::Result<()>;

    /// KVM_SIGNAL_MSI: injects one message.
    ///
    /// A message that no local APIC takes is [`MsiOutcome::Blocked`], since a guest chooses its
    /// destination. For some such messages the ioctl fails with EPERM: for those of a VM without
    /// vCPUs on any kernel, and for a logical destination that no local APIC has on Linux 6.1. An
    /// implementation returns `Blocked` for these too.
    ///
    /// # Errors
    ///
    /// Those of the ioctl; EPERM if a system call filter refuses it. Each one is final for the
    /// message: the trigger is gone, and the vector is dead until it gets another message, is
    /// unmasked anew, or a trigger succeeds.
    /// [`Unsupported`](io::ErrorKind::Unsupported) goes with 0 for [`Capability::SignalMsi`]: then
    /// no vector calls this, and `irqfd::inject::message` fails.
    fn signal_msi(&self, message: &MsiRequest) -> io::Result<MsiOutcome>;

    /// KVM_IRQ_LINE_STATUS: drives a GSI, and returns what became of it. A GSI with a message sends
    /// it for `true`, and ignores `false`.
    ///
    /// # Errors
    ///
    /// Those of the ioctl. With [`Unsupported`](io::ErrorKind::Unsupported) a level-triggered line
    /// whose GSI has a message sends by an irqfd of its own. A line to a pin cannot be asserted
    /// (`NoLevel`), except by the irqfd of an exported device.
    fn set_irq_line(&self, gsi: u32, level: bool) -> io::Result<LineStatus>;

    /// KVM_IRQ_LINE: drives a GSI, and does not ask what became of it.
    ///
    /// On x86 asking for the status has an effect: the real-time clock's pin (8 of the IOAPIC) then
    /// gives no second interrupt before the guest has ended the first.
    ///
    /// # Errors
    ///
    /// Those of the ioctl. By default those of [`set_irq_line`](Self::set_irq_line), whose status
    /// is dropped.
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
