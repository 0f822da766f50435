// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Paused lines: no interrupt of them reaches the guest, and none is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use irq_routing::{MsiMessage, Platform, RoutingTable, Wiring};
use irqfd::{EoiExits, IrqFdError, LevelError, LevelIrq, LevelLine};
use kvm_test::{Call, Recorder};
use notify_sim::{CallKind, Profile, SimVm};

use super::bench::{self, GSI, VECTOR, edge, level, pin};
use super::faults::{Bench, fail_each, with};
use super::{exported, heard, notifier, own, signal, told};

const IOAPIC: u32 = 2;

fn is_signalled(irq: &LevelIrq) -> bool {
    irq.trigger_notifier().unwrap().is_signalled().unwrap()
}

#[test]
fn a_placeholder_holds_the_pin() {
    let (vm, _, line) = bench::pc();
    let (card, nic, net) = (exported(&line), exported(&line), told(&line));
    signal(&card);
    assert!(pin(&vm));
    line.pause().unwrap();
    assert!(pin(&vm), "the guest has not ended the interrupt");
    vm.reset_calls();
    line.pause().unwrap();
    signal(&nic);
    drop(vm.deliver());
    assert!(is_signalled(&nic) && !is_signalled(&card));
    assert_eq!(vm.total_calls(), 0);
    line.resume().unwrap();
    line.resume().unwrap();
    assert_eq!(vm.calls(CallKind::IrqFdAssign), 2);
    assert_eq!(vm.calls(CallKind::IrqFdDeassign), 1);
    assert_eq!(vm.total_calls(), 3);
    vm.guest_eoi(IOAPIC, GSI);
    assert!(!pin(&vm), "the placeholder does not hold it any longer");
    assert_eq!([&card, &nic, &net].map(heard), [1, 1, 1]);
}

/// Nothing is bound, so no level is held.
#[test]
fn devices_of_the_vmm_alone_cost_no_ioctl() {
    let (vm, _, line) = bench::pc();
    let (disk, net) = (own(&line), own(&line));
    disk.assert().unwrap();
    vm.reset_calls();
    line.pause().unwrap();
    line.resume().unwrap();
    line.pause().unwrap();
    disk.deassert().unwrap();
    net.assert().unwrap();
    line.resume().unwrap();
    assert_eq!(vm.total_calls(), 0);
    assert!(pin(&vm));
}

/// The order in which a pin keeps its level, and a signal is always in at least one place.
#[test]
fn what_is_asked_of_the_kernel_and_in_which_order() {
    let recorder = Arc::new(Recorder::default());
    let table = RoutingTable::builder(recorder.clone()).wiring(Wiring::pc());
    let table = table.build().unwrap();
    let line = LevelLine::builder(table.line(GSI).unwrap());
    let line = line.build().unwrap();
    let (card, nic, _net) = (exported(&line), exported(&line), told(&line));
    let fds = |irq: &LevelIrq| {
        use std::os::fd::AsRawFd;
        let [trigger, resample] = [irq.trigger_notifier(), irq.resample_notifier()];
        (trigger.unwrap().as_raw_fd(), resample.unwrap().as_raw_fd())
    };
    let ((card, card_eoi), (nic, nic_eoi)) = (fds(&card), fds(&nic));
    recorder.take();
    line.pause().unwrap();
    let calls = recorder.take();
    let Call::AssignResample(placeholder, GSI, _) = calls[0] else {
        panic!("{calls:?}");
    };
    assert_eq!(
        calls[1..],
        [Call::Deassign(card, GSI), Call::Deassign(nic, GSI)]
    );
    let disk = own(&line);
    disk.assert().unwrap();
    assert_eq!(recorder.take(), []);
    line.resume().unwrap();
    assert_eq!(
        recorder.take(),
        [
            Call::AssignResample(card, GSI, card_eoi),
            Call::AssignResample(nic, GSI, nic_eoi),
            Call::Line(GSI, true),
            Call::Deassign(placeholder, GSI),
        ]
    );
}

