// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Requests to a VM, mostly well-formed, with few different values so that they interact.

use std::ops::RangeInclusive;

use kvm_test::{harmless_store, knows_logical_destinations};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::backend::{Bus, Irqchip, RAM_END};
use crate::request::{
    CCW, DATAMATCH, DEASSIGN, IOAPIC, IRQFD_DEASSIGN, IoEventFd, IrqFd, IrqLevel, KIND_MSI,
    KIND_PIN, MMIO, MSI_ADDRESS, Msi, PIO, PORT, RESAMPLE, RoutingEntry,
};

/// The mean length of a sequence; each sequence has a new VM.
pub(super) const SEQUENCE: usize = 400;

/// An operation. File descriptors are numbers of [`World`](super::world::World)'s files.
#[derive(Debug, Clone)]
pub(super) enum Operation {
    IoEventFd(IoEventFd),
    IrqFd(IrqFd),
    Routing(Vec<RoutingEntry>),
    Msi(Msi),
    Line(IrqLevel),
    LineStatus(IrqLevel),
    Interrupt(u32),
    Coalesce(u64),
    Write(i32, u64),
    Read(i32),
    Guest(Bus, u64, Vec<u8>),
    TakeInterrupt,
    Redirect(u32, u64),
    EnableLapic,
    DisableLapic,
    ClearVectors,
}

/// Eventfds by number, one of them a semaphore and one a duplicate; the last numbers are no
/// eventfds.
pub(super) const EVENTS: RangeInclusive<i32> = 0..=7;
pub(super) const SEMAPHORE: i32 = 6;
pub(super) const DUPLICATE: i32 = 7;
pub(super) const PIPE: i32 = 8;
pub(super) const MINUS_1: i32 = 9;

const GSIS: [u32; 14] = [0, 1, 2, 5, 7, 8, 9, 10, 20, 23, 24, 100, 4095, 4096];
const PLACES: [u64; 12] = [
    MMIO,
    MMIO + 1,
    MMIO + 2,
    MMIO + 4,
    MMIO + 8,
    MMIO + 12,
    MMIO + 0xffc,
    MMIO + 0xffe,
    MMIO + 0x1000,
    MMIO + 0x1004,
    RAM_END - 0x1000,
    0xfee0_00b0,
];
const PORTS: [u64; 8] = [PORT, PORT + 1, PORT + 2, PORT + 4, 0x20, 0x21, 0xa0, 0xffff];
/// Values that are written, and that doorbells match.
const VALUES: [u64; 5] = [0, 1, 5, 0x1_0005, u64::MAX];

fn file() -> impl Strategy<Value = i32> {
    prop_oneof![30 => EVENTS, 1 => PIPE..=MINUS_1]
}

fn gsi() -> impl Strategy<Value = u32> {
    select(&GSIS[..])
}

fn bus() -> impl Strategy<Value = Bus> {
    select(vec![Bus::Mmio, Bus::Pio])
}

fn place(bus: Bus) -> impl Strategy<Value = u64> {
    select(if bus == Bus::Pio {
        &PORTS[..]
    } else {
        &PLACES[..]
    })
}

fn doorbell() -> impl Strategy<Value = IoEventFd> {
    let len = prop_oneof![60 => select(vec![0, 1, 2, 4, 8]), 1 => Just(3)];
    // Deassigning a doorbell right after its assignment costs KVM two timer ticks.
    let flags = (
        prop::bool::weighted(0.5),
        prop::bool::weighted(0.1),
        select(vec![0, 0, 0, 0, 0, 0, 0, 0, 0, CCW, 0x10, 0x20]),
    );
    let place = bus().prop_flat_map(|bus| (Just(bus), place(bus)));
    let parts = (place, len, file(), select(&VALUES[..]), flags);
    parts.prop_map(|((bus, addr), len, fd, datamatch, flags)| {
        let (valued, off, odd) = flags;
        let flag = |set: bool, flag: u32| if set { flag } else { 0 };
        IoEventFd {
            datamatch,
            addr,
            len,
            fd,
            flags: odd
                | flag(bus == Bus::Pio, PIO)
                | flag(valued && len != 0, DATAMATCH)
                | flag(off, DEASSIGN),
        }
    })
}

