// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! arm64: a GICv3, and an ITS.

use std::os::fd::AsRawFd;

use notify_core::Bus;
use notify_sim::raw::IoEventFd;
use notify_sim::{Profile, SimVm};

use crate::replay::{A, Replay, compare, count, eventfd, pin};

const DISTRIBUTOR: u64 = 0x0800_0000;
const REDISTRIBUTOR: u64 = 0x080a_0000;
const ITS: u64 = 0x0900_0000;
/// Added to the number of a shared interrupt for KVM_IRQ_LINE.
const SPI: u32 = 1 << 24 | 32;

fn vm(state: &str) -> SimVm {
    let builder = SimVm::builder().profile(Profile::Arm64Gic { spis: 64 });
    if state == "None" {
        return builder.without_irqchip().build();
    }
    let vm = builder.build();
    if state != "Created" {
        vm.init_gic();
    }
    if state.starts_with("Its") {
        vm.add_its(ITS);
    }
    if state == "ItsOn" {
        vm.enable_its([]);
    }
    vm
}

#[test]
fn every_result_of_arm64_is_the_kernels() {
    let mut lines = Vec::new();
    let mut on = |state, part: fn(&mut Replay<'_>)| {
        part(&mut Replay {
            state,
            vm: vm(state),
            lines: &mut lines,
        });
    };
    for state in ["None", "Created", "Init", "ItsOff", "ItsOn"] {
        on(state, requests);
        on(state, |replay| {
            replay.doorbells([
                ("on the distributor", DISTRIBUTOR),
                ("on the redistributor", REDISTRIBUTOR + 0x40),
            ]);
        });
    }
    on("Created", initialised_thrice);
    on("Init", delivery);
    on("Init", guest_writes);
    on("Init", guest_interrupts);
    assert_eq!(lines.len(), 1030);
    compare(include_str!("../data/observed-arm64.txt"), &lines, &[]);
}

fn requests(replay: &mut Replay<'_>) {
    replay.capabilities();
    replay.irqfds();
    replay.tables(988, ITS + 0x1_0040);
    replay.all_lines(&[0, 5, 37]);
    for (request, address, message) in [
        ("no devid", ITS + 0x1_0040, [1, 0, 0]),
        ("devid", ITS + 0x1_0040, [1, 1, 3]),
        ("devid 0", ITS + 0x1_0040, [0, 1, 0]),
        ("devid high", ITS + 0x1_0040, [0, 1, u32::MAX]),
        ("flags 2", ITS + 0x1_0040, [1, 2, 3]),
        ("flags 3", ITS + 0x1_0040, [1, 3, 3]),
        ("address ITS+0", ITS, [1, 1, 3]),
        ("address ITS+0x10044", ITS + 0x1_0044, [1, 1, 3]),
        ("address ITS+0x1ffff", ITS + 0x1_ffff, [1, 1, 3]),
        ("address ITS+0x20000", ITS + 0x2_0000, [1, 1, 3]),
        ("address nowhere", 0x7000_0000, [1, 1, 3]),
        ("address of the distributor", DISTRIBUTOR + 0x40, [1, 1, 3]),
        ("address of an x86 lapic", 0xfee0_0000, [0x41, 0, 0]),
    ] {
        replay.msi(&format!("msi {request}"), address, message);
    }
}

fn pending(replay: &mut Replay<'_>, request: &str, pin: u32) {
    replay.note(request, replay.vm.is_pin_pending(pin));
}

fn initialised_thrice(replay: &mut Replay<'_>) {
    replay.route("route gsi 100 to spi 5, before init", &[pin(100, 0, 5)]);
    replay.vm.init_gic();
    let a = replay.bind("bind 100", 100);
    let b = replay.bind("bind 63", 63);
    a.notify().unwrap();
    pending(replay, "spi 5 by gsi 100 after init", 5);
    b.notify().unwrap();
    pending(replay, "spi 63 by gsi 63 after init", 63);
    replay.vm.init_gic();
    replay.route("route gsi 100 to spi 5", &[pin(100, 0, 5)]);
    replay.vm.init_gic();
    a.notify().unwrap();
    pending(replay, "spi 5 by gsi 100 after another init", 5);
}

