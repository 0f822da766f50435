// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Lines that are saved, and restored in another VM.

use std::sync::Arc;

use irq_routing::MsiMessage;
use irqfd::{EoiExits, LevelError, LevelIrq, LevelLine, LevelSnapshot, RestoreError};
use notify_sim::{CallKind, SimVm};
use serde_json::{Value, json};

use super::bench::{self, GSI, VECTOR, edge, level, pin};
use super::{exported, heard, own, signal, told};

const IOAPIC: u32 = 2;

fn read(value: Value) -> LevelSnapshot {
    serde_json::from_value(value).unwrap()
}

fn written(line: &LevelLine) -> Value {
    line.pause().unwrap();
    serde_json::to_value(line.snapshot().unwrap()).unwrap()
}

fn device(asserted: bool, triggered: bool) -> Value {
    json!({"asserted": asserted, "triggered": triggered})
}

#[test]
fn the_written_form_stays_as_it_is() {
    let (_, _, line) = bench::pc();
    let (left, _card, disk) = (own(&line), exported(&line), own(&line));
    left.leave().unwrap();
    disk.assert().unwrap();
    let _late = own(&line);
    let devices = [
        device(false, false),
        device(true, false),
        device(false, false),
    ];
    let expected = json!({"version": 1, "level": true, "entry": null, "devices": devices});
    assert_eq!(written(&line), expected);

    let (_, _, line, _exits) = bench::split();
    let disk = own(&line);
    line.redirect(level(VECTOR), false).unwrap();
    line.pause().unwrap();
    disk.assert().unwrap();
    let entry = json!({"address": 0xfee0_0000_u32, "data": 0x8052, "masked": false});
    let devices = [device(true, false)];
    let expected = json!({"version": 1, "level": true, "entry": entry, "devices": devices});
    assert_eq!(written(&line), expected);

    let (_, line, _exits) = bench::on_chip();
    let (_disk, card) = (own(&line), exported(&line));
    signal(&card);
    assert!(card.take_trigger().unwrap());
    let devices = [device(false, false), device(false, true)];
    let expected = json!({"version": 1, "level": true, "entry": null, "devices": devices});
    assert_eq!(written(&line), expected);
}

#[test]
fn a_line_that_runs_is_not_saved() {
    let (_, _, line) = bench::pc();
    let error = line.snapshot().unwrap_err();
    assert!(matches!(error, LevelError::NotPaused));
    let expected = "the line is not paused; call `pause` before `snapshot`";
    assert_eq!(error.to_string(), expected);
    line.pause().unwrap();
    line.snapshot().unwrap();
    line.resume().unwrap();
    line.snapshot().unwrap_err();
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let snapshot = |level: bool, entry: Value, devices: &[Value]| {
        read(json!({"version": 1, "level": level, "entry": entry, "devices": devices}))
    };
    let entry = json!({"address": 0, "data": 0, "masked": false});
    let (low, high, taken) = (
        device(false, false),
        device(true, false),
        device(false, true),
    );

    let (vm, _, line) = bench::pc();
    let (disk, card) = (own(&line), exported(&line));
    disk.assert().unwrap();
    let before = format!("{line:?}");
    vm.reset_calls();
    let refused = |snapshot: LevelSnapshot| line.restore(&snapshot).unwrap_err();
    let later = read(json!({"version": 2, "something": [1, 2]}));
    let error = refused(later);
    assert!(matches!(error, RestoreError::Version { found: 2, .. }));
    let error = refused(snapshot(false, Value::Null, std::slice::from_ref(&low)));
    assert!(matches!(
        error,
        RestoreError::Devices {
            found: 1,
            wanted: 2,
            ..
        }
    ));
    let error = refused(snapshot(false, entry.clone(), &[low.clone(), low.clone()]));
    assert!(matches!(error, RestoreError::Entry { found: true, .. }));
    let error = refused(snapshot(true, Value::Null, &[low.clone(), taken.clone()]));
    assert!(matches!(error, RestoreError::Level { device: 1, .. }));
    assert_eq!(format!("{line:?}"), before);
    assert_eq!((vm.total_calls(), heard(&card)), (0, 0));

    let (_chip, line, _exits) = bench::on_chip();
    let (_disk, _card) = (own(&line), exported(&line));
    let error = line.restore(&snapshot(true, Value::Null, &[taken.clone(), high]));
    assert!(matches!(
        error.unwrap_err(),
        RestoreError::Level { device: 0, .. }
    ));
    line.restore(&snapshot(true, Value::Null, &[low, taken]))
        .unwrap();
    assert!(line.is_asserted());

    let (_, _, line, _exits) = bench::split();
    let error = line.restore(&snapshot(false, Value::Null, &[]));
    assert!(matches!(
        error.unwrap_err(),
        RestoreError::Entry { found: false, .. }
    ));
    line.restore(&snapshot(false, entry, &[])).unwrap();
}

