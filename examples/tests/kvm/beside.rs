// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A few doorbells within a few bytes, after an undo and in the kernel. Each one that the planner
//! accepts must be rung by its own write, as the matcher predicts. More of them in every order:
//! `ioeventfd/tests/worlds`.

use std::sync::Arc;

use ioeventfd::{Datamatch, Doorbell, DoorbellRegistry, DoorbellSet, IoAddress, Width};
use kvm_test::{Trial, anywhere};
use notify_core::{Bus, EventNotifier, Vm};
use notify_sim::{CallKind, SimVm};

use crate::bus::{Place, aimed};

pub(crate) fn trials() -> Vec<Trial> {
    #[cfg_attr(
        not(target_arch = "x86_64"),
        allow(unused_mut, reason = "one more on x86")
    )]
    let mut trials = vec![anywhere("doorbells_ring_after_an_undo", undone)];
    #[cfg(target_arch = "x86_64")]
    trials.push(kvm_test::kvm_x86(
        "two_doorbells_in_every_order_ring_in_the_kernel",
        real::two,
    ));
    trials
}

const MMIO: u64 = 0xd000_0000;

/// All places within a few bytes.
fn places(bus: Bus, base: u64, datamatches: &[Datamatch]) -> Vec<Place> {
    let at = |number: u64| match bus {
        Bus::Mmio => IoAddress::Mmio(number),
        _ => IoAddress::Pio(u16::try_from(number).unwrap()),
    };
    let offsets = 0..5;
    offsets
        .flat_map(|offset| {
            let address = at(base + offset);
            datamatches
                .iter()
                .map(move |datamatch| (address, *datamatch))
        })
        .collect()
}

const WIDTHS: [Datamatch; 4] = [
    Datamatch::AnyWrite,
    Datamatch::Width(Width::W1),
    Datamatch::Width(Width::W2),
    Datamatch::Width(Width::W4),
];

/// Two devices of one VM.
struct World {
    registry: DoorbellRegistry,
    sets: [DoorbellSet; 2],
    notifiers: Vec<Arc<EventNotifier>>,
    there: Vec<Place>,
}

impl World {
    fn new(vm: Arc<dyn Vm>, notifiers: &[Arc<EventNotifier>]) -> Self {
        let registry = DoorbellRegistry::new(vm, &[]);
        Self {
            sets: [(); 2].map(|()| DoorbellSet::new(&registry)),
            registry,
            notifiers: notifiers.to_vec(),
            there: Vec::new(),
        }
    }

    /// Adds one doorbell, if the planner accepts it. The devices take turns.
    fn add(&mut self, place: Place) {
        let index = self.there.len();
        let set = &self.sets[index % 2];
        let mut wanted = set.doorbells();
        let notifier = Arc::clone(&self.notifiers[index]);
        wanted.push(Doorbell::new(index as u64, place.0, place.1, notifier));
        if let Ok(plan) = set.plan(wanted) {
            set.apply(plan).unwrap();
            self.there.push(place);
        }
    }

    /// Each must be rung by its own write. `write` returns whether the write exited.
    fn expect_all_ring(&self, mut write: impl FnMut(&Place) -> bool) {
        for (index, place) in self.there.iter().enumerate() {
            assert!(!write(place), "{place:?} is deaf among {:?}", self.there);
            let aimed = aimed(place);
            let keys = self.sets.iter();
            let mut keys = keys.filter_map(|set| set.key_of_write(aimed.address, &aimed.bytes));
            assert_eq!(keys.next(), Some(index as u64), "{:?}", self.there);
            for (other, notifier) in self.notifiers.iter().enumerate() {
                let kicks = notifier.consume().unwrap().map_or(0, u64::from);
                assert_eq!(kicks, u64::from(other == index), "{:?}", self.there);
            }
        }
    }
}

fn notifiers() -> Vec<Arc<EventNotifier>> {
    (0..3)
        .map(|_| Arc::new(EventNotifier::new().unwrap()))
        .collect()
}

fn exits(vm: &SimVm, place: &Place) -> bool {
    let write = aimed(place);
    let (bus, number) = (write.address.bus(), write.address.number());
    !vm.guest_write(bus, number, &write.bytes).exits.is_empty()
}

/// Each ioctl of a change fails in turn. The earlier doorbells must ring as before.
fn undone() {
    let notifiers = notifiers();
    let places = places(Bus::Mmio, MMIO, &WIDTHS);
    let mut failed = 0;
    for first in &places {
        for second in &places {
            for new in [None].into_iter().chain(places.iter().map(Some)) {
                let vm = Arc::new(SimVm::builder().build());
                let mut world = World::new(vm.clone(), &notifiers);
                // Both are of one device, which changes.
                world.sets.swap(0, 1);
                let set = DoorbellSet::new(&world.registry);
                let bell = |key: usize, place: &Place| {
                    let notifier = Arc::clone(&notifiers[key]);
                    Doorbell::new(key as u64, place.0, place.1, notifier)
                };
                let before = [bell(0, first), bell(1, second)];
                let Ok(plan) = set.plan(before) else {
                    continue;
                };
                set.apply(plan).unwrap();
                world.sets[0] = set;
                world.there = vec![*first, *second];
                let kinds = [CallKind::IoEventFdAssign, CallKind::IoEventFdDeassign];
                for (kind, nth) in kinds.into_iter().flat_map(|kind| [(kind, 1), (kind, 2)]) {
                    let set = &world.sets[0];
                    let after = new.map(|place| bell(2, place));
                    vm.fail(kind, nth, 12);
                    let changed = set.apply(set.plan(after).unwrap());
                    vm.clear_faults();
                    match changed {
                        Err(_) => failed += 1,
                        Ok(_) => {
                            drop(set.apply(set.plan([bell(0, first), bell(1, second)]).unwrap()))
                        }
                    }
                    for notifier in &notifiers {
                        notifier.consume().unwrap();
                    }
                    world.expect_all_ring(|place| exits(&vm, place));
                }
            }
        }
    }
    assert!(failed > 1000, "{failed}");
}

#[cfg(target_arch = "x86_64")]
mod real {
    //! The same on the kernel's bus. Nothing is deregistered, as that takes milliseconds after a
    //! registration. So the doorbells of each set are beside those of the sets before, and the bus
    //! grows.

    use notify_core::KvmVm;
    use tiny_guest::Machine;

    use super::*;
    use crate::bus::real::Guest;

    const PORT: u64 = 0xc000;
    const APART: u64 = 0x10;

    pub(super) fn two() {
        let (machine, mut vcpus) = Machine::builder().build().unwrap();
        let vcpu = &mut vcpus[0];
        let guest = Guest::load(&machine, vcpu);
        let kvm = Arc::new(KvmVm::try_from(machine.vm()).unwrap());
        let notifiers = notifiers();
        let mut worlds = Vec::new();
        for (bus, start) in [(Bus::Mmio, MMIO), (Bus::Pio, PORT)] {
            let mut base = start;
            let count = places(bus, start, &WIDTHS).len();
            for (first, second) in (0..count).flat_map(|one| (0..count).map(move |two| (one, two)))
            {
                let places = places(bus, base, &WIDTHS);
                let mut world = World::new(kvm.clone(), &notifiers);
                for index in [first, second] {
                    world.add(places[index]);
                }
                world.expect_all_ring(|place| !guest.write(vcpu, &aimed(place)).is_empty());
                worlds.push(world);
                base += APART;
            }
        }
        assert!(worlds.iter().filter(|world| world.there.len() == 2).count() > 100);
        // Closing the VM removes the doorbells.
        kvm.retire();
    }
}