fn irqfd() -> impl Strategy<Value = IrqFd> {
    let flags = prop_oneof![
        6 => Just(0),
        3 => Just(RESAMPLE),
        4 => Just(IRQFD_DEASSIGN),
        1 => select(vec![IRQFD_DEASSIGN | RESAMPLE, 4, 5]),
    ];
    (file(), gsi(), flags, file()).prop_map(|(fd, gsi, flags, resamplefd)| IrqFd {
        fd,
        gsi,
        flags,
        resamplefd,
    })
}

/// Address (low and high half) and data, without those that would disturb the guest, such as an
/// NMI: delivery modes are fixed, lowest priority, reserved and external.
fn message() -> impl Strategy<Value = (u32, u32, u32)> {
    let destination = select(vec![0, 0, 0, 1, 9, 0xff]);
    let hints = select(if knows_logical_destinations() {
        vec![0, 0, 0, 4, 8, 12]
    } else {
        vec![0, 0, 0, 8]
    });
    let high = select(vec![0, 0, 0, 1, 0x100]);
    let vector = select(vec![0x05, 0x30, 0x41, 0x42, 0xef]);
    let mode = select(vec![0, 0, 0, 1, 3, 7]);
    let level = select(vec![0, 0, 0x8000, 0xc000]);
    (destination, hints, high, vector, mode, level).prop_map(
        |(destination, hints, high, vector, mode, level)| {
            let low = MSI_ADDRESS | destination << 12 | hints;
            (low, high, vector | mode << 8 | level)
        },
    )
}

fn route() -> impl Strategy<Value = RoutingEntry> {
    let msi = (message(), select(vec![0, 0, 0, 0, 1]))
        .prop_map(|((low, high, data), flags)| (KIND_MSI, flags, [low, high, data, 7, 0, 0, 0, 0]));
    let pin = (0..=IOAPIC)
        .prop_flat_map(|chip| (Just(chip), 0..if chip == IOAPIC { 24u32 } else { 8 }))
        .prop_map(|(chip, pin)| (KIND_PIN, 0, [chip, pin, 0, 0, 0, 0, 0, 0]));
    let bad = select(vec![
        (KIND_PIN, 0, [IOAPIC, 24, 0, 0, 0, 0, 0, 0]),
        (KIND_PIN, 1, [IOAPIC, 5, 0, 0, 0, 0, 0, 0]),
        (KIND_MSI, 2, [MSI_ADDRESS, 0, 0x41, 0, 0, 0, 0, 0]),
        (3, 0, [0; 8]),
    ]);
    let target = prop_oneof![30 => msi, 30 => pin, 1 => bad];
    // The last GSI is out of range.
    let gsi = prop_oneof![60 => select(&GSIS[..13]), 1 => Just(4096)];
    (gsi, target).prop_map(|(gsi, (kind, flags, u))| RoutingEntry {
        gsi,
        kind,
        flags,
        u,
    })
}

/// The default routes of the PICs and the IOAPIC, and perhaps some more.
fn routing() -> impl Strategy<Value = Vec<RoutingEntry>> {
    let pins = (0..16).flat_map(|gsi| [(gsi, IOAPIC, gsi), (gsi, gsi / 8, gsi % 8)]);
    let default: Vec<_> = pins
        .map(|(gsi, chip, pin)| crate::request::pin_route(gsi, chip, pin))
        .collect();
    (any::<bool>(), vec(route(), 0..6)).prop_map(move |(with_default, more)| {
        let mut table = if with_default {
            default.clone()
        } else {
            Vec::new()
        };
        table.retain(|entry| more.iter().all(|other| other.gsi != entry.gsi));
        table.extend(more);
        table
    })
}

fn line() -> impl Strategy<Value = IrqLevel> {
    (gsi(), 0..3u32).prop_map(|(irq, level)| IrqLevel { irq, level })
}

