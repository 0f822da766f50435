// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The table of the module's page: each row is tested once, and an interrupt takes both of its
//! paths.

use std::io;
use std::sync::Arc;

use irq_routing::{IrqChip, MsiMessage, Pin, Platform, RoutingTable, Wiring};
use irqfd::inject;
use irqfd::{Controller, EoiExits, EventNotifier, IrqFd, LevelLine, Vector};
use notify_core::Vm;
use notify_sim::{Profile, SimVm};

const PAGE: &str = include_str!("../../src/inject/paths.md");
const SPLIT: Profile = Profile::X86Split { pins: 24 };
const GSI: u32 = 20;
const IOAPIC: u32 = 2;
const VECTOR: u8 = 0x51;
const LEVEL: u32 = 1 << 15;

/// The columns of a row, and an interrupt on both of its paths. A path has its ioctl and, after the
/// colon, its users.
struct Row {
    chips: &'static str,
    interrupt: &'static str,
    own: &'static str,
    exported: &'static str,
    takes: fn(),
}

const ROWS: [Row; 8] = [
    Row {
        chips: "all",
        interrupt: "edge at a pin",
        own: "KVM_IRQ_LINE: `inject::line`",
        exported: "KVM_IRQFD: `IrqFd`",
        takes: edge_at_a_pin,
    },
    Row {
        chips: "all",
        interrupt: "level at a pin",
        own: "KVM_IRQ_LINE: `LevelIrq`",
        exported: "KVM_IRQFD with a resample eventfd: `LevelIrq` (exported)",
        takes: level_at_a_pin,
    },
    Row {
        chips: "all, or local APICs",
        interrupt: "message",
        own: "KVM_SIGNAL_MSI: `Vector`",
        exported: "KVM_IRQFD: `Vector` (exported)",
        takes: a_message,
    },
    Row {
        chips: "local APICs",
        interrupt: "edge at an IOAPIC's pin",
        own: "KVM_SIGNAL_MSI: `inject::message`",
        exported: "KVM_IRQFD: `IrqFd`",
        takes: edge_at_an_ioapic,
    },
    Row {
        chips: "local APICs",
        interrupt: "level at an IOAPIC's pin",
        own: "KVM_IRQ_LINE and EOI exits: `LevelIrq`",
        exported: "KVM_IRQFD and EOI exits: `LevelIrq` (exported)",
        takes: level_at_an_ioapic,
    },
    Row {
        chips: "local APICs, or none",
        interrupt: "edge at a pin of the VMM's controller",
        own: "KVM_INTERRUPT: `inject::vcpu`",
        exported: "poll(2), KVM_INTERRUPT: `EventNotifier`, `inject::vcpu`",
        takes: edge_at_an_own_controller,
    },
    Row {
        chips: "local APICs, or none",
        interrupt: "level at a pin of the VMM's controller",
        own: "KVM_INTERRUPT: `LevelIrq`, `inject::vcpu`",
        exported: "poll(2), KVM_INTERRUPT: `LevelIrq` (exported), `inject::vcpu`",
        takes: level_at_an_own_controller,
    },
    Row {
        chips: "none",
        interrupt: "message",
        own: "KVM_INTERRUPT: `inject::vcpu`",
        exported: "poll(2), KVM_INTERRUPT: `EventNotifier`, `inject::vcpu`",
        takes: a_message_to_own_local_apics,
    },
];

#[test]
fn the_page_has_the_rows_that_are_tried_here() {
    let written = PAGE.lines().skip(2).map(|line| {
        let cells = line.trim_matches('|').split('|');
        cells.map(str::trim).collect::<Vec<_>>()
    });
    let tried = ROWS.iter();
    let tried = tried.map(|row| vec![row.chips, row.interrupt, row.own, row.exported]);
    assert_eq!(written.collect::<Vec<_>>(), tried.collect::<Vec<_>>());
}

