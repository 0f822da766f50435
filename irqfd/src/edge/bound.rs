// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Bound`]: the irqfds of a line, which are taken off while the translation blocks the line's
//! message.

use std::any::Any;
use std::io;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Weak};

use irq_routing::{Armed, Gsi, GsiLease, Line, Registration, Rejected, RoutingTable};
use notify_core::{EventNotifier, IrqFdRequest, Vm};

use super::{IrqFdError, IrqTarget};
use crate::sync::Mutex;

/// The irqfds of a line.
///
/// Where messages are translated, the table reports when the route of the line's GSI is removed and
/// comes back, and the irqfds follow. Elsewhere a route stays, and nothing is remembered.
#[derive(Debug)]
pub(crate) struct Bound(Option<Box<Followed>>);

#[derive(Debug)]
struct Followed {
    // In this order: what is registered lives as long as the registration.
    _registration: Registration,
    irqfds: Arc<IrqFds>,
}

/// Those of one GSI, which the table may take off.
struct IrqFds {
    vm: Arc<dyn Vm>,
    gsi: Gsi,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    blocked: bool,
    all: Vec<One>,
}

#[derive(Debug)]
struct One {
    trigger: Arc<EventNotifier>,
    resample: Option<Arc<EventNotifier>>,
    /// Whether the kernel has it.
    is_bound: bool,
    /// Why it could not be bound again when the translation had let the message through.
    lost: Option<IrqFdError>,
}

impl Bound {
    /// None yet, on a line that exists.
    pub(crate) fn new(line: &Line) -> Self {
        let followed = IrqFds::new(line.table(), line.gsi()).map(|irqfds| {
            // Under the lock, so that the table's next report comes after this.
            let mut state = irqfds.state.lock();
            let (registration, blocked) = line.register(irqfds.weak());
            state.blocked = blocked;
            drop(state);
            Followed::new(irqfds, registration)
        });
        Self(followed)
    }

    /// None yet, on a line that is made of this.
    pub(crate) fn on(target: IrqTarget) -> Result<(Line, Self), Rejected<IrqTarget>> {
        let lease = match target {
            IrqTarget::Line(line) => {
                let bound = Self::new(&line);
                return Ok((line, bound));
            }
            IrqTarget::Lease(lease) => lease,
        };
        let rejected = |rejected: Rejected<GsiLease>| {
            Rejected::new(rejected.error, IrqTarget::Lease(rejected.value))
        };
        let Some(irqfds) = IrqFds::new(lease.table(), lease.gsi()) else {
            return Ok((lease.into_line().map_err(rejected)?, Self(None)));
        };
        let mut state = irqfds.state.lock();
        let line = lease.into_registered_line(irqfds.weak());
        let (line, registration, blocked) = line.map_err(rejected)?;
        state.blocked = blocked;
        drop(state);
        Ok((line, Self(Some(Followed::new(irqfds, registration)))))
    }

    fn irqfds(&self) -> Option<&IrqFds> {
        self.0.as_ref().map(|followed| &*followed.irqfds)
    }

    /// Whether the message is blocked, so that the kernel has none of them.
    pub(crate) fn is_blocked(&self) -> bool {
        let irqfds = self.irqfds();
        irqfds.is_some_and(|irqfds| irqfds.state.lock().blocked)
    }

    /// Takes the signal that a notifier has while the message is blocked. Returns whether there was
    /// one; always false while the kernel has the irqfd.
    pub(crate) fn take_if_blocked(
        &self,
        trigger: &EventNotifier,
    ) -> Result<bool, notify_core::Error> {
        let Some(irqfds) = self.irqfds() else {
            return Ok(false);
        };
        // With the lock, so that it is not bound meanwhile.
        let state = irqfds.state.lock();
        Ok(state.blocked && trigger.consume()?.is_some())
    }

    /// Why they could not all be bound again when the message was let through.
    pub(crate) fn lost(&self) -> Option<IrqFdError> {
        let followed = self.0.as_ref()?;
        let state = followed.irqfds.state.lock();
        state.all.iter().find_map(|one| one.lost.clone())
    }

    /// Binds a notifier, now or when the message is let through.
    pub(crate) fn assign(
        &self,
        line: &Line,
        trigger: &Arc<EventNotifier>,
        resample: Option<&Arc<EventNotifier>>,
    ) -> io::Result<()> {
        let Some(irqfds) = self.irqfds() else {
            return assign_on(line, trigger, resample);
        };
        let mut state = irqfds.state.lock();
        let is_bound = !state.blocked;
        if is_bound {
            assign_on(line, trigger, resample)?;
        }
        state.all.push(One {
            trigger: Arc::clone(trigger),
            resample: resample.map(Arc::clone),
            is_bound,
            lost: None,
        });
        Ok(())
    }

