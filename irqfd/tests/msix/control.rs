// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Enable, function mask and reset.

use irqfd::Triggered;
use irqfd::msix::{Binding, NO_VECTOR};

use super::{Bench, expect_kept, is_function_masked, pending, program, read32, set_mask, vector};

#[test]
fn message_control_has_three_fields() {
    let bench = Bench::new();
    let table = bench.table(3);
    assert_eq!(table.message_control(), 0x0002);
    let _ = table.config_write(2, &0xffff_u16.to_le_bytes());
    assert_eq!(table.message_control(), 0xc002);
    assert!(table.is_enabled() && is_function_masked(&table));
    let _ = table.config_write(2, &0x8000_u16.to_le_bytes());
    assert_eq!(table.message_control(), 0x8002);
    assert!(table.is_enabled() && !is_function_masked(&table));
    let _ = table.config_write(2, &0x4000_u16.to_le_bytes());
    assert!(!table.is_enabled() && is_function_masked(&table));
}

#[test]
fn the_capability_is_written_by_any_bytes_of_it() {
    let bench = Bench::new();
    let table = bench.table(3);
    let write = |offset, data: &[u8]| {
        let _ = table.config_write(offset, data);
        table.message_control() >> 14
    };
    assert_eq!(write(3, &[0xc0]), 3);
    assert_eq!(write(2, &[0, 0x80]), 2);
    assert_eq!(write(0, &[0xff, 0xff, 0xff, 0x40]), 1);
    assert_eq!(write(0, &[0; 4]), 0);
    assert_eq!(write(1, &[0, 0, 0xc0]), 3);
    // None of these bytes is Message Control's upper half.
    for (offset, len) in [(0, 0), (0, 3), (2, 1), (4, 8), (u64::MAX, 8), (1 << 33, 4)] {
        assert_eq!(write(offset, &[0; 8][..len]), 3, "{offset:#x}");
    }
    assert_eq!(write(3, &[0, 1, 2, 3, 4, 5, 6, 7]), 0);
}

#[test]
fn all_three_must_let_a_trigger_through() {
    for closed_by in 0..8 {
        let bench = Bench::new();
        let table = bench.table(1);
        let (disabled, function, own) =
            (closed_by & 1 != 0, closed_by & 2 != 0, closed_by & 4 != 0);
        program(&table, 0, 0x41);
        set_mask(&table, 0, own);
        let _ = table.set_control(!disabled, function);
        let triggered = vector(&table, 0).trigger().unwrap();
        if closed_by == 0 {
            assert_eq!(triggered, Triggered::Delivered);
            bench.expect(&[0x41]);
        } else {
            let kept = if disabled {
                Triggered::Disabled
            } else {
                Triggered::Kept
            };
            assert_eq!(triggered, kept);
            bench.expect(&[]);
        }
        assert_eq!(pending(&table, 0), u64::from(closed_by != 0));
        // The reasons for which it is closed go, one after the other; the last one delivers.
        set_mask(&table, 0, false);
        let _ = table.set_control(true, function);
        let _ = table.set_control(true, false);
        bench.expect(if closed_by == 0 { &[] } else { &[0x41] });
        assert_eq!(pending(&table, 0), 0);
    }
}

#[test]
fn the_function_mask_leaves_mask_bits_alone() {
    let bench = Bench::new();
    let table = bench.enabled(3);
    (0..3).for_each(|number| program(&table, number, 0x40 + number as u32));
    set_mask(&table, 0, false);
    set_mask(&table, 2, false);
    let _ = table.set_control(true, true);
    assert_eq!([12, 28, 44].map(|offset| read32(&table, offset)), [0, 1, 0]);
    (0..3).for_each(|number| expect_kept(&table, number));
    // Mask bits written meanwhile count when it is cleared.
    set_mask(&table, 1, false);
    set_mask(&table, 2, true);
    bench.expect(&[]);
    assert_eq!(pending(&table, 0), 0b111);
    let _ = table.set_control(true, false);
    bench.expect(&[0x40, 0x41]);
    assert_eq!(pending(&table, 0), 0b100);
}

