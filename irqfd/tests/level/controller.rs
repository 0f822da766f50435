// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Lines to the VMM's own controller.

use kvm_test::os_text;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Barrier};

use irqfd::{Controller, LevelError, LevelLine};

use super::bench::{GSI, on_chip};
use super::{exported, heard, own, signal, told};

#[test]
fn it_is_told_of_changes_of_the_line() {
    let (chip, line, _exits) = on_chip();
    assert_eq!(line.number(), GSI);
    let (one, other) = (own(&line), told(&line));
    assert_eq!(chip.calls.load(Ordering::Relaxed), 0);
    one.assert().unwrap();
    other.assert().unwrap();
    one.deassert().unwrap();
    assert!(chip.level());
    assert_eq!(chip.calls.load(Ordering::Relaxed), 1);
    drop(other);
    assert!(!chip.level());
    assert_eq!(chip.calls.load(Ordering::Relaxed), 2);
}

#[test]
fn a_trigger_holds_the_line_up_until_the_next_eoi() {
    let (chip, line, exits) = on_chip();
    let (card, net) = (exported(&line), told(&line));
    assert!(!card.take_trigger().unwrap(), "nothing there");
    assert!(!net.take_trigger().unwrap(), "it has none");
    signal(&card);
    assert!(!chip.level(), "it was not taken yet");
    assert!(card.take_trigger().unwrap());
    assert!(chip.level() && !card.is_asserted() && line.is_asserted());
    assert_eq!(exits.on_pin(GSI), 1);
    assert!(!chip.level());
    assert_eq!([&card, &net].map(heard), [1, 1]);
    assert_eq!(exits.on_pin(GSI + 1), 0);
    // A level that is held beside the trigger outlasts it, and is set again.
    card.assert().unwrap();
    signal(&card);
    assert!(card.take_trigger().unwrap());
    chip.calls.store(0, Ordering::Relaxed);
    line.on_eoi().unwrap();
    assert!(chip.level());
    assert_eq!(chip.calls.load(Ordering::Relaxed), 1);
    assert_eq!([&card, &net].map(heard), [1, 1]);
    assert_eq!(exits.on_vector(0), 0, "it has no vector");
}

#[test]
fn after_a_refusal_nothing_has_changed() {
    let (chip, line, exits) = on_chip();
    let (one, card) = (own(&line), exported(&line));
    let fail = || chip.failure.store(libc::EIO, Ordering::Relaxed);
    fail();
    let error = one.assert().unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot set the level of line 10: {}", os_text(5))
    );
    assert!(!one.is_asserted() && !line.is_asserted());
    one.assert().unwrap();
    fail();
    one.deassert().unwrap_err();
    assert!(one.is_asserted() && chip.level());
    fail();
    let one = one.leave().unwrap_err().value;
    assert!(one.is_asserted() && chip.level());
    one.leave().unwrap();
    assert!(!chip.level());
    signal(&card);
    fail();
    card.take_trigger().unwrap_err();
    assert!(!line.is_asserted());
    assert!(card.take_trigger().unwrap(), "the signal is still there");
    // An EOI is always signalled; the level is set with the next change.
    fail();
    assert_eq!(exits.on_pin(GSI), 1);
    assert_eq!(heard(&card), 1);
    assert!(chip.level() && !line.is_asserted());
    fail();
    line.on_eoi().unwrap_err();
    line.on_eoi().unwrap();
    assert!(!chip.level());
    card.assert().unwrap();
    fail();
    drop(card);
    assert!(chip.level() && !line.is_asserted());
    own(&line).leave().unwrap();
    assert!(!chip.level());
}

/// It interrupts again only if it is given the level again.
#[test]
fn a_level_that_was_refused_after_an_eoi_was_not_given_again() {
    type Change = fn(&LevelLine, &irqfd::LevelIrq);
    let changes: [Change; 3] = [
        |_, net| net.assert().unwrap(),
        |line, _| drop(own(line)),
        |line, _| {
            line.pause().unwrap();
            line.resume().unwrap();
        },
    ];
    for change in changes {
        let (chip, line, exits) = on_chip();
        let (disk, net) = (own(&line), own(&line));
        disk.assert().unwrap();
        chip.failure.store(libc::EIO, Ordering::Relaxed);
        assert_eq!(exits.on_pin(GSI), 1);
        chip.calls.store(0, Ordering::Relaxed);
        change(&line, &net);
        assert_eq!(chip.calls.load(Ordering::Relaxed), 1);
        line.on_eoi().unwrap();
        net.assert().unwrap();
        assert_eq!(
            chip.calls.load(Ordering::Relaxed),
            2,
            "it owes nothing more"
        );
    }
}

