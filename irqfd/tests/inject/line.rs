// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Lines.

use kvm_test::os_text;
use std::sync::Arc;

use irq_routing::{IrqChip, Line, MsiMessage, Pin, Pins, Platform, RoutingTable, Wiring};
use irqfd::inject::InjectError;
use irqfd::inject::{self, Injected};
use notify_sim::{CallKind, Interrupt, Profile, SimVm};

const LEVEL: u64 = 1 << 15;

fn machine(profile: Profile) -> Arc<SimVm> {
    let vm = Arc::new(SimVm::builder().profile(profile).build());
    vm.enable_lapic(0);
    vm
}

fn table(vm: &Arc<SimVm>, platform: Platform) -> RoutingTable {
    let builder = RoutingTable::builder(vm.clone()).wiring(Wiring::none(platform));
    builder.build().unwrap()
}

fn wired(table: &RoutingTable, gsi: u32, pins: impl Into<Pins>) -> Line {
    let mut transaction = table.transaction();
    transaction.wire(table.gsi(gsi).unwrap(), pins);
    transaction.commit().unwrap();
    table.line(gsi).unwrap()
}

fn pin(chip: IrqChip, number: u32) -> Pin {
    Pin::new(chip, number).unwrap()
}

/// A line to a pin of the IOAPIC with this redirection entry.
fn ioapic(entry: u64) -> (Arc<SimVm>, Line) {
    let vm = machine(Profile::X86);
    let line = wired(&table(&vm, Platform::X86), 20, pin(IrqChip::IoApic, 20));
    let mut state = vm.ioapic().unwrap();
    state.redirections[20] = entry;
    vm.set_ioapic(state);
    (vm, line)
}

#[track_caller]
fn expect(line: &Line, level: bool, injected: Injected) {
    assert_eq!(inject::line_status(line, level).unwrap(), injected);
}

#[test]
fn an_edge_on_the_ioapic() {
    let (vm, line) = ioapic(0x71);
    expect(&line, true, Injected::Delivered(1));
    expect(&line, true, Injected::Coalesced);
    expect(&line, false, Injected::Delivered(1));
    expect(&line, true, Injected::Delivered(1));
    assert_eq!(vm.pending_vectors(0), [0x71]);
}

#[test]
fn a_masked_pin() {
    let (vm, line) = ioapic(0x71 | 1 << 16);
    expect(&line, true, Injected::Masked);
    assert!(vm.pending_vectors(0).is_empty());
}

#[test]
fn a_level_that_awaits_its_end() {
    let (vm, line) = ioapic(0x71 | LEVEL);
    expect(&line, true, Injected::Delivered(1));
    expect(&line, true, Injected::Masked);
    vm.guest_eoi(2, 20);
    expect(&line, false, Injected::Delivered(1));
}

#[test]
fn two_chips_add_up() {
    let vm = machine(Profile::X86);
    let pins = Pins::new([pin(IrqChip::PicMaster, 6), pin(IrqChip::IoApic, 6)]).unwrap();
    let line = wired(&table(&vm, Platform::X86), 6, pins);
    let mut state = vm.ioapic().unwrap();
    state.redirections[6] = 0x76;
    vm.set_ioapic(state);
    expect(&line, true, Injected::Delivered(2));
    expect(&line, false, Injected::Delivered(2));
}

/// KVM returns 0 for a message that no local APIC took, as it does for an edge that was pending.
#[test]
fn a_message_that_nobody_takes_is_not_called_coalesced() {
    let vm = machine(Profile::X86Split { pins: 24 });
    let table = table(&vm, Platform::X86Split);
    let to = |address| {
        let lease = table.lease_msi(MsiMessage::new(address, 0x45 | LEVEL as u32));
        lease.unwrap().into_line().unwrap()
    };
    let (here, nowhere) = (to(0xfee0_0000), to(0xfee0_9000));
    expect(&here, true, Injected::Delivered(1));
    expect(&here, false, Injected::NoLowLevel);
    expect(&nowhere, true, Injected::NoListener);
    vm.disable_lapic(0);
    expect(&here, true, Injected::NoListener);
}

#[test]
fn a_message_without_any_vcpu() {
    let vm = Arc::new(SimVm::builder().vcpus(0).build());
    let table = table(&vm, Platform::X86);
    let lease = table.lease_msi(MsiMessage::new(0xfee0_0000, 0x45)).unwrap();
    expect(&lease.into_line().unwrap(), true, Injected::NoListener);
}

