// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Sets on several threads.

use kvm_test::PATIENCE;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};

use ioeventfd::{AfterExit, Datamatch, DoorbellRegistry, DoorbellSet, Error, IoAddress};

use crate::common::*;
use crate::hooked::Hooked;

#[test]
fn of_two_sets_that_want_one_place_one_gets_it() {
    let rig = rig();
    let all = notifiers(4);
    for _ in 0..200 {
        let sets = [
            DoorbellSet::new(&rig.registry),
            DoorbellSet::new(&rig.registry),
        ];
        let plans = [
            sets[0].plan(queues(BASE, &all[..3])).unwrap(),
            sets[1]
                .plan([
                    mmio(9, BASE + 8, W4, &all[3]),
                    mmio(8, BASE + 4, W2, &all[3]),
                ])
                .unwrap(),
        ];
        let barrier = Barrier::new(2);
        let results = std::thread::scope(|scope| {
            let threads: Vec<_> = sets
                .iter()
                .zip(plans)
                .map(|(set, plan)| {
                    let barrier = &barrier;
                    scope.spawn(move || {
                        barrier.wait();
                        set.apply(plan).map_err(|refused| refused.error)
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect::<Vec<_>>()
        });
        let won = results.iter().filter(|result| result.is_ok()).count();
        assert_eq!(won, 1, "{results:?}");
        let lost = results.into_iter().find_map(Result::err).unwrap();
        assert!(matches!(lost, Error::Conflict { .. }), "{lost}");
    }
    have(&rig.set, queues(BASE, &all));
}

#[test]
fn sets_change_and_exits_come_on_many_threads() {
    let rig = rig();
    let sets: Vec<_> = (0..4).map(|_| DoorbellSet::new(&rig.registry)).collect();
    let all: Vec<_> = (0..4).map(|_| notifiers(4)).collect();
    for (index, set) in sets.iter().enumerate() {
        have(set, queues(BASE + index as u64 * 0x100, &all[index]));
    }
    let counts = std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for (index, set) in sets.iter().enumerate() {
            let (here, there) = (
                BASE + index as u64 * 0x100,
                ELSEWHERE + index as u64 * 0x100,
            );
            scope.spawn(move || {
                let ends = [IoAddress::Mmio(here), IoAddress::Mmio(there)];
                for hop in 0..300 {
                    set.relocate(ends[hop % 2], BAR, ends[(hop + 1) % 2])
                        .unwrap();
                }
            });
            let vm = &rig.vm;
            threads.push(scope.spawn(move || {
                let mut kicks = 0;
                for write in 0..2000u64 {
                    let base = if write % 2 == 0 { here } else { there };
                    let at = base + write % 4 * 4;
                    let exits = vm.guest_write(notify_core::Bus::Mmio, at, &[0; 2]).exits;
                    // Before the first move there are no doorbells.
                    let rung = exits.is_empty()
                        || set.on_exit_write(IoAddress::Mmio(at), &[0; 2]).unwrap()
                            == AfterExit::Resume;
                    kicks += u64::from(rung);
                }
                kicks
            }));
        }
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect::<Vec<u64>>()
    });
    for (kicks, all) in counts.iter().zip(&all) {
        assert_eq!(take(all).iter().sum::<u64>(), *kicks);
        assert!(*kicks >= 1000);
    }
}

/// A VM that blocks at every request until another thread has looked twice.
fn halting() -> (Arc<Hooked>, Arc<Barrier>, Arc<AtomicBool>) {
    let (barrier, on) = (Arc::new(Barrier::new(2)), Arc::new(AtomicBool::new(false)));
    let (waits, halts) = (Arc::clone(&barrier), Arc::clone(&on));
    let vm = Hooked::new(move || {
        if halts.load(Ordering::Relaxed) {
            waits.wait();
            waits.wait();
        }
    });
    (Arc::new(vm), barrier, on)
}

#[test]
fn what_a_change_is_about_to_leave_is_nobodys_until_it_is_done() {
    let (vm, barrier, on) = halting();
    let registry = DoorbellRegistry::new(vm, &[]);
    let (set, other) = (DoorbellSet::new(&registry), DoorbellSet::new(&registry));
    let one = notifier();
    have(&set, [mmio(0, BASE, Datamatch::AnyWrite, &one)]);
    let wanted = || {
        other
            .plan([mmio(0, BASE, Datamatch::U16(2), &one)])
            .map(drop)
    };
    let plan = set.plan([mmio(0, BASE, Datamatch::U16(1), &one)]).unwrap();
    on.store(true, Ordering::Relaxed);
    std::thread::scope(|scope| {
        let change = scope.spawn(|| set.apply(plan).map_err(|refused| refused.error));
        let mut meanwhile = Vec::new();
        for _ in 0..2 {
            barrier.wait();
            meanwhile.push(wanted().is_ok());
            barrier.wait();
        }
        // Otherwise dropping the set would block, too, if this fails.
        on.store(false, Ordering::Relaxed);
        change.join().unwrap().unwrap();
        assert_eq!(meanwhile, [false, false], "the set may have to go back");
    });
    assert!(wanted().is_ok());
}

#[test]
fn exits_are_matched_while_a_request_takes_its_time() {
    let (vm, barrier, on) = halting();
    let registry = DoorbellRegistry::new(vm, &[]);
    let set = DoorbellSet::new(&registry);
    let all = notifiers(2);
    have(&set, queues(BASE, &all));
    on.store(true, Ordering::Relaxed);
    let ends = [IoAddress::Mmio(BASE), IoAddress::Mmio(ELSEWHERE)];
    std::thread::scope(|scope| {
        let change = scope.spawn(|| set.relocate(ends[0], BAR, ends[1]));
        let mut rung = Vec::new();
        for _ in 0..4 {
            barrier.wait();
            // On a thread that gives up if the lock is held after all.
            let (sent, come) = std::sync::mpsc::channel();
            let set = &set;
            scope.spawn(move || {
                let both = ends.map(|at| set.on_exit_write(at, &[0; 2]).unwrap());
                sent.send(both).unwrap();
            });
            rung.push(come.recv_timeout(PATIENCE));
            barrier.wait();
        }
        on.store(false, Ordering::Relaxed);
        change.join().unwrap().unwrap();
        assert_eq!(rung, vec![Ok([AfterExit::Resume; 2]); 4]);
    });
    expect_kicks(&all, &[8, 0]);
}

#[test]
fn exits_are_matched_from_the_beginning_of_a_start() {
    let (vm, barrier, on) = halting();
    let set = DoorbellSet::new(&DoorbellRegistry::new(vm, &[]));
    drop(set.stop().unwrap());
    let one = notifier();
    have(&set, [mmio(0, BASE, W2, &one)]);
    let address = IoAddress::Mmio(BASE);
    assert_eq!(set.key_of_write(address, &[0; 2]), None);
    on.store(true, Ordering::Relaxed);
    std::thread::scope(|scope| {
        let start = scope.spawn(|| set.start());
        barrier.wait();
        let found = set.key_of_write(address, &[0; 2]);
        on.store(false, Ordering::Relaxed);
        barrier.wait();
        start.join().unwrap().unwrap();
        assert_eq!(found, Some(0));
    });
    assert_eq!(set.key_of_write(address, &[0; 2]), Some(0));
}

#[test]
fn a_kick_between_the_requests_comes_to_the_new_notifier() {
    let (vm, barrier, on) = halting();
    let set = DoorbellSet::new(&DoorbellRegistry::new(vm.clone(), &[]));
    let all = notifiers(2);
    have(&set, queues(BASE, &all[..1]));
    on.store(true, Ordering::Relaxed);
    std::thread::scope(|scope| {
        let change = scope.spawn(|| change(&set, queues(BASE, &all[1..])));
        let mut taken = Vec::new();
        for _ in 0..2 {
            barrier.wait();
            taken.push(kernel_takes(&vm.vm, BASE, &[0; 2]));
            barrier.wait();
        }
        on.store(false, Ordering::Relaxed);
        change.join().unwrap().unwrap();
        assert_eq!(taken, [true, false], "by the old one, and by no other");
    });
    expect_kicks(&all, &[0, 1]);
}
