// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A trigger allocates nothing, on any thread. Neither do the guest's writes to an internal vector,
//! nor the operations of a level-triggered line.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io;
use std::sync::Arc;

use allocation_counter::measure;
use irq_routing::{MsiMessage, Platform, RoutingTable, Wiring};
use irqfd::{Controller, EoiExits, EventNotifier, LevelLine, Vector};
use kvm_test::Nothing;
use notify_core::{
    Extension, IoEventFdRequest, IrqFdAction, IrqFdRequest, LineStatus, MsiOutcome, RouteBuffer, Vm,
};

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

/// A split irqchip: [`Nothing`], with the few results that differ.
#[derive(Debug)]
struct Split;

impl Vm for Split {
    fn check_extension(&self, capability: Extension) -> io::Result<u32> {
        Nothing.check_extension(capability)
    }

    fn irqfd(&self, request: &IrqFdRequest<'_>) -> io::Result<()> {
        match request.action {
            IrqFdAction::AssignResample(_) => Err(io::ErrorKind::InvalidInput.into()),
            _ => Ok(()),
        }
    }

    fn ioeventfd(&self, request: &IoEventFdRequest<'_>) -> io::Result<()> {
        Nothing.ioeventfd(request)
    }

    fn set_gsi_routing(&self, table: &RouteBuffer) -> io::Result<()> {
        Nothing.set_gsi_routing(table)
    }

    fn signal_msi(&self, message: &MsiMessage) -> io::Result<MsiOutcome> {
        Nothing.signal_msi(message)
    }

    fn irq_line_status(&self, gsi: u32, level: bool) -> io::Result<LineStatus> {
        Nothing.irq_line_status(gsi, level)
    }
}

/// Levels, EOIs signalled to many devices, and redirections.
#[test]
fn a_line_allocates_nothing_whatever_devices_and_guest_do() {
    let table = RoutingTable::builder(Arc::new(Split)).wiring(Wiring::none(Platform::X86Split));
    let table = table.build().unwrap();
    let exits = EoiExits::default();
    let lease = table.lease_exact(10).unwrap();
    lease.set_route(MsiMessage::default()).unwrap();
    let line = LevelLine::builder(lease.into_line().unwrap()).eoi_exits(&exits);
    let line = line.build().unwrap();
    let notifier = || Arc::new(EventNotifier::new().unwrap());
    let join = |_| line.join_resampled(notifier()).unwrap();
    let devices: [_; 16] = std::array::from_fn(join);
    let entry = |vector: u32| MsiMessage::new(0xfee0_0000, 1 << 15 | vector);
    let work = || {
        for vector in [0x41_u32, 0x52] {
            line.redirect(entry(vector), true).unwrap();
            line.redirect(entry(vector), false).unwrap();
            devices.iter().for_each(|device| device.assert().unwrap());
            assert_eq!(exits.on_vector(u8::try_from(vector).unwrap()), 1);
            devices.iter().for_each(|device| device.deassert().unwrap());
            line.resync().unwrap();
        }
    };
    // A table keeps the memory of its commits.
    work();
    assert_eq!(measure(work).count_total, 0);
}

/// A controller that takes every level.
#[derive(Debug)]
struct Chip;

impl Controller for Chip {
    fn set_level(&self, _: u32, _: bool) -> io::Result<()> {
        Ok(())
    }
}

/// Devices are plugged in and out for as long as the VM runs.
#[test]
fn lines_and_devices_that_are_gone_leave_nothing() {
    let (chip, exits) = (Arc::new(Chip), EoiExits::default());
    let stays = LevelLine::on_controller(1, chip.clone(), &exits);
    let plug = || {
        let line = LevelLine::on_controller(2, chip.clone(), &exits);
        drop((line.join().unwrap(), stays.join().unwrap()));
    };
    (0..10).for_each(|_| plug());
    let counted = measure(|| (0..1000).for_each(|_| plug()));
    assert!(counted.bytes_current < 100, "{}", counted.bytes_current);
}
