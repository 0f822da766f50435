// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Lines to pins in the kernel.

use std::sync::Arc;

use irq_routing::{IrqChip, Pin, RoutingTable, Wiring};
use irqfd::{IrqFdError, LevelError, LevelIrq, LevelLine};
use kvm_test::{Call, Recorder};
use notify_core::{EventNotifier, Extension, Vm};
use notify_sim::{CallKind, SimVm};

use super::bench::{self, GSI, pin};
use super::{exported, heard, notifier, own, signal, told};

const IOAPIC: u32 = 2;

fn lines(vm: &SimVm) -> u64 {
    let calls = vm.calls(CallKind::IrqLine);
    vm.reset_calls();
    calls
}

#[test]
fn only_a_change_of_the_line_is_an_ioctl() {
    let (vm, _, line) = bench::pc();
    let all: [_; 4] = std::array::from_fn(|_| own(&line));
    vm.reset_calls();
    for irq in &all {
        irq.assert().unwrap();
        irq.assert().unwrap();
        assert!(irq.is_asserted() && line.is_asserted() && pin(&vm));
    }
    assert_eq!(lines(&vm), 1);
    for irq in &all[1..] {
        irq.deassert().unwrap();
        assert!(pin(&vm));
    }
    assert_eq!(lines(&vm), 0);
    all[0].deassert().unwrap();
    assert!(!pin(&vm) && !line.is_asserted());
    assert_eq!(lines(&vm), 1);
    drop(all);
    assert_eq!(vm.total_calls(), 0);
}

#[test]
fn an_eoi_is_told_once_to_each_and_leaves_what_is_asserted() {
    let (vm, _, line) = bench::pc();
    bench::use_ioapic(&vm);
    let (disk, net, card, nic) = (own(&line), told(&line), exported(&line), exported(&line));
    disk.assert().unwrap();
    signal(&card);
    assert_eq!(vm.take_vector(0), Some(bench::VECTOR));
    vm.lapic_eoi(0);
    assert_eq!([&net, &card, &nic].map(heard), [1, 1, 1]);
    assert!(pin(&vm));
    disk.deassert().unwrap();
    assert_eq!(
        vm.take_vector(0),
        Some(bench::VECTOR),
        "that was sent before"
    );
    vm.lapic_eoi(0);
    assert_eq!([&net, &card, &nic].map(heard), [1, 1, 1]);
    assert_eq!(vm.take_vector(0), None);
    signal(&nic);
    assert!(pin(&vm));
    net.assert().unwrap();
    vm.guest_eoi(IOAPIC, GSI);
    assert!(
        pin(&vm),
        "the trigger is gone, and the VMM's device asserts"
    );
}

#[test]
fn one_that_leaves_while_it_asserts_lowers_its_own_level_alone() {
    for by_drop in [false, true] {
        let leave = |irq: LevelIrq| match by_drop {
            true => drop(irq),
            false => irq.leave().unwrap(),
        };
        let (vm, _, line) = bench::pc();
        let (one, other, net) = (own(&line), own(&line), told(&line));
        for irq in [&one, &other, &net] {
            irq.assert().unwrap();
        }
        leave(one);
        leave(net);
        assert!(pin(&vm));
        leave(other);
        assert!(!pin(&vm));
        let (card, nic) = (exported(&line), exported(&line));
        signal(&card);
        leave(card);
        assert!(pin(&vm), "until the next EOI, since the other one stays");
        vm.guest_eoi(IOAPIC, GSI);
        assert!(!pin(&vm));
        assert_eq!(heard(&nic), 1);
        signal(&nic);
        leave(nic);
        assert!(!pin(&vm), "no device is left to be notified");
    }
}

