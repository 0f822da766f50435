// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Start, stop, drain.

use ioeventfd::{AfterExit, Datamatch, DoorbellSet, IoAddress, Leftover};

use crate::common::*;

fn kicks(leftovers: &[Leftover]) -> Vec<(u64, u64)> {
    let one = |leftover: &Leftover| (leftover.key, leftover.kicks.get());
    leftovers.iter().map(one).collect()
}

#[test]
fn stop_hands_back_what_was_left() {
    let rig = rig();
    let all = notifiers(3);
    have(&rig.set, queues(BASE, &all));
    ioctls(&rig.vm);
    for queue in [0, 0, 2] {
        assert!(kernel_takes(&rig.vm, BASE + queue * 4, &[0; 2]));
    }
    let stopped = rig.set.stop().unwrap();
    assert_eq!(ioctls(&rig.vm), (0, 3));
    assert_eq!(kicks(&stopped.leftovers), [(0, 2), (2, 1)]);
    expect_kicks(&all, &[0; 3]);
    assert!(!rig.set.is_started());
    assert_eq!(rig.set.doorbells().len(), 3, "they are still its own");
    // Again: nothing to do.
    assert!(rig.set.stop().unwrap().leftovers.is_empty());
    assert_eq!(ioctls(&rig.vm), (0, 0));
}

#[test]
fn start_kicks_each_queue_once() {
    let rig = rig();
    let all = notifiers(3);
    let mut bells = queues(BASE, &all);
    // A second doorbell of the first queue, which legacy drivers need.
    bells.push(mmio(0, ELSEWHERE, Datamatch::U16(0), &all[0]));
    have(&rig.set, bells);
    rig.set.start().unwrap();
    expect_kicks(&all, &[0; 3]);
    drop(rig.set.stop().unwrap());
    ioctls(&rig.vm);
    rig.set.start().unwrap();
    assert_eq!(ioctls(&rig.vm), (4, 0));
    expect_kicks(&all, &[1; 3]);
    assert!(kernel_takes(&rig.vm, ELSEWHERE, &[0; 2]));
    rig.set.start().unwrap();
    expect_kicks(&all, &[1, 0, 0]);
    rig.set.kick().unwrap();
    expect_kicks(&all, &[1; 3]);
}

#[test]
fn a_kick_that_was_on_its_way_when_the_set_stopped_arrives() {
    let rig = rig();
    let all = notifiers(1);
    have(&rig.set, queues(BASE, &all));
    let stopped = rig.set.stop().unwrap();
    assert_eq!(ring(&rig, IoAddress::Mmio(BASE), &[0; 2]), (true, 1));
    assert_eq!(kicks(&rig.set.drain().unwrap()), [(0, 1)]);
    assert!(rig.set.drain().unwrap().is_empty());
    rig.set.vcpus_passed(stopped.epoch).unwrap();
    assert_eq!(ring(&rig, IoAddress::Mmio(BASE), &[0; 2]), (false, 1));
    rig.set.start().unwrap();
    // An earlier epoch says nothing about later doorbells.
    rig.set.vcpus_passed(stopped.epoch).unwrap();
    assert_eq!(ring(&rig, IoAddress::Mmio(BASE), &[0; 2]), (true, 0));
    expect_kicks(&all, &[2]);
}

#[test]
fn what_is_applied_to_a_stopped_set_waits_for_the_start() {
    let rig = rig();
    let all = notifiers(2);
    drop(rig.set.stop().unwrap());
    have(&rig.set, queues(BASE, &all));
    assert_eq!(ioctls(&rig.vm), (0, 0));
    assert_eq!(rig.set.key_of_write(IoAddress::Mmio(BASE), &[0; 2]), None);
    have(&rig.set, queues(BASE, &all[..1]));
    rig.set.start().unwrap();
    assert_eq!(ioctls(&rig.vm), (1, 0));
    expect_kicks(&all, &[1, 0]);
    drop(rig.set);
    assert_eq!(ioctls(&rig.vm), (0, 1));
}

#[test]
fn dropping_a_stopped_set_frees_its_places() {
    let rig = rig();
    let other = DoorbellSet::new(&rig.registry);
    have(&other, queues(BASE, &notifiers(2)));
    drop(other.stop().unwrap());
    assert!(rig.set.plan(queues(BASE, &notifiers(1))).is_err());
    ioctls(&rig.vm);
    drop(other);
    assert_eq!(ioctls(&rig.vm), (0, 0));
    have(&rig.set, queues(BASE, &notifiers(1)));
}

#[test]
fn stop_and_start_while_a_guest_kicks_lose_nothing() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let rig = rig();
    let all = notifiers(4);
    have(&rig.set, queues(BASE, &all));
    let over = AtomicBool::new(false);
    let mut starts = 0;
    let mut left = 0;
    let writes = std::thread::scope(|scope| {
        let guest = scope.spawn(|| {
            let mut writes = 0u64;
            while !over.load(Ordering::Relaxed) {
                for queue in 0..4 {
                    // `vcpus_passed` is not called here, so a stopped set still matches.
                    assert!(ring(&rig, IoAddress::Mmio(BASE + queue * 4), &[0; 2]).0);
                    writes += 1;
                }
            }
            writes
        });
        let ends = Ends(&over);
        for _ in 0..50 {
            let stopped = rig.set.stop().unwrap();
            left += kicks(&stopped.leftovers)
                .iter()
                .map(|(_, kicks)| kicks)
                .sum::<u64>();
            rig.set.start().unwrap();
            starts += 1;
        }
        drop(ends);
        guest.join().unwrap()
    });
    let handled = left + take(&all).iter().sum::<u64>();
    assert_eq!(
        handled,
        writes + starts * 4,
        "one for each queue and start besides"
    );
}

#[test]
fn an_emptied_set_rings_nobody() {
    let rig = rig();
    have(&rig.set, queues(BASE, &notifiers(1)));
    let moved = have(&rig.set, []);
    rig.set.vcpus_passed(moved).unwrap();
    let rung = rig
        .set
        .on_exit_write(IoAddress::Mmio(BASE), &[0; 2])
        .unwrap();
    assert_eq!(rung, AfterExit::Emulate);
}
