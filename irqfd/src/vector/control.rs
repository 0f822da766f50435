// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Control`]: what the guest and the VMM change of a vector, behind its lock.
//!
//! A vector that is to be armed or opened needs work that may take a while, and that goes without
//! this lock: its route is committed, or its message translated. Each change of the vector begins a
//! new *revision*, and its caller works for that revision alone. If the vector has changed when the
//! work is done, it has another revision, whose caller works for it; what was done for the old one
//! is dropped. So a mask waits for no work, a caller never works for others, and nothing old is
//! armed or opened after something new.

use std::sync::Arc;

use irq_routing::{GsiLease, MsiMessage, ParkedLease};
use notify_core::EventNotifier;

use crate::{IrqFd, IrqFdBuilder, IrqFdError, IrqTarget, VectorError};

#[derive(Debug)]
pub(super) struct Control {
    /// Why the vector is closed; it is open if there is no reason.
    pub(super) masks: Masks,
    /// What the guest has set.
    pub(super) message: MsiMessage,
    /// The GSI of a vector with a notifier, unless the irqfd has it.
    pub(super) gsi: OwnGsi,
    pub(super) arm: Arm,
    /// Counts the changes.
    pub(super) revision: u64,
    /// The access of the guest that has unmasked it last.
    pub(super) access: u64,
    /// Whether it was logged that the vector is dead.
    pub(super) logged: bool,
    /// How often it has failed since it was unmasked.
    pub(super) failures: u32,
    /// How many threads write the signal of a pending bit to a notifier that was handed out.
    pub(super) deliveries: u32,
}

/// Reasons for a vector to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Masks(u8);

impl Masks {
    const NONE: Self = Self(0);
    /// The guest has masked it.
    pub(crate) const GUEST: Self = Self(1);
    /// The VMM has disabled it.
    pub(crate) const VMM: Self = Self(1 << 1);
    /// It is paused.
    pub(crate) const PAUSE: Self = Self(1 << 2);

    pub(super) fn is_none(self) -> bool {
        self == Self::NONE
    }

    pub(super) fn has(self, mask: Self) -> bool {
        self.0 & mask.0 != 0
    }

    pub(super) fn with(self, mask: Self) -> Self {
        Self(self.0 | mask.0)
    }

    pub(super) fn without(self, mask: Self) -> Self {
        Self(self.0 & !mask.0)
    }
}

/// How far a vector is that is armed, or is to be opened.
#[derive(Debug, Default)]
pub(super) enum Arm {
    /// Nothing is armed, and nothing is on its way. A vector that sends its message is open then,
    /// if it is not closed for a reason.
    #[default]
    Off,
    /// The queue has an entry for the vector, and its owner will arm it, unless it is masked. With
    /// the reason why that has failed before.
    Queued(Option<VectorError>),
    /// The caller of this revision is at work, or is about to be.
    Arming,
    /// The caller of this revision may be at work still, and route the GSI to another message.
    Armed(IrqFd),
    Dead(VectorError),
}

/// What a vector has of a GSI.
#[derive(Debug, Default)]
pub(super) enum OwnGsi {
    #[default]
    None,
    /// While its route is committed.
    Leased(GsiLease),
    /// While nothing is armed, nor about to be: the table may take it back.
    Parked(ParkedLease),
}

impl Default for Control {
    fn default() -> Self {
        Self {
            masks: Masks::GUEST,
            message: MsiMessage::default(),
            gsi: OwnGsi::None,
            arm: Arm::Off,
            revision: 0,
            access: 0,
            logged: false,
            failures: 0,
            deliveries: 0,
        }
    }
}

impl Control {
    /// Takes off what is armed, so that KVM injects nothing any more when this returns, and ends
    /// what is on its way. The vector keeps its GSI.
    pub(super) fn disarm(&mut self) {
        self.revision += 1;
        // What does not go is dropped here: that tries again, and otherwise keeps the GSI out of
        // use.
        let _ = self.unbind_irqfd();
        self.arm = match std::mem::take(&mut self.arm) {
            Arm::Queued(_) => Arm::Queued(None),
            _ => Arm::Off,
        };
    }

    /// Leaves the GSI to the table until it is wanted again.
    pub(super) fn park(&mut self) {
        self.gsi = match std::mem::take(&mut self.gsi) {
            OwnGsi::Leased(lease) => OwnGsi::Parked(lease.park()),
            other => other,
        };
    }

    /// The same, but for a vector that is only paused: it keeps its GSI, so that it can be resumed.
    pub(super) fn park_if_masked(&mut self) {
        if self.masks != Masks::PAUSE {
            self.park();
        }
    }

    /// Takes the GSI back, unless the table has it.
    pub(super) fn unpark(&mut self) {
        self.gsi = match std::mem::take(&mut self.gsi) {
            OwnGsi::Parked(parked) => parked.unpark().map_or(OwnGsi::None, OwnGsi::Leased),
            other => other,
        };
    }

    /// The GSI is in quarantine, because an irqfd did not go. Leaves it for another one.
    pub(super) fn give_up_gsi(&mut self) {
        // What does not go is dropped here, as in `disarm`.
        let _ = self.unbind_irqfd();
        self.arm = Arm::Arming;
        self.gsi = OwnGsi::None;
    }

    /// Takes the irqfd off if there is one. If that fails it is armed still.
    pub(super) fn unbind_irqfd(&mut self) -> Result<(), IrqFdError> {
        match std::mem::take(&mut self.arm) {
            Arm::Armed(irq) => match irq.deassign() {
                Ok(builder) => self.keep_gsi(builder),
                Err(rejected) => {
                    self.arm = Arm::Armed(rejected.value);
                    return Err(rejected.error);
                }
            },
            other => self.arm = other,
        }
        Ok(())
    }

    /// Keeps the GSI of an irqfd that is not armed.
    fn keep_gsi(&mut self, builder: IrqFdBuilder) {
        if let (IrqTarget::Lease(lease), _) = builder.into_parts() {
            self.gsi = OwnGsi::Leased(lease);
        }
    }

    /// Arms a notifier on the vector's GSI. If that fails nothing is armed. One that is full is
    /// left so: a trigger that finds it full empties it, and to look at each of many would cost as
    /// much as a tenth of a bring-up.
    pub(super) fn bind(&mut self, notifier: &Arc<EventNotifier>) -> Result<(), VectorError> {
        let OwnGsi::Leased(lease) = std::mem::take(&mut self.gsi) else {
            // Not reached: nothing is armed before its route was committed.
            return Err(VectorError::Panicked);
        };
        match IrqFd::builder(lease)
            .notifier(Arc::clone(notifier))
            .assign_as_it_is()
        {
            Ok(irq) => {
                self.arm = Arm::Armed(irq);
                Ok(())
            }
            Err(rejected) => {
                self.keep_gsi(rejected.value);
                Err(rejected.error.into())
            }
        }
    }

    pub(super) fn is_bound(&self) -> bool {
        matches!(self.arm, Arm::Armed(_))
    }

    /// The GSI, if it has one.
    pub(super) fn lease(&self) -> Option<&GsiLease> {
        match (&self.arm, &self.gsi) {
            (Arm::Armed(irq), _) => irq.lease(),
            (_, OwnGsi::Leased(lease)) => Some(lease),
            _ => None,
        }
    }

    /// Whether KVM takes what comes to the notifier.
    pub(super) fn is_armed(&self) -> bool {
        matches!(&self.arm, Arm::Armed(irq) if !irq.is_blocked())
    }
}
