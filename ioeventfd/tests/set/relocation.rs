// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! BARs that move.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ioeventfd::{AfterExit, Doorbell, DoorbellSet, Error, IoAddress};
use notify_sim::CallKind;

use crate::common::*;

const QUEUES: u64 = 8;

fn mmio_at(base: u64) -> IoAddress {
    IoAddress::Mmio(base)
}

#[test]
fn the_old_places_are_matched_until_the_vcpus_have_passed() {
    let rig = rig();
    let all = notifiers(QUEUES as usize);
    have(&rig.set, queues(BASE, &all));
    ioctls(&rig.vm);
    let moved = rig
        .set
        .relocate(mmio_at(BASE), BAR, mmio_at(ELSEWHERE))
        .unwrap();
    assert_eq!(ioctls(&rig.vm), (QUEUES, QUEUES));
    for queue in 0..QUEUES {
        assert_eq!(
            ring(&rig, mmio_at(ELSEWHERE + queue * 4), &[0; 2]),
            (true, 0)
        );
        assert_eq!(ring(&rig, mmio_at(BASE + queue * 4), &[0; 2]), (true, 1));
    }
    expect_kicks(&all, &[2; QUEUES as usize]);
    rig.set.vcpus_passed(moved).unwrap();
    for queue in 0..QUEUES {
        assert_eq!(ring(&rig, mmio_at(BASE + queue * 4), &[0; 2]), (false, 1));
    }
    expect_kicks(&all, &[0; QUEUES as usize]);
}

#[test]
fn what_was_left_later_is_not_forgotten_with_what_was_left_before() {
    let rig = rig();
    let all = notifiers(1);
    have(&rig.set, queues(BASE, &all));
    let places = [BASE, ELSEWHERE, 0xd000_0000, 0xd100_0000];
    let mut epochs = Vec::new();
    for hop in places.windows(2) {
        let moved = rig.set.relocate(mmio_at(hop[0]), BAR, mmio_at(hop[1]));
        epochs.push(moved.unwrap());
    }
    let matched = || places.map(|at| rig.set.key_of_write(mmio_at(at), &[0; 2]).is_some());
    assert_eq!(matched(), [true, true, true, true]);
    rig.set.vcpus_passed(epochs[1]).unwrap();
    assert_eq!(matched(), [false, false, true, true]);
    rig.set.vcpus_passed(epochs[0]).unwrap();
    assert_eq!(matched(), [false, false, true, true]);
    rig.set.vcpus_passed(epochs[2]).unwrap();
    assert_eq!(matched(), [false, false, false, true]);
}

#[test]
fn a_guest_that_moves_its_bar_for_ever_costs_no_memory() {
    let rig = rig();
    let all = notifiers(1);
    have(&rig.set, queues(0, &all));
    for hop in 0..200 {
        let at = |hop: u64| mmio_at(hop * 0x1000);
        rig.set.relocate(at(hop), BAR, at(hop + 1)).unwrap();
    }
    let matched = (0..=200).filter(|hop| {
        rig.set
            .key_of_write(mmio_at(hop * 0x1000), &[0; 2])
            .is_some()
    });
    assert_eq!(
        matched.collect::<Vec<_>>(),
        (200 - 64..=200).collect::<Vec<_>>()
    );
    assert_eq!(rig.set.doorbells().len(), 1);
}

#[test]
fn a_move_by_less_than_its_size_is_no_conflict_with_itself() {
    for removals_first in [false, true] {
        for distance in [2, 4, 8, 12] {
            let mut rig = rig();
            if removals_first {
                rig.set = DoorbellSet::new(&rig.registry).removals_first();
            }
            let all = notifiers(QUEUES as usize);
            let wide = |base| {
                let one = |(queue, one): (u64, _)| mmio(queue, base + queue * 4, W4, one);
                (0..).zip(&all).map(one).collect::<Vec<_>>()
            };
            have(&rig.set, wide(BASE));
            for (from, to) in [(BASE, BASE + distance), (BASE + distance, BASE)] {
                rig.set.relocate(mmio_at(from), BAR, mmio_at(to)).unwrap();
                for queue in 0..QUEUES {
                    let at = mmio_at(to + queue * 4);
                    assert_eq!(ring(&rig, at, &[0; 4]), (true, 0));
                    assert_eq!(
                        rig.set.key_of_write(at, &[0; 4]),
                        Some(queue),
                        "the new place counts"
                    );
                }
                expect_kicks(&all, &[1; QUEUES as usize]);
            }
        }
    }
}