/// What KVM_GET_IRQCHIP and KVM_GET_LAPIC return, and the lines.
fn to_another(vm: &SimVm, line: &LevelLine) -> (Arc<SimVm>, LevelLine, LevelSnapshot) {
    line.pause().unwrap();
    let snapshot = read(serde_json::to_value(line.snapshot().unwrap()).unwrap());
    let (other, _, line) = bench::pc();
    let ioapic = vm.ioapic().unwrap();
    other.set_ioapic(ioapic);
    (other, line, snapshot)
}

/// The VM that is restored is paused, or runs already.
const ORDERS: [bool; 2] = [true, false];

fn restore(line: &LevelLine, snapshot: &LevelSnapshot, paused: bool) {
    if paused {
        line.pause().unwrap();
        line.restore(snapshot).unwrap();
        line.resume().unwrap();
    } else {
        line.restore(snapshot).unwrap();
    }
}

#[test]
fn what_is_asserted_outlives_an_eoi_in_the_other_vm() {
    for paused in ORDERS {
        let (vm, _, line) = bench::pc();
        let (disk, _net) = (own(&line), told(&line));
        disk.assert().unwrap();
        let (vm, line, snapshot) = to_another(&vm, &line);
        let (disk, net) = (own(&line), told(&line));
        restore(&line, &snapshot, paused);
        assert!(pin(&vm) && disk.is_asserted() && !net.is_asserted());
        assert_eq!(heard(&net), 1, "it may not have read the signal there");
        vm.guest_eoi(IOAPIC, GSI);
        assert!(pin(&vm));
        assert_eq!(heard(&net), 1);
        disk.deassert().unwrap();
        assert!(!pin(&vm));
    }
}

/// A device of the VMM has lowered the line after the pause: the IOAPIC's state does not show it.
#[test]
fn what_was_deasserted_while_it_was_paused_is_low() {
    for paused in ORDERS {
        let (vm, _, line) = bench::pc();
        let disk = own(&line);
        disk.assert().unwrap();
        line.pause().unwrap();
        disk.deassert().unwrap();
        let (vm, line, snapshot) = to_another(&vm, &line);
        let _disk = own(&line);
        assert!(pin(&vm));
        restore(&line, &snapshot, paused);
        assert!(!pin(&vm));
    }
}

/// Only the other kernel knew what held it up.
#[test]
fn what_was_triggered_is_high_until_the_next_eoi() {
    for paused in ORDERS {
        let (vm, _, line) = bench::pc();
        let card = exported(&line);
        signal(&card);
        drop(vm.deliver());
        let (vm, line, snapshot) = to_another(&vm, &line);
        let card = exported(&line);
        restore(&line, &snapshot, paused);
        assert!(pin(&vm));
        assert_eq!(heard(&card), 1, "if it has a reason still it triggers");
        vm.guest_eoi(IOAPIC, GSI);
        assert!(!pin(&vm));
        assert_eq!(heard(&card), 1);
    }
}

/// Earlier levels of the second VM's devices are overwritten.
#[test]
fn what_a_line_was_before_is_forgotten() {
    for paused in ORDERS {
        let (vm, _, line) = bench::pc();
        let _devices = (own(&line), own(&line));
        let (_, _, snapshot) = to_another(&vm, &line);
        let (vm, _, line) = bench::pc();
        let (disk, net) = (own(&line), own(&line));
        disk.assert().unwrap();
        restore(&line, &snapshot, paused);
        assert!(!pin(&vm) && !disk.is_asserted());
        net.assert().unwrap();
        assert!(pin(&vm));
    }
}

/// A split irqchip with two devices, whose state is restored.
fn split(
    snapshot: &LevelSnapshot,
    paused: bool,
) -> (Arc<SimVm>, LevelLine, EoiExits, [LevelIrq; 2]) {
    let (vm, _, line, exits) = bench::split();
    let devices = [own(&line), exported(&line)];
    restore(&line, snapshot, paused);
    (vm, line, exits, devices)
}

