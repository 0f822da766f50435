// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Deferred arming: what waits, what it costs, and what is signalled.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;

use irqfd::{ArmQueue, Vector};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{expect_state, exported, message, queued, table};

/// A vector that is not exported any more has no entry.
#[test]
fn unexport_takes_the_entry_out() {
    let (vm, table) = table();
    let queue = ArmQueue::new(&table).unwrap();
    let (vector, _) = queued(&queue, &table, 0x40);
    for _ in 0..3 {
        vector.unmask().unwrap();
        assert_eq!(queue.waiting(), 1);
        vector.unexport().unwrap();
        assert!(queue.waiting() == 0);
        expect_state(&vector, "Open");
        vector.export().unwrap();
        assert_eq!(queue.waiting(), 1);
        vector.mask();
    }
    vector.unmask().unwrap();
    assert_eq!(queue.run_pending().armed, 1);
    vector.trigger().unwrap();
    vm.expect(&[0x40]);
}

pub(crate) fn is_readable(queue: &ArmQueue) -> bool {
    let mut fds = [PollFd::new(queue.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).unwrap() > 0
}

#[test]
fn one_commit_for_all_and_none_on_the_thread_that_unmasks() {
    let (vm, table) = table();
    let queue = ArmQueue::new(&table).unwrap();
    assert!(queue.waiting() == 0 && !is_readable(&queue));
    let vectors: Vec<_> = (0..64).map(|n| queued(&queue, &table, 0x40 + n)).collect();
    for (vector, notifier) in &vectors {
        vector.unmask().unwrap();
        expect_state(vector, "Queued");
        // Signals wait with it.
        notifier.notify().unwrap();
        notifier.notify().unwrap();
        assert!(vector.is_pending());
    }
    assert_eq!((queue.waiting(), table.leased()), (64, 0));
    vm.expect_calls([0, 0, 0, 0]);
    assert!(is_readable(&queue));

    let round = queue.run_pending();
    assert_eq!((round.armed, round.failed.len()), (64, 0));
    vm.expect_calls([1, 64, 0, 0]);
    vm.expect(&(0x40..0x80).collect::<Vec<_>>());
    assert!(queue.waiting() == 0 && !is_readable(&queue));
    vectors
        .iter()
        .for_each(|(vector, _)| expect_state(vector, "Armed"));

    assert_eq!(queue.run_pending().armed, 0);
    vm.expect_calls([0, 0, 0, 0]);
}

#[test]
fn one_that_is_masked_before_its_turn_costs_nothing() {
    let (vm, table) = table();
    let queue = ArmQueue::new(&table).unwrap();
    let (vector, _) = queued(&queue, &table, 0x40);
    vector.unmask().unwrap();
    vector.mask();
    expect_state(&vector, "Masked");
    assert_eq!(queue.run_pending().armed, 0);
    vm.expect_calls([0, 0, 0, 0]);
    assert_eq!(table.leased(), 0);
    // Its entry is gone: the next one counts.
    vector.unmask().unwrap();
    assert!(is_readable(&queue));
    assert_eq!(queue.run_pending().armed, 1);
}

#[test]
fn a_guest_that_masks_and_unmasks_for_ever_has_one_entry() {
    let (vm, table) = table();
    let queue = ArmQueue::new(&table).unwrap();
    let (vector, _) = queued(&queue, &table, 0x40);
    for data in 0..1000 {
        vector.set_message(message(data)).unwrap();
        vector.unmask().unwrap();
        vector.set_message(message(data + 1)).unwrap();
        vector.mask();
    }
    assert_eq!(queue.waiting(), 1);
    vector.unmask().unwrap();
    assert_eq!(queue.run_pending().armed, 1);
    vm.expect_calls([1, 1, 0, 0]);
    vector.trigger().unwrap();
    vm.expect(&[1000]);
}

#[test]
fn a_new_message_while_it_waits_is_the_one_that_is_routed() {
    let (vm, table) = table();
    let queue = ArmQueue::new(&table).unwrap();
    let (vector, _) = queued(&queue, &table, 0x40);
    vector.unmask().unwrap();
    vector.set_message(message(0x41)).unwrap();
    assert_eq!(queue.run_pending().armed, 1);
    vector.trigger().unwrap();
    vm.expect(&[0x41]);
    vm.expect_calls([1, 1, 0, 0]);
}

#[test]
fn a_new_message_of_an_armed_one_waits_its_turn() {
    let (vm, table) = table();
    let queue = ArmQueue::new(&table).unwrap();
    let (vector, _) = queued(&queue, &table, 0x40);
    vector.unmask().unwrap();
    let _ = queue.run_pending();
    vm.expect_calls([1, 1, 0, 0]);
    vector.set_message(message(0x41)).unwrap();
    // No signal goes to the old one from here on.
    vm.expect_calls([0, 0, 1, 0]);
    vector.trigger().unwrap();
    vm.expect(&[]);
    expect_state(&vector, "Queued");
    assert_eq!(queue.run_pending().armed, 1);
    vm.expect(&[0x41]);
}

#[test]
fn what_is_unexported_or_dropped_while_it_waits_is_forgotten() {
    let (vm, table) = table();
    let queue = ArmQueue::new(&table).unwrap();
    let (back, _) = queued(&queue, &table, 0x40);
    let (gone, notifier) = queued(&queue, &table, 0x41);
    back.unmask().unwrap();
    gone.unmask().unwrap();
    back.trigger().unwrap();
    back.unexport().unwrap();
    vm.expect(&[0x40]);
    expect_state(&back, "Open");
    drop(gone);
    assert_eq!(Arc::strong_count(&notifier), 1);
    assert_eq!(queue.run_pending().armed, 0);
    vm.expect_calls([0, 0, 0, 1]);
}

#[test]
fn dropping_the_queue_arms_what_waits() {
    let (vm, table) = table();
    let queue = ArmQueue::new(&table).unwrap();
    let (vector, notifier) = queued(&queue, &table, 0x40);
    let (later, _) = queued(&queue, &table, 0x41);
    vector.unmask().unwrap();
    notifier.notify().unwrap();
    drop(queue);
    expect_state(&vector, "Armed");
    vm.expect(&[0x40]);
    vm.expect_calls([1, 1, 0, 0]);
    // From now on the thread that unmasks arms.
    later.unmask().unwrap();
    expect_state(&later, "Armed");
    vm.expect_calls([1, 1, 0, 0]);
    vector.mask();
    vector.unmask().unwrap();
    expect_state(&vector, "Armed");
}

#[test]
fn two_threads_may_run_it() {
    let (vm, table) = table();
    let queue = ArmQueue::new(&table).unwrap();
    let vectors: Vec<_> = (0..100).map(|n| queued(&queue, &table, 0x40 + n)).collect();
    let armed: usize = thread::scope(|scope| {
        let run = || (0..50).map(|_| queue.run_pending().armed).sum::<usize>();
        let runners = [scope.spawn(run), scope.spawn(run)];
        vectors
            .iter()
            .for_each(|(vector, _)| vector.unmask().unwrap());
        runners.map(|runner| runner.join().unwrap()).iter().sum()
    });
    assert_eq!(armed + queue.run_pending().armed, 100);
    assert_eq!(vm.calls()[1], 100);
    vectors
        .iter()
        .for_each(|(vector, _)| expect_state(vector, "Armed"));
}

#[test]
fn without_a_queue_each_vector_has_a_commit_of_its_own() {
    let (vm, table) = table();
    let vectors: Vec<_> = (0..8).map(|n| exported(&table, 0x40 + n)).collect();
    vectors
        .iter()
        .for_each(|(vector, _)| vector.unmask().unwrap());
    vm.expect_calls([8, 8, 0, 0]);
}

#[test]
fn an_internal_vector_never_enters() {
    let (vm, table) = table();
    let queue = ArmQueue::new(&table).unwrap();
    let vector = Vector::builder(&table).queue(&queue).build().unwrap();
    vector.unmask().unwrap();
    vector.set_message(message(0x40)).unwrap();
    vector.trigger().unwrap();
    vm.expect(&[0x40]);
    assert!(queue.waiting() == 0);
    // Exported while it is open, the vector waits.
    vector.export().unwrap();
    expect_state(&vector, "Queued");
    assert_eq!(queue.run_pending().armed, 1);
}
