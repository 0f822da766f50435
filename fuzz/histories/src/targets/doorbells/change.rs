// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Compares a change with the requests that it made and with its result.

use std::collections::BTreeMap;

use ioeventfd::{Error, Unrestored};

use super::model::{Bell, Effects, Model, Planned, Stuck, View};
use super::spot::Spot;
use super::world::{Call, EEXIST, Owed, World};

impl World {
    /// A set begins to change. After the retries of stuck doorbells, exits match `view`.
    pub(super) fn begin(&mut self, set: usize, view: Option<View>) {
        let model = &mut self.models[set];
        self.calls.clear();
        self.acting = Some((set, self.quarantine.len() + model.stuck.len()));
        model.during = view;
    }

    /// A call that must change nothing and make no request.
    pub(super) fn end_without_effect(&mut self, set: usize) {
        assert_eq!(self.calls, []);
        self.acting = None;
        self.models[set].during = None;
    }

    /// The quarantine and then stuck doorbells were retried. Returns the requests after that.
    pub(super) fn clean(&mut self, set: usize) -> (Vec<Bell>, Vec<Call>) {
        self.acting = None;
        let mut calls = std::mem::take(&mut self.calls);
        let mut is_gone = |all: usize, spot: Spot, fd: usize| {
            let first = calls.iter().take(all);
            let mut first = first.map(|call| (call.assign, call.spot, call.fd));
            let index = first.position(|call| call == (false, spot, fd));
            calls.remove(index.expect("each is tried")).counts()
        };
        let mut left = self.quarantine.len();
        self.quarantine.retain(|(spot, fd)| {
            left -= 1;
            !is_gone(left + 1, *spot, *fd)
        });
        let model = &mut self.models[set];
        model.during = None;
        let mut left = model.stuck.len();
        let (gone, stuck): (Vec<_>, Vec<_>) = std::mem::take(&mut model.stuck)
            .into_iter()
            .partition(|one| {
                left -= 1;
                is_gone(left + 1, one.bell.spot, one.bell.fd)
            });
        model.stuck = stuck;
        // A queue that the set does not have is owed nothing.
        let took = gone.iter().filter(|one| one.took);
        let owed = took.filter_map(|Stuck { bell, .. }| {
            Some(Owed {
                set,
                key: bell.key,
                fd: model.own(bell.key)?,
                strict: true,
            })
        });
        self.owed.extend(owed);
        (gone.iter().map(|one| one.bell).collect(), calls)
    }

    /// A plan was carried out, or not.
    pub(super) fn end_apply(&mut self, set: usize, plan: &Planned, result: Result<(), &Error>) {
        let (freed, calls) = self.clean(set);
        let refused = self.is_refused(set, plan, true);
        let effects = match result {
            Ok(()) => {
                assert!(!refused, "a conflict was not found");
                self.done(set, plan, &calls, &freed)
            }
            Err(Error::Conflict { .. }) if refused => {
                assert_eq!(calls, [], "a conflict is found before");
                self.models[set].owed_for(&freed)
            }
            Err(error) => {
                assert!(!refused, "a conflict was not found: {error}");
                self.failed(set, plan, &calls, error, &freed)
            }
        };
        self.take_effect(effects);
    }

    fn done(&mut self, set: usize, plan: &Planned, calls: &[Call], freed: &[Bell]) -> Effects {
        let model = &mut self.models[set];
        let added = plan.added.iter().filter(|_| model.started);
        expect(calls, true, plan.repairs.iter().chain(added));
        expect(calls, false, plan.gone.iter().filter(|bell| bell.on));
        if let Some(first) = calls.iter().position(|call| call.assign) {
            for (index, call) in calls.iter().enumerate().filter(|(_, call)| !call.assign) {
                let in_the_way = plan.added.iter().any(|one| one.spot.is_against(&call.spot));
                let is_first = model.removals_first || in_the_way;
                assert_eq!(index < first, is_first, "the order of {call:?}");
            }
        }
        let follow = model.followers(plan);
        let on = |mut bell: Bell, on: bool| {
            bell.on |= on;
            bell
        };
        let kept = plan
            .kept
            .iter()
            .map(|bell| on(*bell, plan.repairs.contains(bell)));
        let added = plan.added.iter().map(|bell| on(*bell, model.started));
        model.bells = kept.chain(added).collect();
        model.sort();
        model.leave(
            plan.gone
                .iter()
                .filter(|_| model.started)
                .copied()
                .collect(),
        );
        for bell in model.past.iter_mut().flat_map(|(_, bells)| bells) {
            bell.fd = follow.get(&(bell.key, bell.fd)).copied().unwrap_or(bell.fd);
        }
        model.version += 1;
        // The set has what was planned.
        self.owed
            .iter_mut()
            .for_each(|one| one.strict &= one.set != set);
        let mut effects = model.owed_for(freed);
        for ((_, from), to) in follow {
            effects.moves.entry(from).or_default().insert(to);
        }
        effects
    }

    fn failed(
        &mut self,
        set: usize,
        plan: &Planned,
        calls: &[Call],
        error: &Error,
        freed: &[Bell],
    ) -> Effects {
        let unrestored = self.explain(set, calls, error);
        let model = &mut self.models[set];
        for one in unrestored {
            let spot = Spot::of(one.address, one.datamatch);
            let is = |bell: &Bell| (bell.key, bell.spot) == (one.key, spot);
            let repaired = plan.repairs.iter().any(is);
            if one.registered && !repaired {
                let bell = plan.added.iter().copied().find(is);
                let mut bell = bell.expect("one of the plan");
                bell.on = true;
                model.stuck.push(Stuck { bell, took: false });
            } else {
                let bell = model.bells.iter_mut().find(|bell| is(bell));
                bell.expect("one of the set").on = one.registered;
            }
        }
        let back = plan.added.iter().chain(freed);
        let back = back.filter_map(|bell| Some((bell.key, bell.fd, model.own(bell.key)?)));
        let follow = model.followers(plan);
        let follow = follow.into_iter().map(|((key, from), to)| (key, to, from));
        model.owed(back.chain(follow))
    }

