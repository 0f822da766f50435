// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`VectorState`]: masked, armed, dead, and what is between.

use std::fmt;

use super::Inner;
use super::control::{Arm, Masks};
use super::trigger::Kind;
use crate::VectorError;

/// The state of a vector: masked, armed, dead, and what is between.
///
/// The guide has [a table of cures](crate::guide::no_interrupt#by-the-state-of-a-vector).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum VectorState {
    /// The guest has masked it, or the VMM has [disabled](crate::Vector::disable) it: triggers are
    /// kept.
    Masked,
    /// It is not masked, and [paused](crate::Vector::pause): triggers are kept.
    Paused,
    /// Internal: triggers inject the message.
    Open,
    /// In the queue. Signals of an exported vector stay in its notifier, triggers of a private one
    /// are kept.
    Queued,
    /// On its way, and signals or triggers are kept as for `Queued`. The route of an exported or
    /// private vector is being committed, or the message of an internal one is being translated; or
    /// it waits for the run of a [`ResumeBatch`](crate::ResumeBatch).
    Arming,
    /// Exported or private: its irqfd is bound, and signals inject the message.
    Armed,
    /// Exported or private, and the table's translation blocks its message: nothing is bound, and
    /// signals stay in the notifier until the message is let through.
    Blocked,
    /// Its notifier was [taken away](crate::VectorHandle::take_notifier). Triggers are kept.
    NoNotifier,
    /// It cannot deliver, for this reason. Triggers of an exported vector stay in its notifier, and
    /// those of a private one are kept. Those of an internal one fail, or are kept if the table's
    /// translation has panicked.
    Dead(VectorError),
}

/// A short text for reports; for a dead vector with the reason.
impl fmt::Display for VectorState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Masked => "masked",
            Self::Paused => "paused",
            Self::Open => "open",
            Self::Queued => "queued",
            Self::Arming => "being armed",
            Self::Armed => "armed",
            Self::Blocked => "blocked by the translation",
            Self::NoNotifier => "without a notifier",
            Self::Dead(reason) => return write!(f, "dead: {reason}"),
        })
    }
}

impl Inner {
    pub(super) fn state(&self) -> VectorState {
        let control = self.control.lock();
        if control.masks.has(Masks::GUEST.with(Masks::VMM)) {
            return VectorState::Masked;
        }
        if control.masks.has(Masks::PAUSE) {
            return VectorState::Paused;
        }
        let refused = || {
            let cause = self.refusal()?;
            let message = control.message;
            let reason = VectorError::MessageRefused { message, cause };
            Some(VectorState::Dead(reason))
        };
        match &control.arm {
            Arm::Off if self.outlet.kind() == Kind::Message => {
                refused().unwrap_or(VectorState::Open)
            }
            // Any other one that is not closed is on its way, armed, or has failed.
            Arm::Off => VectorState::NoNotifier,
            Arm::Queued(None) => VectorState::Queued,
            Arm::Arming => VectorState::Arming,
            Arm::Armed(irq) if irq.is_blocked() => VectorState::Blocked,
            Arm::Armed(_) => VectorState::Armed,
            Arm::Dead(reason) | Arm::Queued(Some(reason)) => VectorState::Dead(reason.clone()),
        }
    }
}
