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
    /// No local APIC has taken the message: no such destination, one that is switched off, or a
    /// translation that lets it through nowhere.
    Blocked,
    /// The notifier of an exported vector has it.
    Signalled,
    /// The vector is masked; the trigger is kept.
    Kept,
    /// The guest has not enabled MSI-X (or MSI), so the device is to use its INTx pin. The trigger
    /// is kept as well, or the notifier has it.
    Disabled,
    /// The notifier of an exported vector has it, and the vector is [`Dead`](VectorState::Dead): it
    /// is delivered if the vector is armed some day.
    Dead,
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
    /// Exported, and its route is on the way to the kernel: signals stay in the notifier. Internal,
    /// and its message is being translated: triggers are kept.
    Arming,
    /// Exported: signals inject the message.
    Armed,
    /// Exported, and the table's translation blocks its message: nothing is armed, and signals stay
    /// in the notifier until the message is let through.
    Blocked,
    /// It leads nowhere. Triggers of an exported vector stay in its notifier; those of an internal
    /// one fail, or are kept if the table's translation has panicked.
    Dead(Arc<Error>),
}

impl Inner {
    pub(super) fn state(&self) -> VectorState {
        let control = self.control.lock();
        if control.masked {
            return VectorState::Masked;
        }
        let refused = || {
            let source = self.refusal()?;
            let message = control.message;
            let reason = Error::Signal { message, source };
            Some(VectorState::Dead(Arc::new(reason)))
        };
        let exported = self.exported.is_some();
        match &control.arm {
            Arm::Off if !exported => refused().unwrap_or(VectorState::Open),
            // Not seen: an exported vector that is unmasked is on its way or has failed.
            Arm::Off => VectorState::Masked,
            Arm::Queued(None) => VectorState::Queued,
            Arm::Arming => VectorState::Arming,
            Arm::Armed(irq) if irq.is_blocked() => VectorState::Blocked,
            Arm::Armed(_) => VectorState::Armed,
            Arm::Dead(reason) | Arm::Queued(Some(reason)) => VectorState::Dead(Arc::clone(reason)),
        }
    }
}
