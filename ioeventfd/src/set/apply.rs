// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Carrying a plan out: all of it, or nothing.

use std::collections::HashSet;
use std::sync::Arc;

use super::doorbell::{Bell, Doorbell};
use super::handover::{self, Handover};
use super::past::Epoch;
use super::plan::place_of;
use super::steps::{self, Step};
use super::{DoorbellSet, Plan, State};
use crate::claims::Additions;
use crate::matcher::Target;
use crate::place::Place;
use crate::{Error, IoEventFd, Rejected};

impl DoorbellSet {
    /// Carries a plan out. When this returns, the set has what was planned, in the kernel too if it
    /// is started; or, with an error, what it had before.
    ///
    /// Writes that exit meanwhile are matched against the new doorbells, then the old ones. The old
    /// ones stay so until [`vcpus_passed`](Self::vcpus_passed) is told the answer.
    ///
    /// If a key's doorbells change their notifier, what is pending in the old one goes to the new one,
    /// unless the set still signals the old one for something else. (An old one that vhost polled has
    /// all kicks since it began: [`drain`](Self::drain) before.) Kicks in the notifier of a doorbell
    /// that is removed for good stay there. If the change fails, the new one gives back to the old one
    /// whatever it has.
    ///
    /// # Errors
    ///
    /// [`Error::StalePlan`]; [`Error::Conflict`] if another set was faster; those of
    /// [`IoEventFdBuilder::assign`](crate::IoEventFdBuilder::assign), and [`Error::Deassign`]. The plan
    /// comes back inside. [`Error::NotUndone`] if the kernel refused to go back, too: then what could
    /// not be registered again is matched in user space only, and the next plan repairs it; and what
    /// could not be deregistered is kept, with its notifier, until it can be. Plan anew then.
    pub fn apply(&self, plan: Plan) -> Result<Epoch, Rejected<Plan>> {
        let carried_out = self.carry_out(&mut self.lock(), &plan);
        carried_out.map_err(|error| Rejected::new(error, plan))
    }

    pub(super) fn carry_out(&self, state: &mut State, plan: &Plan) -> Result<Epoch, Error> {
        if plan.set != self.id || plan.generation != state.generation {
            return Err(Error::StalePlan);
        }
        if plan.is_empty() {
            return Ok(state.past.now());
        }
        self.clean(state);
        let given_up = plan.given_up(&state.bells);
        let wanted: Vec<_> = plan.additions.iter().map(Doorbell::place).collect();
        self.registry
            .claims(|claims| claims.begin(self.id, &wanted, &given_up))?;

        let removed = |index: &usize| plan.removals.binary_search(index).is_ok();
        let (gone, kept): (Vec<_>, Vec<_>) = state
            .bells
            .iter()
            .enumerate()
            .partition(|(index, _)| removed(index));
        let handovers = handover::find(
            gone.iter().map(|(_, bell)| *bell),
            kept.iter().map(|(_, bell)| *bell),
            &plan.additions,
        );
        if state.started {
            self.publish_change(state, &kept, &gone, &plan.additions, &handovers);
        }
        let steps = self.steps(state, plan, &wanted);
        let there = state.bells.len();
        let new = plan.additions.iter().map(|one| self.bell(one));
        state.bells.extend(new);

        if let Err(error) = steps::run(&mut state.bells, &steps) {
            self.back(state, there, &handovers, (&wanted, &given_up));
            if matches!(error, Error::NotUndone { .. }) {
                state.generation += 1;
            }
            return Err(error);
        }
        let epoch = self.forth(state, plan, &handovers);
        self.registry.claims(|claims| claims.finish(&given_up));
        Ok(epoch)
    }

    fn bell(&self, doorbell: &Doorbell) -> Bell {
        let (vm, notifier) = (self.registry.vm(), &doorbell.notifier);
        let fd = IoEventFd::unregistered(
            Arc::clone(vm),
            doorbell.address,
            doorbell.datamatch,
            Arc::clone(notifier),
        );
        let key = doorbell.key;
        Bell { key, fd }
    }

