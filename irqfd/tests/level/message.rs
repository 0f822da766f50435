// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Lines of a split irqchip, whose redirection entries the VMM emulates.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use irq_routing::{MsiMessage, Platform, Route, RoutingTable, Wiring};
use irqfd::{EoiExits, IrqFdError, LevelError, LevelLine, NoResample};
use kvm_test::{Call, Recorder};
use notify_sim::{CallKind, SimVm};

use super::bench::{self, GSI, edge, level, split};
use super::{exported, heard, notifier, own, signal, told};

const VECTOR: u8 = 0x52;

#[track_caller]
fn expect(vm: &SimVm, vectors: &[u8]) {
    assert_eq!(vm.pending_vectors(0), vectors);
}

/// The guest takes the interrupt and sends the EOI.
#[track_caller]
fn serve(vm: &SimVm, exits: &EoiExits, vector: u8) -> usize {
    assert_eq!(vm.take_vector(0), Some(vector));
    vm.lapic_eoi(0);
    exits.on_vector(vector)
}

#[test]
fn it_starts_masked_and_remembers_what_is_asserted() {
    let (vm, table, line, exits) = split();
    let (disk, net) = (own(&line), own(&line));
    vm.reset_calls();
    disk.assert().unwrap();
    net.assert().unwrap();
    net.deassert().unwrap();
    assert_eq!(vm.total_calls(), 0);
    line.redirect(level(VECTOR), true).unwrap();
    assert_eq!(vm.total_calls(), 0, "what is masked is not committed");
    assert_eq!(
        table.route(table.gsi(GSI).unwrap()),
        Some(Route::Msi(MsiMessage::default()))
    );
    line.redirect(level(VECTOR), false).unwrap();
    expect(&vm, &[VECTOR]);
    assert_eq!(
        table.route(table.gsi(GSI).unwrap()),
        Some(Route::Msi(level(VECTOR)))
    );
    assert_eq!(vm.calls(CallKind::SetGsiRouting), 1);
    net.assert().unwrap();
    assert_eq!(vm.calls(CallKind::IrqLine), 1, "one is in service");
    disk.deassert().unwrap();
    assert_eq!(serve(&vm, &exits, VECTOR), 1);
    expect(&vm, &[VECTOR]);
    net.deassert().unwrap();
    assert_eq!(serve(&vm, &exits, VECTOR), 1);
    expect(&vm, &[]);
    assert_eq!(vm.calls(CallKind::IrqLine), 2);
}

#[test]
fn all_are_told_of_each_eoi_once() {
    let (vm, _, line, exits) = split();
    line.redirect(level(VECTOR), false).unwrap();
    let (disk, net, card, nic) = (own(&line), told(&line), exported(&line), exported(&line));
    disk.assert().unwrap();
    net.assert().unwrap();
    signal(&card);
    serve(&vm, &exits, VECTOR);
    assert_eq!([&net, &card, &nic].map(heard), [1, 1, 1]);
    disk.deassert().unwrap();
    net.deassert().unwrap();
    serve(&vm, &exits, VECTOR);
    assert_eq!([&net, &card, &nic].map(heard), [1, 1, 1]);
    signal(&nic);
    serve(&vm, &exits, VECTOR);
    assert_eq!(exits.on_vector(VECTOR + 1), 0);
    assert_eq!(exits.on_pin(GSI), 1, "the VMM knows the pin");
    assert_eq!([&net, &card, &nic].map(heard), [2, 2, 2]);
    expect(&vm, &[]);
}

#[test]
fn signals_wait_in_the_trigger_while_it_is_masked() {
    let (vm, _, line, exits) = split();
    let card = exported(&line);
    signal(&card);
    signal(&card);
    drop(vm.deliver());
    assert!(!card.take_trigger().unwrap());
    assert!(card.trigger_notifier().unwrap().is_signalled().unwrap());
    line.redirect(level(VECTOR), false).unwrap();
    assert_eq!(heard(&card), 0);
    serve(&vm, &exits, VECTOR);
    expect(&vm, &[]);
    line.redirect(level(VECTOR), true).unwrap();
    signal(&card);
    let late = exported(&line);
    signal(&late);
    expect(&vm, &[]);
    line.redirect(level(VECTOR), false).unwrap();
    serve(&vm, &exits, VECTOR);
    assert_eq!((heard(&card), heard(&late)), (2, 1));
    // An irqfd that is not bound need not be deassigned.
    line.redirect(level(VECTOR), true).unwrap();
    vm.reset_calls();
    late.leave().unwrap();
    drop(card);
    assert_eq!(vm.total_calls(), 0);
}

