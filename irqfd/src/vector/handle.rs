// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`VectorHandle`]: what device code has of a vector.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use irq_routing::{Gsi, GsiLease, MsiMessage};
use notify_core::{EventNotifier, Rejected};

use super::control::Masks;
use super::{Inner, Triggered, VectorState};
use crate::VectorError;

/// A vector as device code has it: triggers it, hands its notifier out, and looks at it.
///
/// What the guest decides (mask, message, reset) is not here. It belongs to the
/// [`msix::Table`](crate::msix::Table) or [`msi::Capability`](crate::msi::Capability), or to the
/// owner of a bare [`Vector`](crate::Vector).
///
/// Clones are of the same vector, and two handles are equal if they are of one vector. The vector
/// is disarmed when the last handle and the table or [`Vector`](crate::Vector) are dropped. That
/// blocks for one KVM_IRQFD if it is armed.
#[derive(Clone)]
pub struct VectorHandle {
    pub(crate) inner: Arc<Inner>,
}

impl VectorHandle {
    /// Raises the interrupt, or keeps the trigger if the vector is closed.
    ///
    /// Waits for no other thread and allocates nothing. Makes one system call, or
    /// none ([`system_calls`](crate::system_calls)). [`EventNotifier::notify`] describes what a
    /// hostile process that shares the notifier can do. The table's translation is not called: the
    /// message was translated when the vector was opened.
    ///
    /// # Errors
    ///
    /// [`VectorError::MessageRefused`]: KVM refuses the message that the guest has set, and the
    /// trigger is lost, as a write to an absent address is on a bus. The vector is
    /// [`Dead`](VectorState::Dead) until it gets another message, is unmasked again, or a trigger
    /// succeeds. [`VectorError::Notifier`]: the notifier, which another process shares, takes no
    /// signal.
    pub fn trigger(&self) -> Result<Triggered, VectorError> {
        self.inner.trigger()
    }

    /// Returns the message that was set last.
    #[must_use]
    pub fn message(&self) -> MsiMessage {
        self.inner.control.lock().message
    }

    /// Returns whether the guest has masked the vector.
    #[must_use]
    pub fn is_masked(&self) -> bool {
        self.inner.control.lock().masks.has(Masks::GUEST)
    }