#[test]
fn a_message_that_is_blocked() {
    let vm = machine(Profile::X86);
    let builder = RoutingTable::builder(vm.clone()).wiring(Wiring::none(Platform::X86));
    let table = builder.translate(|_| None).build().unwrap();
    let lease = table.lease_msi(MsiMessage::new(0xfee0_0000, 0x45)).unwrap();
    let line = lease.into_line().unwrap();
    expect(&line, true, Injected::Untranslated);
    expect(&line, false, Injected::NoLowLevel);
    assert!(vm.pending_vectors(0).is_empty());
}

#[test]
fn the_status_is_not_asked_for_unless_wanted() {
    let (vm, line) = ioapic(0x71);
    vm.reset_calls();
    inject::line(&line, true).unwrap();
    inject::line(&line, false).unwrap();
    assert_eq!((vm.calls(CallKind::IrqLine), vm.total_calls()), (2, 2));
    assert_eq!(vm.pending_vectors(0), [0x71]);

    // The only pin for which the status ioctl matters: the clock's, before the EOI of its vector.
    let clock = wired(line.table(), 8, pin(IrqChip::IoApic, 8));
    let mut state = vm.ioapic().unwrap();
    state.redirections[8] = 0x78;
    vm.set_ioapic(state);
    expect(&clock, true, Injected::Delivered(1));
    expect(&clock, false, Injected::Delivered(1));
    expect(&clock, true, Injected::Coalesced);
    expect(&clock, false, Injected::Delivered(1));
    assert_eq!(vm.take_vector(0), Some(0x78));
    expect(&clock, true, Injected::Coalesced);
    expect(&clock, false, Injected::Delivered(1));
    assert_eq!(vm.pending_vectors(0), [0x71]);
    inject::line(&clock, true).unwrap();
    assert_eq!(vm.pending_vectors(0), [0x71, 0x78]);
}

#[test]
fn on_arm64_a_line_is_known_by_the_number_of_its_source() {
    let vm = machine(Profile::Arm64Gic { spis: 64 });
    vm.init_gic();
    let table = table(&vm, Platform::Arm64Gic);
    // Not the identity, so that GSI and pin can be distinguished.
    let line = wired(&table, 40, pin(IrqChip::Gic, 5));
    vm.set_spi_level_triggered(5, true);
    expect(&line, true, Injected::Untold);
    assert!(vm.is_pin_pending(5) && !vm.is_pin_pending(40));
    inject::line(&line, false).unwrap();
    assert!(!vm.is_pin_pending(5));

    vm.add_its(0x800_0000);
    let message = MsiMessage::new(0x801_0040, 1).with_devid(3);
    let line = table.lease_msi(message).unwrap().into_line().unwrap();
    let gsi = line.gsi();
    let error = inject::line(&line, true).unwrap_err();
    assert!(matches!(error, InjectError::NoPin { gsi: of, .. } if of == gsi));
    assert!(inject::line_status(&line, true).is_err());
}

#[test]
fn on_riscv64_too() {
    let vm = machine(Profile::Riscv64Aia { sources: 64 });
    vm.init_aia();
    let table = table(&vm, Platform::Riscv64Aia);
    let line = wired(&table, 40, pin(IrqChip::Aplic, 5));
    inject::line(&line, true).unwrap();
    assert!(vm.is_pin_pending(5) && !vm.is_pin_pending(40));
}

#[test]
fn a_controller_that_is_not_ready_is_not_missing() {
    let vm = machine(Profile::Arm64Gic { spis: 64 });
    let table = table(&vm, Platform::Arm64Gic);
    let line = wired(&table, 40, pin(IrqChip::Gic, 5));
    let error = inject::line(&line, true).unwrap_err();
    assert!(matches!(error, InjectError::LevelRefused { .. }), "{error}");
}

#[test]
fn refusals_say_what_is_missing() {
    let (vm, line) = ioapic(0x71);
    for asks in [false, true] {
        vm.fail(CallKind::IrqLine, 1, libc::EIO);
        let result = match asks {
            true => inject::line_status(&line, true).map(drop),
            false => inject::line(&line, true),
        };
        let error = result.unwrap_err();
        assert!(matches!(error, InjectError::LevelRefused { .. }), "{error}");
        assert_eq!(
            error.to_string(),
            format!("cannot set the level of GSI 20: {}", os_text(5))
        );
    }
    assert!(
        vm.deliver()
            .iter()
            .all(|one| !matches!(one.interrupt, Interrupt::Pin { level: true, .. }))
    );
}

#[test]
fn a_missing_irqchip_is_told_from_other_refusals() {
    let (vm, line) = ioapic(0x71);
    vm.fail(CallKind::IrqLine, 1, libc::ENXIO);
    let error = inject::line_status(&line, true).unwrap_err();
    assert!(matches!(error, InjectError::NoIrqChip { .. }), "{error}");
}
