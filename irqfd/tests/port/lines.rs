// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Level-triggered lines: of an IOAPIC in user space, whose messages go by an irqfd of the line;
//! and to pins in the kernel, as far as that is possible.

use std::io;
use std::sync::Arc;

use irq_routing::{MsiMessage, Platform, RoutingTable, Wiring};
use irqfd::{EoiExits, EventNotifier, IrqFdError, LevelError, LevelLine, NoResample};
use kvm_test::NoIrqLine;
use notify_sim::{CallKind, Profile, SimVm};

use super::adapter::Port;
use super::hypervisor::SimLayer;
use super::{over_port, split};

const GSI: u32 = 10;
const VECTOR: u8 = 0x52;

fn level(vector: u8) -> MsiMessage {
    MsiMessage::new(0xfee0_0000, 0x8000 | u32::from(vector))
}

fn edge(vector: u8) -> MsiMessage {
    MsiMessage::new(0xfee0_0000, u32::from(vector))
}

fn notifier() -> Arc<EventNotifier> {
    Arc::new(EventNotifier::new().unwrap())
}

fn line_of(table: &RoutingTable) -> (LevelLine, EoiExits) {
    let exits = EoiExits::default();
    let lease = table.lease_exact(GSI).unwrap();
    lease.set_route(MsiMessage::default()).unwrap();
    let line = LevelLine::builder(lease.into_line().unwrap()).eoi_exits(&exits);
    (line.build().unwrap(), exits)
}

fn open() -> (Arc<SimVm>, RoutingTable, LevelLine, EoiExits) {
    let (vm, table) = split();
    let (line, exits) = line_of(&table);
    line.redirect(level(VECTOR), false).unwrap();
    vm.reset_calls();
    (vm, table, line, exits)
}

/// The guest takes the interrupt and sends the EOI.
#[track_caller]
fn serve(vm: &SimVm, exits: &EoiExits) {
    assert_eq!(vm.take_vector(0), Some(VECTOR));
    vm.lapic_eoi(0);
    assert_eq!(exits.on_vector(VECTOR), 1);
}

#[track_caller]
fn expect(vm: &SimVm, vectors: &[u8]) {
    assert_eq!(vm.pending_vectors(0), vectors);
}

#[test]
fn the_line_sends_by_an_irqfd_of_its_own() {
    let (vm, _table, line, exits) = open();
    let (disk, net) = (line.join().unwrap(), line.join().unwrap());
    assert_eq!(
        vm.calls(CallKind::IrqFdAssign),
        0,
        "not before it is needed"
    );
    disk.assert().unwrap();
    expect(&vm, &[VECTOR]);
    net.assert().unwrap();
    disk.deassert().unwrap();
    serve(&vm, &exits);
    expect(&vm, &[VECTOR]); // the network still asserts
    net.deassert().unwrap();
    serve(&vm, &exits);
    expect(&vm, &[]);
    disk.assert().unwrap();
    expect(&vm, &[VECTOR]);
    assert_eq!(vm.calls(CallKind::IrqFdAssign), 1);
    assert_eq!(vm.calls(CallKind::IrqLine), 0);
}

#[test]
fn it_is_unbound_while_the_entry_is_masked() {
    let (vm, _table, line, exits) = open();
    let disk = line.join().unwrap();
    disk.assert().unwrap();
    disk.deassert().unwrap();
    serve(&vm, &exits);
    line.redirect(level(VECTOR), true).unwrap();
    assert_eq!(vm.calls(CallKind::IrqFdDeassign), 1);
    disk.assert().unwrap();
    expect(&vm, &[]);
    line.redirect(level(VECTOR + 1), false).unwrap();
    expect(&vm, &[VECTOR + 1]);
    assert_eq!(vm.calls(CallKind::IrqFdAssign), 2);
}

#[test]
fn edges_go_by_it_too() {
    let (vm, _table, line, _exits) = open();
    line.redirect(edge(VECTOR), false).unwrap();
    let disk = line.join().unwrap();
    for _ in 0..2 {
        disk.assert().unwrap();
        disk.deassert().unwrap();
        assert_eq!(vm.take_vector(0), Some(VECTOR));
        vm.lapic_eoi(0);
        expect(&vm, &[]);
    }
}

#[test]
fn a_pause_unbinds_it_and_a_resume_sends() {
    let (vm, _table, line, exits) = open();
    let disk = line.join().unwrap();
    disk.assert().unwrap();
    disk.deassert().unwrap();
    serve(&vm, &exits);
    line.pause().unwrap();
    assert_eq!(vm.calls(CallKind::IrqFdDeassign), 1);
    disk.assert().unwrap();
    expect(&vm, &[]);
    line.resume().unwrap();
    expect(&vm, &[VECTOR]);
}

#[test]
fn an_exported_device_is_told_of_eois() {
    let (vm, _table, line, exits) = open();
    let card = line.join_exported(None, notifier()).unwrap();
    let disk = line.join().unwrap();
    card.trigger_notifier().unwrap().notify().unwrap();
    serve(&vm, &exits);
    disk.assert().unwrap();
    disk.deassert().unwrap();
    serve(&vm, &exits);
    let told = card.resample_notifier().unwrap().consume().unwrap();
    assert_eq!(told.map(u64::from), Some(2));
}

