// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! All sets of independent edits of four leases, and refusals of each subset of the ioctls that the
//! search for the refused edits makes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use irq_routing::{EditOutcome, GsiLease, MessageEdit, RoutingTable};

use crate::kernel::{Kernel, LIMIT, Routes, entries};
use crate::step::Target;

/// One for all four edits, one for each half, one for each edit.
const MOST_IOCTLS: u32 = 7;

/// The message of each lease: none, the first or the second.
type Messages = [Option<u32>; LIMIT as usize];

/// All ways to give each lease one of so many messages, or none.
fn messages(count: u32) -> impl Iterator<Item = Messages> {
    let choices = count + 1;
    let of_number = move |number: u32| {
        let choice = |gsi| number / choices.pow(gsi) % choices;
        [0, 1, 2, 3].map(|gsi| choice(gsi).checked_sub(1).map(|index| index + 1))
    };
    (0..choices.pow(LIMIT)).map(of_number)
}

struct Bench {
    kernel: Arc<Mutex<Kernel>>,
    table: RoutingTable,
    leases: Vec<GsiLease>,
}

impl Bench {
    fn new(before: Messages) -> Self {
        let (kernel, table) = Kernel::table();
        let leases: Vec<_> = (0..LIMIT).map(|_| table.lease().unwrap()).collect();
        let mut transaction = table.transaction();
        for (lease, message) in leases.iter().zip(before) {
            if let Some(message) = message {
                transaction.route(lease, Target::Message(message).route());
            }
        }
        transaction.commit().unwrap();
        kernel.lock().unwrap().ioctls = 0;
        Self {
            kernel,
            table,
            leases,
        }
    }

    /// Commits edits, of two owners or of one. Returns the outcome of each.
    fn commit(&self, edits: Messages, owners: u64) -> Vec<(u32, u32, EditOutcome)> {
        let mut staged: Vec<(u32, u32)> = Vec::new();
        let mut all: Vec<MessageEdit> = Vec::new();
        for (lease, message) in self.leases.iter().zip(edits) {
            if let Some(message) = message {
                let irq_routing::Route::Msi(new) = Target::Message(message).route() else {
                    panic!("a message");
                };
                let gsi = lease.gsi().number();
                all.push(lease.edit(new).owned_by(u64::from(gsi) % owners));
                staged.push((gsi, message));
            }
        }
        let mut outcomes = Vec::new();
        self.table
            .commit_each(all, |index, outcome| outcomes.push((index, outcome)));
        outcomes.sort_by_key(|(index, _)| *index);
        let order: Vec<_> = outcomes.iter().map(|(index, _)| *index).collect();
        assert_eq!(order, (0..staged.len()).collect::<Vec<_>>());
        let outcomes = outcomes.into_iter().map(|(_, outcome)| outcome);
        staged
            .into_iter()
            .zip(outcomes)
            .map(|((gsi, new), one)| (gsi, new, one))
            .collect()
    }

    /// The leases whose edits were committed have the new messages, the others the old ones, in the
    /// table and in the kernel. Returns how many ioctls there were.
    fn check(&self, before: Messages, outcomes: &[(u32, u32, EditOutcome)]) -> u32 {
        let mut expected: Messages = before;
        for (gsi, message, outcome) in outcomes {
            if *outcome == EditOutcome::Committed {
                expected[*gsi as usize] = Some(*message);
            }
        }
        let with_route = (0..).zip(expected);
        let routes: Routes = with_route
            .filter_map(|(gsi, message)| Some((gsi, Target::Message(message?).route())))
            .collect();
        let found = self.table.routes();
        let found: Routes = found
            .iter()
            .map(|(gsi, one)| (gsi.number(), *one))
            .collect();
        assert_eq!(found, routes, "{before:?} {outcomes:?}");
        let mut kernel = self.kernel.lock().unwrap();
        let buffer = Some(entries(&routes));
        assert_eq!(kernel.buffer, buffer, "{before:?} {outcomes:?}");
        kernel.refusals = 0;
        std::mem::take(&mut kernel.ioctls)
    }
}

/// The next subset of the ioctls that is refused, if the last one was this, with so many ioctls.
/// Each refusal may cause other ioctls, so the subsets are a tree, which is walked depth first.
fn next_refusals(refusals: u64, ioctls: u32) -> Option<u64> {
    let last_taken = (0..ioctls).rev().find(|bit| refusals >> bit & 1 == 0)?;
    let before = refusals & ((1 << last_taken) - 1);
    Some(before | 1 << last_taken)
}

#[test]
fn each_edit_is_committed_or_has_no_effect_whichever_ioctls_are_refused() {
    let mut counts = BTreeMap::new();
    for before in messages(1) {
        for (edits, owners) in messages(2).flat_map(|edits| [1, 2].map(|owners| (edits, owners))) {
            let mut next = Some(0);
            while let Some(refusals) = next {
                let bench = Bench::new(before);
                {
                    let mut kernel = bench.kernel.lock().unwrap();
                    (kernel.refusals, kernel.errno) = (refusals, 22);
                }
                let outcomes = bench.commit(edits, owners);
                let ioctls = bench.check(before, &outcomes);
                for (_, _, outcome) in &outcomes {
                    *counts.entry(name(outcome)).or_insert(0) += 1;
                }
                *counts.entry("subsets").or_insert(0) += 1;
                // What failed can be tried again.
                let again = bench.commit(edits, owners);
                let all = again
                    .iter()
                    .all(|(_, _, one)| *one == EditOutcome::Committed);
                assert!(all, "{again:?}");
                bench.check(before, &again);
                assert!(ioctls <= MOST_IOCTLS, "{ioctls}: {before:?} {edits:?}");
                next = next_refusals(refusals, ioctls);
            }
        }
    }
    let expected = [
        ("committed", 45_192),
        ("failed", 20_736),
        ("subsets", 20_430),
    ];
    assert_eq!(counts, BTreeMap::from(expected));
}

fn name(outcome: &EditOutcome) -> &'static str {
    match outcome {
        EditOutcome::Committed => "committed",
        EditOutcome::Failed(_) => "failed",
        EditOutcome::NotTried => "not tried",
        other => panic!("{other:?}"),
    }
}

/// Each edit to the second message is refused, and no other.
#[test]
fn exactly_the_refused_edits_fail() {
    let mut failed = 0;
    for before in messages(1) {
        for (edits, owners) in messages(2).flat_map(|edits| [1, 2].map(|owners| (edits, owners))) {
            let bench = Bench::new(before);
            bench.kernel.lock().unwrap().refused_data = Some(2);
            let outcomes = bench.commit(edits, owners);
            bench.check(before, &outcomes);
            for (_, message, outcome) in &outcomes {
                let expected = *message != 2;
                assert_eq!(*outcome == EditOutcome::Committed, expected, "{outcomes:?}");
                failed += u32::from(!expected);
            }
        }
    }
    assert_eq!(failed, 3456);
}
