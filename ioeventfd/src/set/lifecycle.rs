// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Stopping, starting, and what is left in the notifiers; in QEMU's order.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;

use super::doorbell::Bell;
use super::kicks::{Signal, give, owed_after_undo};
use super::left::Epoch;
use super::steps::{self, Step};
use super::{DoorbellSet, State};
use crate::Error;

/// Kicks that were pending in a notifier. Whatever their number, look at the queue once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
    /// Registers all doorbells, then kicks each notifier once: a driver may have kicked before
    /// there was a doorbell, so each queue has to be looked at. That kick is in no count of the
    /// guest's.
    ///
    /// ExitTable are matched from the beginning. A set that is started stays as it is, without a
    /// kick.
    ///
    /// Set memory slots and create vCPUs [before](Self#memory-slots-first): afterwards they wait
    /// for a grace period. The kicks are sent one after the other, with no lock held: if a peer
    /// makes a notifier block, the caller waits, and the kicks that follow wait with it; other
    /// calls go on.
    ///
    /// # Errors
    ///
    /// As [`apply`](Self::apply), and [`Error::Signal`]; the set is stopped then, as before, unless
    /// another thread changed it while the kicks were sent. Plans from before are stale only after
    /// [`Error::NotUndone`].
    pub fn start(&self) -> Result<(), Error> {
        let started = self.change(|state, deferred| {
            if state.started {
                return Ok(None);
            }
            let freed = self.retry_stuck(state);
            *deferred = owed_after_undo(freed.iter(), Vec::new(), &state.bells);
            state.started = true;
            self.publish(state);
            let missing = |bell: &Bell| !bell.fd.is_registered();
            let steps = steps_for(state, missing, Step::Register);
            let stuck = self.stuck(state);
            if let Err(error) = steps::run(&mut state.bells, steps.iter().copied(), stuck) {
                state.started = false;
                state.outdate_unless_undone(&error);
                self.publish(state);
                return Err(error);
            }
            let before = state.generation;
            state.next_generation();
            let generations = (before, state.generation);
            Ok(Some((steps, generations, self.notifiers(state))))
        })?;
        let Some((steps, generations, notifiers)) = started else {
            return Ok(());
        };
        let mut kicks = notifiers.iter().map(|due| self.signal(due));
        kicks
            .try_for_each(|kicked| kicked)
            .map_err(|error| self.take_start_back(&steps, generations, error))
    }

    /// After a start whose kicks failed: unless the set was changed since. The generations are
    /// those from before the start and after it.
    fn take_start_back(&self, steps: &[Step], (before, after): (u64, u64), error: Error) -> Error {
        let mut state = self.lock();
        let state = &mut *state;
        if state.generation != after {
            return error;
        }
        let stuck = self.stuck(state);
        let error = steps::take_back(&mut state.bells, steps, stuck, error);
        state.started = false;
        state.generation = before;
        state.outdate_unless_undone(&error);
        self.publish(state);
        error
    }

    /// Deregisters all doorbells, then takes what is pending in their notifiers: the caller looks
    /// at those queues once more, as one that was kicked. Switch the handlers off before.
    ///
    /// The places stay the set's own, and [`start`](Self::start) registers them again. A vCPU that
    /// has left the guest with a kick may still bring it: such writes signal their notifiers until
    /// [`vcpus_passed`](Self::vcpus_passed). What came by then is found by [`drain`](Self::drain),
    /// or by the handler after the next start.
    ///
    /// # Errors
    ///
    /// [`Error::StaysRegistered`], [`Error::NotUndone`]: the set is started then, as before; only
    /// after the latter are plans from before stale.
    /// [`Error::Drain`]: it is stopped, and what is pending is still there.
    pub fn stop(&self) -> Result<Stopped, Error> {
        let (epoch, notifiers) = self.change(|state, deferred| {
            let freed = self.retry_stuck(state);
            *deferred = owed_after_undo(freed.iter(), Vec::new(), &state.bells);
            let registered = |bell: &Bell| bell.fd.is_registered();
            let steps = steps_for(state, registered, Step::Deregister);
            let stuck = self.stuck(state);
            if let Err(error) = steps::run(&mut state.bells, steps.iter().copied(), stuck) {
                state.outdate_unless_undone(&error);
                return Err(error);
            }
            let epoch = if state.started {
                state.next_generation();
                state.left.leave(state.bells.iter())
            } else {
                state.left.now()
            };
            state.started = false;
            self.publish(state);
            Ok((epoch, self.notifiers(state)))
        })?;
        let leftovers = self.take_kicks(notifiers)?;
        Ok(Stopped { epoch, leftovers })
    }

    /// Reads and clears all notifiers, and returns which had kicks.
    ///
    /// For what came after [`stop`](Self::stop), and to take queues back from vhost, which never
    /// clears a counter: then the numbers are of all kicks since it took them.
    ///
    /// # Errors
    ///
    /// [`Error::Drain`]; whatever was pending still is.
    pub fn drain(&self) -> Result<Vec<Leftover>, Error> {
        let notifiers = self.notifiers(&self.lock());
        self.take_kicks(notifiers)
    }

    /// Kicks each notifier once, as [`start`](Self::start) does: the thread that serves a queue
    /// looks at them. A kick that comes to vhost before its backend is set may be spent in
    /// vain, so kick when it is.
    ///
    /// # Errors
    ///
    /// [`Error::Signal`].
    pub fn kick(&self) -> Result<(), Error> {
        let notifiers = self.notifiers(&self.lock());
        notifiers.iter().try_for_each(|due| self.signal(due))
    }

    /// Each notifier once, in the order of the doorbells.
    fn notifiers(&self, state: &State) -> Vec<Signal<Vec<u64>>> {
        let seen = self.exits().handovers;
        let mut known = BTreeMap::new();
        let mut all: Vec<Signal<Vec<u64>>> = Vec::new();
        for bell in &state.bells {
            let notifier = bell.notifier();
            let index = *known.entry(Arc::as_ptr(notifier)).or_insert(all.len());
            match all.get_mut(index) {
                Some(due) => due.keys.push(bell.key),
                None => all.push(Signal {
                    keys: vec![bell.key],
                    notifier: Arc::clone(notifier),
                    seen,
                }),
            }
        }
        all
    }

    /// Reads and clears these. After an error they have what they had.
    fn take_kicks(&self, notifiers: Vec<Signal<Vec<u64>>>) -> Result<Vec<Leftover>, Error> {
        let mut taken = Vec::new();
        for due in notifiers {
            let key = due.first_key();
            match due.notifier.consume() {
                Ok(Some(kicks)) => taken.push((Leftover { key, kicks }, due)),
                Ok(None) => {}
                Err(cause) => {
                    for (leftover, due) in taken {
                        give(&due.notifier, leftover.kicks.get());
                        self.follow(&due);
                    }
                    return Err(Error::Drain { key, cause });
                }
            }
        }
        Ok(taken.into_iter().map(|(leftover, _)| leftover).collect())
    }

    /// Forgets the places that were left up to `epoch`: writes there are matched no more.
    ///
    /// Call it when every vCPU that had left the guest when `epoch` was returned has since brought
    /// its write to [`on_exit_write`](Self::on_exit_write), or entered the guest again. A set for
    /// which it is never called remembers its last 64 changes, and keeps their notifiers.
    ///
    /// # Errors
    ///
    /// [`Error::OtherSet`] if another set returned the epoch; nothing is forgotten then.
    pub fn vcpus_passed(&self, epoch: Epoch) -> Result<(), Error> {
        if epoch.set() != self.id {
            return Err(Error::OtherSet);
        }
        let mut state = self.lock();
        if state.left.forget(epoch) {
            self.publish(&state);
        }
        Ok(())
    }
}