#[test]
fn what_is_done_meanwhile_is_done_at_the_resume() {
    let (vm, _, line) = bench::pc();
    let (disk, leaves) = (own(&line), own(&line));
    let gone = exported(&line);
    leaves.assert().unwrap();
    line.pause().unwrap();
    vm.reset_calls();
    disk.assert().unwrap();
    disk.deassert().unwrap();
    let late = exported(&line);
    let eoi = told(&line);
    signal(&late);
    leaves.leave().unwrap();
    gone.leave().unwrap();
    drop(vm.deliver());
    assert_eq!(vm.total_calls(), 0);
    assert!(pin(&vm) && is_signalled(&late) && !line.is_asserted());
    line.resume().unwrap();
    assert!(pin(&vm), "the late one has triggered");
    vm.guest_eoi(IOAPIC, GSI);
    assert!(!pin(&vm), "the one that has left holds it no longer");
    assert_eq!([&late, &eoi].map(heard), [1, 1]);
}

/// A vCPU runs though the line is paused, and exported devices are not bound.
#[test]
fn an_eoi_meanwhile_is_told_at_the_resume() {
    let (vm, _, line) = bench::pc();
    let (card, net) = (exported(&line), told(&line));
    signal(&card);
    drop(vm.deliver());
    line.pause().unwrap();
    vm.guest_eoi(IOAPIC, GSI);
    assert!(!pin(&vm));
    assert_eq!([&card, &net].map(heard), [0, 1]);
    line.resume().unwrap();
    assert_eq!([&card, &net].map(heard), [1, 0]);
    line.pause().unwrap();
    line.resume().unwrap();
    assert_eq!([&card, &net].map(heard), [0, 0]);
}

#[test]
fn reassert_and_resync_say_the_level_at_the_resume() {
    let (vm, _, line) = bench::pc();
    let (disk, net) = (own(&line), told(&line));
    disk.assert().unwrap();
    let restore = || {
        let mut ioapic = vm.ioapic().unwrap();
        ioapic.irr = 0;
        vm.set_ioapic(ioapic);
    };
    line.pause().unwrap();
    restore();
    line.reassert().unwrap();
    assert!(!pin(&vm));
    line.resume().unwrap();
    assert!(pin(&vm));
    line.pause().unwrap();
    restore();
    line.resync().unwrap();
    assert_eq!(heard(&net), 1);
    assert!(!pin(&vm));
    line.resume().unwrap();
    assert!(pin(&vm));
    let (chip, line, _exits) = bench::on_chip();
    let disk = own(&line);
    disk.assert().unwrap();
    line.pause().unwrap();
    chip.calls.store(0, Ordering::Relaxed);
    line.resync().unwrap();
    assert_eq!(chip.calls.load(Ordering::Relaxed), 0);
    line.resume().unwrap();
    assert_eq!(chip.calls.load(Ordering::Relaxed), 1);
}

#[test]
fn a_line_that_goes_while_it_is_paused_leaves_nothing() {
    let (vm, table, line) = bench::pc();
    let (disk, card) = (own(&line), exported(&line));
    disk.assert().unwrap();
    signal(&card);
    drop(vm.deliver());
    line.pause().unwrap();
    vm.reset_calls();
    drop((disk, card, line));
    assert!(!pin(&vm));
    assert_eq!(vm.calls(CallKind::IrqFdDeassign), 1, "the placeholder");
    let again = LevelLine::builder(table.line(GSI).unwrap());
    drop(again.build().unwrap());
}

