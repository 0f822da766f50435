// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A line on each kind of VM, with the guest's part of it.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use irq_routing::{MsiMessage, Platform, RoutingTable, Wiring};
use irqfd::{Controller, EoiExits, LevelLine};
use kvm_test::NoIrqLine;
use notify_core::Bus;
use notify_sim::{Profile, SimVm};

pub(crate) const GSI: u32 = 10;
pub(crate) const VECTOR: u8 = 0x52;
const IOAPIC_ADDRESS: u64 = 0xfec0_0000;

/// A VM with PICs and IOAPIC in the kernel. The guest uses neither yet.
pub(crate) fn pc() -> (Arc<SimVm>, RoutingTable, LevelLine) {
    let vm = Arc::new(SimVm::builder().build());
    vm.enable_lapic(0);
    let table = RoutingTable::builder(vm.clone()).wiring(Wiring::pc());
    let table = table.build().unwrap();
    let line = LevelLine::builder(table.line(GSI).unwrap())
        .build()
        .unwrap();
    (vm, table, line)
}

/// The guest uses the IOAPIC, level-triggered.
pub(crate) fn use_ioapic(vm: &SimVm) {
    use_ioapic_pin(vm, GSI);
}

pub(crate) fn use_ioapic_pin(vm: &SimVm, pin: u32) {
    let register = 0x10 + 2 * pin as u8;
    for (register, value) in [
        (register + 1, 0_u32),
        (register, 1 << 15 | u32::from(VECTOR)),
    ] {
        vm.guest_write(
            Bus::Mmio,
            IOAPIC_ADDRESS,
            &u32::from(register).to_le_bytes(),
        );
        vm.guest_write(Bus::Mmio, IOAPIC_ADDRESS + 0x10, &value.to_le_bytes());
    }
}

/// The guest uses the PICs, whose pin is level-triggered.
pub(crate) fn use_pic(vm: &SimVm) {
    for (port, bytes) in [
        (0x20, [0x11, 0x48, 4, 1]),
        (0xa0, [VECTOR - 2, VECTOR - 2, 2, 1]),
    ] {
        let [_, base, cascade, mode] = bytes;
        vm.guest_write(Bus::Pio, port, &[0x11]);
        for byte in [base, cascade, mode, 0] {
            vm.guest_write(Bus::Pio, port + 1, &[byte]);
        }
    }
    vm.guest_write(Bus::Pio, 0x4d1, &[1 << (GSI - 8)]);
}

pub(crate) fn pic_eoi(vm: &SimVm) {
    vm.guest_write(Bus::Pio, 0xa0, &[0x20]);
    vm.guest_write(Bus::Pio, 0x20, &[0x20]);
}

/// Whether the pin is high, as the IOAPIC sees it.
pub(crate) fn pin(vm: &SimVm) -> bool {
    vm.ioapic().unwrap().irr & 1 << GSI != 0
}

/// A split irqchip, the entry masked.
pub(crate) fn split() -> (Arc<SimVm>, RoutingTable, LevelLine, EoiExits) {
    let (vm, table) = split_table();
    let (line, exits) = split_line(&table);
    (vm, table, line, exits)
}

/// The same over a port that has no `irq_line_status`.
pub(crate) fn split_by_irqfd() -> (Arc<SimVm>, RoutingTable, LevelLine, EoiExits) {
    let vm = split_vm();
    let table = RoutingTable::builder(Arc::new(NoIrqLine(vm.clone())));
    let table = table
        .wiring(Wiring::none(Platform::X86Split))
        .build()
        .unwrap();
    let (line, exits) = split_line(&table);
    (vm, table, line, exits)
}

pub(crate) fn split_table() -> (Arc<SimVm>, RoutingTable) {
    let vm = split_vm();
    let table = RoutingTable::builder(vm.clone()).wiring(Wiring::none(Platform::X86Split));
    (vm, table.build().unwrap())
}

fn split_vm() -> Arc<SimVm> {
    let vm = SimVm::builder().profile(Profile::X86Split { pins: 24 });
    let vm = Arc::new(vm.build());
    vm.enable_lapic(0);
    vm
}

fn split_line(table: &RoutingTable) -> (LevelLine, EoiExits) {
    let exits = EoiExits::default();
    let lease = table.lease_exact(GSI).unwrap();
    lease.set_route(MsiMessage::default()).unwrap();
    let builder = LevelLine::builder(lease.into_line().unwrap()).eoi_exits(&exits);
    (builder.build().unwrap(), exits)
}

/// The message of a level-triggered entry.
pub(crate) fn level(vector: u8) -> MsiMessage {
    MsiMessage::new(0xfee0_0000, 1 << 15 | u32::from(vector))
}

pub(crate) fn edge(vector: u8) -> MsiMessage {
    MsiMessage::new(0xfee0_0000, vector.into())
}

/// A controller with one pin, level-triggered.
#[derive(Debug, Default)]
pub(crate) struct Chip {
    state: Mutex<ChipState>,
    /// How often a level was set.
    pub(crate) calls: AtomicUsize,
    /// The errno with which the next call fails, or 0; less than 0: it panics.
    pub(crate) failure: std::sync::atomic::AtomicI32,
}

#[derive(Debug, Default, Clone, Copy)]
struct ChipState {
    level: bool,
    in_service: bool,
}

impl Chip {
    pub(crate) fn level(&self) -> bool {
        self.state.lock().unwrap().level
    }

    pub(crate) fn wants(&self) -> bool {
        let state = self.state.lock().unwrap();
        state.level && !state.in_service
    }

    pub(crate) fn take(&self) -> bool {
        let wants = self.wants();
        self.state.lock().unwrap().in_service |= wants;
        wants
    }

    pub(crate) fn end(&self) {
        self.state.lock().unwrap().in_service = false;
    }
}

impl Controller for Chip {
    fn set_level(&self, pin: u32, level: bool) -> io::Result<()> {
        assert_eq!(pin, GSI);
        self.calls.fetch_add(1, Ordering::Relaxed);
        match self.failure.swap(0, Ordering::Relaxed) {
            0 => {
                self.state.lock().unwrap().level = level;
                Ok(())
            }
            errno if errno < 0 => panic!("a controller of the VMM"),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }
}

pub(crate) fn on_chip() -> (Arc<Chip>, LevelLine, EoiExits) {
    let (chip, exits) = (Arc::new(Chip::default()), EoiExits::default());
    let line = LevelLine::on_controller(GSI, chip.clone(), &exits);
    (chip, line, exits)
}