#[test]
fn a_split_irqchip_is_sent_what_is_asserted() {
    for paused in ORDERS {
        let (vm, _, line, exits) = bench::split();
        let (disk, _card) = (own(&line), exported(&line));
        line.redirect(level(VECTOR), false).unwrap();
        disk.assert().unwrap();
        // The guest has sent the EOI, and its exit is lost with the VM.
        assert_eq!(vm.take_vector(0), Some(VECTOR));
        let snapshot = read(written(&line));
        drop(exits);
        let (vm, line, exits, [disk, card]) = split(&snapshot, paused);
        assert_eq!(heard(&card), 1);
        assert_eq!(vm.take_vector(0), Some(VECTOR));
        disk.deassert().unwrap();
        signal(&card);
        drop(vm.deliver());
        vm.lapic_eoi(0);
        assert_eq!(exits.on_vector(VECTOR), 1);
        assert_eq!(vm.take_vector(0), Some(VECTOR), "the card");
        assert!(!line.is_asserted());
    }
}

/// The same VM returns to its earlier state, in the middle of an interrupt.
#[test]
fn what_was_in_service_before_is_forgotten() {
    for paused in ORDERS {
        let (vm, _, line, exits) = bench::split();
        let disk = own(&line);
        line.redirect(level(VECTOR), false).unwrap();
        disk.assert().unwrap();
        let snapshot = read(written(&line));
        line.resume().unwrap();
        assert_eq!(vm.take_vector(0), Some(VECTOR));
        // KVM_SET_LAPIC
        vm.lapic_eoi(0);
        restore(&line, &snapshot, paused);
        assert_eq!(vm.take_vector(0), Some(VECTOR), "no EOI exit may come");
        disk.deassert().unwrap();
        vm.lapic_eoi(0);
        assert_eq!(exits.on_vector(VECTOR), 1);
        assert_eq!(vm.pending_vectors(0), [0_u8; 0]);
    }
}

#[test]
fn a_masked_entry_stays_masked() {
    for paused in ORDERS {
        let (_, _, line, _exits) = bench::split();
        let (disk, _card) = (own(&line), exported(&line));
        line.redirect(level(VECTOR), true).unwrap();
        disk.assert().unwrap();
        let (vm, line, _exits, [_disk, card]) = split(&read(written(&line)), paused);
        signal(&card);
        drop(vm.deliver());
        assert_eq!(vm.pending_vectors(0), [0_u8; 0]);
        assert!(card.trigger_notifier().unwrap().is_signalled().unwrap());
        line.redirect(level(VECTOR), false).unwrap();
        drop(vm.deliver());
        assert_eq!(vm.pending_vectors(0), [VECTOR]);
    }
}

#[test]
fn an_edge_that_was_sent_is_not_sent_again() {
    for paused in ORDERS {
        for sent in [false, true] {
            let (_, _, line, _exits) = bench::split();
            let (disk, _card) = (own(&line), exported(&line));
            line.redirect(edge(VECTOR), false).unwrap();
            if sent {
                disk.assert().unwrap();
            }
            line.pause().unwrap();
            disk.assert().unwrap();
            let (vm, line, _exits, _devices) = split(&read(written(&line)), paused);
            assert!(line.is_asserted());
            assert_eq!(vm.take_vector(0), (!sent).then_some(VECTOR));
        }
    }
}