/// As Linux does with an interrupt whose handler is a thread.
#[test]
fn an_eoi_while_it_is_masked_is_told_and_the_level_waits() {
    let (vm, _, line, exits) = split();
    let (disk, net) = (own(&line), told(&line));
    line.redirect(level(VECTOR), false).unwrap();
    disk.assert().unwrap();
    assert_eq!(vm.take_vector(0), Some(VECTOR));
    line.redirect(level(VECTOR), true).unwrap();
    vm.lapic_eoi(0);
    assert_eq!(exits.on_vector(VECTOR), 1);
    assert_eq!(heard(&net), 1);
    expect(&vm, &[]);
    line.redirect(level(VECTOR), false).unwrap();
    expect(&vm, &[VECTOR]);
}

#[test]
fn a_service_ends_with_its_vector() {
    for (new, sent) in [(level(0x62), true), (edge(VECTOR), false)] {
        let (vm, _, line, exits) = split();
        let (disk, net) = (own(&line), told(&line));
        line.redirect(level(VECTOR), false).unwrap();
        // Nothing is in service, so there is no EOI.
        line.redirect(level(0x42), false).unwrap();
        line.redirect(level(VECTOR), false).unwrap();
        assert_eq!(heard(&net), 0);
        disk.assert().unwrap();
        assert_eq!(vm.take_vector(0), Some(VECTOR));
        // To another vCPU, or masked: the service continues.
        let elsewhere = MsiMessage::new(0xfee0_1000, level(VECTOR).data);
        line.redirect(elsewhere, false).unwrap();
        line.redirect(elsewhere, true).unwrap();
        assert_eq!(heard(&net), 0);
        line.redirect(new, false).unwrap();
        assert_eq!(heard(&net), 1);
        vm.lapic_eoi(0);
        assert_eq!(exits.on_vector(VECTOR), 0, "too late");
        let expected = if sent { vec![0x62] } else { vec![] };
        expect(&vm, &expected);
        // Back again: an asserted line still interrupts.
        line.redirect(level(VECTOR), false).unwrap();
        disk.deassert().unwrap();
        vm.clear_vectors(0);
        line.on_eoi().unwrap();
        expect(&vm, &[]);
        disk.assert().unwrap();
        expect(&vm, &[VECTOR]);
    }
}

#[test]
fn an_edge_triggered_entry_gets_one_message_each_time_that_the_line_rises() {
    let (vm, _, line, exits) = split();
    let (disk, net, card) = (own(&line), own(&line), exported(&line));
    disk.assert().unwrap();
    line.redirect(edge(VECTOR), false).unwrap();
    expect(&vm, &[]);
    disk.deassert().unwrap();
    for _ in 0..2 {
        disk.assert().unwrap();
        net.assert().unwrap();
        assert_eq!(serve(&vm, &exits, VECTOR), 0);
        expect(&vm, &[]);
        disk.deassert().unwrap();
        net.deassert().unwrap();
    }
    // A device that triggers waits for an EOI; when there may be one again, it is notified.
    signal(&card);
    assert_eq!(serve(&vm, &exits, VECTOR), 0);
    assert_eq!(heard(&card), 0);
    line.redirect(edge(VECTOR), true).unwrap();
    line.redirect(level(VECTOR), true).unwrap();
    assert_eq!(heard(&card), 1);
    line.redirect(level(VECTOR), false).unwrap();
    assert_eq!(heard(&card), 0);
}

/// No EOI comes of what no local APIC took, so it is sent again.
#[test]
fn what_no_apic_takes_is_not_in_service() {
    let (vm, _, line, exits) = split();
    let (disk, net) = (own(&line), own(&line));
    vm.disable_lapic(0);
    line.redirect(level(VECTOR), false).unwrap();
    disk.assert().unwrap();
    expect(&vm, &[]);
    vm.enable_lapic(0);
    net.assert().unwrap();
    expect(&vm, &[VECTOR]);
    // An NMI is taken, but has no EOI.
    drop((disk, net));
    serve(&vm, &exits, VECTOR);
    let nmi = MsiMessage::new(0xfee0_0000, 1 << 15 | 4 << 8);
    line.redirect(nmi, false).unwrap();
    let disk = own(&line);
    disk.assert().unwrap();
    assert_eq!(exits.on_vector(0), 0);
    line.redirect(level(VECTOR), false).unwrap();
    expect(&vm, &[VECTOR]);
}