#[test]
fn a_line_that_goes_takes_it_off() {
    let (vm, table, line, exits) = open();
    let disk = line.join().unwrap();
    disk.assert().unwrap();
    disk.deassert().unwrap();
    serve(&vm, &exits);
    drop((disk, line));
    assert_eq!(vm.calls(CallKind::IrqFdDeassign), 1);
    assert_eq!(table.leased(), 0);
    assert!(table.lease_exact(GSI).is_ok());
}

#[test]
fn a_line_whose_irqfd_does_not_go_keeps_its_gsi_out_of_use() {
    let (vm, table, line, _exits) = open();
    let disk = line.join().unwrap();
    disk.assert().unwrap();
    vm.fail(CallKind::IrqFdDeassign, 1, libc::EIO);
    drop((disk, line));
    assert!(table.lease_exact(GSI).is_err());
}

#[test]
fn an_irqfd_that_is_refused_is_tried_again() {
    let (vm, _table, line, _exits) = open();
    let disk = line.join().unwrap();
    vm.fail(CallKind::IrqFdAssign, 1, libc::ENOMEM);
    let error = disk.assert().unwrap_err();
    assert!(
        matches!(error, LevelError::Arm(IrqFdError::Refused { .. })),
        "{error:?}"
    );
    assert!(!disk.is_asserted());
    disk.assert().unwrap();
    expect(&vm, &[VECTOR]);
}

#[test]
fn a_message_that_the_translation_blocks_is_lost_and_a_later_one_is_sent() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let vm = Arc::new(
        SimVm::builder()
            .profile(Profile::X86Split { pins: 24 })
            .build(),
    );
    vm.enable_lapic(0);
    let blocks = Arc::new(AtomicBool::new(false));
    let translation = Arc::clone(&blocks);
    let table = RoutingTable::builder(super::port(&vm))
        .wiring(Wiring::none(Platform::X86Split))
        .translate(move |message| (!translation.load(Ordering::Relaxed)).then_some(message))
        .build()
        .unwrap();
    let (line, exits) = line_of(&table);
    line.redirect(level(VECTOR), false).unwrap();
    let disk = line.join().unwrap();
    disk.assert().unwrap();
    disk.deassert().unwrap();
    serve(&vm, &exits);

    blocks.store(true, Ordering::Relaxed);
    table.retranslate().unwrap();
    disk.assert().unwrap();
    expect(&vm, &[]);
    blocks.store(false, Ordering::Relaxed);
    table.retranslate().unwrap();
    expect(&vm, &[]);
    line.resync().unwrap();
    expect(&vm, &[VECTOR]);
}

#[test]
fn a_pin_in_the_kernel_has_no_level() {
    let (vm, table) = over_port(Profile::X86, Wiring::pc());
    let line = LevelLine::builder(table.line(GSI).unwrap())
        .build()
        .unwrap();
    let disk = line.join().unwrap();
    let error = disk.assert().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the port cannot set the level of GSI 10, which is routed to a pin; implement \
         `Vm::irq_line_status`, export the device, or route the GSI to a message: unsupported"
    );
    let LevelError::NoIrqLine { gsi, cause, .. } = error else {
        unreachable!("an edge is no level");
    };
    assert_eq!(
        (gsi.number(), cause.kind()),
        (GSI, io::ErrorKind::Unsupported)
    );
    assert!(!disk.is_asserted());
    assert_eq!(vm.calls(CallKind::IrqFdAssign), 0);

    let card = line.join_exported(None, notifier());
    let error = card.unwrap_err().error;
    assert!(
        matches!(
            error,
            LevelError::NoResample {
                reason: NoResample::NoExtension,
                ..
            }
        ),
        "{error:?}"
    );
}

/// A layer over KVM may report that the kernel can resample, and have no call for it.
#[test]
fn a_resampling_irqfd_that_the_port_lacks_is_named() {
    let vm = Arc::new(SimVm::builder().build());
    let port = Arc::new(Port {
        layer: Arc::new(SimLayer(Arc::clone(&vm))),
        resample: 1,
    });
    let table = RoutingTable::builder(port).wiring(Wiring::pc());
    let table = table.build().unwrap();
    let line = LevelLine::builder(table.line(GSI).unwrap());
    let line = line.build().unwrap();
    let card = line.join_exported(None, notifier());
    let LevelError::NoResample { reason, .. } = card.unwrap_err().error else {
        unreachable!("it cannot be bound");
    };
    assert!(
        matches!(reason, NoResample::Unsupported { .. }),
        "{reason:?}"
    );
}

/// The resync made the level due, which the port cannot set; but it was low.
#[test]
fn a_pin_whose_port_has_no_level_could_not_be_resumed_after_a_resync() {
    let vm = Arc::new(SimVm::builder().build());
    let table = RoutingTable::new(Arc::new(NoIrqLine(vm.clone()))).unwrap();
    let line = LevelLine::builder(table.line(GSI).unwrap());
    let line = line.build().unwrap();
    let resample = notifier();
    let card = line.join_exported(None, resample.clone()).unwrap();
    line.resync().unwrap();
    line.pause().unwrap();
    line.resync().unwrap();
    line.resume().unwrap();
    assert!(resample.consume().unwrap().is_some());
    card.trigger_notifier().unwrap().notify().unwrap();
    assert!(vm.ioapic().is_some_and(|ioapic| ioapic.irr == 1 << GSI));
}
