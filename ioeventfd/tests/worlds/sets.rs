// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! All sets of a few doorbells: the planner accepts those without a conflict, and then the kernel's
//! bus and the matcher of exits find for each write the doorbell that it rings.

use std::sync::Arc;

use ioeventfd::{DoorbellRegistry, DoorbellSet, Error};
use notify_core::{Bus, EventNotifier};
use notify_sim::SimVm;

use crate::world::{Place, Window, Write, conflict, rings};

/// In which orders the doorbells of a set are registered.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Orders {
    /// All.
    Every,
    /// Each above the one before, or at its address.
    Upwards,
    /// Each below the one before, or at its address.
    Downwards,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    /// Sequences of doorbells whose last one the planner accepts, and refuses.
    accepted: u64,
    refused: u64,
    /// Writes to the accepted ones, and those of them that rang.
    writes: u64,
    rung: u64,
}

struct World {
    window: Window,
    orders: Orders,
    vm: Arc<SimVm>,
    /// Devices, which take turns.
    sets: Vec<DoorbellSet>,
    /// A set of another VM, which never has a doorbell.
    empty: DoorbellSet,
    notifiers: Vec<Arc<EventNotifier>>,
    places: Vec<Place>,
    conflicts: Vec<Vec<bool>>,
    writes: Vec<Write>,
    /// The writes that ring each place.
    rings: Vec<Vec<bool>>,
    counts: Counts,
}

impl World {
    fn new(shape: Shape) -> Self {
        let Shape {
            window,
            most,
            orders,
            devices,
        } = shape;
        let vm = Arc::new(SimVm::builder().build());
        let registry = DoorbellRegistry::new(vm.clone(), &[]);
        let other = Arc::new(SimVm::builder().build());
        let (places, writes) = (window.places(), window.writes());
        let with_all = |one| places.iter().map(|other| conflict(one, *other)).collect();
        let by_all = |place| writes.iter().map(|write| rings(place, write)).collect();
        Self {
            window,
            orders,
            vm,
            sets: (0..devices).map(|_| DoorbellSet::new(&registry)).collect(),
            empty: DoorbellSet::new(&DoorbellRegistry::new(other, &[])),
            notifiers: (0..most).map(|_| notifier()).collect(),
            conflicts: places.iter().copied().map(with_all).collect(),
            rings: places.iter().copied().map(by_all).collect(),
            places,
            writes,
            counts: Counts::default(),
        }
    }

    /// Adds each doorbell to those that there are, and then others to these.
    fn extend(&mut self, there: &mut Vec<usize>) {
        if there.len() == self.notifiers.len() {
            return;
        }
        let candidates = match (self.orders, there.last()) {
            (Orders::Upwards, Some(last)) => *last..self.places.len(),
            (Orders::Downwards, Some(last)) => 0..*last + 1,
            _ => 0..self.places.len(),
        };
        for new in candidates {
            let conflicts = there.iter().any(|old| self.conflicts[new][*old]);
            there.push(new);
            if self.change(there, conflicts) {
                self.write_all(there);
                self.extend(there);
                there.pop();
                assert!(self.change(there, false));
            } else {
                there.pop();
            }
        }
    }

    /// Gives the devices these doorbells, if the planner accepts them.
    fn change(&mut self, wanted: &[usize], conflict: bool) -> bool {
        let of_place = |(key, place): (usize, &usize)| {
            let place = self.places[*place];
            self.window.doorbell(key, place, &self.notifiers[key])
        };
        let bells: Vec<_> = wanted.iter().enumerate().map(of_place).collect();
        let names = || format!("{bells:?}");
        let at_once = self.empty.plan(bells.iter().cloned());
        assert_eq!(at_once.is_err(), conflict, "all at once: {}", names());
        for (device, set) in self.sets.iter().enumerate() {
            let own = bells.iter().skip(device).step_by(self.sets.len());
            match set.plan(own.cloned()) {
                Ok(plan) => {
                    let epoch = set.apply(plan).unwrap();
                    set.vcpus_passed(epoch).unwrap();
                }
                Err(Error::Conflict { .. }) => {
                    assert!(conflict, "refused: {}", names());
                    self.counts.refused += 1;
                    return false;
                }
                Err(other) => panic!("{other}: {}", names()),
            }
        }
        assert!(!conflict, "accepted: {}", names());
        true
    }

