// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! All claims of two devices of one VM: the second device gets its doorbells exactly if the first
//! one has none that conflicts, or has given them up.

use std::sync::Arc;

use ioeventfd::{DoorbellRegistry, DoorbellSet, Error, IoAddress};
use notify_core::{Bus, EventNotifier};
use notify_sim::{CallKind, SimVm};

use crate::world::{Place, Window, Write, conflict, rings};

struct World {
    window: Window,
    vm: Arc<SimVm>,
    notifiers: [Arc<EventNotifier>; 2],
    writes: Vec<Write>,
}

impl World {
    /// The writes to the window ring these doorbells of the devices, and no others.
    fn expect(&self, devices: [&[Place]; 2]) {
        for write in &self.writes {
            let wanted = devices.map(|places| places.iter().any(|place| rings(*place, write)));
            let taken = self.window.kernel_takes(&self.vm, write);
            assert_eq!(taken, wanted.contains(&true), "{devices:?} {write:?}");
            if taken {
                let kicks = |one: &Arc<EventNotifier>| one.consume().unwrap().map(u64::from);
                let rung = self.notifiers.each_ref().map(|one| kicks(one) == Some(1));
                assert_eq!(rung, wanted, "{devices:?} {write:?}");
            }
        }
    }

    /// Both plan, and then apply. Returns whether the second device got its doorbells at once.
    fn both(&self, one: &[Place], other: &[Place]) -> bool {
        let registry = DoorbellRegistry::new(self.vm.clone(), &[]);
        let sets = [(); 2].map(|()| DoorbellSet::new(&registry));
        let plan = |device: usize, places: &[Place]| {
            let notifier = &self.notifiers[device];
            let bells = places.iter();
            sets[device].plan(bells.map(|place| self.window.doorbell(device, *place, notifier)))
        };
        let (first, second) = (plan(0, one).unwrap(), plan(1, other).unwrap());
        sets[0].apply(first).unwrap();
        let planned_late = plan(1, other).is_ok();
        let accepted = match sets[1].apply(second) {
            Ok(_) => {
                self.expect([one, other]);
                let [first, second] = sets;
                drop(first);
                self.expect([&[], other]);
                drop(second);
                true
            }
            Err(refused) => {
                assert!(matches!(refused.error, Error::Conflict { .. }), "{refused}");
                self.expect([one, &[]]);
                let [first, second] = sets;
                drop(first);
                second.apply(refused.value).unwrap();
                self.expect([&[], other]);
                drop(second);
                false
            }
        };
        assert_eq!(planned_late, accepted, "{one:?} {other:?}");
        // A window of the kernel is not reserved over a claim.
        let start = IoAddress::Mmio(self.window.address(0).number() - 8);
        let device = ioeventfd::Window::new(start, self.window.size + 16, "a device");
        registry.reserve(device).unwrap();
        accepted
    }
}

/// Returns how many pairs of claims were accepted, and how many were refused.
fn all(window: Window, most: usize) -> [u32; 2] {
    let world = World {
        window,
        vm: Arc::new(SimVm::builder().build()),
        notifiers: [(); 2].map(|()| Arc::new(EventNotifier::new().unwrap())),
        writes: window.writes(),
    };
    let places = window.places();
    let mut claims: Vec<_> = places.iter().map(|one| vec![*one]).collect();
    if most > 1 {
        for (index, one) in places.iter().enumerate() {
            let others = places[index + 1..].iter().copied();
            let beside = others.filter(|other| !conflict(*one, *other));
            claims.extend(beside.map(|other| vec![*one, other]));
        }
    }
    let (mut accepted, mut refused) = (0, 0);
    for one in &claims {
        for other in &claims {
            let conflicts = |place: &Place| other.iter().any(|other| conflict(*place, *other));
            let conflicts = one.iter().any(conflicts);
            assert_eq!(world.both(one, other), !conflicts, "{one:?} {other:?}");
            *if conflicts {
                &mut refused
            } else {
                &mut accepted
            } += 1;
        }
    }
    world.expect([&[], &[]]);
    let calls = [CallKind::IoEventFdAssign, CallKind::IoEventFdDeassign];
    let [assigned, deassigned] = calls.map(|kind| world.vm.calls(kind));
    assert_eq!(assigned, deassigned);
    [accepted, refused]
}

const fn window(size: u64, values: bool) -> Window {
    let bus = Bus::Mmio;
    Window { bus, size, values }
}

#[test]
fn devices_with_one_doorbell_in_8_bytes() {
    assert_eq!(all(window(8, true), 1), [3188, 1853]);
}

#[test]
fn devices_with_two_doorbells_in_4_bytes() {
    assert_eq!(all(window(4, false), 2), [380, 2021]);
}

#[test]
#[ignore = "takes minutes, in release"]
fn devices_with_two_doorbells_in_8_bytes() {
    assert_eq!(all(window(8, false), 2), [23_376, 64_240]);
}

#[test]
#[ignore = "takes minutes, in release"]
fn devices_with_one_doorbell_in_16_bytes() {
    assert_eq!(all(window(16, true), 1), [21_778, 8_847]);
}