    /// Returns whether a trigger was kept, or is in the notifier of a vector that is not armed.
    ///
    /// A signal that is found in the notifier is taken from there and kept by the vector, which
    /// delivers it when it is armed. Other code that reads the notifier does not find it.
    ///
    /// Takes the vector's lock. Issues one read ([`EventNotifier::consume`]) for an exported vector
    /// that is not armed and has kept no trigger, and for a private vector whose message is
    /// blocked; otherwise no system call.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.inner.is_pending()
    }

    /// Returns the state: masked, armed, dead with the reason, …
    #[must_use]
    pub fn state(&self) -> VectorState {
        self.inner.state()
    }

    /// Returns the GSI of the vector, if it has one now.
    ///
    /// A private or exported vector has one while it is armed, about to be armed, or paused and not
    /// masked. Returns `None` for a masked vector, whose GSI is left to the table, and for an
    /// internal one. A paused vector that was never armed may have none yet.
    ///
    /// If a saved format wants a GSI for each vector, write any number for those without one. They
    /// take a GSI when they are armed, or get one from
    /// [`Vector::set_lease`](crate::Vector::set_lease).
    #[must_use]
    pub fn gsi(&self) -> Option<Gsi> {
        let control = self.inner.control.lock();
        control.lease().map(GsiLease::gsi)
    }

    /// Hands the notifier of the vector out, for vhost, VFIO or another process.
    ///
    /// Makes the vector an *exported* one; one that is exported already stays as it is. A trigger
    /// that was kept goes to the notifier. A private vector stays armed, and its notifier is
    /// [shared](EventNotifier::declare_shared) from now on. Blocks as
    /// [`unmask`](crate::Vector::unmask) does if an internal vector is open.
    ///
    /// If a peer fills the counter while the vector is not armed, later signals are lost until
    /// [`trigger`](Self::trigger) or a mask drains it.
    ///
    /// # Errors
    ///
    /// [`VectorError::Notifier`]: nothing has changed. If arming fails, [`state`](Self::state) has
    /// the reason.
    pub fn export(&self) -> Result<Arc<EventNotifier>, VectorError> {
        let (notifier, exchanged) = self.inner.export()?;
        self.inner.finish_exchange(exchanged);
        Ok(notifier)
    }

    /// Exchanges the notifier for this one, and makes the vector an exported one.
    ///
    /// Returns the old notifier if one was handed out. A signal that the old one has goes to the
    /// new one; from now on signals of the old one have no effect. If the vector is armed, the new
    /// notifier is bound before the old one is unbound.
    ///
    /// Does not wait for a thread that is in [`trigger`](Self::trigger), since a peer that shares
    /// the old notifier may block it there. That thread triggers the new notifier when it goes on,
    /// so one interrupt may come twice. It may also write to the old one once more.
    ///
    /// # Errors
    ///
    /// [`VectorError::Semaphore`], and for an armed vector [`VectorError::Arm`]; the old notifier
    /// stays in use, and the error returns the new one. For a vector that is not armed nothing else
    /// fails here: if the new notifier cannot be bound later, [`state`](Self::state) has the
    /// reason.
    pub fn replace_notifier(
        &self,
        notifier: Arc<EventNotifier>,
    ) -> Result<Option<Arc<EventNotifier>>, Rejected<Arc<EventNotifier>, VectorError>> {
        let exchanged = self.inner.replace_notifier(notifier)?;
        Ok(self.inner.finish_exchange(exchanged))
    }

    /// Takes the notifier of an exported vector away, and returns it.
    ///
    /// From now on triggers are kept and nothing is armed ([`VectorState::NoNotifier`]), until
    /// [`replace_notifier`](Self::replace_notifier), [`export`](Self::export) or
    /// [`unexport`](Self::unexport). A signal that the notifier has is kept too.
    ///
    /// Returns `None`, and changes nothing, if no notifier is handed out. Blocks for one KVM_IRQFD
    /// if the vector is armed. A thread that is in [`trigger`](Self::trigger) may write to the
    /// notifier once more; its trigger is kept all the same, so one interrupt may come twice.
    pub fn take_notifier(&self) -> Option<Arc<EventNotifier>> {
        self.inner.take_notifier()
    }

    /// Unbinds the notifier, and makes the vector internal or private again, as it was built.
    ///
    /// A signal in the notifier is delivered, or kept if the vector is masked or paused.
    ///
    /// A thread that is in [`trigger`](Self::trigger) meanwhile may write to the notifier once
    /// more, and then triggers the vector again: one interrupt may be delivered twice.
    ///
    /// # Errors
    ///
    /// [`VectorError::Notifier`]: a private vector needs a new notifier, which cannot be created;
    /// nothing has changed. [`VectorError::MessageRefused`], as for [`trigger`](Self::trigger);
    /// and those of [`Vector::unmask`](crate::Vector::unmask).
    pub fn unexport(&self) -> Result<(), VectorError> {
        let exchanged = self.inner.unexport()?;
        self.inner.carry_out(exchanged.start)
    }

    /// Returns the notifier that was handed out, if the vector is exported.
    #[must_use]
    pub fn notifier(&self) -> Option<Arc<EventNotifier>> {
        self.inner.outlet.shared()
    }
}

impl PartialEq for VectorHandle {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}

impl Eq for VectorHandle {}

/// By identity, as the comparison.
impl Hash for VectorHandle {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.inner).hash(state);
    }
}

impl fmt::Debug for VectorHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vector")
            .field("number", &self.inner.number)
            .field("message", &self.message())
            .field("state", &self.state())
            // Not `is_pending`, which may take the signal of the notifier.
            .field("pending", &self.inner.gate.is_pending())
            .field("gsi", &self.gsi())
            .field("notifier", &self.notifier())
            .finish_non_exhaustive()
    }
}
