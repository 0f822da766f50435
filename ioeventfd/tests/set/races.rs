// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Sets on several threads.

use std::sync::Barrier;

use ioeventfd::{DoorbellSet, Error, IoAddress};

use crate::common::*;

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
                    set.relocate(ends[hop % 2], ends[(hop + 1) % 2]).unwrap();
                }
            });
            let vm = &rig.vm;
            threads.push(scope.spawn(move || {
                let mut kicks = 0;
                for write in 0..2000u64 {
                    let base = if write % 2 == 0 { here } else { there };
                    let at = base + write % 4 * 4;
                    let exits = vm.guest_write(notify_core::Bus::Mmio, at, &[0; 2]).exits;
                    // Before the first move nothing is there.
                    let rung = exits.is_empty()
                        || set.on_exit_write(IoAddress::Mmio(at), &[0; 2]).unwrap()
                            == ioeventfd::Rung::All;
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
