// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Every ioctl of every operation fails once, and afterwards the state must be as before.

use std::sync::Arc;

use irq_routing::RoutingTable;
use irqfd::{ArmQueue, Vector, VectorState};
use notify_core::EventNotifier;
use notify_sim::CallKind;

use super::{Machine, exported, message, name, queued, table};

const KINDS: [CallKind; 4] = [
    CallKind::SetGsiRouting,
    CallKind::IrqFdAssign,
    CallKind::IrqFdDeassign,
    CallKind::SignalMsi,
];

struct Bench {
    vm: Arc<Machine>,
    table: RoutingTable,
    queue: ArmQueue,
    /// Arms at once, or by the queue.
    vectors: [Vector; 2],
    bystander: Vector,
}

impl Bench {
    fn new() -> Self {
        let (vm, table) = table();
        let queue = ArmQueue::new(&table).unwrap();
        let vectors = [exported(&table, 0x40).0, queued(&queue, &table, 0x41).0];
        let (bystander, _) = exported(&table, 0x50);
        bystander.unmask().unwrap();
        Self {
            vm,
            table,
            queue,
            vectors,
            bystander,
        }
    }

    fn armed(self) -> Self {
        self.vectors
            .iter()
            .for_each(|vector| vector.unmask().unwrap());
        drop(self.queue.run_pending());
        self
    }

    /// The bystander works, and each vector works once it is masked and unmasked, with its signal.
    #[track_caller]
    fn expect_all_well(&self, context: &str) {
        drop(self.vm.sim.deliver());
        self.bystander.trigger().unwrap();
        self.vm.expect(&[0x50]);
        for vector in &self.vectors {
            vector.mask();
            let before = self.vm.sim.deliver().len();
            vector.trigger().unwrap();
            assert_eq!((before, self.vm.sim.deliver().len()), (0, 0), "{context}");
            assert!(vector.is_pending(), "{context}");
            vector.unmask().unwrap();
            drop(self.queue.run_pending());
            let state = name(&vector.state());
            assert!(matches!(&*state, "Armed" | "Open"), "{context}: {state}");
            self.vm.expect(&[vector.message().data]);
        }
        let held = self
            .vectors
            .iter()
            .filter(|vector| vector.notifier().is_some());
        assert_eq!(self.table.leased(), 1 + held.count(), "{context}");
        assert!(self.queue.waiting() == 0);
    }
}

/// Runs `operation` with each of its ioctls failing once, until it makes no more.
fn fail_each(make: impl Fn() -> Bench, operation: impl Fn(&Bench)) {
    for kind in KINDS {
        let clean = make();
        clean.vm.sim.reset_calls();
        operation(&clean);
        let calls = clean.vm.sim.calls(kind);
        clean.expect_all_well("without a fault");
        for nth in 1..=calls {
            for errno in [libc::ENOMEM, libc::EINVAL] {
                let bench = make();
                let routes = bench.table.routes().len();
                bench.vm.sim.fail(kind, nth, errno);
                operation(&bench);
                bench.vm.sim.clear_faults();
                assert!(bench.table.routes().len() <= routes + 2);
                bench.expect_all_well(&format!("{kind:?} {nth} {errno}"));
            }
        }
    }
}

#[test]
fn unmask() {
    fail_each(Bench::new, |bench| {
        for vector in &bench.vectors {
            let result = vector.unmask();
            let state = vector.state();
            assert!(
                result.is_ok() || matches!(state, VectorState::Dead(_)),
                "{state:?}"
            );
        }
        drop(bench.queue.run_pending());
    });
}

#[test]
fn mask() {
    fail_each(
        || Bench::new().armed(),
        |bench| bench.vectors.iter().for_each(Vector::mask),
    );
}

#[test]
fn set_message() {
    fail_each(
        || Bench::new().armed(),
        |bench| {
            for vector in &bench.vectors {
                let _ = vector.set_message(message(0x60));
                assert_eq!(vector.message(), message(0x60));
            }
            drop(bench.queue.run_pending());
        },
    );
}

#[test]
fn replace_notifier() {
    fail_each(
        || Bench::new().armed(),
        |bench| {
            for vector in &bench.vectors {
                let old = vector.notifier().unwrap();
                let new = Arc::new(EventNotifier::new().unwrap());
                match vector.replace_notifier(Arc::clone(&new)) {
                    Ok(_) => assert!(Arc::ptr_eq(&vector.notifier().unwrap(), &new)),
                    Err(rejected) => {
                        assert!(Arc::ptr_eq(&rejected.value, &new));
                        assert!(Arc::ptr_eq(&vector.notifier().unwrap(), &old));
                        assert!(matches!(vector.state(), VectorState::Armed));
                    }
                }
            }
        },
    );
}

#[test]
fn unexport_and_export() {
    fail_each(
        || Bench::new().armed(),
        |bench| {
            for vector in &bench.vectors {
                vector.unexport().unwrap();
                assert!(vector.notifier().is_none());
                let _ = vector.trigger();
                vector.export().unwrap();
            }
            drop(bench.queue.run_pending());
        },
    );
}

#[test]
fn reset() {
    fail_each(
        || Bench::new().armed(),
        |bench| {
            for vector in &bench.vectors {
                vector.reset();
                vector.set_message(message(0x61)).unwrap();
            }
        },
    );
}

/// The kernel refuses to deassign an irqfd: neither this vector nor another one may get its GSI.
#[test]
fn an_irqfd_that_stays_bound_keeps_its_gsi_out_of_use() {
    let (vm, table) = table();
    let (vector, _) = exported(&table, 0x40);
    vector.unmask().unwrap();
    for nth in 1..=2 {
        vm.sim.fail(CallKind::IrqFdDeassign, nth, libc::EINVAL);
    }
    vector.mask();
    assert_eq!(table.leased(), 0);
    assert_eq!(table.routes().len(), 1);
    vector.unmask().unwrap_err();
    assert!(name(&vector.state()).contains("AlreadyBound"));
    // With another notifier it works, on another GSI.
    let new = Arc::new(EventNotifier::new().unwrap());
    vector.replace_notifier(new).unwrap();
    assert!(matches!(vector.state(), VectorState::Armed));
    vector.trigger().unwrap();
    vm.expect(&[0x40]);
}
