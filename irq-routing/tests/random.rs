// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Random histories of a table, beside a model that is a map.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use irq_routing::{
    GsiLease, IrqChip, MsiMessage, Pin, Pins, Platform, Route, RoutingTable, Wiring,
};
use kvm_test::{Call, Recorder};
use notify_core::{RouteEntry, RouteTarget};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Lease,
    Drop(usize),
    /// Edits, and whether the kernel refuses them.
    Commit(Vec<Edit>, bool),
    Flush(bool),
}

#[derive(Debug, Clone)]
enum Edit {
    Msi(usize, u32),
    LeasedPin(usize, u32),
    Unroute(usize),
    Wire(u32, u32),
    Unwire(u32),
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        4 => (0..8usize, 0..4u32).prop_map(|(lease, data)| Edit::Msi(lease, data)),
        1 => (0..8usize, 0..4u32).prop_map(|(lease, pin)| Edit::LeasedPin(lease, pin)),
        1 => (0..8usize).prop_map(Edit::Unroute),
        2 => (0..4u32, 0..4u32).prop_map(|(gsi, pin)| Edit::Wire(gsi, pin)),
        1 => (0..4u32).prop_map(Edit::Unwire),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => Just(Step::Lease),
        1 => (0..8usize).prop_map(Step::Drop),
        4 => (prop::collection::vec(edit(), 0..6), prop::bool::weighted(0.3))
            .prop_map(|(edits, fail)| Step::Commit(edits, fail)),
        1 => prop::bool::weighted(0.3).prop_map(Step::Flush),
    ]
}

/// The tables that the kernel must have got for these routes, in an order that can be compared.
fn expected(model: &BTreeMap<u32, Route>) -> Vec<String> {
    let entries = model.iter().flat_map(|(gsi, route)| match route {
        Route::Msi(MsiMessage {
            address,
            data,
            devid,
        }) => {
            let (address, data, devid) = (*address, *data, *devid);
            vec![RouteEntry::new(
                *gsi,
                RouteTarget::Msi(MsiMessage {
                    address,
                    data,
                    devid,
                }),
            )]
        }
        Route::Pins(pins) => pins
            .iter()
            .map(|pin| {
                let (chip, pin) = (pin.chip().number(), pin.number());
                RouteEntry::new(*gsi, RouteTarget::Pin { chip, pin })
            })
            .collect(),
        other => panic!("{other:?}"),
    });
    sorted(entries)
}

fn sorted(entries: impl Iterator<Item = RouteEntry>) -> Vec<String> {
    let mut lines: Vec<_> = entries.map(|entry| format!("{entry:?}")).collect();
    lines.sort();
    lines
}

fn both(pin: u32) -> Pins {
    let pins = [IrqChip::PicMaster, IrqChip::IoApic].map(|chip| Pin::new(chip, pin).unwrap());
    Pins::new(pins).unwrap()
}

struct Bench {
    vm: Arc<Recorder>,
    table: RoutingTable,
    leases: Vec<GsiLease>,
    model: BTreeMap<u32, Route>,
    issued: bool,
}

impl Bench {
    fn new() -> Self {
        let vm = Arc::new(Recorder::default());
        let table = RoutingTable::builder(vm.clone())
            .wiring(Wiring::none(Platform::X86))
            .build()
            .unwrap();
        Self {
            vm,
            table,
            leases: Vec::new(),
            model: BTreeMap::new(),
            issued: false,
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Lease => self.leases.push(self.table.lease().unwrap()),
            Step::Drop(index) if index < self.leases.len() => {
                self.model
                    .remove(&self.leases.swap_remove(index).gsi().number());
            }
            Step::Drop(_) => {}
            Step::Commit(edits, fail) => self.commit(&edits, fail),
            Step::Flush(fail) => {
                if fail {
                    self.vm.fail_after(0, 12);
                }
                let result = self.table.flush();
                self.check(result.is_ok());
            }
        }
    }

    fn commit(&mut self, edits: &[Edit], fail: bool) {
        let mut transaction = self.table.transaction();
        let mut model = self.model.clone();
        for edit in edits {
            let lease = |index: usize| self.leases.get(index);
            match *edit {
                Edit::Msi(index, data) => {
                    let Some(lease) = lease(index) else { continue };
                    let message = MsiMessage::new(0xfee0_0000, data);
                    transaction.route(lease, message);
                    model.insert(lease.gsi().number(), message.into());
                }
                Edit::LeasedPin(index, pin) => {
                    let Some(lease) = lease(index) else { continue };
                    transaction.route(lease, both(pin));
                    model.insert(lease.gsi().number(), both(pin).into());
                }
                Edit::Unroute(index) => {
                    let Some(lease) = lease(index) else { continue };
                    transaction.unroute(lease);
                    model.remove(&lease.gsi().number());
                }
                Edit::Wire(gsi, pin) => {
                    transaction.wire(self.table.gsi(gsi).unwrap(), both(pin));
                    model.insert(gsi, both(pin).into());
                }
                Edit::Unwire(gsi) => {
                    transaction.unwire(self.table.gsi(gsi).unwrap());
                    model.remove(&gsi);
                }
            }
        }
        if fail {
            self.vm.fail_after(0, 22);
        }
        match transaction.commit() {
            Ok(()) => {
                self.model = model;
                self.check(true);
            }
            Err(_) => self.check(false),
        }
    }

    /// The table agrees with the model, and so does the last table that the kernel took.
    fn check(&mut self, taken: bool) {
        let routes: BTreeMap<_, _> = self.table.routes().into_iter().collect();
        let routes: BTreeMap<_, _> = routes.iter().map(|(gsi, r)| (gsi.number(), *r)).collect();
        assert_eq!(routes, self.model);
        let calls = self.vm.take();
        assert!(calls.len() <= 1, "one ioctl at most");
        if let Some(Call::Routes(entries)) = calls.into_iter().next() {
            let given = sorted(entries.into_iter());
            if taken {
                assert_eq!(given, expected(&self.model));
                self.issued = true;
            }
        } else {
            assert!(taken, "only the kernel refuses here");
        }
        if !taken {
            // Whatever table the kernel has, the next one is complete and right again.
            self.table.recommit().unwrap();
            let Some(Call::Routes(entries)) = self.vm.take().pop() else {
                panic!("recommit always issues");
            };
            assert_eq!(sorted(entries.into_iter()), expected(&self.model));
        }
    }
}

proptest! {
    #[test]
    fn the_kernel_is_given_what_the_model_has(steps in prop::collection::vec(step(), 1..60)) {
        let mut bench = Bench::new();
        for step in steps {
            bench.step(step);
        }
    }
}