#[test]
fn only_what_lies_in_the_bar_moves() {
    let rig = rig();
    let all = notifiers(2);
    let port = |port| Doorbell::new(1, IoAddress::Pio(port), W2, all[1].clone());
    have(&rig.set, [mmio(0, BASE, W2, &all[0]), port(0xc010)]);
    rig.set
        .relocate(mmio_at(BASE), BAR, mmio_at(ELSEWHERE))
        .unwrap();
    rig.set
        .relocate(IoAddress::Pio(0xc000), BAR, IoAddress::Pio(0xd000))
        .unwrap();
    let addresses: Vec<_> = rig
        .set
        .doorbells()
        .iter()
        .map(|bell| bell.address)
        .collect();
    assert_eq!(addresses, [mmio_at(ELSEWHERE), IoAddress::Pio(0xd010)]);
    ioctls(&rig.vm);
    // Doorbells outside stay, and if nothing moves no request is made.
    for (from, size) in [
        (ELSEWHERE + 1, BAR),
        (ELSEWHERE - BAR, BAR),
        (ELSEWHERE, 0),
        (u64::MAX, u64::MAX),
    ] {
        rig.set
            .relocate(mmio_at(from), size, mmio_at(BASE))
            .unwrap();
    }
    for (from, to) in [
        (mmio_at(ELSEWHERE - 8), mmio_at(u64::MAX - 7)),
        (IoAddress::Pio(0xd000), IoAddress::Pio(0xfff0)),
        (IoAddress::Pio(0xd000), mmio_at(BASE)),
        (mmio_at(ELSEWHERE), IoAddress::Pio(0)),
    ] {
        let error = rig.set.relocate(from, BAR, to).unwrap_err();
        assert!(
            matches!(error, Error::NotMovable { .. }),
            "{from} {to}: {error}"
        );
    }
    // Onto the I/O APIC.
    let error = rig
        .set
        .relocate(mmio_at(ELSEWHERE), BAR, mmio_at(0xfec0_0000))
        .unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }));
    assert_eq!(ioctls(&rig.vm), (0, 0));
}

#[test]
fn a_stopped_set_moves_without_an_ioctl() {
    let rig = rig();
    let all = notifiers(2);
    have(&rig.set, queues(BASE, &all));
    drop(rig.set.stop().unwrap());
    ioctls(&rig.vm);
    rig.set
        .relocate(mmio_at(BASE), BAR, mmio_at(ELSEWHERE))
        .unwrap();
    assert_eq!(ioctls(&rig.vm), (0, 0));
    assert_eq!(rig.set.key_of_write(mmio_at(ELSEWHERE), &[0; 2]), None);
    let other = DoorbellSet::new(&rig.registry);
    assert!(
        other.plan(queues(ELSEWHERE, &all)).is_err(),
        "the place is the stopped set's"
    );
    have(&other, queues(BASE, &notifiers(1)));
    rig.set.start().unwrap();
    assert!(kernel_takes(&rig.vm, ELSEWHERE, &[0; 2]));
}

