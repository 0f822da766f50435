// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! All pairs of doorbells, registered one by one without a planner: which of them the bus cannot
//! have together.

use std::collections::BTreeMap;
use std::sync::Arc;

use ioeventfd::{Datamatch, Error, IoEventFd, Width};
use notify_core::{Bus, EventNotifier, Vm};
use notify_sim::SimVm;

use crate::world::{Place, Window, Write, bytes, conflict, rings};

/// What the bus does with two doorbells, whichever is registered first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    /// It finds both, whatever else is registered below and above them.
    Found,
    /// It misses one of them, depending on the order and on what else is registered.
    Missed,
    /// It does not take the second one.
    Refused,
}

/// Others that are registered below and above the window, at most.
const OTHERS: u64 = 2;

struct Bench {
    window: Window,
    vm: Arc<SimVm>,
    notifiers: [Arc<EventNotifier>; 2],
    writes: Vec<Write>,
}

impl Bench {
    fn register(&self, place: Place, notifier: &Arc<EventNotifier>) -> Result<IoEventFd, Error> {
        let address = self.window.address(place.0);
        let builder = IoEventFd::builder(self.vm.clone() as Arc<dyn Vm>, address, place.1);
        Ok(builder.notifier(Arc::clone(notifier)).assign()?)
    }

    fn in_this_order(&self, both: [Place; 2]) -> Fate {
        let first = self.register(both[0], &self.notifiers[0]).unwrap();
        let second = match self.register(both[1], &self.notifiers[1]) {
            Ok(second) => second,
            Err(Error::Taken { .. }) => return Fate::Refused,
            Err(other) => panic!("{other}"),
        };
        let mut fate = Fate::Found;
        let there = both.map(|place| place.0);
        let aimed = self.writes.iter();
        for write in aimed.filter(|write| there.contains(&write.offset)) {
            let wanted = both.map(|place| rings(place, write));
            assert_ne!(wanted, [true; 2], "{both:?} {write:?}");
            if wanted.contains(&true) {
                self.window.kernel_takes(&self.vm, write);
                let rung = |one: &EventNotifier| one.consume().unwrap().is_some();
                if [0, 1].map(|index| rung(&self.notifiers[index])) != wanted {
                    fate = Fate::Missed;
                }
            }
        }
        drop((first, second));
        fate
    }

    fn fate(&self, both: [Place; 2]) -> Fate {
        let [one, other] = both;
        let orders = [[one, other], [other, one]].map(|order| self.in_this_order(order));
        let [fate, reversed] = orders;
        assert_eq!(fate == Fate::Refused, reversed == Fate::Refused, "{both:?}");
        fate.max(reversed)
    }
}

/// Whether each has bytes that the other does not have.
fn cross(one: Place, other: Place) -> bool {
    let (one, other) = (bytes(one), bytes(other));
    let (low, high) = if one.start < other.start {
        (one, other)
    } else {
        (other, one)
    };
    low.start < high.start && high.start < low.end && low.end < high.end
}

/// A conflict that the bus copes with is one of two that cross, and of no others.
#[test]
fn a_pair_is_a_conflict_if_the_bus_misses_one_or_they_cross() {
    let window = Window {
        bus: Bus::Mmio,
        size: 16,
        values: false,
    };
    let places = window.places();
    let mut fates = vec![vec![Fate::Found; places.len()]; places.len()];
    let filler = Arc::new(EventNotifier::new().unwrap());
    for (below, above) in (0..=OTHERS).flat_map(|n| (0..=OTHERS).map(move |m| (n, m))) {
        let bench = Bench {
            window,
            vm: Arc::new(SimVm::builder().build()),
            notifiers: [(); 2].map(|()| Arc::new(EventNotifier::new().unwrap())),
            writes: window.writes(),
        };
        let below = (1..=below).map(|n| (0x10 * n).wrapping_neg());
        let above = (1..=above).map(|n| 0x10 * n);
        let register = |offset| {
            let place = (offset, Datamatch::Width(Width::W1));
            bench.register(place, &filler).unwrap()
        };
        let others: Vec<_> = below.chain(above).map(register).collect();
        for (one, row) in fates.iter_mut().enumerate() {
            for (other, fate) in row.iter_mut().enumerate().skip(one) {
                *fate = bench.fate([places[one], places[other]]).max(*fate);
            }
        }
        drop(others);
    }
    let mut counts = BTreeMap::new();
    for (one, row) in fates.iter().enumerate() {
        for (other, fate) in row.iter().enumerate().skip(one) {
            let (one, other) = (places[one], places[other]);
            let crossing = cross(one, other);
            let expected = *fate != Fate::Found || crossing;
            assert_eq!(
                conflict(one, other),
                expected,
                "{one:?} {other:?}: {fate:?}"
            );
            *counts.entry((*fate, crossing)).or_insert(0) += 1;
        }
    }
    let expected = [
        ((Fate::Found, false), 1730),
        ((Fate::Found, true), 164),
        ((Fate::Missed, false), 399),
        ((Fate::Refused, false), 122),
    ];
    assert_eq!(counts, BTreeMap::from(expected));
}
