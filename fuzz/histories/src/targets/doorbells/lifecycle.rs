// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Sets start and stop, and are dropped.

use std::collections::BTreeSet;
use std::sync::Arc;

use ioeventfd::{DoorbellSet, Error, Leftover};

use super::change::expect;
use super::model::Model;
use super::rig::{Rig, SEMAPHORE};
use super::spot::Spot;
use super::world::{Call, World};

impl Rig {
    pub(super) fn stop(&mut self, set: usize) {
        let view = self.machine.world().models[set].view();
        self.machine.world().begin(set, Some(view));
        let result = self.set(set).stop();
        self.machine
            .world()
            .end_stop(set, result.as_ref().map(|_| ()));
        if let Ok(stopped) = result {
            self.expect_leftovers(set, &stopped.leftovers);
            self.epoch(set, stopped.epoch);
        }
    }

    pub(super) fn start(&mut self, set: usize) {
        let mut world = self.machine.world();
        let was_started = world.models[set].started;
        let mut view = world.models[set].view();
        view.current = world.models[set].bells.clone();
        world.begin(set, Some(view));
        drop(world);
        let result = self.set(set).start();
        let mut world = self.machine.world();
        if was_started {
            assert!(result.is_ok());
            world.end_without_effect(set);
        } else {
            world.end_start(set, result.as_ref().copied());
        }
    }

    pub(super) fn expect_leftovers(&self, set: usize, leftovers: &[Leftover]) {
        let mut world = self.machine.world();
        let mut expected = Vec::new();
        let mut seen = Vec::new();
        for bell in world.models[set].bells.clone() {
            if seen.contains(&bell.fd) {
                continue;
            }
            seen.push(bell.fd);
            let kicks = world.consume(bell.fd, bell.fd == SEMAPHORE);
            if kicks > 0 {
                expected.push((bell.key, kicks));
            }
        }
        let taken = leftovers.iter().map(|one| (one.key, one.kicks.get()));
        assert_eq!(taken.collect::<Vec<_>>(), expected, "what is left over");
    }

    pub(super) fn passed(&mut self, set: usize, which: u8) {
        let index = usize::from(which) % self.epochs.len().max(1);
        if let Some((epoch, of, at)) = self.epochs.get(index).copied() {
            let passed = self.set(set).vcpus_passed(epoch);
            let model = &mut self.machine.world().models[set];
            if of == model.id {
                assert_eq!(passed, Ok(()));
                model.past.retain(|(left, _)| *left > at);
            } else {
                assert_eq!(passed, Err(Error::OtherSet));
            }
        }
    }

    pub(super) fn renew(&mut self, set: usize, removals_first: bool) {
        self.machine.world().calls.clear();
        let old = self.sets[set].take();
        drop(Arc::try_unwrap(old.expect("it is there")));
        self.machine.world().dropped(set);
        let mut new = DoorbellSet::new(&self.registry);
        if removals_first {
            new = new.removals_first();
        }
        let new = Arc::new(new);
        let mut world = self.machine.world();
        world.models[set] = Model::new(self.next_id, removals_first);
        world.sets[set] = Arc::downgrade(&new);
        drop(world);
        self.next_id += 1;
        self.sets[set] = Some(new);
    }
}

impl World {
    pub(super) fn end_start(&mut self, set: usize, result: Result<(), &Error>) {
        let (freed, calls) = self.clean(set);
        self.take_effect(self.models[set].owed_for(&freed));
        match result {
            Ok(()) => {
                let model = &mut self.models[set];
                expect(&calls, true, model.bells.iter().filter(|bell| !bell.on));
                expect(&calls, false, [].iter());
                model.bells.iter_mut().for_each(|bell| bell.on = true);
                model.started = true;
                model.version += 1;
                self.kick(set);
            }
            Err(error) => self.not_all(set, &calls, error),
        }
    }

    pub(super) fn end_stop(&mut self, set: usize, result: Result<(), &Error>) {
        let (freed, calls) = self.clean(set);
        self.take_effect(self.models[set].owed_for(&freed));
        match result {
            Ok(()) => {
                let model = &mut self.models[set];
                expect(&calls, true, [].iter());
                expect(&calls, false, model.bells.iter().filter(|bell| bell.on));
                model.bells.iter_mut().for_each(|bell| bell.on = false);
                if model.started {
                    model.version += 1;
                    model.leave(model.bells.clone());
                }
                model.started = false;
            }
            Err(error) => self.not_all(set, &calls, error),
        }
    }

    /// A start or a stop failed.
    fn not_all(&mut self, set: usize, calls: &[Call], error: &Error) {
        for one in self.explain(set, calls, error) {
            let spot = Spot::of(one.address, one.datamatch);
            let mut bells = self.models[set].bells.iter_mut();
            let bell = bells.find(|bell| (bell.key, bell.spot) == (one.key, spot));
            bell.expect("one of the set").on = one.registered;
        }
    }

    /// Signals each notifier of a set once.
    pub(super) fn kick(&mut self, set: usize) {
        let bells = self.models[set].bells.iter();
        let all: BTreeSet<_> = bells.map(|bell| bell.fd).collect();
        all.into_iter().for_each(|fd| self.counts[fd] += 1);
    }
}
