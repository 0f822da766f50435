// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Random operations on both VMs, whose results and interrupts must be the same.
//!
//! `SIDE_BY_SIDE_SEED` reproduces a run, and `SIDE_BY_SIDE_OPERATIONS` makes it longer. Where the
//! VMs differ, `SimVm` is wrong.

mod operation;
mod world;

use std::env;

use kvm_test::{Trial, kvm};
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner};

use crate::case::Host;
use operation::{SEQUENCE, sequence};
use world::World;

const OPERATIONS: u64 = 100_000;

pub(crate) fn trials() -> Vec<Trial> {
    vec![kvm("kvm::side_by_side::answers_and_interrupts", run)]
}

fn variable(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |value| value.parse().unwrap())
}

fn run() {
    let seed = variable("SIDE_BY_SIDE_SEED", 1);
    let operations = variable("SIDE_BY_SIDE_OPERATIONS", OPERATIONS);
    let config = Config {
        cases: u32::try_from(operations.div_ceil(SEQUENCE as u64)).unwrap(),
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(seed),
        // Creating a VM takes time, so shrinking must be limited.
        max_shrink_iters: 2000,
        ..Config::default()
    };
    let result = TestRunner::new(config).run(&sequence(), |(irqchip, operations)| {
        let sim = World::new(Host::sim().machine(irqchip, 1), irqchip);
        let kvm = World::new(Host::kvm().machine(irqchip, 1), irqchip);
        for (at, operation) in operations.iter().enumerate() {
            let (expected, found) = (kvm.carry_out(operation), sim.carry_out(operation));
            if expected != found {
                return Err(TestCaseError::fail(format!(
                    "operation {at}, {operation:?}:\nKVM   {expected:?}\nSimVm {found:?}"
                )));
            }
        }
        Ok(())
    });
    match result {
        Ok(()) => {}
        Err(TestError::Fail(difference, (irqchip, operations))) => {
            let operations: Vec<_> = operations.iter().map(|one| format!("{one:?}")).collect();
            let operations = operations.join("\n");
            panic!("SIDE_BY_SIDE_SEED={seed} {irqchip:?}\n{operations}\n{difference}");
        }
        Err(error) => panic!("SIDE_BY_SIDE_SEED={seed}: {error}"),
    }
}