/// A guest writes without pause while its BAR moves, with every ioctl of the move failing in turn:
/// each kick arrives exactly once.
#[test]
fn no_kick_is_lost_or_doubled_while_the_bar_moves() {
    for removals_first in [false, true] {
        let mut rig = rig();
        if removals_first {
            rig.set = DoorbellSet::new(&rig.registry).removals_first();
        }
        let all = notifiers(QUEUES as usize);
        have(&rig.set, queues(BASE, &all));
        let (base, over) = (AtomicU64::new(BASE), AtomicBool::new(false));
        let (rounds, writes) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _ends = Ends(&over);
                while !over.load(Ordering::Relaxed) {
                    for queue in 0..QUEUES {
                        let at = mmio_at(base.load(Ordering::Acquire) + queue * 4);
                        let (heard, _) = ring(&rig, at, &[0; 2]);
                        assert!(heard, "{at}");
                        writes.fetch_add(1, Ordering::Relaxed);
                    }
                    rounds.fetch_add(1, Ordering::Release);
                }
            });
            let _ends = Ends(&over);
            let (mut here, mut there) = (BASE, ELSEWHERE);
            for hop in 0..4 * QUEUES + 2 {
                let kind = match hop % 2 {
                    0 => CallKind::IoEventFdAssign,
                    _ => CallKind::IoEventFdDeassign,
                };
                rig.vm.fail(kind, hop / 2 + 1, 12);
                let moved = rig.set.relocate(mmio_at(here), BAR, mmio_at(there));
                rig.vm.clear_faults();
                let Ok(moved) = moved else {
                    continue;
                };
                base.store(there, Ordering::Release);
                (here, there) = (there, here);
                let seen = rounds.load(Ordering::Acquire);
                while rounds.load(Ordering::Acquire) < seen + 2 && !over.load(Ordering::Relaxed) {
                    std::thread::yield_now();
                }
                rig.set.vcpus_passed(moved).unwrap();
            }
        });
        let handled: u64 = take(&all).iter().sum();
        assert_eq!(handled, writes.into_inner());
        assert_eq!(
            rig.set.on_exit_write(mmio_at(0), &[0; 2]).unwrap(),
            AfterExit::Emulate
        );
    }
}

#[test]
fn an_epoch_of_another_set_is_refused() {
    let rig = rig();
    let all = notifiers(1);
    have(&rig.set, queues(BASE, &all));
    let other = DoorbellSet::new(&rig.registry);
    let epochs: Vec<_> = [ELSEWHERE, ELSEWHERE + 8, ELSEWHERE]
        .into_iter()
        .map(|base| have(&other, queues(base, &all)))
        .collect();
    let moved = rig.set.relocate(mmio_at(BASE), BAR, mmio_at(BASE + 0x1000));
    for epoch in epochs {
        assert_eq!(rig.set.vcpus_passed(epoch), Err(Error::OtherSet));
    }
    assert_eq!(rig.set.key_of_write(mmio_at(BASE), &[0; 2]), Some(0));
    rig.set.vcpus_passed(moved.unwrap()).unwrap();
    assert_eq!(rig.set.key_of_write(mmio_at(BASE), &[0; 2]), None);
}

/// A device has doorbells in two BARs, and a range that moves ends in the middle of one.
#[test]
fn the_doorbells_of_other_bars_stay() {
    let rig = rig();
    let all = notifiers(4);
    let bell = |key: usize, address| mmio(key as u64, address, W2, &all[key]);
    let (bar, above) = (0xfe00_0000, 0xfe80_0000);
    have(
        &rig.set,
        [
            bell(0, bar - 2),
            bell(1, bar),
            bell(2, bar + BAR - 2),
            bell(3, above),
        ],
    );
    let places = |set: &DoorbellSet| {
        let bells = set.doorbells();
        let mut places: Vec<_> = bells.iter().map(|one| (one.key, one.address)).collect();
        places.sort();
        places
    };
    let there = |places: [u64; 4]| (0..).zip(places.map(mmio_at)).collect::<Vec<_>>();
    ioctls(&rig.vm);
    rig.set
        .relocate(mmio_at(bar), BAR, mmio_at(0xfd00_0000))
        .unwrap();
    assert_eq!(ioctls(&rig.vm), (2, 2));
    assert_eq!(
        places(&rig.set),
        there([bar - 2, 0xfd00_0000, 0xfd00_0000 + BAR - 2, above])
    );
    // A BAR that lies below moves over the place that another one has left, as a guest may do it.
    rig.set.relocate(mmio_at(above), BAR, mmio_at(bar)).unwrap();
    assert_eq!(
        places(&rig.set),
        there([bar - 2, 0xfd00_0000, 0xfd00_0000 + BAR - 2, bar])
    );
    // Half of the other one.
    rig.set
        .relocate(mmio_at(0xfd00_0000), BAR - 2, mmio_at(above))
        .unwrap();
    assert_eq!(
        places(&rig.set),
        there([bar - 2, above, 0xfd00_0000 + BAR - 2, bar])
    );
}
