// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Histories of sets of doorbells.

use histories::History;
use histories::targets::doorbells::{Choice, Doorbells, Step, Wanted, Write};
use kvm_test::{Trial, anywhere};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        anywhere(
            "doorbells::a_plan_overlooked_a_doorbell_with_something_stuck_in_its_place",
            || {
                let mut steps = something_is_stuck();
                steps.push(Step::Grow(false, at(0, 1)));
                Doorbells::run(&steps);
            },
        ),
        anywhere(
            "doorbells::what_was_stuck_lost_its_place_with_the_doorbell_in_it",
            || {
                let mut steps = something_is_stuck();
                steps.extend([
                    Step::Fail(false, 0, 0),
                    Step::Shrink(false, 0),
                    Step::Change(true, wanted(&[at(0, 0)], 0)),
                ]);
                Doorbells::run(&steps);
            },
        ),
        anywhere(
            "doorbells::a_new_queues_kick_went_to_the_queue_of_what_was_stuck",
            || {
                let mut steps = something_is_stuck();
                let write = Write {
                    pick: 20,
                    len: 1,
                    value: 1,
                };
                let bells = [at(0, 0), at(5, 1), at(6, 2)];
                steps.extend([
                    Step::During(3, write),
                    Step::Change(false, wanted(&bells, 0b10_01_00)),
                ]);
                Doorbells::run(&steps);
            },
        ),
    ]
}

/// A queue's doorbell is not registered, and the kernel has another one in its place.
fn something_is_stuck() -> Vec<Step> {
    vec![
        Step::Change(false, wanted(&[at(0, 0)], 0)),
        Step::Fail(true, 1, 0),
        Step::Fail(false, 1, 0),
        Step::Change(false, wanted(&[at(0, 0), at(5, 1)], 0b01_01)),
        Step::ClearFaults,
    ]
}

/// Two-byte writes at an address.
fn at(slot: u8, key: u8) -> Choice {
    Choice {
        slot,
        kind: 0x20,
        key,
    }
}

fn wanted(bells: &[Choice], notifiers: u8) -> Wanted {
    let mut all = [at(0, 0); 4];
    all.iter_mut().zip(bells).for_each(|(to, from)| *to = *from);
    Wanted {
        bells: all,
        count: bells.len() as u8,
        notifiers,
    }
}
