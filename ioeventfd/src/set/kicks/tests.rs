// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Kicks that a change overtakes, and what a set remembers for them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use notify_core::EventNotifier;
use notify_sim::SimVm;

use super::replaced::ReplacedNotifiers;
use super::{ExitTable, Handover, Matcher, Target};
use crate::bus::Place;
use crate::{Datamatch, Doorbell, DoorbellRegistry, DoorbellSet, IoAddress, Width};

const ADDRESSES: [IoAddress; 2] = [IoAddress::Mmio(0xd000_0000), IoAddress::Mmio(0xd000_0004)];

fn notifiers() -> [Arc<EventNotifier>; 3] {
    [(); 3].map(|()| Arc::new(EventNotifier::new().unwrap()))
}

fn set() -> DoorbellSet {
    DoorbellSet::new(&DoorbellRegistry::new(
        Arc::new(SimVm::builder().build()),
        &[],
    ))
}

/// Two queues, which signal these.
fn have(set: &DoorbellSet, these: [&Arc<EventNotifier>; 2]) {
    let bell = |key: usize| {
        let datamatch = Datamatch::Width(Width::W2);
        Doorbell::new(
            key as u64,
            ADDRESSES[key],
            datamatch,
            Arc::clone(these[key]),
        )
    };
    set.apply(set.plan([bell(0), bell(1)]).unwrap()).unwrap();
}

fn pending(all: &[Arc<EventNotifier>]) -> Vec<u64> {
    let count = |one: &Arc<EventNotifier>| one.consume().unwrap().map_or(0, u64::from);
    all.iter().map(count).collect()
}

/// Both queues have one notifier. A change that gives each its own overtakes a kick of either; then
/// the kicks come, and the thread of one takes both.
#[test]
fn kicks_of_two_queues_in_one_replaced_notifier_come_to_both() {
    let (set, all) = (set(), notifiers());
    have(&set, [&all[0]; 2]);
    let kicks = ADDRESSES.map(|at| set.due(at, &[0; 2]).unwrap());
    have(&set, [&all[1], &all[2]]);
    kicks.iter().for_each(|due| due.notifier.notify().unwrap());
    kicks.iter().for_each(|due| set.follow(due));
    assert_eq!(pending(&all), [0, 2, 2]);
}

/// The first change hands one queue's kicks to the notifier of another queue. The second change
/// gives both new ones, and overtakes that hand-over.
#[test]
fn a_hand_over_that_is_moved_on_takes_no_other_queues_kick_with_it() {
    let (set, all) = (set(), notifiers());
    let old = Arc::new(EventNotifier::new().unwrap());
    have(&set, [&old, &all[0]]);
    let kick = set.due(ADDRESSES[1], &[0; 2]).unwrap();
    have(&set, [&all[0]; 2]);
    let seen = set.exits().handovers;
    have(&set, [&all[1], &all[2]]);
    kick.notifier.notify().unwrap();
    old.notify().unwrap();
    let (from, to) = (Arc::clone(&old), Arc::clone(&all[0]));
    set.hand_over(vec![Handover { key: 0, from, to }], seen);
    set.follow(&kick);
    assert_eq!(pending(&all), [0, 2, 2]);
}

#[test]
fn replaced_notifiers_are_remembered_as_long_as_they_are_open() {
    let (set, all) = (set(), notifiers());
    let remembered = |set: &DoorbellSet| set.exits().replaced.len();
    for turn in 0..100 {
        let fresh = Arc::new(EventNotifier::new().unwrap());
        have(&set, [&all[turn % 3], &fresh]);
        drop(fresh);
        let now = set.lock().left.now();
        set.vcpus_passed(now).unwrap();
    }
    // Three of the one queue, which are still open, and the latest two of the other.
    assert!(remembered(&set) <= 5, "{}", remembered(&set));
}

/// A doorbell of this key at one of eight places.
fn target(place: u64, key: u64, notifier: &Arc<EventNotifier>, rank: u64) -> Target {
    let address = IoAddress::Mmio(0xd000_0000 + place * 4);
    Target {
        place: Place::new(address, Datamatch::Width(Width::W2)),
        key,
        notifier: Arc::clone(notifier),
        rank,
    }
}

/// The keys that move after a kick of `sent`, and to which of these notifiers.
fn moved(
    all: &[Arc<EventNotifier>],
    targets: &[Target],
    replaced: &[(u64, usize)],
    sent: (u64, usize),
) -> Vec<(u64, usize)> {
    let handover = |&(key, from): &(u64, usize)| Handover {
        key,
        from: Arc::clone(&all[from]),
        to: Arc::clone(&all[2]),
    };
    let replaced: Vec<_> = replaced.iter().map(handover).collect();
    let table = ExitTable {
        matcher: Matcher::new(targets.to_vec()),
        handovers: 1,
        replaced: Arc::new(ReplacedNotifiers::default().and(&replaced)),
    };
    let (key, from) = sent;
    let moves = table.moves([(key, &all[from])].into_iter());
    assert!(moves.iter().all(|one| Arc::ptr_eq(&one.from, &all[from])));
    let to = |one: &Handover| all.iter().position(|other| Arc::ptr_eq(other, &one.to));
    let mut moved: Vec<_> = moves
        .iter()
        .map(|one| (one.key, to(one).unwrap()))
        .collect();
    moved.sort_unstable();
    moved
}

#[test]
fn nothing_moves_from_a_notifier_that_is_in_use() {
    let all = notifiers();
    let targets = [
        target(0, 1, &all[0], Target::CURRENT),
        target(1, 2, &all[1], Target::CURRENT),
    ];
    assert_eq!(moved(&all, &targets, &[(2, 0)], (1, 0)), []);
}

/// A place that was left still signals it, so the key of that place stays, and the other one moves.
#[test]
fn what_a_place_that_was_left_signals_stays_there() {
    let all = notifiers();
    let targets = [
        target(0, 1, &all[0], 5),
        target(1, 2, &all[1], Target::CURRENT),
    ];
    assert_eq!(moved(&all, &targets, &[(2, 0)], (1, 0)), [(2, 1)]);
}

#[test]
fn kicks_move_to_the_latest_notifier_of_their_key() {
    let all = notifiers();
    for [first, second] in [[5, Target::CURRENT], [Target::CURRENT, 5]] {
        let latest = usize::from(second == Target::CURRENT);
        let to = [&all[1], &all[2]];
        let targets = [target(0, 7, to[0], first), target(1, 7, to[1], second)];
        let expected = [(7, 1 + latest)];
        assert_eq!(moved(&all, &targets, &[(7, 0)], (7, 0)), expected);
    }
}

#[test]
fn the_keys_of_each_replaced_notifier_are_remembered_as_long_as_it_is_there() {
    let [one, other, to] = notifiers();
    let of = |key, from: &Arc<EventNotifier>| Handover {
        key,
        from: Arc::clone(from),
        to: Arc::clone(&to),
    };
    let replaced = ReplacedNotifiers::default().and(&[of(3, &one), of(4, &other), of(5, &one)]);
    let replaced = replaced.and(&[of(6, &other)]);
    let keys = |of: &Arc<EventNotifier>| replaced.keys(of).collect::<Vec<_>>();
    assert_eq!((keys(&one), keys(&other)), (vec![3, 5], vec![4, 6]));
    assert!(keys(&to).is_empty());
    drop(one);
    assert_eq!(replaced.and(&[]).len(), 2);
}
