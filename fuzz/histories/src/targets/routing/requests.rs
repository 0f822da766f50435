// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Requests of one or several callers, in a forced order.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use super::acts::{Done, Plan};
use super::call::{Call, Joined, Open, Returned};
use super::kernel::{Fault, Name};
use super::model::Action;
use super::round::Request;
use super::step::{Act, Ask, Wait};
use super::why::Why;
use super::world::{World, pick};

type Shared<T> = Arc<Mutex<Vec<T>>>;

fn taken<T>(shared: &Shared<T>) -> Vec<T> {
    std::mem::take(&mut shared.lock().expect("nothing panics there"))
}

impl World {
    fn call(&mut self, table: usize, ask: &Ask) -> Call {
        match ask {
            Ask::Commit(first, rest) => {
                let edits: Vec<_> = std::iter::once(first).chain(rest).cloned().collect();
                Call::Commit(self.stage(table, &edits))
            }
            Ask::Staged(number) => {
                let here = |open: &Open| open.table == table;
                let all: Vec<usize> = (0..self.open.len())
                    .filter(|at| here(&self.open[*at]))
                    .collect();
                match pick(*number, all.len()) {
                    Some(at) => Call::Commit(self.open.remove(all[at])),
                    None => Call::Commit(self.stage(table, &[])),
                }
            }
            Ask::Each(items) => {
                let (edits, known) = self.edits_each(table, items);
                Call::Each(edits, known)
            }
            Ask::Flood(bad, number) => {
                let items = self.flood(table, *bad, *number);
                let (edits, known) = self.edits_each(table, &items);
                Call::Each(edits, known)
            }
            Ask::Drive(number) => match self.take_line(table, *number) {
                Some(held) => Call::Drive(held),
                None => Call::Flush,
            },
            Ask::Flush => Call::Flush,
            Ask::Recommit => Call::Recommit,
            Ask::Retranslate => Call::Retranslate,
        }
    }

    /// Carries out a request. While its first table is in the kernel, other requests arrive and
    /// wait, or an operation that needs one of its GSIs does. Before a later table, or after all of
    /// them, further operations are carried out.
    pub(super) fn round(
        &mut self,
        table: usize,
        first: &Ask,
        others: &[Ask],
        wait: Option<&Wait>,
        (at, acts): &(u8, Vec<Act>),
        faults: &[(u8, Fault)],
    ) {
        let first = self.call(table, first);
        let others = match wait {
            Some(_) => &[],
            None => others,
        };
        let others: Vec<Call> = others.iter().map(|ask| self.call(table, ask)).collect();
        let (request, requests) = (
            first.request(),
            others.iter().map(Call::request).collect::<Vec<_>>(),
        );
        let edited = requests.iter().chain([&request]).flat_map(edited_by);
        let edited: BTreeSet<u32> = edited.collect();
        let waiter = wait.and_then(|wait| self.plan_wait(table, wait, &edited));
        let plans = self.plan_acts(table, acts, &edited, waiter.as_ref());
        let (waits, waiter_action, waiter) = match waiter {
            Some(plan) => (true, Some(plan.action), Some(plan.run)),
            None => (false, None, None),
        };
        let actions: Vec<Action> = plans.iter().map(|plan| plan.action).collect();

        let kernel = Arc::clone(&self.kernels[table]);
        let _ = kernel.take_log();
        // A panic would drop the line at any time relative to the other requests.
        let drives = requests.iter().chain([&request]);
        let drives = drives
            .filter(|one| matches!(one, Request::Drive(_)))
            .count()
            > 0;
        kernel.arm(self.faults(faults, !drives));
        let joined: Shared<Joined<Returned>> = Arc::default();
        let waited: Shared<Joined<Done>> = Arc::default();
        let acted: Shared<Done> = Arc::default();
        let (all_joined, all_waited) = (Arc::clone(&joined), Arc::clone(&waited));
        let handle = self.tables[table].clone();
        let join = move |in_flight| {
            for call in others {
                let table = handle.clone();
                let one = Joined::new(in_flight, move || call.carry_out(&table));
                all_joined.lock().expect("nothing panics").push(one);
            }
            if let Some(waiter) = waiter {
                let one = Joined::new(in_flight, waiter);
                all_waited.lock().expect("nothing panics").push(one);
            }
        };
        kernel.at(0, Name::Joiners, Box::new(join));
        let all_acted = Arc::clone(&acted);
        let act = move |_| {
            for plan in plans {
                let done = (plan.run)();
                all_acted.lock().expect("nothing panics").push(done);
            }
        };
        kernel.at(at % 5, Name::Meanwhile, Box::new(act));

        let mut returned = vec![first.carry_out(&self.tables[table])];
        if let Some(join) = kernel.take_hook(Name::Joiners) {
            join(false);
        }
        returned.extend(taken(&joined).into_iter().map(Joined::join));
        let waited: Vec<Done> = taken(&waited).into_iter().map(Joined::join).collect();
        if let Some(act) = kernel.take_hook(Name::Meanwhile) {
            act(false);
        }
        kernel.arm([]);

        let model = &mut self.models[table];
        model.log = kernel.take_log();
        model.meanwhile.clone_from(&actions);
        model.waiter = waiter_action;
        let expected = model.run(&request, &requests);
        let results: Vec<_> = returned.iter().map(|one| one.result.clone()).collect();
        assert_eq!(results, expected, "what the callers got");
        self.returned.push(format!("{results:?}"));
        let acted_as = std::mem::take(&mut self.models[table].expected);
        let waited_as = self.models[table].waited.take();
        assert_eq!(waited_as.is_some(), waits);
        let all = actions.into_iter().zip(acted_as).zip(taken(&acted));
        let waited = waiter_action.into_iter().zip(waited_as).zip(waited);
        for ((action, expected), done) in waited.chain(all) {
            self.settle(table, action, expected, done);
        }
        for one in returned {
            one.rejected.into_iter().for_each(|open| self.keep(open));
            match one.drive {
                Some(Ok(driven)) => self.driven.push(driven),
                Some(Err(line)) => self.lines.push(line),
                None => {}
            }
        }
    }

