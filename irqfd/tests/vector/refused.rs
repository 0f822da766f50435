// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Rounds in which something fails: which vectors are dead, which are retried, and what is
//! reported.

use irq_routing::{Platform, Wiring};
use std::panic::{AssertUnwindSafe, catch_unwind};

use irqfd::{ArmQueue, Round, VectorError};
use notify_sim::CallKind;

use kvm_test::wait_until;

use super::queue::is_readable;
use super::{expect_state, exported, guilty, message, queued, table};

fn failures(round: &Round) -> Vec<u32> {
    let failed = round.failed.iter();
    failed.map(|dead| dead.vector.message().data).collect()
}

#[test]
fn the_guilty_alone_are_dead() {
    let (vm, table) = table();
    let queue = ArmQueue::new(&table).unwrap();
    let vectors: Vec<_> = (0..64).map(|n| queued(&queue, &table, n).0).collect();
    for n in [0, 17, 63] {
        vectors[n]
            .set_message(guilty(u32::try_from(n).unwrap()))
            .unwrap();
    }
    vectors.iter().for_each(|vector| vector.unmask().unwrap());
    vectors[17].trigger().unwrap();
    let round = queue.run_pending();
    assert_eq!(round.armed, 61);
    assert_eq!(failures(&round), [0, 17, 63]);
    assert!(
        round
            .failed
            .iter()
            .all(|dead| matches!(&dead.reason, VectorError::Route { .. }))
    );
    assert!(round.failed.iter().any(|dead| dead.vector == *vectors[17]));
    for (n, vector) in vectors.iter().enumerate() {
        let dead = [0, 17, 63].contains(&n);
        expect_state(vector, if dead { "Dead(Route" } else { "Armed" });
    }
    assert!(vm.calls()[0] < 64, "halves, not one by one");

    // They are not retried automatically, and their signals wait.
    vm.sim.reset_calls();
    assert!(queue.waiting() == 0 && !is_readable(&queue));
    assert!(queue.run_pending().failed.is_empty());
    vm.expect_calls([0, 0, 0, 0]);
    vm.expect(&[]);
    assert!(vectors[17].is_pending());
    vectors[17].set_message(message(17)).unwrap();
    assert_eq!(queue.run_pending().armed, 1);
    vm.expect(&[17]);
}

#[test]
fn without_a_queue_unmask_says_so() {
    let (vm, table) = table();
    let (good, _) = exported(&table, 0x41);
    let (bad, notifier) = exported(&table, 0x40);
    bad.set_message(guilty(0x40)).unwrap();
    notifier.notify().unwrap();
    let Err(reason) = bad.unmask() else {
        panic!("it is refused");
    };
    assert!(matches!(&reason, VectorError::Route { .. }));
    expect_state(&bad, "Dead(Route");
    good.unmask().unwrap();
    good.trigger().unwrap();
    vm.expect(&[0x41]);
    // Masked and unmasked it is refused again; with another message it is not.
    bad.mask();
    expect_state(&bad, "Masked");
    bad.unmask().unwrap_err();
    bad.set_message(message(0x42)).unwrap();
    expect_state(&bad, "Armed");
    vm.expect(&[0x42]);
}

#[test]
fn what_may_pass_is_tried_in_the_next_round() {
    for errno in [
        libc::ENOMEM,
        libc::EAGAIN,
        libc::EINTR,
        libc::EMFILE,
        libc::ENFILE,
        libc::ENOSPC,
    ] {
        for kind in [CallKind::SetGsiRouting, CallKind::IrqFdAssign] {
            let (vm, table) = table();
            let queue = ArmQueue::new(&table).unwrap();
            let vectors: Vec<_> = (0..8).map(|n| queued(&queue, &table, n).0).collect();
            vectors.iter().for_each(|vector| vector.unmask().unwrap());
            vectors[0].trigger().unwrap();
            vm.sim.fail(kind, 1, errno);
            let round = queue.run_pending();
            let failed = if kind == CallKind::SetGsiRouting {
                8
            } else {
                1
            };
            assert_eq!((round.failed.len(), round.armed), (failed, 8 - failed));
            // None of them is guilty, so none is searched for.
            assert_eq!(vm.calls()[0], 1);
            assert_eq!(queue.waiting(), failed);
            wait_until(|| is_readable(&queue));
            vm.expect(&[]);

            let round = queue.run_pending();
            assert_eq!((round.failed.len(), round.armed), (0, failed));
            vectors
                .iter()
                .for_each(|vector| expect_state(vector, "Armed"));
            vm.expect(&[0]);
        }
    }
}