fn delivery(replay: &mut Replay<'_>) {
    pending(replay, "spi 5 before", 5);
    let a = replay.bind("bind 5", 5);
    a.notify().unwrap();
    pending(replay, "edge spi 5 after a signal", 5);
    replay.note("counter after", count(&a));

    replay.vm.set_spi_level_triggered(6, true);
    let b = replay.bind("bind 6", 6);
    b.notify().unwrap();
    pending(replay, "level spi 6 after a plain signal", 6);
    replay.line(SPI + 6, 0);
    pending(replay, "level spi 6 after IRQ_LINE low", 6);

    replay.vm.set_spi_level_triggered(7, true);
    let c = eventfd();
    c.notify().unwrap();
    replay.irqfd("bind 7 already signalled", &c, 7, 0);
    pending(replay, "level spi 7, signalled before", 7);
    replay.note("counter stays", count(&c));
    let d = eventfd();
    d.notify().unwrap();
    replay.irqfd("bind 8 already signalled", &d, 8, 0);
    pending(replay, "edge spi 8, signalled before", 8);

    replay.route("empty table", &[]);
    let e = replay.bind("bind 9 without route", 9);
    e.notify().unwrap();
    pending(replay, "spi 9 without route", 9);
    replay.note("signal consumed", count(&e));
    replay.route("route 9", &[pin(9, 0, 9)]);
    pending(replay, "spi 9 after a late route", 9);
    e.notify().unwrap();
    pending(replay, "spi 9 with route", 9);
    replay.route("route 9 to spi 10", &[pin(9, 0, 10)]);
    e.notify().unwrap();
    pending(replay, "spi 10 by gsi 9", 10);
    replay.route("route 9 to a pin that the gic lacks", &[pin(9, 0, 500)]);
    e.notify().unwrap();
    replay.line(SPI + 500, 1);

    replay.identity("identity", 64);
    replay.vm.set_spi_level_triggered(11, true);
    let [f, _resample] = replay.bind_resample("bind 11 resample", 11);
    f.notify().unwrap();
    pending(replay, "level spi 11 by a resampling irqfd", 11);
    replay.line(SPI + 11, 0);
    pending(replay, "level spi 11 after another IRQ_LINE low", 11);
    f.notify().unwrap();
    pending(replay, "level spi 11 again", 11);
    replay.unbind("unbind 11", &f, 11);
    pending(replay, "level spi 11 after the last resampler left", 11);

    let g = replay.bind("bind 12", 12);
    g.notify().unwrap();
    replay.unbind("unbind 12 at once", &g, 12);
    pending(replay, "spi 12", 12);
}

fn guest_writes(replay: &mut Replay<'_>) {
    let eventfd = eventfd();
    for (addr, len, flags, datamatch) in [
        (A, 4, 0, 0),
        (A + 0x10, 2, 1, 7),
        (A + 0x20, 0, 0, 0),
        (A + 0x30, 8, 1, 0x1_0000_0001),
        (A + 0x40, 1, 0, 0),
        (DISTRIBUTOR, 4, 0, 0),
    ] {
        let request =
            format!("guest doorbell {addr:#x} len {len} flags {flags} match {datamatch:#x}");
        let fd = eventfd.as_raw_fd();
        let args = IoEventFd {
            datamatch,
            addr,
            len,
            fd,
            flags,
        };
        replay.doorbell(&request, &args);
    }
    // The guest starts with the first of its writes, and enables the distributor. The doorbell
    // there is found before the distributor.
    replay
        .vm
        .guest_write(Bus::Mmio, DISTRIBUTOR, &[0x12, 0, 0, 0]);
    for (len, address, value) in [
        (4, A, 1_u64),
        (2, A, 1),
        (8, A, 1),
        (1, A, 1),
        (4, A + 1, 1),
        (2, A + 0x10, 7),
        (2, A + 0x10, 8),
        (4, A + 0x10, 7),
        (1, A + 0x20, 1),
        (2, A + 0x20, 1),
        (4, A + 0x20, 1),
        (8, A + 0x20, 1),
        (8, A + 0x30, 0x1_0000_0001),
        (8, A + 0x30, 1),
        (4, A + 0x30, 1),
        (1, A + 0x40, 0),
        (4, 0x0b00_1000, 5),
    ] {
        let bytes = value.to_le_bytes();
        let write = replay.vm.guest_write(Bus::Mmio, address, &bytes[..len]);
        let (signals, exits) = (count(&eventfd), write.exits.len());
        replay.note(
            &format!("guest writes {len} at {address:#x} value {value:#x}"),
            format!("signalled {signals} exits {exits}"),
        );
    }
}

/// The number of the interrupt that the guest takes.
fn taken(replay: &mut Replay<'_>, request: &str, pin: u32) {
    let taken = replay.vm.take_pin(pin);
    let number = (pin + 32).to_string();
    replay.note(request, if taken { &number } else { "none" });
}

fn guest_interrupts(replay: &mut Replay<'_>) {
    let a = replay.bind("bind 5", 5);
    a.notify().unwrap();
    taken(replay, "guest takes edge 5", 5);
    replay.vm.guest_eoi(0, 5);
    taken(replay, "guest takes nothing more", 5);

    replay.vm.set_spi_level_triggered(6, true);
    let [b, resample] = replay.bind_resample("bind 6 resample", 6);
    b.notify().unwrap();
    taken(replay, "guest takes level 6", 6);
    replay.note("resample before EOI", count(&resample));
    replay.vm.guest_eoi(0, 6);
    replay.note("resample after EOI of level 6", count(&resample));
    pending(replay, "line 6 after EOI", 6);
    taken(replay, "guest takes 6 again", 6);
    replay.line(SPI + 6, 1);
    taken(replay, "guest takes level 6 raised by IRQ_LINE", 6);
    replay.vm.guest_eoi(0, 6);
    replay.note("resample after EOI of IRQ_LINE's 6", count(&resample));
    pending(replay, "line 6 after that EOI", 6);

    let [c, resample] = replay.bind_resample("bind edge 7 resample", 7);
    c.notify().unwrap();
    taken(replay, "guest takes edge 7", 7);
    replay.vm.guest_eoi(0, 7);
    replay.note("resample after EOI of edge 7", count(&resample));

    replay.vm.set_spi_level_triggered(8, true);
    let d = replay.bind("bind level 8 plain", 8);
    d.notify().unwrap();
    for time in 0..3 {
        taken(replay, &format!("guest takes level 8, time {time}"), 8);
        replay.vm.guest_eoi(0, 8);
    }
}