    /// The ioctls, in order. New doorbells follow those that are there.
    fn steps(&self, state: &State, plan: &Plan, wanted: &[Place]) -> Vec<Step> {
        let new = Additions::new(self.id, wanted);
        let bell = |index: &usize| state.bells.get(*index);
        let registered = |index: &&usize| bell(index).is_some_and(|bell| bell.fd.is_registered());
        let in_the_way = |index: &usize| {
            self.removals_first || bell(index).is_some_and(|bell| new.clash_with(bell.place()))
        };
        let leaving = plan.removals.iter().filter(registered).copied();
        let (first, last): (Vec<_>, Vec<_>) = leaving.partition(in_the_way);
        let there = state.bells.len();
        let added = plan
            .repairs
            .iter()
            .copied()
            .chain(there..there + wanted.len());
        let added = added.filter(|_| state.started);
        let first = first.into_iter().map(Step::Deregister);
        let last = last.into_iter().map(Step::Deregister);
        first.chain(added.map(Step::Register)).chain(last).collect()
    }

    /// What exits are held against while the ioctls are on their way: the new, then the old.
    fn publish_change(
        &self,
        state: &State,
        kept: &[(usize, &Bell)],
        gone: &[(usize, &Bell)],
        added: &[Doorbell],
        handovers: &[Handover],
    ) {
        let target = |place, key, notifier: &Arc<_>, rank| Target {
            place,
            key,
            notifier: Arc::clone(notifier),
            rank,
        };
        let of_bell = |rank| {
            move |(_, bell): &(usize, &Bell)| target(bell.place(), bell.key, bell.notifier(), rank)
        };
        let new = added
            .iter()
            .map(|one| target(one.place(), one.key, &one.notifier, u64::MAX));
        let current = new.chain(kept.iter().map(of_bell(u64::MAX)));
        let old = gone.iter().map(of_bell(u64::MAX - 1));
        let mut old: Vec<_> = old.chain(state.past.targets()).collect();
        for one in handovers {
            let same =
                |old: &&mut Target| old.key == one.key && Arc::ptr_eq(&old.notifier, &one.from);
            old.iter_mut()
                .filter(same)
                .for_each(|old| old.notifier = Arc::clone(&one.to));
        }
        self.exchange(current.chain(old).collect());
    }

    /// The change is done: what was there is past.
    fn forth(&self, state: &mut State, plan: &Plan, handovers: &[Handover]) -> Epoch {
        let mut index = 0..;
        let bells = std::mem::take(&mut state.bells);
        let (gone, mut bells): (Vec<_>, Vec<_>) = bells.into_iter().partition(|_| {
            let index = index.next();
            index.is_some_and(|index| plan.removals.binary_search(&index).is_ok())
        });
        bells.sort_by_key(Bell::place);
        state.bells = bells;
        state.generation += 1;
        let epoch = state.past.leave(gone.iter().filter(|_| state.started));
        for one in handovers {
            state.past.redirect(one.key, &one.from, &one.to);
        }
        // From here on no exit signals an old notifier, and the kernel has let go of them.
        self.publish(state);
        handover::carry_out(handovers);
        epoch
    }

    /// The change did not happen.
    fn back(
        &self,
        state: &mut State,
        there: usize,
        handovers: &[Handover],
        (wanted, given_up): (&[Place], &[Place]),
    ) {
        let new = state.bells.split_off(there).into_iter().map(|bell| bell.fd);
        let stuck: Vec<_> = new.filter(IoEventFd::is_registered).collect();
        let places: Vec<_> = stuck.iter().map(place_of).collect();
        state.stuck.extend(stuck);
        self.publish(state);
        let had: HashSet<_> = state
            .bells
            .iter()
            .map(|bell| Arc::as_ptr(bell.notifier()))
            .collect();
        handover::take_back(handovers, |one| had.contains(&Arc::as_ptr(one)));
        self.registry
            .claims(|claims| claims.abort(self.id, wanted, given_up, &places));
    }

    /// Tries to get rid of what earlier failures left registered.
    pub(super) fn clean(&self, state: &mut State) {
        self.registry.clean();
        let (bells, stuck) = (&state.bells, &mut state.stuck);
        stuck.retain_mut(|doorbell| {
            if !doorbell.let_go() {
                return true;
            }
            let place = place_of(doorbell);
            // The place may be one that the set has again, or still.
            if !bells.iter().any(|bell| bell.place() == place) {
                self.registry.claims(|claims| claims.release(place));
            }
            false
        });
    }
}
