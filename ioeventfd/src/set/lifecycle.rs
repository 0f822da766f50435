// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Stopping, starting and kicks that are left in the notifiers, in QEMU's order.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;

use super::doorbell::Bell;
use super::kicks::{Signal, give, owed_after_undo};
use super::left::Epoch;
use super::steps::{self, Step};
use super::{DoorbellSet, State};
use crate::Error;

/// Kicks that were pending in a notifier: process the queue once more, whatever their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Leftover {
    /// The key of the doorbell; of the first one, if several signal the same notifier.
    pub key: u64,
    /// How many; 1 for a notifier in semaphore mode, because each read takes one.
    pub kicks: NonZeroU64,
}

/// The result of [`DoorbellSet::stop`]: what the caller has to process.
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "a queue that has kicks left over must be processed once more"]
pub struct Stopped {
    /// For [`DoorbellSet::vcpus_passed`].
    pub epoch: Epoch,
    /// The queues to process once more: each was kicked and not yet served.
    pub leftovers: Vec<Leftover>,
}

impl DoorbellSet {
    /// Registers all doorbells, then kicks each notifier once.
    ///
    /// The driver may have kicked before the doorbells were registered, so each queue must be
    /// processed once. That kick adds one to the count in the notifier.
    ///
    /// Exits are matched from the beginning of the call. A set that is started stays as it is, and
    /// is not kicked.
    ///
    /// # Blocking
    ///
    /// Set memory slots and create vCPUs [before](Self#memory-slots-first): afterwards they wait
    /// for a grace period. The kicks are sent one after the other, with no lock held. If a peer
    /// makes a notifier block, the caller and the kicks that follow wait. Other calls do not.
    ///
    /// # Errors
    ///
    /// Those of [`apply`](Self::apply), and [`Error::Signal`]. Then the set is stopped, as before,
    /// unless another thread changed it while the kicks were sent. Earlier plans are stale only
    /// after [`Error::NotUndone`].
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

    /// Undoes a start whose kicks failed, unless the set has changed since. The generations are
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

    /// Deregisters all doorbells, then takes the pending kicks from their notifiers.
    ///
    /// Pause or remove the handlers before, and process each queue in the result once more.
    ///
    /// The set keeps its addresses, and [`start`](Self::start) registers them again. A vCPU that
    /// has left the guest may still bring a kick to [`on_exit_write`](Self::on_exit_write), which
    /// signals the notifier until [`vcpus_passed`](Self::vcpus_passed). Call [`drain`](Self::drain)
    /// after that, or let the handler find the kick after the next start.
    ///
    /// # Blocking
    ///
    /// Blocks for one KVM_IOEVENTFD for each doorbell, and as described for
    /// [drop](DoorbellSet).
    ///
    /// # Errors
    ///
    /// - [`Error::StaysRegistered`], [`Error::NotUndone`]: the set is started, as before. Only
    ///   after the second one are earlier plans stale.
    /// - [`Error::Drain`]: the set is stopped, and all kicks are still pending.
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

    /// Reads and clears all notifiers, and returns those that had kicks.
    ///
    /// It is for kicks that arrive after [`stop`](Self::stop), and for queues that the VMM takes
    /// back from vhost. vhost never clears a counter, so the counts then include all kicks since it
    /// got the queues; see [the guide](crate::guide::vhost).
    ///
    /// # Errors
    ///
    /// [`Error::Drain`]: all kicks are still pending.
    pub fn drain(&self) -> Result<Vec<Leftover>, Error> {
        let notifiers = self.notifiers(&self.lock());
        self.take_kicks(notifiers)
    }

    /// Kicks each notifier once, so that its reader processes the queue; [`start`](Self::start)
    /// does so too.
    ///
    /// A kick that reaches vhost before its backend is set may have no effect, so call this
    /// afterwards. Signals are sent with no lock held.
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

    /// Reads and clears these. On an error it puts back what it took.
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

    /// Forgets the addresses that were left up to `epoch`: writes there are no kicks any more.
    ///
    /// Call it when every vCPU that was outside the guest when `epoch` was returned has passed its
    /// write to [`on_exit_write`](Self::on_exit_write), or has entered the guest again. Without it
    /// a set remembers its last 64 changes, and keeps their notifiers open.
    ///
    /// # Errors
    ///
    /// [`Error::OtherSet`] if another set returned the epoch. Then nothing is forgotten.
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

    /// The kicks of a start fail with no lock held, so other threads may plan before it is undone.
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
        // That change must not get the generation of the start.
        let refused = set.apply(meanwhile).unwrap_err();
        assert!(matches!(refused.error, Error::StalePlan), "{refused}");
    }
}
