// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Which vector a queue uses.

use irqfd::Triggered;
use irqfd::msix::{Binding, NO_VECTOR};

use super::{Bench, pending, program, set_mask};

#[test]
fn numbers_that_the_table_does_not_have_bind_to_none() {
    let bench = Bench::new();
    let table = bench.table(3);
    let queue = Binding::new(&table);
    assert_eq!(queue.number(), NO_VECTOR);
    for number in [3, 4, 2048, 0xfffe, NO_VECTOR] {
        assert_eq!(queue.bind(2), 2);
        assert_eq!(queue.bind(number), NO_VECTOR);
        assert_eq!(queue.number(), NO_VECTOR);
        assert!(queue.vector().is_none());
        assert_eq!(queue.trigger().unwrap(), None);
    }
    assert_eq!(pending(&table, 0), 0, "nobody was triggered");
}

#[test]
fn triggers_follow_the_binding() {
    let bench = Bench::new();
    let table = bench.enabled(2);
    for number in 0..2 {
        program(&table, number, 0x40 + number as u32);
        set_mask(&table, number, false);
    }
    let (rx, tx) = (Binding::new(&table), Binding::new(&table));
    rx.bind(0);
    tx.bind(1);
    assert_eq!(rx.trigger().unwrap(), Some(Triggered::Delivered));
    bench.expect(&[0x40]);
    // Two queues may share a vector.
    assert_eq!(rx.bind(1), 1);
    rx.trigger().unwrap();
    bench.expect(&[0x41]);
    tx.trigger().unwrap();
    bench.expect(&[0x41]);
    drop(table);
    assert_eq!(tx.trigger().unwrap(), Some(Triggered::Delivered));
}