#[test]
fn a_split_irqchip_is_sent_nothing() {
    let (vm, _, line, exits) = bench::split();
    let (disk, net, card) = (own(&line), told(&line), exported(&line));
    line.redirect(level(VECTOR), false).unwrap();
    disk.assert().unwrap();
    assert_eq!(vm.take_vector(0), Some(VECTOR));
    line.pause().unwrap();
    vm.reset_calls();
    signal(&card);
    // The EOI exit with which the vCPU has stopped.
    vm.lapic_eoi(0);
    assert_eq!(exits.on_vector(VECTOR), 1);
    assert_eq!([&net, &card].map(heard), [1, 1]);
    drop(vm.deliver());
    assert_eq!(vm.pending_vectors(0), [0_u8; 0]);
    assert_eq!(vm.total_calls(), 0);
    line.resume().unwrap();
    assert_eq!(vm.take_vector(0), Some(VECTOR), "the disk asserts still");
    disk.deassert().unwrap();
    vm.lapic_eoi(0);
    assert_eq!(exits.on_vector(VECTOR), 1);
    assert_eq!(vm.pending_vectors(0), [0_u8; 0]);
    assert_eq!([&net, &card].map(heard), [1, 1]);
}

#[test]
fn an_entry_that_is_written_meanwhile_counts_from_the_resume() {
    const NEW: u8 = 0x62;
    let (vm, table, line, exits) = bench::split();
    let (disk, net, card) = (own(&line), told(&line), exported(&line));
    line.redirect(level(VECTOR), false).unwrap();
    disk.assert().unwrap();
    assert_eq!(vm.take_vector(0), Some(VECTOR));
    line.pause().unwrap();
    vm.reset_calls();
    line.redirect(level(NEW), false).unwrap();
    signal(&card);
    assert_eq!([&net, &card].map(heard), [1, 1], "the service has ended");
    assert_eq!(vm.total_calls(), 0);
    let route = || table.route(table.gsi(line.number()).unwrap());
    assert_eq!(route(), Some(level(VECTOR).into()));
    line.resume().unwrap();
    drop(vm.deliver());
    assert_eq!(route(), Some(level(NEW).into()));
    assert_eq!(vm.pending_vectors(0), [NEW]);
    vm.lapic_eoi(0);
    assert_eq!(exits.on_vector(VECTOR), 0);
    // Masked meanwhile: it stays disarmed at the resume.
    line.pause().unwrap();
    line.redirect(level(NEW), true).unwrap();
    vm.clear_vectors(0);
    line.resume().unwrap();
    signal(&card);
    drop(vm.deliver());
    assert_eq!(vm.pending_vectors(0), [0_u8; 0]);
    assert!(is_signalled(&card));
}

#[test]
fn an_edge_meanwhile_is_sent_once() {
    let (vm, _, line, _exits) = bench::split();
    let disk = own(&line);
    line.redirect(edge(VECTOR), false).unwrap();
    line.pause().unwrap();
    disk.assert().unwrap();
    disk.deassert().unwrap();
    disk.assert().unwrap();
    assert_eq!(vm.pending_vectors(0), [0_u8; 0]);
    line.resume().unwrap();
    assert_eq!(vm.take_vector(0), Some(VECTOR));
    vm.lapic_eoi(0);
    line.pause().unwrap();
    line.resume().unwrap();
    line.redirect(edge(VECTOR), false).unwrap();
    assert_eq!(vm.pending_vectors(0), [0_u8; 0]);
    // A signal that comes while the entry is masked is lost, as on other lines.
    disk.deassert().unwrap();
    line.pause().unwrap();
    line.redirect(edge(VECTOR), true).unwrap();
    disk.assert().unwrap();
    line.redirect(edge(VECTOR), false).unwrap();
    line.resume().unwrap();
    assert_eq!(vm.pending_vectors(0), [0_u8; 0]);
}

#[test]
fn the_vmms_own_controller_is_not_called() {
    let (chip, line, exits) = bench::on_chip();
    let (disk, card) = (own(&line), exported(&line));
    disk.assert().unwrap();
    assert!(chip.take());
    line.pause().unwrap();
    chip.calls.store(0, Ordering::Relaxed);
    signal(&card);
    assert!(card.take_trigger().unwrap());
    chip.end();
    assert_eq!(exits.on_pin(GSI), 1);
    assert_eq!(heard(&card), 1);
    signal(&card);
    assert!(card.take_trigger().unwrap());
    disk.deassert().unwrap();
    assert_eq!(chip.calls.load(Ordering::Relaxed), 0);
    assert!(chip.level());
    chip.failure.store(libc::EIO, Ordering::Relaxed);
    line.resume().unwrap_err();
    chip.calls.store(0, Ordering::Relaxed);
    card.assert().unwrap();
    assert_eq!(chip.calls.load(Ordering::Relaxed), 0, "it is paused still");
    line.resume().unwrap();
    assert!(chip.level(), "it was high at the EOI, and is said again");
    assert_eq!(chip.calls.load(Ordering::Relaxed), 1);
    card.deassert().unwrap();
    line.on_eoi().unwrap();
    assert!(!chip.level());
}