    /// Takes a notifier off. If that fails it is bound still, as far as is known.
    pub(crate) fn deassign(&self, line: &Line, trigger: &Arc<EventNotifier>) -> io::Result<()> {
        let Some(irqfds) = self.irqfds() else {
            return deassign(&**line.table().vm(), line.gsi().number(), trigger);
        };
        let mut state = irqfds.state.lock();
        let place = state
            .all
            .iter()
            .position(|one| Arc::ptr_eq(&one.trigger, trigger));
        let Some(one) = place.and_then(|place| state.all.get(place)) else {
            return Ok(());
        };
        if one.is_bound {
            deassign(&*irqfds.vm, irqfds.gsi.number(), trigger)?;
        }
        place.map(|place| state.all.swap_remove(place));
        Ok(())
    }
}

impl Followed {
    fn new(irqfds: Arc<IrqFds>, registration: Registration) -> Box<Self> {
        Box::new(Self {
            _registration: registration,
            irqfds,
        })
    }
}

impl IrqFds {
    /// None of a GSI, if its table translates messages.
    fn new(table: &RoutingTable, gsi: Gsi) -> Option<Arc<Self>> {
        table.translates().then(|| {
            Arc::new(Self {
                vm: Arc::clone(table.vm()),
                gsi,
                state: Mutex::default(),
            })
        })
    }

    fn weak(self: &Arc<Self>) -> Weak<dyn Armed> {
        Arc::<Self>::downgrade(self)
    }
}

impl Armed for IrqFds {
    fn disarm(&self) -> bool {
        let mut state = self.state.lock();
        state.blocked = true;
        state.all.iter_mut().for_each(|one| one.lost = None);
        for one in state.all.iter_mut().filter(|one| one.is_bound) {
            if let Err(source) = deassign(&*self.vm, self.gsi.number(), &one.trigger) {
                log::error!(
                    "a message is blocked, and the irqfd of GSI {} cannot be unbound: {source}",
                    self.gsi.number()
                );
                return false;
            }
            one.is_bound = false;
        }
        true
    }

    /// Binds them again. What the notifiers have is delivered.
    ///
    /// A counter that a peer has filled meanwhile is left so, as for a vector that is armed. To
    /// empty it, a signal would have to be written after the binding. Such a peer can block that
    /// write, and the whole table would wait.
    fn rearm(&self) {
        let mut state = self.state.lock();
        state.blocked = false;
        for one in state.all.iter_mut().filter(|one| !one.is_bound) {
            let gsi = self.gsi.number();
            let assigned = assign(&*self.vm, gsi, &one.trigger, one.resample.as_ref());
            let assigned = match assigned {
                Ok(assigned) => {
                    assigned.map_err(|error| IrqFdError::refused(&*self.vm, self.gsi, error))
                }
                // A panic for one must not keep the others from it.
                Err(panicked) => {
                    one.is_bound = panicked.may_be_bound;
                    std::mem::forget(panicked.panic);
                    Err(IrqFdError::Panicked { gsi: self.gsi })
                }
            };
            match assigned {
                Ok(()) => one.is_bound = true,
                Err(error) => {
                    log::error!(
                        "GSI {} has a route again, and its irqfd cannot be bound: {error}",
                        self.gsi
                    );
                    one.lost = Some(error);
                }
            }
        }
    }
}

impl std::fmt::Debug for IrqFds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IrqFds")
            .field("gsi", &self.gsi)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// If the VM panics and may have an irqfd there still, the GSI is kept out of use.
fn assign_on(
    line: &Line,
    trigger: &EventNotifier,
    resample: Option<&Arc<EventNotifier>>,
) -> io::Result<()> {
    let (vm, gsi) = (line.table().vm(), line.gsi().number());
    assign(&**vm, gsi, trigger, resample).unwrap_or_else(|panicked| {
        if panicked.may_be_bound {
            line.quarantine();
        }
        resume_unwind(panicked.panic)
    })
}

/// The VM has panicked.
struct Panicked {
    panic: Box<dyn Any + Send>,
    /// What it may have bound could not be taken off.
    may_be_bound: bool,
}

/// If the VM panics, what it has bound is taken off again.
fn assign(
    vm: &dyn Vm,
    gsi: u32,
    trigger: &EventNotifier,
    resample: Option<&Arc<EventNotifier>>,
) -> Result<io::Result<()>, Panicked> {
    let request = match resample {
        Some(resample) => IrqFdRequest::assign_resample(trigger.as_fd(), gsi, resample.as_fd()),
        None => IrqFdRequest::assign(trigger.as_fd(), gsi),
    };
    let result = catch_unwind(AssertUnwindSafe(|| vm.irqfd(&request)));
    result.map_err(|panic| Panicked {
        panic,
        may_be_bound: deassign(vm, gsi, trigger).is_err(),
    })
}

/// A panic of the VM is an error: this is called where nothing may panic, and the irqfd may be
/// there still.
fn deassign(vm: &dyn Vm, gsi: u32, trigger: &EventNotifier) -> io::Result<()> {
    let request = IrqFdRequest::deassign(trigger.as_fd(), gsi);
    let result = catch_unwind(AssertUnwindSafe(|| vm.irqfd(&request)));
    result.unwrap_or_else(|panic| {
        // The payload may panic when it is dropped.
        std::mem::forget(panic);
        Err(io::Error::other("the VM panicked"))
    })
}
