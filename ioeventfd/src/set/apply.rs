// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`DoorbellSet::apply`]: carries out a plan, all of it or nothing.

use super::doorbell::Bell;
use super::kicks::{
    Deferred, Handover, Successors, Target, group_by_notifier, handovers_of_change, owed_after_undo,
};
use super::left::Epoch;
use super::steps::{self, Step};
use super::{DoorbellSet, Plan, State};
use crate::bus::Place;
use crate::registry::Places;
use crate::{Error, Rejected};

impl DoorbellSet {
    /// Carries out a plan completely, or fails and leaves the set as it was.
    ///
    /// If the set is started, the doorbells are registered when this returns. Writes that exit
    /// meanwhile are matched against the new doorbells, then the old ones. The old ones are matched
    /// until the returned epoch is passed to [`vcpus_passed`](Self::vcpus_passed).
    ///
    /// # A queue that gets another notifier
    ///
    /// If the doorbells of a key change their notifier, the kicks pending in the old one move to
    /// the new one. They stay if the set still signals the old one for another doorbell, or if the
    /// key has no doorbell any more. If vhost polled the old one, call [`drain`](Self::drain)
    /// before: its counter was never cleared.
    ///
    /// An exit that was matched before the change may signal the old notifier afterwards. Its
    /// thread then moves what is pending there. So do not use an old notifier for anything else
    /// before [`vcpus_passed`](Self::vcpus_passed).
    ///
    /// If the change fails, the guest may have kicked the new notifier meanwhile:
    ///
    /// - If it is new to the set, its kicks move back to the old one.
    /// - If the set has it for another key too, it keeps its kicks, because the count does not show
    ///   the key. The old one is signalled once.
    ///
    /// # Blocking
    ///
    /// Set memory slots [before](Self#memory-slots-first): a slot that is set afterwards waits for
    /// a grace period. The ioctls are issued under the set's lock. Kicks are moved with no lock
    /// held: if a peer fills the new notifier and makes it block, the caller waits, and other calls
    /// do not.
    ///
    /// # Errors
    ///
    /// The plan is returned inside [`Rejected`].
    ///
    /// - [`Error::StalePlan`], [`Error::OtherSet`].
    /// - [`Error::Conflict`]: another set has taken one of the addresses since the plan was made.
    /// - Those of [`IoEventFdBuilder::assign`](crate::IoEventFdBuilder::assign), and
    ///   [`Error::StaysRegistered`].
    /// - [`Error::NotUndone`]: the change failed, and so did its undo. Plan again. A doorbell that
    ///   could not be registered again is matched in user space only, until the next plan repairs
    ///   it. One that could not be deregistered is kept with its notifier; each later change tries
    ///   again.
    #[expect(
        clippy::result_large_err,
        reason = "the plan comes back; a box would cost those that are carried out"
    )]
    pub fn apply(&self, mut plan: Plan) -> Result<Epoch, Rejected<Plan>> {
        let carried_out = self.change(|state, deferred| self.carry_out(state, &mut plan, deferred));
        carried_out.map_err(|error| Rejected::new(error, plan))
    }

    /// Carries out a plan. The caller does what is `deferred` once the lock is free.
    pub(super) fn carry_out(
        &self,
        state: &mut State,
        plan: &mut Plan,
        deferred: &mut Deferred,
    ) -> Result<Epoch, Error> {
        if plan.set != self.id {
            return Err(Error::OtherSet);
        }
        if plan.generation != state.generation {
            return Err(Error::StalePlan);
        }
        if plan.is_empty() {
            return Ok(state.left.now());
        }
        let freed = self.retry_stuck(state);
        let given_up = plan.given_up(&state.bells);
        let wanted: Vec<_> = plan.additions.iter().map(Bell::place).collect();
        let checked = plan.checked.take();
        let begun = self
            .registry
            .claims(|claims| claims.begin(self.id, &wanted, &given_up, checked));
        if let Err(error) = begun {
            *deferred = owed_after_undo(freed.iter(), Vec::new(), &state.bells);
            return Err(error);
        }

        let removed = |index: &usize| plan.removals.binary_search(index).is_ok();
        let (gone, kept): (Vec<_>, Vec<_>) = state
            .bells
            .iter()
            .enumerate()
            .partition(|(index, _)| removed(index));
        let handovers = handovers_of_change(
            gone.iter().map(|(_, bell)| *bell),
            kept.iter().map(|(_, bell)| *bell),
            &plan.additions,
            state.left.notifiers(),
        );
        if !handovers.is_empty() {
            self.remember(&handovers);
        }
        if state.started {
            self.publish_change(state, &kept, &gone, &plan.additions, &handovers);
        }
        let steps = self.steps(state, plan, &wanted);
        let there = state.bells.len();
        state.bells.append(&mut plan.additions);

        let stuck = self.stuck(state);
        if let Err(error) = steps::run(&mut state.bells, steps, stuck) {
            plan.additions = state.bells.split_off(there);
            let taken_back = plan.additions.iter().chain(&freed);
            let undone = owed_after_undo(taken_back, handovers, &state.bells);
            state.outdate_unless_undone(&error);
            if matches!(error, Error::NotUndone { .. }) {
                // Some of the plan's doorbells may be stuck.
                let new = plan
                    .additions
                    .extract_if(.., |bell| bell.fd.is_registered());
                state.stuck.extend(new);
            }
            self.revert_change(state, &undone.moves, (&wanted, &given_up));
            *deferred = undone;
            return Err(error);
        }
        let epoch = self.finish_change(state, plan, there, &handovers);
        // By what the set has now: a notifier that was stuck may signal a new doorbell's kicks
        // already.
        *deferred = owed_after_undo(freed.iter(), Vec::new(), &state.bells);
        deferred.moves.extend(handovers);
        deferred.moves = group_by_notifier(std::mem::take(&mut deferred.moves));
        let stuck: Vec<_> = state.stuck.iter().map(Bell::place).collect();
        self.registry
            .claims(|claims| claims.finish(self.id, &given_up, &stuck));
        Ok(epoch)
    }

    /// The ioctls, in order. New doorbells have the indices after those of the set.
    fn steps(
        &self,
        state: &State,
        plan: &Plan,
        wanted: &[Place],
    ) -> impl Iterator<Item = Step> + Clone + use<> {
        // Without removals there are no conflicts to look for.
        let places = wanted.iter().filter(|_| !plan.removals.is_empty());
        let new = Places::new(self.id, places.copied());
        let bell = |index: &usize| state.bells.get(*index);
        let registered = |index: &&usize| bell(index).is_some_and(|bell| bell.fd.is_registered());
        let in_the_way = |index: &usize| {
            self.removals_first || bell(index).is_some_and(|bell| new.clash_with(bell.place()))
        };
        let leaving = plan.removals.iter().filter(registered).copied();
        let (first, last): (Vec<_>, Vec<_>) = leaving.partition(in_the_way);
        let there = state.bells.len();
        let (repairs, new) = if state.started {
            (plan.repairs.clone(), there..there + wanted.len())
        } else {
            (Vec::new(), 0..0)
        };
        let added = repairs.into_iter().chain(new);
        let first = first.into_iter().map(Step::Deregister);
        let last = last.into_iter().map(Step::Deregister);
        first.chain(added.map(Step::Register)).chain(last)
    }

    /// Matches exits against the new doorbells, then the old ones, during the ioctls.
    fn publish_change(
        &self,
        state: &State,
        kept: &[(usize, &Bell)],
        gone: &[(usize, &Bell)],
        added: &[Bell],
        handovers: &[Handover],
    ) {
        let rank = state.left.next();
        let kept = kept.iter().map(|(_, bell)| *bell);
        let current = added
            .iter()
            .chain(kept)
            .map(|bell| bell.target(Target::CURRENT));
        let old = gone.iter().map(|(_, bell)| bell.target(rank));
        let mut old: Vec<_> = old.chain(state.left.targets()).collect();
        if !handovers.is_empty() {
            let successors = Successors::of(handovers);
            old.iter_mut()
                .for_each(|old| successors.redirect(old.key, &mut old.notifier));
        }
        self.exchange(current.chain(old).collect());
    }

    /// Ends a change that succeeded. New doorbells begin at index `new`.
    fn finish_change(
        &self,
        state: &mut State,
        plan: &Plan,
        new: usize,
        handovers: &[Handover],
    ) -> Epoch {
        let mut gone = Vec::with_capacity(plan.removals.len());
        // From the last one, so that the other indices stay valid. Sorted below.
        for index in plan.removals.iter().rev() {
            if *index < state.bells.len() {
                gone.push(state.bells.swap_remove(*index));
            }
        }
        // After a long change the caches are cold: do not sort if the new ones only follow.
        let place = |index: Option<usize>| Some(state.bells.get(index?)?.place());
        let follow = place(new.checked_sub(1)) <= place(Some(new));
        if !(follow && plan.removals.is_empty()) {
            state.bells.sort_by_key(Bell::place);
        }
        state.next_generation();
        let forgets = state.left.is_full();
        let epoch = state.left.leave(gone.iter().filter(|_| state.started));
        if !handovers.is_empty() {
            state.left.redirect(&Successors::of(handovers));
        }
        if forgets || !state.started {
            self.publish(state);
        }
        // Exits have not been matched to the old notifiers since the ioctls began, and the kernel
        // does not signal them any more. But an exit that was matched before may signal only now.
        if !handovers.is_empty() {
            self.count_handover();
        }
        epoch
    }

    /// Ends a change that failed: these kicks will be moved back.
    fn revert_change(
        &self,
        state: &State,
        moves: &[Handover],
        (wanted, given_up): (&[Place], &[Place]),
    ) {
        let places: Vec<_> = state.stuck.iter().map(Bell::place).collect();
        if !moves.is_empty() {
            self.remember(moves);
        }
        self.publish(state);
        if !moves.is_empty() {
            self.count_handover();
        }
        self.registry
            .claims(|claims| claims.abort(self.id, wanted, given_up, &places));
    }

    /// The places of doorbells that earlier failures left registered.
    pub(super) fn stuck(&self, state: &State) -> Places {
        Places::new(self.id, state.stuck.iter().map(Bell::place))
    }

    /// Tries to deregister what earlier failures left registered. Returns what is gone: the kernel
    /// may have signalled its notifiers since.
    pub(super) fn retry_stuck(&self, state: &mut State) -> Vec<Bell> {
        self.registry.retry_quarantine();
        let stuck = &mut state.stuck;
        let gone: Vec<_> = stuck
            .extract_if(.., |bell| bell.fd.deregister().is_ok())
            .collect();
        for place in gone.iter().map(Bell::place) {
            // The set may have a doorbell in the same place. They are in order.
            let has_it = state
                .bells
                .binary_search_by(|bell| bell.place().cmp(&place));
            if has_it.is_err() {
                self.registry.claims(|claims| claims.release(place));
            }
        }
        gone
    }
}
