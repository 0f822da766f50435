// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Pins of real VMs that are saved: an interrupt is in the interrupt controllers or in the eventfd,
//! once, and is delivered in another VM.
#![allow(unsafe_code, reason = "a controller's state is a union")]

use std::sync::{Arc, mpsc};
use std::thread;

use irqfd::{IrqFd, LevelIrq, LevelLine, LevelSnapshot};
use kvm_bindings::{
    KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, kvm_irqchip, kvm_lapic_state,
};
use kvm_test::{Trial, kvm, snapshot_rounds};
use notify_core::EventNotifier;

use crate::guest::{GSI, Guest, Listens, VECTOR, chip};

/// The number of rounds; each continues in a second VM.
const SECOND_VM: u32 = 100;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        kvm("level_saved_an_edge_is_in_one_place", edge),
        kvm("level_saved_an_edge_beside_a_pause_too", edge_meanwhile),
        kvm("level_saved_a_trigger_is_in_one_place", trigger),
        kvm(
            "level_saved_a_trigger_beside_a_pause_too",
            trigger_meanwhile,
        ),
        kvm(
            "level_saved_what_asserts_is_heard_in_the_second_vm",
            second_vm_hears,
        ),
    ]
}

/// What KVM_GET_IRQCHIP and KVM_GET_LAPIC return.
struct Controllers {
    chips: [kvm_irqchip; 3],
    lapic: kvm_lapic_state,
}

impl Controllers {
    fn of(guest: &Guest) -> Self {
        let chips = [
            KVM_IRQCHIP_PIC_MASTER,
            KVM_IRQCHIP_PIC_SLAVE,
            KVM_IRQCHIP_IOAPIC,
        ];
        Self {
            chips: chips.map(|number| chip(&guest.vm_fd, number)),
            lapic: guest.vcpu.get_lapic().unwrap(),
        }
    }

    fn restore(&self, guest: &Guest) {
        for chip in &self.chips {
            guest.vm_fd.set_irqchip(chip).unwrap();
        }
        guest.vcpu.set_lapic(&self.lapic).unwrap();
    }

    /// Whether the vector is pending in the local APIC.
    fn lapic_requests(&self) -> bool {
        const IRR: usize = 0x200;
        let byte = IRR + usize::from(VECTOR / 32) * 16 + usize::from(VECTOR % 32) / 8;
        self.lapic.regs[byte] & 1 << (VECTOR % 8) != 0
    }

    /// Whether the IOAPIC's pin is requested.
    fn ioapic_requests(&self) -> bool {
        // SAFETY: KVM filled the union as an IOAPIC, and what is read is an integer.
        unsafe { self.chips[2].chip.ioapic.irr & 1 << GSI != 0 }
    }
}

/// Calls `round` that often after a signal, or with a signal in flight from another thread: the
/// second argument waits until it has been written.
fn each_round(notifier: &EventNotifier, meanwhile: bool, mut round: impl FnMut(u32, &dyn Fn())) {
    if !meanwhile {
        for number in 0..snapshot_rounds() {
            notifier.notify().unwrap();
            round(number, &|| {});
        }
        return;
    }
    thread::scope(|scope| {
        let (begin, begun) = mpsc::channel();
        let (written, is_written) = mpsc::channel();
        scope.spawn(move || {
            for () in begun {
                notifier.notify().unwrap();
                written.send(()).unwrap();
            }
        });
        for number in 0..snapshot_rounds() {
            begin.send(()).unwrap();
            round(number, &|| is_written.recv().unwrap());
        }
    });
}

/// Where the signals were found.
#[derive(Debug, Default)]
struct Found {
    in_guest: u32,
    in_eventfd: u32,
}

impl Found {
    #[track_caller]
    fn add(&mut self, round: u32, in_guest: bool, notifier: &EventNotifier) {
        let in_eventfd = notifier.is_signalled().unwrap();
        assert!(in_guest || in_eventfd, "lost in round {round}: {self:?}");
        assert!(
            !(in_guest && in_eventfd),
            "twice in round {round}: {self:?}"
        );
        self.in_guest += u32::from(in_guest);
        self.in_eventfd += u32::from(in_eventfd);
    }

    #[track_caller]
    fn check(&self, meanwhile: bool) {
        assert_eq!(self.in_guest + self.in_eventfd, snapshot_rounds());
        assert!(meanwhile || self.in_eventfd == 0);
    }
}

fn edge() {
    edges(false);
}

fn edge_meanwhile() {
    edges(true);
}

fn edges(meanwhile: bool) {
    let guest = Guest::new(Listens::IoApic);
    set_entry(&guest, VECTOR.into());
    let clean = Controllers::of(&guest);
    let irq = IrqFd::builder(guest.table.line(GSI).unwrap());
    let irq = irq.assign().unwrap();
    let notifier = irq.notifier().clone();
    let (mut found, mut irq) = (Found::default(), Some(irq));
    each_round(&notifier, meanwhile, |round, signalled| {
        let builder = irq.take().unwrap().deassign().unwrap();
        signalled();
        let saved = Controllers::of(&guest);
        let in_guest = saved.lapic_requests();
        found.add(round, in_guest, &notifier);
        if round % SECOND_VM == 0 && in_guest {
            let mut second = Guest::new(Listens::IoApic);
            saved.restore(&second);
            let irq = IrqFd::builder(second.table.line(GSI).unwrap());
            let _irq = irq.assign().unwrap();
            assert!(Controllers::of(&second).lapic_requests());
            second.expect_interrupt(|| {});
            second.expect_silence();
        }
        let _ = notifier.consume().unwrap();
        clean.restore(&guest);
        irq = Some(builder.assign().unwrap());
    });
    found.check(meanwhile);
}