#[test]
fn arm64_keeps_what_was_triggered() {
    const SPI: u32 = 6;
    let vm = SimVm::builder().profile(Profile::Arm64Gic { spis: 64 });
    let vm = Arc::new(vm.build());
    vm.init_gic();
    vm.set_spi_level_triggered(SPI, true);
    let table = RoutingTable::builder(vm.clone()).wiring(Wiring::gic(64).unwrap());
    let table = table.build().unwrap();
    let line = LevelLine::builder(table.line(SPI).unwrap());
    let line = line.build().unwrap();
    let card = exported(&line);
    signal(&card);
    drop(vm.deliver());
    line.pause().unwrap();
    assert!(vm.is_pin_pending(SPI));
    line.resume().unwrap();
    assert!(vm.is_pin_pending(SPI));
    vm.guest_eoi(0, SPI);
    assert!(!vm.is_pin_pending(SPI));
    assert_eq!(heard(&card), 1);
}

/// A translation that lets the message through while the line is paused binds nothing.
#[test]
fn a_translation_changes_its_mind_meanwhile() {
    let vm = SimVm::builder().profile(Profile::X86Split { pins: 24 });
    let vm = Arc::new(vm.build());
    vm.enable_lapic(0);
    let (blocked, exits) = (Arc::<AtomicBool>::default(), EoiExits::default());
    let block = Arc::clone(&blocked);
    let translate = move |message: MsiMessage| (!block.load(Ordering::SeqCst)).then_some(message);
    let table = RoutingTable::builder(vm.clone()).wiring(Wiring::none(Platform::X86Split));
    let table = table.translate(translate).build().unwrap();
    let lease = table.lease_exact(GSI).unwrap();
    lease.set_route(level(VECTOR)).unwrap();
    let builder = LevelLine::builder(lease.into_line().unwrap()).eoi_exits(&exits);
    let line = builder.build().unwrap();
    let card = exported(&line);
    line.redirect(level(VECTOR), false).unwrap();
    for (before, after) in [(false, true), (true, false)] {
        blocked.store(before, Ordering::SeqCst);
        table.retranslate().unwrap();
        line.pause().unwrap();
        blocked.store(after, Ordering::SeqCst);
        table.retranslate().unwrap();
        signal(&card);
        drop(vm.deliver());
        assert!(is_signalled(&card));
        assert_eq!(vm.pending_vectors(0), [0_u8; 0]);
        line.resume().unwrap();
        drop(vm.deliver());
        assert_eq!(vm.pending_vectors(0).is_empty(), after);
        blocked.store(false, Ordering::SeqCst);
        table.retranslate().unwrap();
        drop(vm.deliver());
        assert_eq!(vm.take_vector(0), Some(VECTOR));
        vm.lapic_eoi(0);
        assert_eq!(exits.on_vector(VECTOR), 1);
    }
}

fn paused(make: impl Fn() -> Bench) -> impl Fn() -> Bench {
    move || {
        with(make(), |bench| {
            bench.disk.assert().unwrap();
            bench.line.pause().unwrap();
        })
    }
}

/// Each ioctl fails once: the line runs as before, and can be paused then.
#[test]
fn each_step_of_a_pause_that_fails_is_undone() {
    for make in [Bench::pc, Bench::open] {
        fail_each(make, |bench| bench.line.pause());
        let high = || with(make(), |bench| bench.disk.assert().unwrap());
        fail_each(high, |bench| bench.line.pause());
    }
}