/// It may have been taken, and is not sent twice.
#[test]
fn what_a_kernel_does_not_tell_of_is_in_service() {
    let vm = Arc::new(Recorder::default());
    let table = RoutingTable::builder(vm.clone()).wiring(Wiring::none(Platform::X86Split));
    let lease = table.build().unwrap().lease_exact(GSI).unwrap();
    lease.set_route(level(VECTOR)).unwrap();
    let builder = LevelLine::builder(lease.into_line().unwrap()).eoi_exits(&EoiExits::default());
    vm.fail_after(0, libc::EINVAL);
    let line = builder.build().unwrap();
    line.redirect(level(VECTOR), false).unwrap();
    let (disk, net) = (own(&line), own(&line));
    vm.take();
    disk.assert().unwrap();
    net.assert().unwrap();
    assert_eq!(vm.take(), [Call::Line(GSI, true)]);
    line.on_eoi().unwrap();
    assert_eq!(vm.take(), [Call::Line(GSI, true)]);
}

/// The guest has written a message that the kernel refuses.
#[test]
fn a_refused_message_changes_nothing() {
    let (vm, _, line, exits) = split();
    vm.enable_x2apic_ids();
    let (disk, card) = (own(&line), exported(&line));
    let bad = MsiMessage::new(0x1_fee0_0000, level(0x62).data);
    line.redirect(bad, true).unwrap();
    let error = line.redirect(bad, false).unwrap_err();
    assert!(matches!(error, LevelError::Route { .. }));
    disk.assert().unwrap();
    signal(&card);
    expect(&vm, &[]);
    line.redirect(level(VECTOR), false).unwrap();
    assert_eq!(heard(&card), 1, "another vector");
    line.redirect(bad, false).unwrap_err();
    serve(&vm, &exits, VECTOR);
    assert_eq!(heard(&card), 1);
    expect(&vm, &[VECTOR]);
}

#[test]
fn lines_of_one_vector_end_together() {
    let (vm, table, line, exits) = split();
    let lease = table.lease_exact(11).unwrap();
    lease.set_route(level(VECTOR)).unwrap();
    let builder = LevelLine::builder(lease.into_line().unwrap()).eoi_exits(&exits);
    let second = builder.build().unwrap();
    assert_eq!(second.number(), 11);
    for line in [&line, &second] {
        line.redirect(level(VECTOR), false).unwrap();
    }
    let (disk, net) = (own(&line), told(&second));
    disk.assert().unwrap();
    net.assert().unwrap();
    assert_eq!(serve(&vm, &exits, VECTOR), 2);
    assert_eq!(heard(&net), 1);
    disk.deassert().unwrap();
    net.deassert().unwrap();
    assert_eq!(serve(&vm, &exits, VECTOR), 2);
    expect(&vm, &[]);
    drop((second, net));
    assert_eq!(exits.on_vector(VECTOR), 1);
    assert_eq!(table.leased(), 1);
}

#[test]
fn after_a_restore_what_is_asserted_is_sent_anew_and_all_are_told() {
    let (vm, _, line, _) = split();
    line.redirect(level(VECTOR), false).unwrap();
    let (disk, card) = (own(&line), exported(&line));
    disk.assert().unwrap();
    vm.clear_vectors(0);
    line.resync().unwrap();
    expect(&vm, &[VECTOR]);
    assert_eq!(heard(&card), 1);
}

fn build(
    table: &RoutingTable,
    gsi: u32,
    exits: Option<&EoiExits>,
) -> Result<LevelLine, LevelError> {
    let lease = table.lease_exact(gsi).unwrap();
    lease.set_route(level(VECTOR)).unwrap();
    let builder = LevelLine::builder(lease.into_line().unwrap());
    let builder = match exits {
        Some(exits) => builder.eoi_exits(exits),
        None => builder,
    };
    Ok(builder.build()?)
}

