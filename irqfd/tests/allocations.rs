// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A trigger allocates nothing, on any thread, nor do the guest's writes to an internal vector.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use allocation_counter::measure;
use irq_routing::{MsiMessage, RoutingTable};
use irqfd::Vector;
use kvm_test::Nothing;

#[test]
fn a_trigger_allocates_nothing() {
    let table = RoutingTable::new(Arc::new(Nothing)).unwrap();
    let build = |exported: bool, masked: bool| {
        let vector = Vector::builder(&table).build().unwrap();
        let notifier = exported.then(|| vector.export().unwrap());
        if !masked {
            vector.unmask().unwrap();
        }
        (vector, notifier)
    };
    for (exported, masked) in [(false, false), (false, true), (true, false), (true, true)] {
        let (vector, _notifier) = build(exported, masked);
        let trigger = || assert!(vector.trigger().is_ok());
        let counted = measure(trigger).count_total;
        assert_eq!(counted, 0, "exported: {exported}, masked: {masked}");
        // A thread's first trigger is like any other.
        let on_a_new_thread = || measure(trigger).count_total;
        let counted = std::thread::scope(|scope| scope.spawn(on_a_new_thread).join().unwrap());
        assert_eq!(counted, 0, "exported: {exported}, masked: {masked}");
    }

    let (vector, _) = build(false, false);
    let counted = measure(|| {
        vector.mask();
        vector
            .set_message(MsiMessage::new(0xfee0_0000, 0x41))
            .unwrap();
        vector.trigger().unwrap();
        vector.unmask().unwrap();
    });
    assert_eq!(counted.count_total, 0);

    let witness = measure(|| drop(std::hint::black_box(Box::new(1))));
    assert_eq!(witness.count_total, 1, "the counter counts");
}