/// Each ioctl fails once: the line is paused as before, and can be resumed then.
#[test]
fn each_step_of_a_resume_that_fails_is_undone() {
    for make in [Bench::pc, Bench::open] {
        fail_each(paused(make), |bench| bench.line.resume());
        let changed = || {
            with(paused(make)(), |bench| {
                bench.disk.deassert().unwrap();
                bench.net.assert().unwrap();
                bench.line.reassert().unwrap();
            })
        };
        fail_each(changed, |bench| bench.line.resume());
        let falls = || with(paused(make)(), |bench| bench.disk.deassert().unwrap());
        fail_each(falls, |bench| bench.line.resume());
    }
    let redirected = || {
        with(paused(Bench::open)(), |bench| {
            bench.line.redirect(level(0x62), false).unwrap();
            let _ = [&bench.net, &bench.card, &bench.nic].map(heard);
        })
    };
    fail_each(redirected, |bench| bench.line.resume());
}

/// Signals that came while the line was paused, and were delivered by a resume that fails then.
#[test]
fn a_resume_that_fails_loses_no_signal() {
    for joined_late in [false, true] {
        for (kind, nth) in [
            (CallKind::IrqFdAssign, 1),
            (CallKind::IrqFdAssign, 2),
            (CallKind::IrqFdAssign, 3),
            (CallKind::IrqLine, 1),
            (CallKind::IrqFdDeassign, 1),
        ] {
            let (vm, _, line) = bench::pc();
            let early = (!joined_late).then(|| [exported(&line), exported(&line)]);
            line.pause().unwrap();
            let [card, _nic] = early.unwrap_or_else(|| [exported(&line), exported(&line)]);
            let disk = own(&line);
            signal(&card);
            disk.assert().unwrap();
            disk.deassert().unwrap();
            line.reassert().unwrap();
            line.resync().unwrap();
            vm.fail(kind, nth, libc::ENOMEM);
            let resumed = line.resume();
            vm.clear_faults();
            if resumed.is_err() {
                line.resume().unwrap();
            }
            drop(vm.deliver());
            assert!(pin(&vm), "{joined_late} {kind:?} {nth}");
            let _ = heard(&card);
            vm.guest_eoi(IOAPIC, GSI);
            assert!(!pin(&vm));
            assert_eq!(heard(&card), 1);
        }
    }
}

/// A device that KVM refuses keeps the line paused until it has left.
#[test]
fn a_device_that_is_refused_leaves_and_the_line_resumes() {
    let (vm, table, line) = bench::pc();
    let other = LevelLine::builder(table.line(GSI + 1).unwrap());
    let other = other.build().unwrap();
    let elsewhere = exported(&other);
    let card = exported(&line);
    line.pause().unwrap();
    let trigger = Arc::clone(elsewhere.trigger_notifier().unwrap());
    let twice = line.join_exported(Some(trigger), notifier()).unwrap();
    signal(&card);
    assert!(matches!(
        line.resume().unwrap_err(),
        LevelError::Arm(IrqFdError::AlreadyBound { .. })
    ));
    twice.leave().unwrap();
    line.resume().unwrap();
    drop(vm.deliver());
    assert!(pin(&vm));
    let net = told(&line);
    vm.guest_eoi(IOAPIC, GSI);
    assert_eq!([&card, &net].map(heard), [1, 1]);
}

/// No EOI of an edge is reported, so the device is notified when the entry has EOIs again.
#[test]
fn an_edge_that_a_failed_resume_had_sent_was_forgotten() {
    let (vm, _, line, _exits) = bench::split();
    let (card, nic) = (exported(&line), exported(&line));
    line.pause().unwrap();
    line.redirect(edge(VECTOR), false).unwrap();
    signal(&card);
    vm.fail(CallKind::IrqFdAssign, 2, libc::ENOMEM);
    line.resume().unwrap_err();
    assert_eq!(vm.pending_vectors(0), [VECTOR]);
    assert_eq!([&card, &nic].map(heard), [0, 0]);
    line.redirect(level(VECTOR), false).unwrap();
    assert_eq!([&card, &nic].map(heard), [1, 1]);
}