#[test]
fn one_that_waits_for_another_try_calls_the_owner_when_it_is_unmasked_anew() {
    let (vm, table) = table();
    let queue = ArmQueue::new(&table).unwrap();
    let (vector, _) = queued(&queue, &table, 0x40);
    vector.unmask().unwrap();
    vm.sim.fail(CallKind::IrqFdAssign, 1, libc::ENOMEM);
    assert_eq!(queue.run_pending().failed.len(), 1);
    expect_state(&vector, "Dead(Arm(Refused");
    assert!(!is_readable(&queue));
    vector.mask();
    vector.unmask().unwrap();
    expect_state(&vector, "Queued");
    assert!(is_readable(&queue));
    assert_eq!(queue.waiting(), 1);
    assert_eq!(queue.run_pending().armed, 1);
}

#[test]
fn one_that_is_masked_is_not_tried_again() {
    let (vm, table) = table();
    let queue = ArmQueue::new(&table).unwrap();
    let (vector, _) = queued(&queue, &table, 0x40);
    vector.unmask().unwrap();
    vm.sim.fail(CallKind::IrqFdAssign, 1, libc::ENOMEM);
    drop(queue.run_pending());
    vector.mask();
    vm.sim.reset_calls();
    let round = queue.run_pending();
    assert_eq!((round.armed, round.failed.len()), (0, 0));
    vm.expect_calls([0, 0, 0, 0]);
    expect_state(&vector, "Masked");
}

#[test]
fn a_machine_without_interrupt_controller_is_asked_once() {
    use notify_sim::{Profile, SimVm};
    let vm = std::sync::Arc::new(SimVm::builder().profile(Profile::None).build());
    let table = irq_routing::RoutingTable::builder(vm.clone())
        .wiring(Wiring::none(Platform::X86))
        .build()
        .unwrap();
    let queue = ArmQueue::new(&table).unwrap();
    let vectors: Vec<_> = (0..8).map(|n| queued(&queue, &table, n).0).collect();
    vectors.iter().for_each(|vector| vector.unmask().unwrap());
    let round = queue.run_pending();
    assert_eq!(round.failed.len(), 8);
    assert_eq!(vm.calls(CallKind::SetGsiRouting), 1);
    vectors
        .iter()
        .for_each(|vector| expect_state(vector, "Dead(Route"));
}

#[test]
fn one_notifier_for_two_vectors_kills_the_second_alone() {
    let (vm, table) = table();
    let queue = ArmQueue::new(&table).unwrap();
    let vectors: Vec<_> = (0..3).map(|n| queued(&queue, &table, n).0).collect();
    let notifier = vectors[0].notifier().unwrap();
    vectors[1].replace_notifier(notifier).unwrap();
    vectors.iter().for_each(|vector| vector.unmask().unwrap());
    let round = queue.run_pending();
    assert_eq!((round.armed, failures(&round)), (2, vec![1]));
    expect_state(&vectors[1], "Dead(Arm(AlreadyBound");
    vectors[2].trigger().unwrap();
    vm.expect(&[2]);
}

/// A VM, or a translation, that panics in the middle of a commit.
#[test]
fn a_panic_leaves_no_vector_behind() {
    let (vm, table) = table();
    let (alone, _) = exported(&table, 0x50);
    vm.during_commit(|| panic!("as ordered"));
    catch_unwind(AssertUnwindSafe(|| alone.unmask())).unwrap_err();
    expect_state(&alone, "Dead(Panicked");
    alone.mask();
    alone.unmask().unwrap();
    expect_state(&alone, "Armed");

    let queue = ArmQueue::new(&table).unwrap();
    let vectors: Vec<_> = (0..4).map(|n| queued(&queue, &table, n).0).collect();
    vectors.iter().for_each(|vector| vector.unmask().unwrap());
    vectors[0].trigger().unwrap();
    // For all of them, for each half, and for each alone.
    (0..7).for_each(|_| vm.during_commit(|| panic!("as ordered")));
    catch_unwind(AssertUnwindSafe(|| queue.run_pending())).unwrap_err();
    vectors
        .iter()
        .for_each(|vector| expect_state(vector, "Dead(Panicked"));
    vm.expect(&[]);
    assert_eq!(queue.waiting(), 4);
    assert_eq!(queue.run_pending().armed, 4);
    vm.expect(&[0]);
}

#[test]
fn a_panic_in_an_injection_does_not_keep_the_gate() {
    let (vm, table) = table();
    let vector = super::internal(&table, 0x40);
    vector.unmask().unwrap();
    vm.during_signal(|| panic!("as ordered"));
    catch_unwind(AssertUnwindSafe(|| vector.trigger())).unwrap_err();
    vector.mask();
    vector.unmask().unwrap();
    vector.trigger().unwrap();
    vm.expect(&[0x40, 0x40]);
}