#[test]
fn an_interrupt_takes_both_paths_of_each_row() {
    ROWS.iter().for_each(|row| (row.takes)());
}

#[test]
fn the_port_tells_which_controllers_are_in_the_kernel() {
    for (profile, platform) in [
        (Profile::X86, Some(Platform::X86)),
        (SPLIT, Some(Platform::X86Split)),
        (Profile::None, None),
    ] {
        let vm = SimVm::builder().profile(profile).build();
        assert_eq!(vm.platform().unwrap(), platform);
    }
    let vm = SimVm::builder()
        .profile(Profile::Arm64Gic { spis: 32 })
        .build();
    assert_eq!(vm.platform().unwrap(), None, "not yet");
    vm.init_gic();
    assert_eq!(vm.platform().unwrap(), Some(Platform::Arm64Gic));
}

fn machine(profile: Profile) -> Arc<SimVm> {
    let vm = Arc::new(SimVm::builder().profile(profile).build());
    vm.enable_lapic(0);
    vm
}

fn notifier() -> Arc<EventNotifier> {
    Arc::new(EventNotifier::new().unwrap())
}

fn message() -> MsiMessage {
    MsiMessage::new(0xfee0_0000, u32::from(VECTOR))
}

/// A VM with all controllers in the kernel, and a pin of its IOAPIC with this redirection entry.
fn with_ioapic(entry: u32) -> (Arc<SimVm>, RoutingTable) {
    let vm = machine(Profile::X86);
    let table = RoutingTable::builder(vm.clone()).wiring(Wiring::none(Platform::X86));
    let table = table.build().unwrap();
    let mut transaction = table.transaction();
    let pin = Pin::new(IrqChip::IoApic, GSI).unwrap();
    transaction.wire(table.gsi(GSI).unwrap(), pin);
    transaction.commit().unwrap();
    let mut state = vm.ioapic().unwrap();
    state.redirections[GSI as usize] = u64::from(entry);
    vm.set_ioapic(state);
    (vm, table)
}

/// The guest takes the interrupt.
#[track_caller]
fn expect_interrupt(vm: &SimVm) {
    assert_eq!(vm.take_vector(0), Some(VECTOR));
}

#[track_caller]
fn expect_none(vm: &SimVm) {
    assert_eq!(vm.take_vector(0), None);
}

fn edge_at_a_pin() {
    let (vm, table) = with_ioapic(u32::from(VECTOR));
    let line = table.line(GSI).unwrap();
    inject::line(&line, true).unwrap();
    inject::line(&line, false).unwrap();
    expect_interrupt(&vm);
    vm.lapic_eoi(0);
    let irq = IrqFd::builder(line).assign().unwrap();
    irq.notifier().notify().unwrap();
    expect_interrupt(&vm);
}

fn level_at_a_pin() {
    let (vm, table) = with_ioapic(u32::from(VECTOR) | LEVEL);
    let line = LevelLine::builder(table.line(GSI).unwrap())
        .build()
        .unwrap();
    let serve = || {
        expect_interrupt(&vm);
        vm.lapic_eoi(0);
        vm.guest_eoi(IOAPIC, GSI);
    };
    levels(&vm, &line, &serve);
}

fn a_message() {
    for profile in [Profile::X86, SPLIT] {
        let vm = machine(profile);
        let table = RoutingTable::new(vm.clone()).unwrap();
        let vector = Vector::builder(&table).build().unwrap();
        vector.set_message(message()).unwrap();
        vector.unmask().unwrap();
        vector.trigger().unwrap();
        expect_interrupt(&vm);
        vm.lapic_eoi(0);
        vector.export().unwrap().notify().unwrap();
        expect_interrupt(&vm);
    }
}

fn edge_at_an_ioapic() {
    let vm = machine(SPLIT);
    let table = RoutingTable::new(vm.clone()).unwrap();
    let _ = inject::message(&table, message()).unwrap();
    expect_interrupt(&vm);
    vm.lapic_eoi(0);
    let irq = IrqFd::builder(table.lease_msi(message()).unwrap());
    irq.assign().unwrap().notifier().notify().unwrap();
    expect_interrupt(&vm);
}

