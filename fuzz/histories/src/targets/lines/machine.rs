// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Machine`]: a VM with its routing table, and how its lines are built.

use std::cell::Cell;
use std::sync::Arc;

use irq_routing::{MsiMessage, Platform, RoutingTable, Wiring};
use irqfd::{EoiExits, LevelLine, LevelLineBuilder};
use kvm_test::NoIrqLine;
use notify_core::{Bus, Vm};
use notify_sim::{CallKind, Profile, SimVm};

use super::chip::Chip;
use super::redirection::{Redirection, VECTORS};
use super::step::{Kind, Request};

/// The lines of a VM.
pub(super) const LINES: usize = 2;
pub(super) const VCPUS: usize = 2;
const PINS: u32 = 64;
const IOAPIC: u64 = 0xfec0_0000;

pub(super) struct Machine {
    pub(super) kind: Kind,
    pub(super) vm: Arc<SimVm>,
    table: RoutingTable,
    pub(super) exits: EoiExits,
    pub(super) chips: [Arc<Chip>; LINES],
    /// How many irqfds were not bound, and how many not unbound, because that was refused.
    refused: Cell<[u64; 2]>,
    /// The requests of a kind before a fault was ordered for it.
    before: Cell<u64>,
}

/// How the level of a line gets to the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Pins,
    Message,
    Controller,
}

impl Kind {
    pub(super) fn way(self) -> Way {
        match self {
            Self::Split | Self::SplitWithoutIrqLine | Self::SplitWithoutEois => Way::Message,
            Self::Own => Way::Controller,
            _ => Way::Pins,
        }
    }

    /// Whether both chips of a PC are in the kernel.
    pub(super) fn is_pc(self) -> bool {
        matches!(self, Self::IoApic | Self::Pic | Self::PinsWithoutIrqLine)
    }

    pub(super) fn has_local_apics(self) -> bool {
        !matches!(self, Self::Own | Self::Gic | Self::Aplic)
    }

    /// Whether a pin has one level, which its last driver has set.
    pub(super) fn has_one_level(self) -> bool {
        matches!(self, Self::Gic | Self::Aplic)
    }

    pub(super) fn lacks_irq_line(self) -> bool {
        matches!(self, Self::PinsWithoutIrqLine | Self::SplitWithoutIrqLine)
    }

    /// Whether devices that wait for EOIs can join.
    pub(super) fn resamples(self) -> bool {
        !matches!(self, Self::SplitWithoutEois | Self::Aplic)
    }
}

/// The GSI of a line. The VMM's own controllers have one pin each, of the same number.
pub(super) fn gsi(kind: Kind, at: usize) -> u32 {
    match kind {
        Kind::Gic | Kind::Aplic => 6 + at as u32,
        Kind::Own => 10,
        _ => 10 + at as u32,
    }
}

/// The number of a line for KVM_IRQ_LINE.
pub(super) fn line_number(kind: Kind, at: usize) -> u32 {
    match kind {
        Kind::Gic => 1 << 24 | (32 + gsi(kind, at)),
        _ => gsi(kind, at),
    }
}

/// A VM after the boot of its guest.
pub(super) fn sim(kind: Kind) -> Arc<SimVm> {
    let profile = match kind {
        Kind::IoApic | Kind::Pic | Kind::PinsWithoutIrqLine => Profile::X86,
        Kind::Gic => Profile::Arm64Gic { spis: PINS },
        Kind::Aplic => Profile::Riscv64Aia { sources: PINS },
        _ => Profile::X86Split { pins: 24 },
    };
    let vm = SimVm::builder().profile(profile).vcpus(VCPUS);
    let vm = vm.resample_at_unmask(kind != Kind::Pic).build();
    (0..VCPUS).for_each(|vcpu| vm.enable_lapic(vcpu));
    vm.init_gic();
    vm.init_aia();
    (0..LINES).for_each(|at| vm.set_spi_level_triggered(gsi(kind, at), true));
    match kind {
        Kind::Pic => write_pics(&vm),
        _ => (0..LINES).for_each(|at| write_ioapic(&vm, gsi(kind, at), Redirection::first(at))),
    }
    Arc::new(vm)
}

/// Initialises both PICs, with level-triggered pins.
pub(super) fn write_pics(vm: &SimVm) {
    for (port, [base, cascade, mode]) in [(0x20, [0x48, 4, 1]), (0xa0, [VECTORS[0], 2, 1])] {
        vm.guest_write(Bus::Pio, port, &[0x11]);
        for byte in [base, cascade, mode, 0] {
            vm.guest_write(Bus::Pio, port + 1, &[byte]);
        }
    }
    (0..LINES).for_each(|at| set_edge(vm, Kind::Pic, at, false));
}