fn redirection() -> impl Strategy<Value = Operation> {
    // Pin 8 is the clock's. KVM tracks its vector, which no other pin may have.
    let pin = select(vec![0, 1, 5, 8, 10, 20, 23]);
    let vector = select(vec![0x31, 0x51, 0x71]);
    let mode = select(vec![0, 0, 0, 1, 7]);
    let level = any::<bool>();
    let masked = prop::bool::weighted(0.2);
    let destination = select(vec![0u64, 0, 0, 1, 0xff]);
    (pin, vector, mode, level, masked, destination).prop_map(
        |(pin, vector, mode, level, masked, destination)| {
            let vector = if pin == 8 { 0x68 } else { vector };
            let flags = u64::from(level) << 15 | u64::from(masked) << 16;
            Operation::Redirect(pin, vector | mode << 8 | flags | destination << 56)
        },
    )
}

/// Commands to the PICs: EOIs, priorities, masks, triggers.
fn pic() -> impl Strategy<Value = Operation> {
    let command = prop_oneof![
        6 => Just(0x20u8),
        1 => (0..8u8).prop_map(|pin| 0x60 | pin),
        1 => (0..8u8).prop_map(|pin| 0xc0 | pin),
        1 => select(vec![0x00, 0x40, 0x80, 0xa0, 0x0b, 0xe3]),
    ];
    let mask = prop_oneof![2 => Just(0u8), 1 => any::<u8>()];
    prop_oneof![
        8 => (select(vec![0x20u64, 0xa0]), command),
        2 => (select(vec![0x21u64, 0xa1]), mask),
        1 => (select(vec![0x4d0u64, 0x4d1]), any::<u8>()),
    ]
    .prop_map(|(port, byte)| Operation::Guest(Bus::Pio, port, vec![byte]))
}

/// A write of a value that a doorbell may match.
fn guest() -> impl Strategy<Value = Operation> {
    let mmio = (
        select(&PLACES[..]),
        select(vec![1usize, 2, 4, 4, 8, 16]),
        select(&VALUES[..]),
    );
    let pio = (
        select(&PORTS[..4]),
        select(vec![1usize, 2, 4]),
        select(&VALUES[..]),
    );
    let write = |bus| {
        move |(address, len, value): (u64, usize, u64)| {
            let bytes = u128::from(value).to_le_bytes();
            let len = harmless_store(address, len);
            Operation::Guest(bus, address, bytes[..len].to_vec())
        }
    };
    prop_oneof![3 => mmio.prop_map(write(Bus::Mmio)), 1 => pio.prop_map(write(Bus::Pio))]
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        8 => doorbell().prop_map(Operation::IoEventFd),
        10 => irqfd().prop_map(Operation::IrqFd),
        6 => routing().prop_map(Operation::Routing),
        5 => (message(), select(vec![0, 0, 0, 1, 2])).prop_map(|((low, high, data), flags)| {
            Operation::Msi(Msi {
                address_lo: low,
                address_hi: high,
                data,
                flags,
                devid: 7,
            })
        }),
        4 => line().prop_map(Operation::Line),
        6 => line().prop_map(Operation::LineStatus),
        2 => select(vec![0x60, 0x61, 0x6f, 256]).prop_map(Operation::Interrupt),
        14 => (EVENTS, 1..4u64).prop_map(|(event, count)| Operation::Write(event, count)),
        6 => EVENTS.prop_map(Operation::Read),
        14 => guest(),
        6 => pic(),
        6 => Just(Operation::TakeInterrupt),
        4 => redirection(),
        4 => Just(Operation::ClearVectors),
        1 => Just(Operation::EnableLapic),
    ]
}

fn rarely() -> impl Strategy<Value = Operation> {
    prop_oneof![
        2 => Just(Operation::DisableLapic),
        1 => select(vec![MMIO, MMIO + 8, MMIO + 0x1000]).prop_map(Operation::Coalesce),
    ]
}

pub(super) fn sequence() -> impl Strategy<Value = (Irqchip, Vec<Operation>)> {
    let irqchip = prop_oneof![
        8 => Just(Irqchip::Full),
        1 => Just(Irqchip::Split),
        1 => Just(Irqchip::None),
    ];
    let one = prop_oneof![100 => operation(), 1 => rarely()];
    (irqchip, vec(one, 1..2 * SEQUENCE))
}