fn level_at_an_ioapic() {
    let vm = machine(SPLIT);
    let table = RoutingTable::new(vm.clone()).unwrap();
    let exits = EoiExits::default();
    let lease = table.lease_exact(GSI).unwrap();
    lease.set_route(MsiMessage::default()).unwrap();
    let line = LevelLine::builder(lease.into_line().unwrap()).eoi_exits(&exits);
    let line = line.build().unwrap();
    let entry = MsiMessage::new(0xfee0_0000, u32::from(VECTOR) | LEVEL);
    line.redirect(entry, false).unwrap();
    let serve = || {
        expect_interrupt(&vm);
        vm.lapic_eoi(0);
        assert_eq!(exits.on_vector(VECTOR), 1);
    };
    levels(&vm, &line, &serve);
}

/// A device of each kind interrupts again as long as it has a reason, and then no more.
#[track_caller]
fn levels(vm: &SimVm, line: &LevelLine, serve: &dyn Fn()) {
    let disk = line.join().unwrap();
    disk.assert().unwrap();
    serve();
    serve();
    disk.deassert().unwrap();
    serve();
    expect_none(vm);
    let card = line.join_exported(None, notifier()).unwrap();
    for _ in 0..2 {
        card.trigger_notifier().unwrap().notify().unwrap();
        serve();
        let told = card.resample_notifier().unwrap().consume().unwrap();
        assert!(told.is_some());
    }
    expect_none(vm);
}

/// An interrupt controller of the VMM, with one pin.
#[derive(Debug, Default)]
struct Pic(std::sync::atomic::AtomicBool);

impl Pic {
    fn is_high(&self) -> bool {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}

impl Controller for Pic {
    fn set_level(&self, _: u32, level: bool) -> io::Result<()> {
        self.0.store(level, std::sync::atomic::Ordering::Relaxed);
        Ok(())
    }
}

#[track_caller]
fn expect_injected(vm: &Arc<SimVm>) {
    let vcpu = SimVm::vcpu(Arc::clone(vm), 0).unwrap();
    let _ = inject::vcpu(&vcpu, VECTOR).unwrap();
    assert_eq!(vm.take_interrupt(0), Some(VECTOR));
}

fn edge_at_an_own_controller() {
    for profile in [SPLIT, Profile::None] {
        expect_edges_injected(&machine(profile));
    }
}

fn a_message_to_own_local_apics() {
    let vm = machine(Profile::None);
    expect_edges_injected(&vm);
    // None of the other paths for a message is available.
    let table = RoutingTable::builder(vm).wiring(Wiring::none(Platform::X86Split));
    assert!(inject::message(&table.build().unwrap(), message()).is_err());
}

fn expect_edges_injected(vm: &Arc<SimVm>) {
    expect_injected(vm);
    let notifier = EventNotifier::new().unwrap();
    notifier.notify().unwrap();
    if notifier.consume().unwrap().is_some() {
        expect_injected(vm);
    }
}

fn level_at_an_own_controller() {
    for profile in [SPLIT, Profile::None] {
        let vm = machine(profile);
        let (pic, exits) = (Arc::new(Pic::default()), EoiExits::default());
        let line = LevelLine::on_controller(4, pic.clone(), &exits);
        let disk = line.join().unwrap();
        disk.assert().unwrap();
        assert!(pic.is_high());
        expect_injected(&vm);
        disk.deassert().unwrap();
        assert!(!pic.is_high());

        let card = line.join_exported(None, notifier()).unwrap();
        card.trigger_notifier().unwrap().notify().unwrap();
        assert!(card.take_trigger().unwrap() && pic.is_high());
        expect_injected(&vm);
        assert_eq!(exits.on_pin(4), 1);
        assert!(!pic.is_high());
    }
}
