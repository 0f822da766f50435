// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What a trigger does, on the device's thread, without a lock.

mod gate;
mod message;
mod outlet;
mod pending;

use std::fmt;
use std::io;

use notify_core::{EventNotifier, Extension, MsiOutcome, SysError};

use super::Inner;
use crate::VectorError;
use crate::sync::atomic::Ordering;

pub(super) use gate::Gate;
use gate::InFlight;
pub(super) use message::SharedMessage;
pub(super) use outlet::{Kind, Outlet, Output};
pub(crate) use pending::signal_holding;

/// The outcome of a trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Triggered {
    /// A local APIC has taken the message, or merged it with one that it had.
    Delivered,
    /// No local APIC has taken the message: there is no such destination, it is switched off, or
    /// the table's translation blocks the message.
    Blocked,
    /// The notifier of an exported or private vector was signalled.
    Signalled,
    /// The trigger is kept: an internal or private vector is masked, paused or not armed yet, or
    /// the notifier was taken away. (An exported vector returns [`Signalled`](Self::Signalled)
    /// then.)
    Kept,
    /// The guest has not enabled MSI-X (or MSI), so the device has to use its INTx pin; or the VMM
    /// has [disabled](crate::Vector::disable) the vector. The trigger is kept as well, or is in the
    /// notifier.
    Disabled,
    /// The vector is [`Dead`](crate::VectorState::Dead). The trigger is in the notifier or kept,
    /// and is delivered if the vector is armed later.
    Dead,
}

/// A short text for reports.
impl fmt::Display for Triggered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Delivered => "delivered",
            Self::Blocked => "taken by no local APIC",
            Self::Signalled => "signalled",
            Self::Kept => "kept",
            Self::Disabled => "kept, because the vector is disabled",
            Self::Dead => "kept, because the vector is dead",
        })
    }
}

impl Inner {
    pub(super) fn trigger(&self) -> Result<Triggered, VectorError> {
        loop {
            match self.gate.enter() {
                Some(pass) => {
                    if let Some(triggered) = self.inject(pass) {
                        return triggered.inspect_err(|reason| self.observe_refused(reason));
                    }
                }
                None => return Ok(self.became(Triggered::Kept)),
            }
        }
    }

    /// Sends the message or signals the notifier. Returns nothing if a notifier that was handed out
    /// has been exchanged meanwhile: the new one wants the signal too.
    ///
    /// A write to such a notifier may take as long as a peer likes that shares it, so the trigger
    /// is not in flight any more then, and nothing waits for it. What comes too late for the
    /// exchange, which reads the old notifier, sees the new one.
    pub(super) fn inject(&self, pass: InFlight<'_>) -> Option<Result<Triggered, VectorError>> {
        let notifier = match self.outlet.kind() {
            Kind::Message => {
                let result = self.signal();
                drop(pass);
                return Some(result);
            }
            Kind::Own | Kind::Nothing => {
                let signalled = self.outlet.signal_own();
                drop(pass);
                return Some(self.signalled(signalled));
            }
            Kind::Shared => self.outlet.shared()?,
        };
        drop(pass);
        // For loom a call of the kernel belongs to the step before it; here another thread may run.
        #[cfg(loom)]
        crate::sync::thread::yield_now();
        let signalled = signal_anew(&notifier);
        if !self.outlet.is(&notifier) {
            return None;
        }
        Some(self.signalled(signalled))
    }

    #[inline]
    fn signalled(&self, result: Result<(), notify_core::Error>) -> Result<Triggered, VectorError> {
        match result {
            Ok(()) => Ok(self.became(Triggered::Signalled)),
            Err(cause) => Err(VectorError::Notifier { cause }),
        }
    }

    /// What became of a trigger that is kept, or that the notifier has.
    #[inline]
    fn became(&self, triggered: Triggered) -> Triggered {
        if self.dead.load(Ordering::Relaxed) {
            Triggered::Dead
        } else if self.device.is_enabled() {
            triggered
        } else {
            Triggered::Disabled
        }
    }

    /// Whether the kernel has KVM_SIGNAL_MSI.
    pub(super) fn signals(&self) -> bool {
        let supported = self.table.vm().check_extension(Extension::SignalMsi);
        supported.is_ok_and(|supported| supported > 0)
    }

    /// KVM_SIGNAL_MSI.
    fn signal(&self) -> Result<Triggered, VectorError> {
        let Some(message) = self.sent.load() else {
            return Ok(Triggered::Blocked);
        };
        match self.table.vm().signal_msi(&message) {
            Ok(outcome) => {
                // What it was refused for has passed, if it was.
                if self.refusal.load(Ordering::Relaxed) != 0 {
                    self.refusal.store(0, Ordering::Relaxed);
                }
                Ok(match outcome {
                    MsiOutcome::Delivered(_) => Triggered::Delivered,
                    _ => Triggered::Blocked,
                })
            }
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(libc::EIO);
                self.refusal.store(errno, Ordering::Relaxed);
                let cause = SysError::from(error);
                Err(VectorError::MessageRefused { message, cause })
            }
        }
    }

    /// Why the kernel refused the message, if it did.
    pub(super) fn refusal(&self) -> Option<SysError> {
        let errno = self.refusal.load(Ordering::Relaxed);
        (errno != 0).then(|| io::Error::from_raw_os_error(errno).into())
    }
}

/// Whether a trigger has become an interrupt.
pub(super) fn is_delivered(triggered: &Option<Result<Triggered, VectorError>>) -> bool {
    matches!(
        triggered,
        Some(Ok(Triggered::Delivered | Triggered::Signalled))
    )
}

/// Signals the notifier. One that a peer has filled is emptied first: KVM does not see a write that
/// it refuses.
#[inline]
pub(super) fn signal_anew(notifier: &EventNotifier) -> Result<(), notify_core::Error> {
    if notifier.try_notify()? {
        return Ok(());
    }
    notifier.consume()?;
    notifier.notify()
}