    fn write_all(&mut self, there: &[usize]) {
        let names = || there.iter().map(|place| self.places[*place]);
        let names = || format!("{:?}", names().collect::<Vec<_>>());
        self.counts.accepted += 1;
        self.counts.writes += self.writes.len() as u64;
        for (index, write) in self.writes.iter().enumerate() {
            let rung = |place: &usize| self.rings[*place][index];
            let expected = there.iter().position(rung);
            let address = self.window.address(write.offset);
            let sets = self.sets.iter();
            let mut keys = sets.filter_map(|set| set.key_of_write(address, &write.bytes));
            let found = keys.next().map(|key| key as usize);
            assert_eq!(found, expected, "{write:?} {}", names());
            assert_eq!(keys.next(), None, "{write:?} {}", names());
            let taken = self.window.kernel_takes(&self.vm, write);
            assert_eq!(taken, expected.is_some(), "{write:?} {}", names());
            let Some(key) = expected else { continue };
            self.counts.rung += 1;
            assert_eq!(kicks(&self.notifiers[key]), 1, "{write:?} {}", names());
        }
        let left = self.notifiers.iter().map(|one| kicks(one)).sum::<u64>();
        assert_eq!(left, 0, "{}", names());
    }
}

fn notifier() -> Arc<EventNotifier> {
    Arc::new(EventNotifier::new().unwrap())
}

fn kicks(notifier: &EventNotifier) -> u64 {
    notifier.consume().unwrap().map_or(0, u64::from)
}

/// A world: sets of up to `most` doorbells in a window.
struct Shape {
    window: Window,
    most: usize,
    orders: Orders,
    devices: usize,
}

/// Goes through the whole world. The counts show that it did not shrink.
#[track_caller]
fn all(shape: Shape, [accepted, refused, writes, rung]: [u64; 4]) {
    let window = shape.window;
    let mut world = World::new(shape);
    world.extend(&mut Vec::new());
    let expected = Counts {
        accepted,
        refused,
        writes,
        rung,
    };
    assert_eq!(world.counts, expected);
    assert!(world.sets.iter().all(|set| set.doorbells().is_empty()));
    let mut writes = world.writes.iter();
    assert!(!writes.any(|write| window.kernel_takes(&world.vm, write)));
}

/// Doorbells of `devices` devices in `size` bytes, in every order of registration.
fn mmio(size: u64, values: bool, most: usize, devices: usize) -> Shape {
    let bus = Bus::Mmio;
    Shape {
        window: Window { bus, size, values },
        most,
        orders: Orders::Every,
        devices,
    }
}

#[test]
fn two_in_16_bytes() {
    all(mmio(16, true, 2, 1), [21_953, 8_847, 6_322_464, 133_947]);
}

#[test]
fn three_of_two_devices_in_8_bytes() {
    all(mmio(8, false, 3, 2), [7_493, 8_863, 1_198_880, 150_811]);
}

#[test]
fn four_in_4_bytes() {
    all(mmio(4, false, 4, 1), [608, 3_244, 58_368, 14_076]);
    for orders in [Orders::Upwards, Orders::Downwards] {
        let shape = Shape {
            orders,
            ..mmio(4, true, 4, 2)
        };
        let refused = if orders == Orders::Upwards {
            4_603
        } else {
            3_928
        };
        all(shape, [1_966, refused, 188_736, 16_598]);
    }
}

#[test]
fn three_of_two_devices_at_4_ports() {
    let mut shape = mmio(4, true, 3, 2);
    shape.window.bus = Bus::Pio;
    all(shape, [4_574, 8_278, 246_996, 29_548]);
}

#[test]
#[ignore = "takes minutes, in release"]
fn three_in_16_bytes() {
    let expected = [2_140_631, 1_701_319, 616_501_728, 19_693_779];
    all(mmio(16, true, 3, 1), expected);
}

#[test]
#[ignore = "takes minutes, in release"]
fn four_in_16_bytes_upwards() {
    let expected = [7_488_662, 5_326_314, 2_156_734_656, 90_121_788];
    let orders = Orders::Upwards;
    let shape = mmio(16, true, 4, 1);
    all(Shape { orders, ..shape }, expected);
}

#[test]
#[ignore = "takes minutes, in release"]
fn four_in_16_bytes_downwards() {
    let expected = [7_488_662, 6_573_986, 2_156_734_656, 90_121_788];
    let orders = Orders::Downwards;
    let shape = mmio(16, true, 4, 1);
    all(Shape { orders, ..shape }, expected);
}