/// A failure is always reported.
#[test]
fn a_line_that_would_hear_of_no_eoi_is_refused() {
    let (vm, table) = bench::split_table();
    let exits = EoiExits::default();
    let error = build(&table, GSI, None).unwrap_err();
    assert!(matches!(
        error,
        LevelError::NoResample {
            reason: NoResample::Refused { .. },
            ..
        }
    ));
    let error = build(&table, 24, Some(&exits)).unwrap_err();
    assert!(matches!(
        error,
        LevelError::NoResample {
            reason: NoResample::NotReserved { reserved: 24, .. },
            ..
        }
    ));
    // An errno that does not concern the VM is passed on.
    vm.fail(CallKind::IrqFdAssign, 1, libc::ENOMEM);
    let error = build(&table, GSI, Some(&exits)).unwrap_err();
    assert!(matches!(error, LevelError::Arm(IrqFdError::Refused { .. })));
    assert_eq!(table.leased(), 0);
    drop(build(&table, GSI, Some(&exits)).unwrap());
    assert_eq!(table.leased(), 0);
    let lease = table.lease_exact(GSI).unwrap();
    lease
        .set_route(Route::HvSint { vcpu: 0, sint: 1 })
        .unwrap_err();
}

#[test]
fn whoever_leaves_takes_nothing_along() {
    let (vm, _, line, exits) = split();
    line.redirect(level(VECTOR), false).unwrap();
    let (disk, card, nic) = (own(&line), exported(&line), exported(&line));
    disk.assert().unwrap();
    signal(&card);
    let trigger = Arc::clone(card.trigger_notifier().unwrap());
    card.leave().unwrap();
    drop(disk);
    serve(&vm, &exits, VECTOR);
    assert_eq!(heard(&nic), 1);
    expect(&vm, &[]);
    trigger.notify().unwrap();
    expect(&vm, &[]);
    assert!(trigger.is_signalled().unwrap());
    // It joins again, with the signal that came meanwhile.
    let card = line.join_exported(Some(trigger), notifier()).unwrap();
    expect(&vm, &[VECTOR]);
    drop(card);
}

/// The translation blocks the line's message: then no irqfd is on its GSI, and signals of devices
/// wait.
#[test]
fn a_blocked_message_takes_the_irqfds_off_until_it_is_let_through() {
    let blocked = Arc::new(AtomicBool::new(false));
    let block = Arc::clone(&blocked);
    let profile = notify_sim::Profile::X86Split { pins: 24 };
    let vm = Arc::new(SimVm::builder().profile(profile).build());
    vm.enable_lapic(0);
    let table = RoutingTable::builder(vm.clone())
        .wiring(Wiring::none(Platform::X86Split))
        .reserved_gsis(24)
        .translate(move |message| (!block.load(Ordering::SeqCst)).then_some(message))
        .build()
        .unwrap();
    let exits = EoiExits::default();
    let lease = table.lease_exact(GSI).unwrap();
    lease.set_route(MsiMessage::default()).unwrap();
    let line = LevelLine::builder(lease.into_line().unwrap()).eoi_exits(&exits);
    let line = line.build().unwrap();
    let (card, nic) = (exported(&line), exported(&line));
    line.redirect(level(VECTOR), false).unwrap();
    blocked.store(true, Ordering::SeqCst);
    table.retranslate().unwrap();
    assert_eq!(vm.calls(CallKind::IrqFdDeassign), 2);
    signal(&card);
    drop(vm.deliver());
    expect(&vm, &[]);
    // One leaves, and one comes.
    drop(nic);
    let nic = exported(&line);
    blocked.store(false, Ordering::SeqCst);
    table.retranslate().unwrap();
    drop(vm.deliver());
    expect(&vm, &[VECTOR]);
    serve(&vm, &exits, VECTOR);
    signal(&nic);
    drop(vm.deliver());
    expect(&vm, &[VECTOR]);
    serve(&vm, &exits, VECTOR);
    // The guest writes an entry whose message is blocked.
    blocked.store(true, Ordering::SeqCst);
    line.redirect(level(VECTOR + 1), false).unwrap();
    signal(&card);
    drop(vm.deliver());
    expect(&vm, &[]);
    blocked.store(false, Ordering::SeqCst);
    table.retranslate().unwrap();
    drop(vm.deliver());
    expect(&vm, &[VECTOR + 1]);
}
