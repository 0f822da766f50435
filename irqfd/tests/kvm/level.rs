// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Level-triggered lines of real VMs, with a guest that takes their interrupts and sends EOIs.

use std::sync::Arc;

use irq_routing::{MsiMessage, RoutingTable};
use irqfd::{EoiExits, EventNotifier, IrqFdError, LevelError, LevelIrq, LevelLine, NoResample};
use kvm_test::{Machine, NoIrqLine, Trial, kvm, open_fds};
use notify_core::Vm;

use crate::guest::{GSI, Guest, Listens, VECTOR};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for (name, listens) in [("pic", Listens::Pics), ("ioapic", Listens::IoApic)] {
        let mut add = |what: &str, run: fn(Listens)| {
            trials.push(kvm(&format!("level_{name}_{what}"), move || run(listens)));
        };
        add("three_devices_are_heard_and_told", three_devices);
        add("one_that_asserts_still_is_heard_again", heard_again);
        add("whoever_leaves_leaves_the_others", leaving);
    }
    trials.extend([
        kvm("level_outlives_a_machine_that_is_closed", closed),
        kvm("level_joining_and_leaving_leaks_nothing", leaks_nothing),
        kvm("level_split_messages_and_exits", split),
        kvm("level_split_says_why_it_cannot_resample", split_refuses),
        kvm("level_split_a_masked_entry_keeps_everything", split_masked),
        kvm("level_split_a_service_ends_with_its_vector", split_vector),
        kvm(
            "level_a_port_without_irq_line_sends_by_an_irqfd",
            without_irq_line,
        ),
    ]);
    trials
}

fn line(guest: &Guest) -> LevelLine {
    let line = guest.table.line(GSI).unwrap();
    LevelLine::builder(line).build().unwrap()
}

fn notifier() -> Arc<EventNotifier> {
    Arc::new(EventNotifier::new().unwrap())
}

fn told(line: &LevelLine) -> LevelIrq {
    line.join_resampled(notifier()).unwrap()
}

fn exported(line: &LevelLine) -> LevelIrq {
    line.join_exported(None, notifier()).unwrap()
}

fn signal(irq: &LevelIrq) {
    irq.trigger_notifier().unwrap().notify().unwrap();
}

#[track_caller]
fn expect_heard(times: u64, irqs: &[&LevelIrq]) {
    for irq in irqs {
        let heard = irq.resample_notifier().unwrap().consume().unwrap();
        assert_eq!(heard.map_or(0, u64::from), times);
    }
}

fn three_devices(listens: Listens) {
    let mut guest = Guest::new(listens);
    let line = line(&guest);
    let (disk, net, card) = (line.join().unwrap(), told(&line), exported(&line));
    for _ in 0..10 {
        disk.assert().unwrap();
        guest.expect_interrupt(|| disk.deassert().unwrap());
        expect_heard(1 + guest.settle(), &[&net, &card]);
        signal(&card);
        guest.expect_interrupt(|| {});
        expect_heard(1 + guest.settle(), &[&net, &card]);
        // All at once.
        signal(&card);
        guest.wait_for_pin(true);
        net.assert().unwrap();
        disk.assert().unwrap();
        guest.expect_interrupt(|| {
            disk.deassert().unwrap();
            net.deassert().unwrap();
        });
        expect_heard(1 + guest.settle(), &[&net, &card]);
        assert!(!guest.pin());
    }
}

fn heard_again(listens: Listens) {
    let mut guest = Guest::new(listens);
    let line = line(&guest);
    let (disk, net, card) = (line.join().unwrap(), told(&line), exported(&line));
    signal(&card);
    guest.wait_for_pin(true);
    disk.assert().unwrap();
    for _ in 0..5 {
        guest.expect_interrupt(|| {});
        expect_heard(1, &[&net, &card]);
        assert!(guest.pin(), "the disk asserts");
    }
    guest.expect_interrupt(|| disk.deassert().unwrap());
    expect_heard(1 + guest.settle(), &[&net, &card]);
}

fn leaving(listens: Listens) {
    let mut guest = Guest::new(listens);
    let line = line(&guest);
    let (disk, net, card, nic) = (
        line.join().unwrap(),
        told(&line),
        exported(&line),
        exported(&line),
    );
    disk.assert().unwrap();
    net.assert().unwrap();
    drop(disk);
    assert!(guest.pin());
    net.leave().unwrap();
    assert!(!guest.pin());
    // A trigger outlasts its device until the next EOI, if another device asked for EOIs.
    signal(&card);
    guest.wait_for_pin(true);
    card.leave().unwrap();
    assert!(guest.pin());
    guest.expect_interrupt(|| {});
    expect_heard(1 + guest.settle(), &[&nic]);
    signal(&nic);
    guest.wait_for_pin(true);
    drop(nic);
    assert!(!guest.pin());
}