/// Sets whether the interrupt of a line is edge-triggered. (Of both lines, at the PICs.)
pub(super) fn set_edge(vm: &SimVm, kind: Kind, at: usize, edge: bool) {
    match kind {
        Kind::Gic => vm.set_spi_level_triggered(gsi(kind, at), !edge),
        _ => drop(vm.guest_write(Bus::Pio, 0x4d1, &[if edge { 0 } else { 0xc }])),
    }
}

pub(super) fn write_ioapic(vm: &SimVm, pin: u32, entry: Redirection) {
    let register = 0x10 + 2 * pin;
    let [low, high] = entry.registers();
    for (register, value) in [(register + 1, high), (register, low)] {
        vm.guest_write(Bus::Mmio, IOAPIC, &register.to_le_bytes());
        vm.guest_write(Bus::Mmio, IOAPIC + 0x10, &value.to_le_bytes());
    }
}

impl Machine {
    pub(super) fn new(kind: Kind) -> Self {
        let vm = sim(kind);
        let port: Arc<dyn Vm> = match kind.lacks_irq_line() {
            true => Arc::new(NoIrqLine(vm.clone())),
            false => vm.clone(),
        };
        let wiring = match kind {
            Kind::Gic => Wiring::gic(PINS).expect("so many"),
            Kind::Aplic => Wiring::aia(PINS).expect("so many"),
            _ if kind.is_pc() => Wiring::pc(),
            _ => Wiring::none(Platform::X86Split),
        };
        let table = RoutingTable::builder(port).wiring(wiring).build();
        Self {
            kind,
            vm,
            table: table.expect("it has a routing table"),
            exits: EoiExits::default(),
            chips: Default::default(),
            refused: Cell::default(),
            before: Cell::default(),
        }
    }

    /// Starts a line on a GSI. `None` if the GSI is in use.
    pub(super) fn builder(&self, at: usize) -> Option<LevelLineBuilder> {
        let gsi = gsi(self.kind, at);
        if self.kind.way() == Way::Pins {
            return Some(LevelLine::builder(self.table.line(gsi).ok()?));
        }
        let lease = self.table.lease_exact(gsi).ok()?;
        let routed = lease.set_route(MsiMessage::default());
        routed.expect("no fault is ordered");
        let builder = LevelLine::builder(lease.into_line().expect("it has a route"));
        if self.kind == Kind::SplitWithoutEois {
            return Some(builder.without_eois());
        }
        Some(builder.eoi_exits(&self.exits))
    }

    /// Builds a line. `None` if the GSI is in use.
    pub(super) fn build(&self, at: usize) -> Option<LevelLine> {
        if self.kind.way() == Way::Controller {
            let (pin, chip) = (gsi(self.kind, at), self.chips[at].clone());
            return Some(LevelLine::on_controller(pin, chip, &self.exits));
        }
        let line = self.builder(at)?.build().expect("a free line");
        self.built();
        Some(line)
    }

    /// A line was built. A split irqchip has refused to resample.
    pub(super) fn built(&self) {
        let asked = self.kind.way() == Way::Message && self.kind.resamples();
        self.refused(u64::from(asked), 0);
    }

    /// Orders a fault.
    pub(super) fn fail(&self, at: usize, (request, nth): (Request, u8)) {
        self.before.set(self.vm.calls(request.call()));
        self.vm.fail(request.call(), nth.into(), super::ERRNO);
        if request == Request::Level {
            self.chips[at].fail(nth);
        }
    }

    /// Cancels it. Returns whether it came.
    pub(super) fn failed(&self, at: usize, (request, nth): (Request, u8)) -> bool {
        self.vm.clear_faults();
        let calls = self.vm.calls(request.call()) - self.before.get();
        let by_chip = request == Request::Level && self.chips[at].calls() >= nth;
        self.chips[at].fail(0);
        let failed = by_chip || calls >= nth.into();
        match request {
            Request::Assign => self.refused(u64::from(failed), 0),
            Request::Deassign => self.refused(0, u64::from(failed)),
            _ => {}
        }
        failed
    }

    /// So many irqfds were not bound, and so many not unbound.
    pub(super) fn refused(&self, assigned: u64, deassigned: u64) {
        let [assigns, deassigns] = self.refused.get();
        self.refused
            .set([assigns + assigned, deassigns + deassigned]);
    }

    /// How many irqfds are bound.
    pub(super) fn bound(&self) -> u64 {
        let [assigns, deassigns] = self.refused.get();
        let assigned = self.vm.calls(CallKind::IrqFdAssign) - assigns;
        assigned + deassigns - self.vm.calls(CallKind::IrqFdDeassign)
    }
}

impl Request {
    fn call(self) -> CallKind {
        match self {
            Self::Routing => CallKind::SetGsiRouting,
            Self::Assign => CallKind::IrqFdAssign,
            Self::Deassign => CallKind::IrqFdDeassign,
            Self::Level => CallKind::IrqLine,
        }
    }
}