/// The line runs, and its new state does not reach the kernel.
#[test]
fn a_restore_that_fails_changes_nothing() {
    let (_, _, saved) = bench::pc();
    let (disk, _card) = (own(&saved), exported(&saved));
    disk.assert().unwrap();
    let high = read(written(&saved));
    let (vm, _, line) = bench::pc();
    let (disk, card) = (own(&line), exported(&line));
    let before = format!("{line:?}");
    vm.fail(CallKind::IrqLine, 1, libc::ENOMEM);
    let error = line.restore(&high).unwrap_err();
    assert!(matches!(
        error,
        RestoreError::Line(LevelError::LevelRefused { .. })
    ));
    assert_eq!(format!("{line:?}"), before);
    assert_eq!(heard(&card), 0);
    line.restore(&high).unwrap();
    assert!(disk.is_asserted());

    let (_, _, saved, _exits) = bench::split();
    let (disk, _card) = (own(&saved), exported(&saved));
    saved.redirect(level(VECTOR), false).unwrap();
    disk.assert().unwrap();
    let high = read(written(&saved));
    for (kind, nth) in [
        (CallKind::SetGsiRouting, 1),
        (CallKind::IrqFdAssign, 1),
        (CallKind::IrqLine, 1),
    ] {
        let (vm, table, line, exits) = bench::split();
        let (_disk, card) = (own(&line), exported(&line));
        vm.fail(kind, nth, libc::ENOMEM);
        line.restore(&high).unwrap_err();
        let route = table.route(table.gsi(line.number()).unwrap());
        // For a masked entry the route in the kernel does not matter.
        assert!(route == Some(level(VECTOR).into()) || route == Some(MsiMessage::default().into()));
        assert!(!line.is_asserted());
        signal(&card);
        drop(vm.deliver());
        assert_eq!(vm.pending_vectors(0), [0_u8; 0], "{kind:?}");
        assert_eq!(exits.on_vector(VECTOR), 0);
        assert!(
            card.trigger_notifier()
                .unwrap()
                .consume()
                .unwrap()
                .is_some()
        );
        line.redirect(level(VECTOR), false).unwrap();
        assert_eq!(vm.pending_vectors(0), [0_u8; 0], "nothing asserts");
        line.restore(&high).unwrap();
        drop(vm.deliver());
        assert_eq!(vm.take_vector(0), Some(VECTOR));
    }
}

/// It has left while the line was paused, with its pin high. In the other VM it was high for ever.
#[test]
fn a_pin_stayed_high_when_its_exported_device_had_left_before_the_save() {
    for paused in ORDERS {
        let (vm, _, line) = bench::pc();
        let (_disk, card) = (own(&line), exported(&line));
        signal(&card);
        drop(vm.deliver());
        line.pause().unwrap();
        card.leave().unwrap();
        let (vm, line, snapshot) = to_another(&vm, &line);
        let _disk = own(&line);
        assert!(pin(&vm));
        restore(&line, &snapshot, paused);
        assert!(!pin(&vm));
    }
}

/// The signal was sent by the new entry, whose EOI is not reported after the failure.
#[test]
fn a_failed_restore_lost_a_signal_that_had_waited() {
    let (_, _, saved, _exits) = bench::split();
    let (_one, _other) = (exported(&saved), exported(&saved));
    saved.redirect(level(VECTOR), false).unwrap();
    let open = read(written(&saved));
    let (vm, _, line, _exits) = bench::split();
    let (card, nic) = (exported(&line), exported(&line));
    signal(&card);
    vm.fail(CallKind::IrqFdAssign, 2, libc::ENOMEM);
    line.restore(&open).unwrap_err();
    assert_eq!(vm.pending_vectors(0), [VECTOR]);
    assert_eq!([&card, &nic].map(heard), [1, 1]);
}

/// As above, but it leaves the line of the other VM, before that is resumed.
#[test]
fn a_pin_stayed_high_when_its_exported_device_left_after_the_restore() {
    let (vm, _, line) = bench::pc();
    let card = exported(&line);
    signal(&card);
    drop(vm.deliver());
    let (vm, line, snapshot) = to_another(&vm, &line);
    line.pause().unwrap();
    let card = exported(&line);
    line.restore(&snapshot).unwrap();
    card.leave().unwrap();
    let again = read(serde_json::to_value(line.snapshot().unwrap()).unwrap());
    line.resume().unwrap();
    assert!(!pin(&vm));

    // Or a third VM continues.
    let (vm, _, line) = bench::pc();
    use_irr(&vm);
    restore(&line, &again, true);
    assert!(!pin(&vm));
}

/// A pin that is high without a source, as after KVM_SET_IRQCHIP.
fn use_irr(vm: &SimVm) {
    let mut ioapic = vm.ioapic().unwrap();
    ioapic.irr |= 1 << GSI;
    vm.set_ioapic(ioapic);
}

/// An edge-triggered entry sends it at the resume of the first VM.
#[test]
fn an_edge_that_came_and_went_while_the_line_was_paused_was_lost_in_the_other_vm() {
    let (_, _, line, _exits) = bench::split();
    let disk = own(&line);
    line.redirect(edge(VECTOR), false).unwrap();
    line.pause().unwrap();
    disk.assert().unwrap();
    disk.deassert().unwrap();
    let snapshot = read(written(&line));
    for paused in ORDERS {
        let (vm, _, line, _exits) = bench::split();
        let disk = own(&line);
        restore(&line, &snapshot, paused);
        assert!(!disk.is_asserted());
        assert_eq!(vm.pending_vectors(0), [VECTOR]);
    }
}