fn trigger() {
    triggers(false);
}

fn trigger_meanwhile() {
    triggers(true);
}

fn notifier() -> Arc<EventNotifier> {
    Arc::new(EventNotifier::new().unwrap())
}

fn line(guest: &Guest) -> (LevelLine, LevelIrq, LevelIrq) {
    let line = guest.table.line(GSI).unwrap();
    let line = LevelLine::builder(line).build().unwrap();
    let disk = line.join().unwrap();
    let card = line.join_exported(None, notifier()).unwrap();
    (line, disk, card)
}

fn triggers(meanwhile: bool) {
    let guest = Guest::new(Listens::IoApic);
    let clean = Controllers::of(&guest);
    let (line, _disk, card) = line(&guest);
    let notifier = card.trigger_notifier().unwrap();
    let mut found = Found::default();
    each_round(notifier, meanwhile, |round, signalled| {
        line.pause().unwrap();
        signalled();
        let saved = Controllers::of(&guest);
        let in_guest = saved.lapic_requests() || saved.ioapic_requests();
        found.add(round, in_guest, notifier);
        assert_eq!(saved.lapic_requests(), saved.ioapic_requests());
        if round % SECOND_VM == 0 && in_guest {
            go_on(&saved, &written(&line));
        }
        let _ = notifier.consume().unwrap();
        clean.restore(&guest);
        line.resume().unwrap();
    });
    found.check(meanwhile);
}

fn written(line: &LevelLine) -> LevelSnapshot {
    let written = serde_json::to_string(&line.snapshot().unwrap()).unwrap();
    serde_json::from_str(&written).unwrap()
}

/// The state of a guest whose card has triggered.
fn go_on(saved: &Controllers, snapshot: &LevelSnapshot) {
    let mut guest = Guest::new(Listens::IoApic);
    let (line, disk, card) = line(&guest);
    line.pause().unwrap();
    saved.restore(&guest);
    line.restore(snapshot).unwrap();
    assert_eq!(heard(&card), 1, "it may not have read the EOI's signal");
    line.resume().unwrap();
    assert!(Controllers::of(&guest).lapic_requests());
    guest.expect_interrupt(|| {});
    assert_eq!(heard(&card), 1);
    assert!(!guest.pin(), "the EOI lowers what the other kernel held up");
    let spurious = guest.settle();
    assert!(spurious <= 1, "{spurious}");
    let _ = heard(&card);
    // The card triggers again, and the disk asserts.
    card.trigger_notifier().unwrap().notify().unwrap();
    guest.expect_interrupt(|| {});
    disk.assert().unwrap();
    guest.expect_interrupt(|| {});
    guest.expect_interrupt(|| disk.deassert().unwrap());
    assert!(!guest.pin());
}

/// A device of the VMM asserts and an exported one has triggered, before the first VM has paused or
/// after.
fn second_vm_hears() {
    for after_pause in [false, true] {
        let guest = Guest::new(Listens::IoApic);
        let (first, disk, card) = line(&guest);
        let assert = || {
            disk.assert().unwrap();
            card.trigger_notifier().unwrap().notify().unwrap();
        };
        if after_pause {
            first.pause().unwrap();
            assert();
        } else {
            assert();
            first.pause().unwrap();
        }
        let saved = Controllers::of(&guest);
        let snapshot = written(&first);
        assert_eq!(
            card.trigger_notifier().unwrap().is_signalled().unwrap(),
            after_pause
        );
        assert_eq!(guest.pin(), !after_pause);

        let mut guest = Guest::new(Listens::IoApic);
        let (line, disk, card) = line(&guest);
        line.pause().unwrap();
        saved.restore(&guest);
        line.restore(&snapshot).unwrap();
        assert_eq!(guest.pin(), !after_pause, "not before the resume");
        line.resume().unwrap();
        for _ in 0..3 {
            guest.expect_interrupt(|| {});
            assert!(guest.pin(), "the disk asserts");
        }
        guest.expect_interrupt(|| disk.deassert().unwrap());
        let spurious = guest.settle();
        assert!(spurious <= 1, "{spurious}");
        assert!(!guest.pin());
        assert_eq!(heard(&card), 1 + 4 + spurious);
    }
}

fn heard(irq: &LevelIrq) -> u64 {
    let heard = irq.resample_notifier().unwrap().consume().unwrap();
    heard.map_or(0, u64::from)
}

fn set_entry(guest: &Guest, bits: u64) {
    let mut ioapic = chip(&guest.vm_fd, KVM_IRQCHIP_IOAPIC);
    // SAFETY: KVM filled the union as an IOAPIC, whose entries are integers.
    let entries = unsafe { &mut ioapic.chip.ioapic.redirtbl };
    entries[GSI as usize].bits = bits;
    guest.vm_fd.set_irqchip(&ioapic).unwrap();
}