    /// Restores a snapshot, if there is any.
    pub(super) fn restore(&mut self, table: usize, number: u8, faults: &[(u8, Fault)]) {
        let Some(at) = pick(number, self.snapshots.len()) else {
            return;
        };
        let (snapshot, saved) = self.snapshots[at].clone();
        let kernel = Arc::clone(&self.kernels[table]);
        let _ = kernel.take_log();
        kernel.arm(self.faults(faults, true));
        let handle = &self.tables[table];
        let restored = catch_unwind(AssertUnwindSafe(|| handle.restore(&snapshot)));
        kernel.arm([]);
        let result = match restored {
            Ok(result) => result.map_err(|error| Why::from(&error)),
            Err(_) => Err(Why::Panic),
        };
        let model = &mut self.models[table];
        model.log = kernel.take_log();
        let expected = model.begin_restore(&saved).and_then(|()| {
            let request = Request::Edits(super::acts::edits_of(&saved));
            let mut outcomes = model.run(&request, &[]);
            let outcome = outcomes.remove(0).map(drop);
            model.end_restore(outcome.is_ok());
            outcome
        });
        assert_eq!(result, expected, "what a restore returned");
        if result.is_ok() {
            assert!(handle.snapshot() == snapshot, "what was restored");
        }
        self.returned.push(format!("{result:?}"));
    }

    /// The plans of operations that never wait, whatever the state of the edited GSIs.
    fn plan_acts(
        &mut self,
        table: usize,
        acts: &[Act],
        edited: &BTreeSet<u32>,
        waiter: Option<&Plan>,
    ) -> Vec<Plan> {
        let model = &self.models[table];
        let parked = model.parked.iter().copied();
        let parked = parked.filter(|gsi| *gsi >= model.reserved);
        let takable = model.free().chain(parked);
        let mut left = takable.filter(|gsi| !edited.contains(gsi)).count();
        let takes = |action: &Action| match action {
            Action::Lease { .. } | Action::Exact { .. } | Action::Unpark { .. } => 1,
            Action::Block { count, .. } => *count as usize,
            _ => 0,
        };
        left = left.saturating_sub(waiter.map_or(0, |plan| takes(&plan.action)));
        let mut plans = Vec::new();
        for act in acts {
            let may_wait = match act {
                Act::Block(_) => true,
                Act::Lease | Act::Exact(_) => left == 0,
                _ => false,
            };
            if may_wait {
                continue;
            }
            let is_fit = |gsi: u32| !edited.contains(&gsi);
            if let Some(plan) = self.plan(table, act, &is_fit) {
                left = left.saturating_sub(takes(&plan.action));
                plans.push(plan);
            }
        }
        plans
    }

    /// The operation that may wait; it prefers a GSI that is edited.
    fn plan_wait(&mut self, table: usize, wait: &Wait, edited: &BTreeSet<u32>) -> Option<Plan> {
        let limit = self.models[table].limit;
        let edited: Vec<u8> = edited.iter().map(|gsi| *gsi as u8).collect();
        let gsi = |number: u8| pick(number, edited.len()).map_or(number, |at| edited[at]);
        let act = match *wait {
            Wait::Lease => Act::Lease,
            Wait::Block(count) => Act::Block(count),
            Wait::Exact(number) => Act::Exact(gsi(number)),
            Wait::Share(number) => Act::Share(gsi(number)),
            Wait::IntoLine(number) => {
                let is_edited = |gsi: u32| edited.contains(&(gsi as u8));
                let act = Act::IntoLine(number);
                let plan = self.plan(table, &act, &is_edited);
                return plan.or_else(|| self.plan(table, &act, &|gsi| gsi < limit));
            }
        };
        self.plan(table, &act, &|gsi| gsi < limit)
    }
}

fn edited_by(request: &Request) -> Vec<u32> {
    match request {
        Request::Edits(edits) => edits.iter().map(|(gsi, _)| *gsi).collect(),
        Request::Each(edits) => edits.iter().map(|edit| edit.gsi).collect(),
        _ => Vec::new(),
    }
}