#[test]
fn disabling_keeps_entries_mask_bits_and_what_is_pending() {
    let bench = Bench::new();
    let table = bench.enabled(2);
    program(&table, 0, 0x41);
    program(&table, 1, 0x42);
    set_mask(&table, 0, false);
    expect_kept(&table, 1);
    let _ = table.set_control(false, false);
    expect_kept(&table, 0);
    assert_eq!(pending(&table, 0), 0b11);
    assert_eq!(
        [8, 12, 24, 28].map(|offset| read32(&table, offset)),
        [0x41, 0, 0x42, 1]
    );
    bench.expect(&[]);
    let _ = table.set_control(true, false);
    bench.expect(&[0x41]);
    set_mask(&table, 1, false);
    bench.expect(&[0x42]);
}

#[test]
fn disabling_disarms_what_was_exported() {
    let bench = Bench::new();
    let table = bench.enabled(2);
    let notifiers = [0, 1].map(|number| {
        let notifier = vector(&table, number).export().unwrap();
        program(&table, number.into(), 0x41 + u32::from(number));
        set_mask(&table, number.into(), false);
        notifier
    });
    let _ = table.set_control(false, false);
    for notifier in &notifiers {
        notifier.notify().unwrap();
        bench.expect(&[]);
    }
    assert_eq!(pending(&table, 0), 0b11);
    let _ = table.set_control(true, false);
    bench.expect(&[0x41, 0x42]);
}

#[test]
fn a_message_written_while_the_function_is_masked_is_taken_when_it_is_not() {
    let bench = Bench::new();
    let table = bench.enabled(1);
    program(&table, 0, 0x41);
    set_mask(&table, 0, false);
    let _ = table.set_control(true, true);
    program(&table, 0, 0x42);
    let _ = table.set_control(true, false);
    vector(&table, 0).trigger().unwrap();
    bench.expect(&[0x42]);
}

#[test]
fn a_reset_forgets_everything_but_who_was_exported() {
    let bench = Bench::new();
    let table = bench.enabled(2);
    let notifier = vector(&table, 1).export().unwrap();
    for number in 0..2 {
        program(&table, number, 0x41);
        set_mask(&table, number, false);
    }
    let _ = table.set_control(true, true);
    expect_kept(&table, 0);
    notifier.notify().unwrap();
    table.reset();
    assert_eq!(table.message_control(), 1);
    for offset in [0, 16] {
        let words = [0, 4, 8, 12].map(|word| read32(&table, offset + word));
        assert_eq!(words, [0, 0, 0, 1]);
    }
    assert_eq!(pending(&table, 0), 0);
    assert!(vector(&table, 1).notifier().is_some());
    let _ = table.set_control(true, false);
    (0..2).for_each(|number| set_mask(&table, number, false));
    bench.expect(&[]);
}

/// A driver may enable MSI-X before it resets its virtio device, as FreeBSD's does. That reset is
/// not one of the PCI function.
#[test]
fn the_reset_of_a_virtio_device_leaves_msix_alone() {
    let bench = Bench::new();
    let table = bench.enabled(2);
    program(&table, 1, 0x41);
    set_mask(&table, 1, false);
    let queue = Binding::new(&table);
    assert_eq!(queue.bind(1), 1);
    queue.bind(NO_VECTOR);
    assert_eq!(queue.number(), NO_VECTOR);
    assert!(table.is_enabled());
    assert_eq!(queue.trigger().unwrap(), None);
    // The driver sets its queue up, and finds its vector unchanged.
    queue.bind(1);
    queue.trigger().unwrap();
    bench.expect(&[0x41]);

    // A reset of the function clears everything.
    table.reset();
    queue.bind(NO_VECTOR);
    assert_eq!(table.message_control(), 1);
    assert_eq!(read32(&table, 16 + 8), 0);
}
