// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Vector`]: one message-signalled interrupt of a device.

mod arming;
mod builder;
mod change;
mod control;
mod device;
mod error;
mod handle;
mod observe;
mod state;
mod trigger;

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use irq_routing::{GsiLease, MsiMessage, Registration, RoutingTable};
use notify_core::Rejected;

use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicI32};

pub(crate) use arming::Opened;
use arming::Shared;
pub use arming::{ArmQueue, ResumeBatch, Round};
pub use builder::VectorBuilder;
use control::Control;
pub(crate) use control::Masks;
pub use device::Dead;
pub(crate) use device::Device;
pub use error::VectorError;
pub use handle::VectorHandle;
pub use state::VectorState;
pub use trigger::Triggered;
pub(crate) use trigger::signal_holding;
use trigger::{Gate, Outlet, SharedMessage};

/// One message-signalled interrupt (MSI or MSI-X) of a device, with the right to mask and retarget.
///
/// The owner of a `Vector` passes on what the guest decides: message, mask and unmask. Device code
/// gets a [`handle`](Self::handle): it can trigger the vector from any thread, without a lock, and
/// hand its notifier out. A `Vector` derefs to its handle. A device with a table or a capability
/// needs no `Vector`: [`msix::Table`](crate::msix::Table) and
/// [`msi::Capability`](crate::msi::Capability) have them inside.
///
/// There are three kinds:
///
/// | kind | a trigger | needs | mask and unmask |
/// |---|---|---|---|
/// | *internal*, as it starts | KVM_SIGNAL_MSI | nothing | write to memory |
/// | *private* ([`VectorBuilder::private_irqfd`]) | `write` to an eventfd that only the vector has | a GSI, a route, an irqfd | KVM_IRQFD |
/// | *exported* ([`export`](VectorHandle::export)) | `write` to a notifier that was handed out | a GSI, a route, an irqfd | KVM_IRQFD |
///
/// - An internal vector is for devices of the VMM's own code.
/// - A private one is the same where the VMM's system call filter does not allow KVM_SIGNAL_MSI, or
///   the kernel does not have it. Its ioctls are KVM_IRQFD and, when it gets a new route,
///   KVM_SET_GSI_ROUTING. Its eventfd is never written while it is not bound, and never read:
///   triggers are kept in memory meanwhile. (In a table with a translation the eventfd is written
///   while the translation blocks the message, and read when the vector is masked.)
/// - The notifier of an exported vector is signalled by vhost, VFIO or another process. While the
///   vector is not armed, signals stay in the notifier, or are kept once
///   [`is_pending`](VectorHandle::is_pending) has found them.
///
/// A private or exported vector takes a GSI, a route and an irqfd when it is first unmasked.
/// Masking unbinds the irqfd and leaves the GSI, with its route, to the table. Unmasking takes it
/// back without a commit, unless the table has needed it for another vector meanwhile. A VM with
/// more unmasked vectors than GSIs should give them a queue, which retries.
///
/// # What is promised
///
/// - A trigger while the vector is masked is kept, and delivered once when it is unmasked. Several
///   triggers merge into one.
/// - When [`mask`](Self::mask) has returned, no injection starts or completes until the vector is
///   unmasked. (What the guest's local APIC has already taken is served all the same, as on
///   hardware.)
/// - The message that is injected is one that was set, never a mixture of two.
///
/// # Snapshots
///
/// KVM injects some interrupts from a worker thread: what a notifier has when it is bound, and
/// messages that may go to several vCPUs. Until the worker has run, such an interrupt is neither in
/// the notifier nor in what KVM_GET_LAPIC returns. [`pause`](Self::pause) waits for the worker, and
/// keeps all later triggers. The guide has the order of all
/// steps: [`snapshot`](crate::guide::snapshot).
///
/// To restore a vector: [`pause`](Self::pause), [`set_message`](Self::set_message),
/// [`trigger`](VectorHandle::trigger) if it was pending, [`unmask`](Self::unmask) if it was
/// not masked, and [`resume_in`](Self::resume_in).
///
/// # Devices that are passed through
///
/// If VFIO has the notifier of an exported vector, the processor may post its interrupts to the
/// vCPU. A mask ends that, because it unbinds the irqfd. Linux 6.17 and 6.18 without the fix for
/// CVE-2026-23198 do not end it: interrupts go on after the mask, and on AMD hosts the kernel uses
/// freed memory. On such a host take the trigger out of VFIO (VFIO_DEVICE_SET_IRQS) before the
/// vector is masked, or do not use posted interrupts.
///
/// # Translated messages
///
/// If the routing table has a translation, messages are translated when they are set, when the
/// vector is unmasked or exported, and by [`RoutingTable::retranslate`]; never by a trigger or a
/// mask. No lock of the vector is held then. A caller of these must not hold a lock that the
/// translation takes. While the translation blocks the message of an exported vector, nothing is
/// armed and signals stay in its notifier ([`VectorState::Blocked`]). A trigger of an internal
/// vector is lost then, as by an IOMMU.
///
/// # Drop
///
/// Dropping the vector and its last handle unbinds the irqfd and gives the GSI back; failures are
/// logged. That blocks for one KVM_IRQFD if the vector is armed: some 40 microseconds, and more on
/// a loaded host.
///
/// A vector starts masked. Two handles are equal if they are of one vector.
///
/// ```
/// # use std::sync::Arc;
/// # use irq_routing::{MsiMessage, RoutingTable};
/// # use irqfd::{Triggered, Vector};
/// # use notify_sim::SimVm;
/// let vm = Arc::new(SimVm::builder().build()); // or a KvmVm
/// vm.enable_lapic(0); // as a guest does when it boots
/// let table = RoutingTable::new(vm.clone())?; // one for the VM
/// let vector = Vector::builder(&table).build()?;
/// vector.set_message(MsiMessage::new(0xfee0_0000, 0x40))?;
/// assert_eq!(vector.trigger()?, Triggered::Kept);
///
/// vector.unmask()?;
/// assert_eq!(vm.pending_vectors(0), [0x40]);
///
/// // Another process signals it from now on.
/// let notifier = vector.export()?;
/// notifier.notify()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, PartialEq, Eq, Hash)]
#[must_use = "dropping it and its last handle disarms the vector"]
pub struct Vector {
    handle: VectorHandle,
}