fn steps_for(state: &State, these: impl Fn(&Bell) -> bool, step: fn(usize) -> Step) -> Vec<Step> {
    let bells = state.bells.iter().enumerate();
    let these = bells.filter(|(_, bell)| these(bell));
    these.map(|(index, _)| step(index)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use notify_core::EventNotifier;
    use notify_sim::SimVm;

    use super::*;
    use crate::{Datamatch, Doorbell, DoorbellRegistry, IoAddress, Plan};

    fn plan(set: &DoorbellSet, ports: std::ops::Range<u16>, one: &Arc<EventNotifier>) -> Plan {
        let bell = |port: u16| {
            let address = IoAddress::Pio(port);
            Doorbell::new(port.into(), address, Datamatch::U16(0), Arc::clone(one))
        };
        set.plan(ports.step_by(2).map(bell)).unwrap()
    }

    /// The kicks of a start fail with no lock held, so other threads may plan before it is taken
    /// back.
    #[test]
    fn only_plans_from_before_outlive_a_start_whose_kicks_fail() {
        let vm = Arc::new(SimVm::builder().build());
        let set = DoorbellSet::new(&DoorbellRegistry::new(vm, &[]));
        let one = Arc::new(EventNotifier::new().unwrap());
        drop(set.stop().unwrap());
        set.apply(plan(&set, 0x10..0x14, &one)).unwrap();
        let from_before = plan(&set, 0x10..0x18, &one);
        let before = set.lock().generation;
        set.start().unwrap();
        let meanwhile = plan(&set, 0x10..0x12, &one);
        let now = set.lock().generation;
        let steps = [Step::Register(0), Step::Register(1)];
        let error = set.take_start_back(&steps, (before, now), Error::StalePlan);
        assert!(matches!(error, Error::StalePlan) && !set.is_started());
        set.apply(from_before).unwrap();
        assert_eq!(set.doorbells().len(), 4);
        // That change must not get the number of the start.
        let refused = set.apply(meanwhile).unwrap_err();
        assert!(matches!(refused.error, Error::StalePlan), "{refused}");
    }
}