    /// Checks that a failure has its cause among the requests. Returns what was not undone.
    pub(super) fn explain<'a>(
        &mut self,
        set: usize,
        calls: &[Call],
        error: &'a Error,
    ) -> &'a [Unrestored] {
        let (cause, unrestored) = match error {
            Error::NotUndone {
                cause, unrestored, ..
            } => (&**cause, &unrestored[..]),
            other => (other, &[][..]),
        };
        let model = &mut self.models[set];
        model.version += u64::from(!unrestored.is_empty());
        // If KVM itself refuses, a doorbell in the same place stays.
        let registered = unrestored.iter().filter(|one| one.registered);
        let registered = registered.map(|one| Spot::of(one.address, one.datamatch));
        let mut there: Vec<_> = registered.collect();
        there.extend(model.stuck.iter().map(|one| one.bell.spot));
        there.extend(self.singles.iter().map(|(spot, _)| *spot));
        let refused = |call: &&Call| !call.counts() && !call.is_fault;
        for call in calls.iter().filter(refused) {
            let is_taken = there.iter().any(|one| one.is_refused_beside(&call.spot));
            assert!(is_taken, "in a place that is free: {call:?}");
        }
        let refused = calls.iter().find(|call| !call.counts());
        let (spot, expected) = match (cause, refused) {
            (
                Error::Conflict {
                    address, datamatch, ..
                },
                _,
            ) => {
                let spot = Spot::of(*address, *datamatch);
                let mut stuck = model.stuck.iter();
                let beside = stuck.any(|one| one.bell.spot.is_against(&spot));
                (spot, beside)
            }
            (
                Error::Taken {
                    address, datamatch, ..
                },
                Some(call),
            ) => {
                let expected = call.assign && call.errno == Some(EEXIST);
                (
                    Spot::of(*address, *datamatch),
                    expected && call.spot.address() == *address,
                )
            }
            (
                Error::Refused {
                    address,
                    datamatch,
                    cause,
                    ..
                },
                Some(call),
            ) => {
                let expected = call.assign && call.errno == cause.raw_os_error();
                (Spot::of(*address, *datamatch), expected)
            }
            (
                Error::StaysRegistered {
                    address,
                    datamatch,
                    cause,
                    ..
                },
                Some(call),
            ) => {
                let expected = !call.assign && call.errno == cause.raw_os_error();
                (Spot::of(*address, *datamatch), expected)
            }
            _ => panic!("{error}: {calls:?}"),
        };
        let of_call = refused.is_none_or(|call| call.spot == spot);
        let is_conflict = matches!(cause, Error::Conflict { .. });
        assert!(expected && (of_call || is_conflict), "{error}: {calls:?}");
        unrestored
    }

    pub(super) fn take_effect(&mut self, effects: Effects) {
        effects.kicks.iter().for_each(|fd| self.counts[*fd] += 1);
        for (from, to) in &effects.moves {
            let kicks = std::mem::take(&mut self.counts[*from]);
            to.iter().for_each(|to| self.counts[*to] += kicks);
            for one in self.owed.iter_mut().filter(|one| one.fd == *from) {
                let own = self.models[one.set].own(one.key);
                one.fd = own.filter(|own| to.contains(own)).unwrap_or(one.fd);
            }
        }
    }

    /// Whether a plan conflicts with something: when it is made, or when it is carried out, after
    /// stuck and quarantined doorbells were retried.
    pub(super) fn is_refused(&self, set: usize, plan: &Planned, now: bool) -> bool {
        let model = &self.models[set];
        let spot = |bell: &Bell| bell.spot;
        let of = |model: &Model| -> Vec<Spot> {
            let stuck = model.stuck.iter().map(|one| one.bell.spot);
            model.bells.iter().map(spot).chain(stuck).collect()
        };
        let mut there = of(&self.models[1 - set]);
        there.extend(plan.kept.iter().map(spot));
        if now {
            there.extend(self.quarantine.iter().map(|(spot, _)| *spot));
            // KVM itself refuses a doorbell in the place of one that is given up.
            let stuck = model.stuck.iter().map(|one| one.bell.spot);
            there.extend(stuck.filter(|stuck| plan.gone.iter().all(|one| one.spot != *stuck)));
        }
        plan.added.iter().enumerate().any(|(index, one)| {
            let against = |other: &Spot| one.spot.is_against(other);
            let mut earlier = plan.added[..index].iter().map(spot);
            self.windows.iter().any(|window| one.spot.is_in(*window))
                || there.iter().any(against)
                || earlier.any(|other| against(&other))
        })
    }
}

/// Checks that these were registered (or deregistered) once each, and nothing else was.
#[track_caller]
pub(super) fn expect<'a>(calls: &[Call], assign: bool, bells: impl Iterator<Item = &'a Bell>) {
    let of_kind = calls.iter().filter(|call| call.assign == assign);
    let mut count: BTreeMap<_, i32> = BTreeMap::new();
    for call in of_kind {
        assert!(call.counts(), "it did not work: {call:?}");
        *count.entry((call.spot, call.fd)).or_default() += 1;
    }
    for bell in bells {
        *count.entry((bell.spot, bell.fd)).or_default() -= 1;
    }
    count.retain(|_, count| *count != 0);
    assert!(count.is_empty(), "too many or too few: {count:?}");
}
