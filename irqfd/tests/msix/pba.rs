// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The pending bit array.

use super::{Bench, expect_kept, pending, program, set_mask, vector};

#[test]
fn bits_are_numbered_across_bytes_and_words() {
    let bench = Bench::new();
    let table = bench.table(130);
    for number in [0, 7, 8, 63, 64, 129] {
        expect_kept(&table, number);
    }
    assert_eq!(pending(&table, 0), 1 << 63 | 0x181);
    assert_eq!(pending(&table, 1), 1);
    assert_eq!(pending(&table, 2), 0b10);
    let mut two = [0; 2];
    table.pba_read(7, &mut two);
    assert_eq!(two, [0x80, 0x01]);
}

#[test]
fn what_is_beyond_the_last_word_reads_as_ones() {
    let bench = Bench::new();
    let table = bench.table(65);
    let mut bytes = [0; 8];
    table.pba_read(12, &mut bytes);
    assert_eq!(bytes, [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    for offset in [16, 1 << 61, u64::MAX - 3, u64::MAX] {
        let mut bytes = [0; 8];
        table.pba_read(offset, &mut bytes);
        assert_eq!(bytes, [0xff; 8], "{offset:#x}");
    }
    for len in [0, 3, 16] {
        let mut bytes = vec![0; len];
        table.pba_read(0, &mut bytes);
        assert_eq!(bytes, vec![0xff; len]);
    }
}

#[test]
fn both_kinds_show_what_they_keep_and_only_while_masked() {
    let bench = Bench::new();
    let table = bench.enabled(3);
    let notifier = vector(&table, 1).export().unwrap();
    (0..3).for_each(|number| program(&table, number, 0x40 + number as u32));
    assert_eq!(pending(&table, 0), 0);
    expect_kept(&table, 0);
    notifier.notify().unwrap();
    notifier.notify().unwrap();
    assert_eq!(pending(&table, 0), 0b11);
    assert_eq!(pending(&table, 0), 0b11, "reading changes nothing");
    (0..3).for_each(|number| set_mask(&table, number, false));
    assert_eq!(pending(&table, 0), 0);
    bench.expect(&[0x40, 0x41]);

    // An armed notifier that is signalled is delivered, not pending.
    notifier.notify().unwrap();
    assert_eq!(pending(&table, 0), 0);
    bench.expect(&[0x41]);
    set_mask(&table, 1, true);
    assert_eq!(pending(&table, 0), 0);
    vector(&table, 1).trigger().unwrap();
    assert_eq!(pending(&table, 0), 0b10);
}

#[test]
fn what_waits_for_a_queue_is_not_masked_and_so_not_pending() {
    let bench = Bench::new();
    let queue = irqfd::ArmQueue::new(&bench.routing).unwrap();
    let table = irqfd::msix::Table::builder(&bench.routing)
        .queue(&queue)
        .build()
        .unwrap();
    let _ = table.set_control(true, false);
    let notifier = vector(&table, 0).export().unwrap();
    program(&table, 0, 0x41);
    notifier.notify().unwrap();
    assert_eq!(pending(&table, 0), 1);
    set_mask(&table, 0, false);
    assert_eq!(pending(&table, 0), 0);
    bench.expect(&[]);
    let _ = queue.run_pending();
    bench.expect(&[0x41]);
}
