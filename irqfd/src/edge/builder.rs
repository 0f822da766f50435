// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! How an interrupt is bound.

use std::sync::Arc;

use irq_routing::Line;
use notify_core::{EventFdMode, EventNotifier, Rejected};

use super::{Bound, IrqFd, IrqFdError, IrqTarget, Taken};

/// Builds an [`IrqFd`]. [`IrqFd::deassign`] returns it, too.
#[derive(Debug)]
#[must_use = "a builder binds nothing"]
pub struct IrqFdBuilder {
    pub(crate) target: IrqTarget,
    pub(crate) notifier: Option<Arc<EventNotifier>>,
}

impl IrqFdBuilder {
    /// Sets the notifier (default: a new one).
    ///
    /// A signal that it already has is delivered: [`assign`](Self::assign) takes it before the
    /// notifier is bound, and writes it again afterwards, so that a full counter takes later
    /// signals. That is one system call (`preadv2`), and two more if there was a signal. A
    /// [private](EventNotifier::declare_private) notifier is left as it is: KVM delivers what it
    /// has, from a thread of the kernel, and leaves the count there until the next signal.
    pub fn notifier(mut self, notifier: Arc<EventNotifier>) -> Self {
        self.notifier = Some(notifier);
        self
    }

    /// Returns the GSI that it was to raise, and the notifier if there is one.
    pub fn into_parts(self) -> (IrqTarget, Option<Arc<EventNotifier>>) {
        (self.target, self.notifier)
    }

    /// Binds the notifier to the GSI: from now on a signal raises the interrupt.
    ///
    /// If another thread or process signals the notifier at this moment, KVM may raise the
    /// interrupt twice, and at least once: its assignment looks at the counter without the lock
    /// under which a signal wakes the irqfd.
    ///
    /// # Errors
    ///
    /// All variants of [`IrqFdError`] but [`Deassign`](IrqFdError::Deassign). The error returns the
    /// builder.
    pub fn assign(self) -> Result<IrqFd, Rejected<Self, IrqFdError>> {
        let notifier = self.notifier.clone();
        // One that is made for it is empty.
        let _taken = notifier.as_deref().map(Taken::from);
        self.assign_as_it_is()
    }

    /// The same, and a counter that is full stays so.
    pub(crate) fn assign_as_it_is(self) -> Result<IrqFd, Rejected<Self, IrqFdError>> {
        let Self { target, notifier } = self;
        let (gsi, leased) = (target.gsi(), matches!(target, IrqTarget::Lease(_)));
        let (line, bound) = match Bound::on(target) {
            Ok(bound) => bound,
            Err(rejected) => {
                let (cause, target) = (rejected.error, rejected.value);
                let error = IrqFdError::Route {
                    gsi,
                    cause: Box::new(cause),
                };
                return Err(Rejected::new(error, Self { target, notifier }));
            }
        };
        match bind(&line, &bound, notifier.as_ref()) {
            Ok(notifier) => Ok(IrqFd::armed(line, notifier, bound)),
            Err(error) => {
                let target = if leased {
                    IrqTarget::from_lease_of(line)
                } else {
                    IrqTarget::Line(line)
                };
                Err(Rejected::new(error, Self { target, notifier }))
            }
        }
    }
}

fn bind(
    line: &Line,
    bound: &Bound,
    notifier: Option<&Arc<EventNotifier>>,
) -> Result<Arc<EventNotifier>, IrqFdError> {
    let gsi = line.gsi();
    let notifier = match notifier {
        Some(notifier) => Arc::clone(notifier),
        None => EventNotifier::new()
            .map(Arc::new)
            .map_err(|cause| IrqFdError::Notifier { gsi, cause })?,
    };
    if notifier.mode() == EventFdMode::Semaphore {
        return Err(IrqFdError::Semaphore { gsi });
    }
    match bound.assign(line, &notifier, None) {
        Ok(()) => Ok(notifier),
        Err(error) => Err(IrqFdError::refused(&**line.table().vm(), gsi, error)),
    }
}