#[test]
fn the_callers_own_notifiers_are_used_and_come_back() {
    let (vm, _, line) = bench::pc();
    let (trigger, resample) = (notifier(), notifier());
    let join = || line.join_exported(Some(Arc::clone(&trigger)), Arc::clone(&resample));
    let card = join().unwrap();
    assert!(Arc::ptr_eq(card.trigger_notifier().unwrap(), &trigger));
    assert!(Arc::ptr_eq(card.resample_notifier().unwrap(), &resample));
    // Bound already, also to another line.
    assert!(matches!(
        join().unwrap_err().error,
        LevelError::Arm(IrqFdError::AlreadyBound { .. })
    ));
    card.leave().unwrap();
    let card = join().unwrap();
    signal(&card);
    assert!(pin(&vm));
    assert!(!card.take_trigger().unwrap(), "the kernel takes it");

    let same = notifier();
    assert!(matches!(
        line.join_exported(Some(Arc::clone(&same)), same)
            .unwrap_err()
            .error,
        LevelError::TriggersItself { line: GSI, .. }
    ));
    let semaphore = EventNotifier::builder().semaphore(true).initial(3);
    let semaphore = Arc::new(semaphore.build().unwrap());
    let joined = line.join_exported(Some(Arc::clone(&semaphore)), notifier());
    assert!(matches!(
        joined.unwrap_err().error,
        LevelError::Semaphore { line: GSI, .. }
    ));
    let left = std::iter::from_fn(|| semaphore.consume().unwrap());
    assert_eq!(left.count(), 3, "it keeps its signals");
}

/// A signal that was there before, and a counter that is full.
#[test]
fn a_trigger_that_is_signalled_or_full_raises_the_line_and_works_on() {
    let (vm, _, line) = bench::pc();
    for count in [1, u64::MAX - 1] {
        let trigger = Arc::new(EventNotifier::new().unwrap());
        let eventfd: &notify_core::EventFd = (*trigger).as_ref();
        eventfd.write(count).unwrap();
        let card = line.join_exported(Some(trigger), notifier()).unwrap();
        assert!(pin(&vm));
        vm.guest_eoi(IOAPIC, GSI);
        assert!(!pin(&vm));
        signal(&card);
        assert!(pin(&vm));
    }
}

#[test]
fn a_line_has_one_driver_and_its_pins_no_other_gsi() {
    let (_, table, line) = bench::pc();
    let rejected = LevelLine::builder(table.line(GSI).unwrap())
        .build()
        .unwrap_err();
    assert!(matches!(
        rejected.error,
        LevelError::Taken { ref cause, .. }
            if matches!(**cause, irq_routing::Error::AlreadyDriven { .. })
    ));
    let mut transaction = table.transaction();
    transaction.wire(
        table.gsi(30).unwrap(),
        Pin::new(IrqChip::IoApic, GSI).unwrap(),
    );
    let shared = transaction.commit().unwrap_err();
    assert!(matches!(shared.error, irq_routing::Error::PinShared { .. }));
    // A device handle works as well as the line.
    let device = own(&line);
    drop(line);
    let rejected = LevelLine::builder(rejected.value).build().unwrap_err();
    drop(device);
    let line = LevelLine::builder(rejected.value).build().unwrap();
    assert_eq!(line.number(), GSI);
    drop(line);
    shared.value.commit().unwrap();
    let rejected = LevelLine::builder(table.line(GSI).unwrap())
        .build()
        .unwrap_err();
    assert!(matches!(
        rejected.error,
        LevelError::Taken { ref cause, .. }
            if matches!(**cause, irq_routing::Error::PinShared { .. })
    ));
    assert_eq!(rejected.value.gsi().number(), GSI);
}

/// No EOIs of a message are reported, though the kernel takes the irqfd.
#[test]
fn a_message_is_no_line_where_pins_are_in_the_kernel() {
    let (vm, table, _line) = bench::pc();
    let lease = table.lease_msi(bench::level(0x60)).unwrap();
    vm.reset_calls();
    let builder =
        LevelLine::builder(lease.into_line().unwrap()).eoi_exits(&irqfd::EoiExits::default());
    let rejected = builder.build().unwrap_err();
    assert!(matches!(
        rejected.error,
        LevelError::NoResample {
            reason: irqfd::NoResample::NoPin,
            ..
        }
    ));
    assert_eq!(
        vm.calls(CallKind::IrqFdDeassign),
        1,
        "what was tried is undone"
    );
}

#[test]
fn after_a_restore_the_level_is_said_again_and_all_are_told() {
    let (vm, _, line) = bench::pc();
    let (disk, net, card) = (own(&line), told(&line), exported(&line));
    disk.assert().unwrap();
    let mut ioapic = vm.ioapic().unwrap();
    ioapic.irr = 0;
    vm.set_ioapic(ioapic);
    assert!(!pin(&vm));
    line.resync().unwrap();
    assert!(pin(&vm));
    assert_eq!([&net, &card].map(heard), [1, 1]);
    disk.deassert().unwrap();
    vm.irq_line_status(GSI, true).unwrap();
    line.resync().unwrap();
    assert!(!pin(&vm));
}

