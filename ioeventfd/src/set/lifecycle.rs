// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Stopping, starting, and what is left in the notifiers; in QEMU's order.

use std::collections::HashSet;
use std::num::NonZeroU64;
use std::sync::Arc;

use notify_core::EventNotifier;

use super::doorbell::Bell;
use super::handover::give;
use super::past::Epoch;
use super::steps::{self, Step};
use super::{DoorbellSet, State};
use crate::Error;

/// Kicks that were pending in a notifier. Whatever their number, look at the queue once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leftover {
    /// Of which doorbell; of the first one, where several signal the same notifier.
    pub key: u64,
    /// How many; one for a notifier in semaphore mode, which gives up one at a time.
    pub kicks: NonZeroU64,
}

/// What [`DoorbellSet::stop`] leaves to be done.
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "a queue whose kicks are left over has to be looked at once more"]
pub struct Stopped {
    /// For [`DoorbellSet::vcpus_passed`].
    pub epoch: Epoch,
    /// One more to process, for each queue that was kicked and not yet served.
    pub leftovers: Vec<Leftover>,
}

impl DoorbellSet {
    /// Registers all doorbells, then kicks each notifier once: a driver may have kicked before there
    /// was a doorbell, so each queue has to be looked at. That kick is in no count of the guest's.
    ///
    /// Exits are matched from the beginning. A set that is started stays as it is, without a kick.
    ///
    /// # Errors
    ///
    /// As [`apply`](Self::apply); the set is stopped then, as before.
    pub fn start(&self) -> Result<(), Error> {
        let mut state = self.lock();
        let state = &mut *state;
        if state.started {
            return Ok(());
        }
        self.clean(state);
        state.started = true;
        self.publish(state);
        let missing = |bell: &Bell| !bell.fd.is_registered();
        let steps = steps_for(state, missing, Step::Register);
        let started = steps::run(&mut state.bells, &steps).and_then(|()| {
            kick(&state.bells).map_err(|error| steps::take_back(&mut state.bells, &steps, error))
        });
        if started.is_err() {
            state.started = false;
            self.publish(state);
        }
        state.generation += 1;
        started
    }

    /// Deregisters all doorbells, then takes what is pending in their notifiers: the caller looks at
    /// those queues once more, as one that was kicked. Switch the handlers off before.
    ///
    /// The places stay the set's own, and [`start`](Self::start) registers them again. A vCPU that has
    /// left the guest with a kick may still bring it: such writes signal their notifiers until
    /// [`vcpus_passed`](Self::vcpus_passed). What came by then is found by [`drain`](Self::drain), or
    /// by the handler after the next start.
    ///
    /// # Errors
    ///
    /// [`Error::Deassign`], [`Error::NotUndone`]: the set is started then, as before.
    /// [`Error::Drain`]: it is stopped, and what is pending is still there.
    pub fn stop(&self) -> Result<Stopped, Error> {
        let mut state = self.lock();
        let state = &mut *state;
        self.clean(state);
        let registered = |bell: &Bell| bell.fd.is_registered();
        let steps = steps_for(state, registered, Step::Deregister);
        if let Err(error) = steps::run(&mut state.bells, &steps) {
            state.generation += 1;
            return Err(error);
        }
        let epoch = if state.started {
            state.generation += 1;
            state.past.leave(state.bells.iter())
        } else {
            state.past.now()
        };
        state.started = false;
        self.publish(state);
        let leftovers = drain(&state.bells)?;
        Ok(Stopped { epoch, leftovers })
    }

    /// Reads and clears all notifiers, and says which had kicks.
    ///
    /// For what came after [`stop`](Self::stop), and to take queues back from vhost, which never
    /// clears a counter: then the numbers are of all kicks since it took them.
    ///
    /// # Errors
    ///
    /// [`Error::Drain`]; whatever was pending still is.
    pub fn drain(&self) -> Result<Vec<Leftover>, Error> {
        drain(&self.lock().bells)
    }

    /// Kicks each notifier once, as [`start`](Self::start) does: whoever serves the queues looks at
    /// them. A kick that comes to vhost before its backend is set may be spent in vain, so kick when
    /// it is.
    ///
    /// # Errors
    ///
    /// [`Error::Signal`].
    pub fn kick(&self) -> Result<(), Error> {
        kick(&self.lock().bells)
    }

    /// Says that every vCPU which had left the guest when `epoch` was given out has since brought its
    /// write to [`on_exit_write`](Self::on_exit_write), or entered the guest again. What was left up to
    /// then is matched no more.
    ///
    /// A set that is never told remembers its last 64 changes, and keeps their notifiers.
    pub fn vcpus_passed(&self, epoch: Epoch) {
        let mut state = self.lock();
        if state.past.forget(epoch) {
            self.publish(&state);
        }
    }
}

fn steps_for(state: &State, these: impl Fn(&Bell) -> bool, step: fn(usize) -> Step) -> Vec<Step> {
    let bells = state.bells.iter().enumerate();
    let these = bells.filter(|(_, bell)| these(bell));
    these.map(|(index, _)| step(index)).collect()
}

/// Each notifier once, with the first key that it stands for.
fn notifiers(bells: &[Bell]) -> impl Iterator<Item = (u64, &Arc<EventNotifier>)> {
    let mut seen = HashSet::new();
    bells
        .iter()
        .filter(move |bell| seen.insert(Arc::as_ptr(bell.notifier())))
        .map(|bell| (bell.key, bell.notifier()))
}

fn kick(bells: &[Bell]) -> Result<(), Error> {
    let mut all = notifiers(bells);
    all.try_for_each(|(key, notifier)| {
        let signalled = notifier.notify();
        signalled.map_err(|source| Error::Signal { key, source })
    })
}

fn drain(bells: &[Bell]) -> Result<Vec<Leftover>, Error> {
    let mut taken = Vec::new();
    for (key, notifier) in notifiers(bells) {
        match notifier.consume() {
            Ok(Some(kicks)) => taken.push((Leftover { key, kicks }, notifier)),
            Ok(None) => {}
            Err(source) => {
                for (leftover, notifier) in taken {
                    give(notifier, leftover.kicks.get());
                }
                return Err(Error::Drain { key, source });
            }
        }
    }
    Ok(taken.into_iter().map(|(leftover, _)| leftover).collect())
}