pub(crate) struct Inner {
    table: RoutingTable,
    queue: Option<Arc<Shared>>,
    device: Arc<Device>,
    number: Option<u16>,
    /// Whether it has an irqfd of its own while no notifier is handed out.
    by_irqfd: bool,
    gate: Gate,
    /// What triggers send that send the message: as the table translates it.
    sent: SharedMessage,
    /// The errno with which the kernel refused the message, or 0.
    refusal: AtomicI32,
    /// Whether the vector is dead, for triggers.
    dead: AtomicBool,
    outlet: Outlet,
    control: Mutex<Control>,
    /// Called when the table's translation has changed, if there is one.
    registration: OnceLock<Registration>,
}

impl Vector {
    /// Starts a vector whose messages go through this table.
    pub fn builder(table: &RoutingTable) -> VectorBuilder<'_> {
        VectorBuilder::new(table)
    }

    /// Returns the handle for device code, which can trigger the vector and hand its notifier out.
    #[must_use]
    pub fn handle(&self) -> &VectorHandle {
        &self.handle
    }

    /// Sets the message.
    ///
    /// A trigger during this call is kept, or sends the old or the new message, never a mixture.
    /// After the call, triggers send the new message. Setting the same message again does nothing,
    /// unless the vector is dead: then it is armed again.
    ///
    /// If the vector is armed, its irqfd is unbound first and bound again. It stays bound, and its
    /// route is exchanged by one ioctl, if the platform is x86, there is no queue and no
    /// translation, and both messages are fixed, edge-triggered interrupts for one local APIC by
    /// its id.
    ///
    /// # Errors
    ///
    /// Those of [`unmask`](Self::unmask), if the vector is not masked. The message is set all the
    /// same.
    pub fn set_message(&self, message: MsiMessage) -> Result<(), VectorError> {
        let start = self.inner.begin_set_message(message, 0);
        self.inner.carry_out(start)
    }

    /// Masks the vector, because the guest does: triggers are kept from now on.
    ///
    /// When this returns, no injection is in flight. Waits for triggers that are injecting, and for
    /// one KVM_IRQFD if the vector is armed. Never waits for a commit.
    ///
    /// If KVM refuses to unbind an irqfd, that is logged. Its signals are still injected, and its
    /// GSI and route stay out of use.
    pub fn mask(&self) {
        self.inner.add_mask(Masks::GUEST);
    }

    /// Unmasks the vector, because the guest does: delivers a kept trigger, and lets others
    /// through.
    ///
    /// With a queue this only queues a private or exported vector. Otherwise its route is committed
    /// and its irqfd armed before this returns, unless another thread is about to do so.
    ///
    /// # Errors
    ///
    /// Internal: [`VectorError::MessageRefused`], if KVM refuses the trigger that was kept. Private
    /// or exported: [`VectorError::NoGsi`], [`VectorError::Route`] or [`VectorError::Arm`]; signals
    /// are kept. Either way the vector is unmasked and [`Dead`](VectorState::Dead) for this reason,
    /// and no other vector is disturbed.
    pub fn unmask(&self) -> Result<(), VectorError> {
        let start = self.inner.remove_mask(Masks::GUEST);
        self.inner.carry_out(start)
    }

    /// Disables the vector for the VMM, whether the guest masks it or not.
    ///
    /// Triggers are kept until [`enable`](Self::enable), and return [`Triggered::Disabled`], as
    /// those of a device whose guest has not enabled MSI-X. As for [`mask`](Self::mask), nothing is
    /// in flight when this returns, and the GSI is left to the table. A vector starts enabled.
    pub fn disable(&self) {
        self.inner.device.set_enabled(false);
        self.inner.add_mask(Masks::VMM);
    }

    /// Takes [`disable`](Self::disable) back. If the guest has not masked the vector this does what
    /// [`unmask`](Self::unmask) does.
    ///
    /// # Errors
    ///
    /// Those of [`unmask`](Self::unmask).
    pub fn enable(&self) -> Result<(), VectorError> {
        self.inner.device.set_enabled(true);
        let start = self.inner.remove_mask(Masks::VMM);
        self.inner.carry_out(start)
    }

    /// Pauses the vector for a snapshot: triggers are kept until [`resume`](Self::resume).
    ///
    /// The guest's mask and message may be changed meanwhile. Pausing a paused vector changes
    /// nothing. When this returns, KVM has injected all that it took from the vector's notifier.
    /// Blocks for one KVM_IRQFD if the vector is armed. Commits nothing: an unmasked vector keeps
    /// its GSI and route. If KVM refuses to unbind the irqfd: as for [`mask`](Self::mask).
    pub fn pause(&self) {
        self.inner.add_mask(Masks::PAUSE);
    }

    /// Takes [`pause`](Self::pause) back.
    ///
    /// To resume many vectors, or the vectors of many devices, with one commit, use
    /// [`resume_in`](Self::resume_in). Does nothing for a vector that is in a batch already: it is
    /// opened when that is run.
    ///
    /// # Errors
    ///
    /// Those of [`unmask`](Self::unmask).
    pub fn resume(&self) -> Result<(), VectorError> {
        let start = self.inner.remove_mask(Masks::PAUSE);
        self.inner.carry_out(start)
    }

    /// Adds the vector to a batch, which resumes it with others when it is run.
    ///
    /// A vector with a queue does not wait for the batch: it enters its queue now.
    pub fn resume_in(&self, batch: &mut ResumeBatch) {
        batch.resume(self.handle());
    }

    /// Discards a trigger that was kept.
    pub fn clear_pending(&self) {
        self.inner.clear_pending();
    }

    /// Masks the vector and discards its message and a kept trigger: a reset of the device.
    ///
    /// An exported vector stays exported, a paused one paused.
    pub fn reset(&self) {
        self.inner.reset();
    }

    /// Sets the GSI of the vector, for instance to the one in a saved state of another format.
    ///
    /// The vector is armed on it the next time that it is unmasked or resumed. A GSI that it had is
    /// given back.
    ///
    /// A private or exported vector that is queued, or paused and not masked, keeps the GSI. Any
    /// other vector leaves it to the table, which may take it for another vector;
    /// [`gsi`](VectorHandle::gsi) returns `None` then.
    ///
    /// To restore a VM: pause and restore first, then call this, then resume.
    ///
    /// # Errors
    ///
    /// [`VectorError::OtherTable`]: the lease is of another routing table. [`VectorError::InUse`]:
    /// the vector is armed, is being armed, or is in a [`ResumeBatch`]; mask or pause it first. The
    /// error returns the lease.
    pub fn set_lease(&self, lease: GsiLease) -> Result<(), Rejected<GsiLease, VectorError>> {
        self.inner.set_lease(lease)
    }
}

/// A vector has all methods of its handle, and more, as `String` has those of `str`.
impl Deref for Vector {
    type Target = VectorHandle;

    fn deref(&self) -> &VectorHandle {
        &self.handle
    }
}
