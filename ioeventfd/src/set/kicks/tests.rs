// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Kicks that a change overtakes, and what a set remembers for them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use notify_core::EventNotifier;
use notify_sim::SimVm;

use super::Handover;
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
