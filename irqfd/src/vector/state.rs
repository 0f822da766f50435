// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What can be asked of a vector.

use std::sync::Arc;

use super::Inner;
use super::control::Arm;
use crate::Error;

/// What became of a trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Triggered {
    /// A local APIC has taken the message, or merged it with one that it had.
    Delivered,
    /// Nobody took the message: no such destination, one that is switched off, or a translation that
    /// lets it through nowhere.
    Blocked,
    /// The notifier of an exported vector has it.
    Signalled,
    /// The vector is masked; the trigger is kept.
    Kept,
}

/// How far a vector is.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum VectorState {
    /// Triggers are kept.
    Masked,
    /// Internal: triggers inject the message.
    Open,
    /// Exported, and in the queue: signals stay in the notifier.
    Queued,
    /// Exported, and its route is on the way to the kernel: signals stay in the notifier.
    Arming,
    /// Exported: signals inject the message.
    Armed,
    /// Exported, and no GSI was free: the queue's owner sends a message for each signal.
    Relayed,
    /// It leads nowhere. Triggers of an exported vector stay in its notifier; those of an internal one fail.
    Dead(Arc<Error>),
}

impl Inner {
    pub(super) fn state(&self) -> VectorState {
        let control = self.control.lock();
        if control.masked {
            return VectorState::Masked;
        }
        let refused = || {
            let (message, source) = (self.message.load(), self.refusal()?);
            let reason = Error::Signal { message, source };
            Some(VectorState::Dead(Arc::new(reason)))
        };
        if !self.exported.is_some() {
            return refused().unwrap_or(VectorState::Open);
        }
        match &control.arm {
            // Not seen: an exported vector that is unmasked is on its way or has failed.
            Arm::Off => VectorState::Masked,
            Arm::Queued => VectorState::Queued,
            Arm::Arming { .. } => VectorState::Arming,
            Arm::Armed(_) => VectorState::Armed,
            Arm::Relayed { .. } => refused().unwrap_or(VectorState::Relayed),
            Arm::Dead(reason) => VectorState::Dead(Arc::clone(reason)),
        }
    }
}