/// The controller has a high level from before the EOI, so only a call lets it interrupt again.
#[test]
fn a_trigger_after_a_refused_fall_was_not_given() {
    let (chip, line, exits) = on_chip();
    let card = exported(&line);
    signal(&card);
    assert!(card.take_trigger().unwrap());
    chip.failure.store(libc::EIO, Ordering::Relaxed);
    assert_eq!(exits.on_pin(GSI), 1);
    assert!(chip.level() && !line.is_asserted());
    chip.calls.store(0, Ordering::Relaxed);
    signal(&card);
    assert!(card.take_trigger().unwrap());
    assert_eq!(chip.calls.load(Ordering::Relaxed), 1);
}

/// Between the EOI and the trigger the line was low, which the controller was not told.
#[test]
fn a_trigger_after_an_eoi_of_a_paused_line_was_not_given_at_the_resume() {
    let (chip, line, exits) = on_chip();
    let card = exported(&line);
    signal(&card);
    assert!(card.take_trigger().unwrap());
    line.pause().unwrap();
    assert_eq!(exits.on_pin(GSI), 1);
    signal(&card);
    assert!(card.take_trigger().unwrap());
    chip.calls.store(0, Ordering::Relaxed);
    line.resume().unwrap();
    assert_eq!(chip.calls.load(Ordering::Relaxed), 1);
}

/// The panic is as a refusal.
#[test]
fn a_level_that_panicked_after_an_eoi_was_not_given_again() {
    let (chip, line, _exits) = on_chip();
    let (disk, net) = (own(&line), own(&line));
    disk.assert().unwrap();
    chip.failure.store(-1, Ordering::Relaxed);
    let on_eoi = std::panic::AssertUnwindSafe(|| line.on_eoi());
    drop(std::panic::catch_unwind(on_eoi).unwrap_err());
    chip.calls.store(0, Ordering::Relaxed);
    net.assert().unwrap();
    assert_eq!(chip.calls.load(Ordering::Relaxed), 1);
}

#[test]
fn after_a_restore_the_level_is_said_again_and_all_are_told() {
    let (chip, line, _exits) = on_chip();
    let (disk, net) = (own(&line), told(&line));
    chip.set_level(GSI, true).unwrap();
    line.resync().unwrap();
    assert!(!chip.level());
    disk.assert().unwrap();
    chip.set_level(GSI, false).unwrap();
    line.resync().unwrap();
    assert!(chip.level());
    assert_eq!(heard(&net), 2);
}

#[test]
fn exits_keep_no_line_alive() {
    let (chip, line, exits) = on_chip();
    let again = LevelLine::on_controller(GSI, chip.clone(), &exits);
    assert!(line != again && line == line.clone());
    assert_eq!(exits.on_pin(GSI), 2);
    drop(line);
    assert_eq!(exits.clone().on_pin(GSI), 1);
    drop(again);
    assert_eq!(exits.on_pin(GSI), 0);
    assert_eq!(Arc::strong_count(&chip), 1);
}

/// Several threads report EOIs while devices assert; at the end the chip has the last level that
/// was set.
#[test]
fn eois_and_levels_from_many_threads() {
    let (chip, line, exits) = on_chip();
    let devices: [_; 4] = std::array::from_fn(|_| exported(&line));
    const ROUNDS: u64 = 2000;
    let start = Barrier::new(6);
    std::thread::scope(|scope| {
        for (number, device) in devices.iter().enumerate() {
            let start = &start;
            scope.spawn(move || {
                start.wait();
                for round in 0..ROUNDS {
                    device.assert().unwrap();
                    signal(device);
                    assert!(device.take_trigger().unwrap());
                    if number > 0 || round + 1 < ROUNDS {
                        device.deassert().unwrap();
                    }
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                start.wait();
                (0..ROUNDS).for_each(|_| assert_eq!(exits.on_pin(GSI), 1));
            });
        }
    });
    let all = devices.each_ref().map(heard);
    assert_eq!(all, [2 * ROUNDS; 4]);
    line.on_eoi().unwrap();
    assert!(chip.level(), "the first asserts");
    devices[0].deassert().unwrap();
    assert!(!chip.level());
    assert!(matches!(
        line.redirect(irq_routing::MsiMessage::default(), false),
        Err(LevelError::NoMessage { .. })
    ));
}