/// Nothing is left to lower; only a device that wants to raise something gets an error.
fn closed() {
    let is_retired = |error: LevelError| {
        matches!(
            error,
            LevelError::Retired { .. } | LevelError::Arm(IrqFdError::Retired { .. })
        )
    };
    for listens in [Listens::Pics, Listens::Messages] {
        let guest = Guest::new(listens);
        let exits = EoiExits::default();
        let line = match listens {
            Listens::Messages => split_line(&guest, &exits),
            _ => line(&guest),
        };
        let _ = line.redirect(message(VECTOR), false);
        let (disk, net, card) = (line.join().unwrap(), told(&line), exported(&line));
        let (late, idle) = (line.join().unwrap(), line.join().unwrap());
        for irq in [&disk, &net, &card] {
            irq.assert().unwrap();
        }
        guest.vm.retire();
        net.leave().unwrap();
        disk.deassert().unwrap();
        card.deassert().unwrap();
        let _ = exits.on_vector(VECTOR);
        assert!(is_retired(late.assert().unwrap_err()));
        assert!(!late.is_asserted());
        let error = line.join_exported(None, notifier()).unwrap_err().error;
        assert!(is_retired(error));
        card.leave().unwrap();
        drop((disk, line, late, idle));
    }
}

fn leaks_nothing() {
    let guest = Guest::new(Listens::Pics);
    let line = line(&guest);
    let stays = exported(&line);
    let before = open_fds().unwrap();
    for _ in 0..20 {
        let all = (line.join().unwrap(), told(&line), exported(&line));
        all.0.assert().unwrap();
        let trigger = Arc::clone(stays.trigger_notifier().unwrap());
        let error = line
            .join_exported(Some(trigger), notifier())
            .unwrap_err()
            .error;
        assert!(matches!(
            error,
            LevelError::Arm(IrqFdError::AlreadyBound { .. })
        ));
    }
    assert_eq!(open_fds().unwrap(), before);
    assert!(!guest.pin());
    drop(stays);
    assert_eq!(open_fds().unwrap(), before - 2);
    drop(line);
    drop(
        LevelLine::builder(guest.table.line(GSI).unwrap())
            .build()
            .unwrap(),
    );
}

fn message(vector: u8) -> MsiMessage {
    MsiMessage::new(0xfee0_0000, 1 << 15 | u32::from(vector))
}

fn split_line(guest: &Guest, exits: &EoiExits) -> LevelLine {
    let lease = guest.table.lease_exact(GSI).unwrap();
    lease.set_route(MsiMessage::default()).unwrap();
    let builder = LevelLine::builder(lease.into_line().unwrap()).eoi_exits(exits);
    builder.build().unwrap()
}

/// The guest takes an interrupt and sends the EOI, and the exits are reported.
#[track_caller]
fn serve(guest: &mut Guest, exits: &EoiExits, vector: u8, act: impl FnOnce()) {
    assert_eq!(guest.expect_interrupt(act), [vector]);
    assert_eq!(exits.on_vector(vector), 1);
}

fn split() {
    let mut guest = Guest::new(Listens::Messages);
    let exits = EoiExits::default();
    let line = split_line(&guest, &exits);
    let (disk, net, card) = (line.join().unwrap(), told(&line), exported(&line));
    line.redirect(message(VECTOR), false).unwrap();
    for _ in 0..10 {
        disk.assert().unwrap();
        serve(&mut guest, &exits, VECTOR, || {});
        expect_heard(1, &[&net, &card]);
        serve(&mut guest, &exits, VECTOR, || disk.deassert().unwrap());
        expect_heard(1, &[&net, &card]);
        guest.expect_silence();
        signal(&card);
        serve(&mut guest, &exits, VECTOR, || {});
        expect_heard(1, &[&net, &card]);
        guest.expect_silence();
    }
}

