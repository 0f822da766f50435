// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Wiring, and lines that are driven exclusively: no other GSI is ever routed to their pins, and
//! nothing else is refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use arbitrary::Arbitrary;
use irq_routing::{DrivenLine, IrqChip, Pin, Platform, RoutingTable, Wiring};
use kvm_test::{Call, Recorder};
use notify_core::RouteTarget;

use crate::History;

const GSIS: u8 = 8;
const PINS: u8 = 6;

/// One operation.
#[derive(Debug, Clone, Arbitrary)]
pub enum Step {
    /// GSI and pin for each edit, and whether the kernel refuses them.
    Commit(Vec<(u8, Option<u8>)>, bool),
    /// Drives the line of a GSI.
    Drive(u8),
    /// Stops driving it.
    Drop(u8),
}

type Wires = BTreeMap<u32, u32>;

fn is_alone(gsi: u32, wires: &Wires) -> bool {
    let pin = wires.get(&gsi);
    let sharers = wires.iter().filter(|wire| Some(wire.1) == pin);
    sharers.count() <= 1
}

/// See the module.
#[derive(Debug)]
pub enum Driven {}

impl History for Driven {
    type Step = Step;

    fn run(steps: &[Step]) {
        let vm = Arc::new(Recorder::default());
        let builder = RoutingTable::builder(vm.clone()).wiring(Wiring::none(Platform::X86));
        let Ok(table) = builder.build() else {
            return;
        };
        let mut wires = Wires::new();
        let mut driven: BTreeMap<u32, DrivenLine> = BTreeMap::new();
        for step in steps {
            match step.clone() {
                Step::Commit(edits, refuse) => {
                    let mut transaction = table.transaction();
                    let mut edited = wires.clone();
                    for (gsi, pin) in edits {
                        let gsi = table.gsi((gsi % GSIS).into()).expect("below the limit");
                        match pin.map(|pin| u32::from(pin % PINS)) {
                            Some(pin) => {
                                let on = Pin::new(IrqChip::IoApic, pin).expect("an IOAPIC has it");
                                transaction.wire(gsi, on);
                                edited.insert(gsi.number(), pin);
                            }
                            None => {
                                transaction.unwire(gsi);
                                edited.remove(&gsi.number());
                            }
                        }
                    }
                    if refuse {
                        vm.fail_after(0, 22);
                    }
                    let fine = |gsi: &u32| edited.contains_key(gsi) && is_alone(*gsi, &edited);
                    let valid = driven.keys().all(fine);
                    let committed = transaction.commit().is_ok();
                    assert!(
                        valid || !committed,
                        "a driven line lost its pin or shares it"
                    );
                    assert!(committed || refuse || !valid, "refused without reason");
                    if committed {
                        wires = edited;
                    }
                    // A refusal that was not used must not affect another call.
                    while table.recommit().is_err() {}
                }
                Step::Drive(gsi) => {
                    let gsi = u32::from(gsi % GSIS);
                    let Ok(line) = table.line(gsi) else {
                        assert!(!wires.contains_key(&gsi));
                        continue;
                    };
                    let valid = !driven.contains_key(&gsi) && is_alone(gsi, &wires);
                    match line.drive() {
                        Ok(line) => assert!(valid && driven.insert(gsi, line).is_none()),
                        Err(rejected) => assert!(!valid, "{}", rejected.error),
                    }
                }
                Step::Drop(gsi) => drop(driven.remove(&u32::from(gsi % GSIS))),
            }
        }
        while table.recommit().is_err() {}
        let Some(Call::Routes(entries)) = vm.take().pop() else {
            panic!("a recommit always issues");
        };
        let entries = entries.into_iter().map(|entry| match entry.target {
            RouteTarget::Pin { pin, .. } => (entry.gsi, pin),
            other => panic!("{other:?}"),
        });
        assert_eq!(entries.collect::<Wires>(), wires);
    }
}
