// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! How an interrupt is bound.

use std::io;
use std::sync::Arc;

use irq_routing::{Gsi, Line};
use notify_core::{EventFdMode, EventNotifier, Retired, Vm};

use crate::bound::Bound;
use crate::taken::Taken;
use crate::{Error, IrqFd, IrqSource, Rejected};

/// An interrupt that is not bound.
#[derive(Debug)]
pub struct IrqFdBuilder {
    pub(crate) source: IrqSource,
    pub(crate) notifier: Option<Arc<EventNotifier>>,
}

impl IrqFdBuilder {
    /// Binds this notifier (default: a new one). A signal that it already has is delivered: it is
    /// taken before the notifier is bound, and written again after it, so that a counter that was
    /// full takes later signals. That is one system call (`preadv2`), and two more if there was a
    /// signal. A [private](EventNotifier::declare_private) notifier is left as it is: KVM delivers
    /// what it has, from a thread of the kernel, and leaves the count there until the next signal.
    #[must_use = "a builder binds nothing"]
    pub fn notifier(mut self, notifier: Arc<EventNotifier>) -> Self {
        self.notifier = Some(notifier);
        self
    }

    /// What it is to raise, for instance to route a lease before it is armed.
    #[must_use]
    pub fn source(&self) -> &IrqSource {
        &self.source
    }

    /// Takes it apart: what it was to raise, and the notifier if there is one.
    pub fn into_parts(self) -> (IrqSource, Option<Arc<EventNotifier>>) {
        (self.source, self.notifier)
    }

    /// Binds the notifier to the GSI: from now on a signal raises the interrupt.
    ///
    /// KVM may raise it twice for a signal that comes at this very moment, from another thread or
    /// process: its assignment looks at the counter without the lock under which a signal counts
    /// and wakes the irqfd. It raises it once at least.
    ///
    /// # Errors
    ///
    /// [`Error::Route`], [`Error::Notifier`], [`Error::Semaphore`], [`Error::AlreadyBound`],
    /// [`Error::NoIrqChip`], [`Error::IrqChipNotReady`], [`Error::Retired`], [`Error::Assign`]; the
    /// builder comes back inside.
    pub fn assign(self) -> Result<IrqFd, Rejected<Self>> {
        let notifier = self.notifier.clone();
        // One that is made for it is empty.
        let _taken = notifier.as_deref().map(Taken::from);
        self.assign_as_it_is()
    }

    /// The same, and a counter that is full stays so.
    pub(crate) fn assign_as_it_is(self) -> Result<IrqFd, Rejected<Self>> {
        let Self { source, notifier } = self;
        let (gsi, leased) = (source.gsi(), matches!(source, IrqSource::Lease(_)));
        let (line, bound) = match Bound::on(source) {
            Ok(bound) => bound,
            Err(rejected) => {
                let (error, source) = (rejected.error, rejected.value);
                let error = Error::Route { gsi, source: error };
                return Err(Rejected::new(error, Self { source, notifier }));
            }
        };
        match bind(&line, &bound, notifier.as_ref()) {
            Ok(notifier) => Ok(IrqFd::armed(line, notifier, bound)),
            Err(error) => {
                let source = if leased {
                    IrqSource::from_lease_of(line)
                } else {
                    IrqSource::Line(line)
                };
                Err(Rejected::new(error, Self { source, notifier }))
            }
        }
    }
}

fn bind(
    line: &Line,
    bound: &Bound,
    notifier: Option<&Arc<EventNotifier>>,
) -> Result<Arc<EventNotifier>, Error> {
    let gsi = line.gsi();
    let notifier = match notifier {
        Some(notifier) => Arc::clone(notifier),
        None => EventNotifier::new()
            .map(Arc::new)
            .map_err(|source| Error::Notifier { gsi, source })?,
    };
    if notifier.mode() == EventFdMode::Semaphore {
        return Err(Error::Semaphore { gsi });
    }
    match bound.assign(line, &notifier, None) {
        Ok(()) => Ok(notifier),
        Err(source) => Err(explain(&**line.table().vm(), gsi, source)),
    }
}

/// Turns a refusal of the kernel into an error that says as much as can be found out.
pub(crate) fn explain(vm: &dyn Vm, gsi: Gsi, source: io::Error) -> Error {
    if Retired::caused(&source) {
        let source = Retired;
        return Error::Retired { gsi, source };
    }
    // EBUSY has this kind, and nothing else that KVM answers has.
    if source.kind() == io::ErrorKind::ResourceBusy {
        return Error::AlreadyBound { gsi, source };
    }
    // arm64, between the creation of the controller and its initialisation.
    if source.kind() == io::ErrorKind::WouldBlock {
        return Error::IrqChipNotReady { gsi, source };
    }
    let may_lack = source.kind() == io::ErrorKind::InvalidInput;
    if may_lack && matches!(vm.platform(), Ok(None)) {
        return Error::NoIrqChip { gsi, source };
    }
    Error::Assign { gsi, source }
}