#[test]
fn there_is_no_entry_to_redirect_and_no_eoi_to_report() {
    let (vm, _, line) = bench::pc();
    let net = told(&line);
    let error = line.redirect(bench::level(0x60), false).unwrap_err();
    assert!(matches!(error, LevelError::NoMessage { line: GSI, .. }));
    vm.reset_calls();
    line.on_eoi().unwrap();
    assert_eq!((heard(&net), vm.total_calls()), (0, 0));
}

/// A call that asks KVM for the status of the real-time clock's pin loses an assertion before the
/// EOI of the last.
#[test]
fn the_pin_of_the_real_time_clock_is_as_any_other() {
    const RTC: u32 = 8;
    let (vm, table, _) = bench::pc();
    bench::use_ioapic_pin(&vm, RTC);
    let line = LevelLine::builder(table.line(RTC).unwrap());
    let clock = own(&line.build().unwrap());
    clock.assert().unwrap();
    assert_eq!(vm.take_vector(0), Some(bench::VECTOR));
    clock.deassert().unwrap();
    clock.assert().unwrap();
    vm.lapic_eoi(0);
    assert_eq!(vm.take_vector(0), Some(bench::VECTOR));
}

#[test]
fn a_kernel_that_cannot_resample_has_lines_for_the_vmms_devices() {
    let vm = Arc::new(Recorder::default());
    vm.answer(Extension::IrqFdResample, 0);
    let table = RoutingTable::builder(vm.clone()).wiring(Wiring::pc());
    let table = table.build().unwrap();
    let line = LevelLine::builder(table.line(GSI).unwrap())
        .build()
        .unwrap();
    own(&line).assert().unwrap();
    vm.take();
    for joined in [
        line.join_resampled(notifier()).map_err(|it| it.error),
        line.join_exported(None, notifier()).map_err(|it| it.error),
    ] {
        let error = joined.unwrap_err();
        assert!(matches!(
            error,
            LevelError::NoResample {
                reason: irqfd::NoResample::NoExtension,
                ..
            }
        ));
    }
    assert_eq!(vm.take(), []);
}

/// An irqfd that stays bound keeps the GSI's route, also when the line was dropped.
#[test]
fn what_cannot_be_taken_off_keeps_the_route() {
    let (vm, table, line) = bench::pc();
    let card = exported(&line);
    let trigger = Arc::clone(card.trigger_notifier().unwrap());
    vm.fail(CallKind::IrqFdDeassign, 1, libc::EINVAL);
    drop(card);
    drop(line);
    let mut transaction = table.transaction();
    transaction.unwire(table.gsi(GSI).unwrap());
    let error = transaction.commit().unwrap_err().error;
    assert!(matches!(error, irq_routing::Error::RouteHeld { .. }));
    // All other devices go on.
    let line = LevelLine::builder(table.line(GSI).unwrap())
        .build()
        .unwrap();
    own(&line).assert().unwrap();
    drop(trigger);
}

#[test]
fn what_is_asked_of_the_kernel_and_in_which_order() {
    let vm = Arc::new(Recorder::default());
    let table = RoutingTable::builder(vm.clone()).wiring(Wiring::pc());
    let table = table.build().unwrap();
    table.recommit().unwrap();
    vm.take();
    let line = LevelLine::builder(table.line(GSI).unwrap())
        .build()
        .unwrap();
    assert_eq!(
        vm.take(),
        [],
        "pins are in the kernel, as the table was taken"
    );
    let card = exported(&line);
    let fds = |irq: &LevelIrq| {
        use std::os::fd::AsRawFd;
        let fd = |notifier: Option<&Arc<EventNotifier>>| {
            let eventfd: &notify_core::EventFd = (**notifier.unwrap()).as_ref();
            eventfd.as_raw_fd()
        };
        (fd(irq.trigger_notifier()), fd(irq.resample_notifier()))
    };
    let (trigger, resample) = fds(&card);
    assert_eq!(vm.take(), [Call::AssignResample(trigger, GSI, resample)]);
    card.assert().unwrap();
    assert_eq!(vm.take(), [Call::Line(GSI, true)]);
    card.leave().unwrap();
    assert_eq!(
        vm.take(),
        [Call::Line(GSI, false), Call::Deassign(trigger, GSI)]
    );
    let net = told(&line);
    assert!(net.trigger_notifier().is_none());
    assert!(matches!(vm.take()[..], [Call::AssignResample(..)]));
    drop(net);
    assert!(matches!(vm.take()[..], [Call::Deassign(..)]));
}