fn split_refuses() {
    let guest = Guest::new(Listens::Messages);
    let build = |gsi: u32, exits: Option<&EoiExits>| {
        let lease = guest.table.lease_exact(gsi).unwrap();
        lease.set_route(message(VECTOR)).unwrap();
        let builder = LevelLine::builder(lease.into_line().unwrap());
        let builder = match exits {
            Some(exits) => builder.eoi_exits(exits),
            None => builder,
        };
        builder.build().map(drop).map_err(|rejected| rejected.error)
    };
    let before = open_fds().unwrap();
    let error = build(GSI, None).unwrap_err();
    assert!(matches!(
        error,
        LevelError::NoResample {
            reason: NoResample::Refused { .. },
            ..
        }
    ));
    let exits = EoiExits::default();
    let error = build(24, Some(&exits)).unwrap_err();
    assert!(matches!(
        error,
        LevelError::NoResample {
            reason: NoResample::NotReserved { .. },
            ..
        }
    ));
    build(GSI, Some(&exits)).unwrap();
    assert_eq!(open_fds().unwrap(), before);
    assert_eq!(guest.table.leased(), 0);
    // Pins in the kernel, and a GSI that has a message: KVM would accept the irqfd, but never
    // signal it.
    let guest = Guest::new(Listens::Pics);
    let lease = guest.table.lease_msi(message(VECTOR)).unwrap();
    let exits = EoiExits::default();
    let builder = LevelLine::builder(lease.into_line().unwrap()).eoi_exits(&exits);
    let error = builder.build().unwrap_err().error;
    assert!(matches!(
        error,
        LevelError::NoResample {
            reason: NoResample::NoPin,
            ..
        }
    ));
}

fn split_masked() {
    let mut guest = Guest::new(Listens::Messages);
    let exits = EoiExits::default();
    let line = split_line(&guest, &exits);
    let (disk, card) = (line.join().unwrap(), exported(&line));
    disk.assert().unwrap();
    line.redirect(message(VECTOR), true).unwrap();
    guest.expect_silence();
    line.redirect(message(VECTOR), false).unwrap();
    serve(&mut guest, &exits, VECTOR, || disk.deassert().unwrap());
    guest.expect_silence();
    // Masked by its own handler.
    disk.assert().unwrap();
    let vectors = guest.expect_interrupt(|| line.redirect(message(VECTOR), true).unwrap());
    for vector in vectors {
        assert_eq!(exits.on_vector(vector), 1);
    }
    guest.expect_silence();
    line.redirect(message(VECTOR), false).unwrap();
    serve(&mut guest, &exits, VECTOR, || disk.deassert().unwrap());
    guest.expect_silence();
    // A signal waits in the trigger; when it is bound, a thread of the kernel delivers it.
    line.redirect(message(VECTOR), true).unwrap();
    signal(&card);
    signal(&card);
    guest.expect_silence();
    line.redirect(message(VECTOR), false).unwrap();
    card.resample_notifier().unwrap().consume().unwrap();
    serve(&mut guest, &exits, VECTOR, || {});
    expect_heard(1, &[&card]);
    guest.expect_silence();
}

fn split_vector() {
    let mut guest = Guest::new(Listens::Messages);
    let exits = EoiExits::default();
    let line = split_line(&guest, &exits);
    let (disk, net) = (line.join().unwrap(), told(&line));
    line.redirect(message(VECTOR), false).unwrap();
    disk.assert().unwrap();
    let new = VECTOR + 0x10;
    let vectors = guest.expect_interrupt(|| line.redirect(message(new), false).unwrap());
    // The EOI of the old vector may or may not come, depending on the kernel.
    vectors
        .iter()
        .for_each(|vector| assert_eq!(exits.on_vector(*vector), 0));
    expect_heard(1, &[&net]);
    serve(&mut guest, &exits, new, || disk.deassert().unwrap());
    expect_heard(1, &[&net]);
    guest.expect_silence();
}

/// Each assertion sends the message of a level-triggered entry, by an irqfd, and no EOI comes.
fn without_irq_line() {
    let machine = Machine::new().unwrap();
    let table = RoutingTable::new(Arc::new(NoIrqLine(machine.vm()))).unwrap();
    let message = MsiMessage::new(Machine::MSI_ADDRESS, 0x8000 | u32::from(VECTOR));
    let lease = table.lease_msi(message).unwrap();
    let line = LevelLine::builder(lease.into_line().unwrap()).without_eois();
    let line = line.build().unwrap();
    let disk = line.join().unwrap();
    line.redirect(message, false).unwrap();
    for _ in 0..3 {
        disk.assert().unwrap();
        assert_eq!(machine.delivered().unwrap(), [VECTOR]);
        machine.clear().unwrap();
    }
    line.pause().unwrap();
    disk.assert().unwrap();
    assert!(machine.delivered().unwrap().is_empty());
    line.resume().unwrap();
    assert_eq!(machine.delivered().unwrap(), [VECTOR]);
    drop((disk, line));
    assert_eq!(table.leased(), 0);
}
