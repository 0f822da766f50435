// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A trigger allocates nothing, on any thread, nor do the guest's writes to an internal vector.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io;
use std::sync::Arc;

use allocation_counter::measure;
use irq_routing::{MsiMessage, RoutingTable};
use irqfd::Vector;
use notify_core::{
    Capability, IoEventFdRequest, IrqFdRequest, LineStatus, MsiOutcome, MsiRequest, RouteBuffer, Vm,
};

/// Takes everything and keeps nothing.
#[derive(Debug)]
struct Nothing;

impl Vm for Nothing {
    fn capability(&self, _: Capability) -> io::Result<u32> {
        Ok(4096)
    }
    fn irqfd(&self, _: &IrqFdRequest<'_>) -> io::Result<()> {
        Ok(())
    }
    fn ioeventfd(&self, _: &IoEventFdRequest<'_>) -> io::Result<()> {
        Ok(())
    }
    fn set_gsi_routing(&self, _: &RouteBuffer) -> io::Result<()> {
        Ok(())
    }
    fn signal_msi(&self, _: &MsiRequest) -> io::Result<MsiOutcome> {
        Ok(MsiOutcome::Delivered)
    }
    fn set_irq_line(&self, _: u32, _: bool) -> io::Result<LineStatus> {
        Ok(LineStatus::Unknown)
    }
}

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
