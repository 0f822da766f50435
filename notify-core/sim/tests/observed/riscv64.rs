// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! riscv64: an AIA.

use notify_sim::{Profile, SimVm};

use crate::replay::{Replay, compare, count, eventfd, pin};

const APLIC: u64 = 0x0d00_0000;
const IMSIC: u64 = 0x2800_0000;

const ONLY_EDGES: &str = "all sources of SimVm are edge-triggered";
const LEFT_OUT: [(&str, &str); 2] = [
    ("level source 11 by a resampling irqfd", ONLY_EDGES),
    ("level source 11 after the last resampler left", ONLY_EDGES),
];

fn vm(state: &str) -> SimVm {
    let builder = SimVm::builder().profile(Profile::Riscv64Aia { sources: 64 });
    if state == "None" {
        return builder.without_irqchip().build();
    }
    let vm = builder.build();
    vm.set_imsics(IMSIC);
    if state == "Init" {
        vm.init_aia();
    }
    vm
}

#[test]
fn every_result_of_riscv64_is_the_kernels() {
    let mut lines = Vec::new();
    let mut on = |state, part: fn(&mut Replay<'_>)| {
        part(&mut Replay {
            state,
            vm: vm(state),
            lines: &mut lines,
        });
    };
    for state in ["None", "Created", "Init"] {
        on(state, requests);
        on(state, |replay| {
            replay.doorbells([("on the aplic", APLIC), ("on the imsic", IMSIC)]);
        });
    }
    on("Init", delivery);
    on("Created", signals_before_init);
    assert_eq!(lines.len(), 624);
    let file = include_str!("../data/observed-riscv64.txt");
    compare(file, &lines, &LEFT_OUT);
}

fn requests(replay: &mut Replay<'_>) {
    replay.capabilities();
    replay.irqfds();
    replay.tables(1024, IMSIC);
    replay.all_lines(&[0, 5, 37, 63, 64, 65, 1023, 1024]);
    for (request, address, message) in [
        ("to the imsic", IMSIC, [5, 0, 0]),
        ("data 0", IMSIC, [0, 0, 0]),
        ("data 255", IMSIC, [255, 0, 0]),
        ("data 256", IMSIC, [256, 0, 0]),
        ("big endian register", IMSIC + 4, [5, 0, 0]),
        ("beside", IMSIC + 8, [5, 0, 0]),
        ("next vcpu", IMSIC + 0x1000, [5, 0, 0]),
        ("nowhere", 0x7000_0000, [5, 0, 0]),
        ("devid", IMSIC, [5, 1, 3]),
        ("flags 2", IMSIC, [5, 2, 0]),
        ("flags 3", IMSIC, [5, 3, 3]),
    ] {
        replay.msi(&format!("msi {request}"), address, message);
    }
}

/// Whether a source is pending; the guest takes it.
fn pending(replay: &mut Replay<'_>, request: &str, source: u32) {
    replay.note(request, replay.vm.is_pin_pending(source));
    replay.vm.take_pin(source);
}

fn delivery(replay: &mut Replay<'_>) {
    let a = replay.bind("bind 5", 5);
    a.notify().unwrap();
    pending(replay, "edge source 5 after a signal", 5);
    a.notify().unwrap();
    pending(replay, "edge source 5 after a second signal", 5);
    replay.note("counter after", count(&a));
    replay.line(5, 0);
    a.notify().unwrap();
    pending(replay, "edge source 5 after IRQ_LINE low and a signal", 5);

    let b = eventfd();
    b.notify().unwrap();
    replay.irqfd("bind 8 already signalled", &b, 8, 0);
    pending(replay, "source 8, signalled before", 8);
    b.notify().unwrap();
    pending(replay, "source 8: next signal", 8);

    replay.line(9, 1);
    pending(replay, "source 9 by IRQ_LINE", 9);
    replay.line(9, 1);
    pending(replay, "source 9 by IRQ_LINE 1 again without 0", 9);
    replay.line(9, 0);
    replay.line(9, 1);
    pending(replay, "source 9 by IRQ_LINE 0, 1", 9);

    replay.route("empty table", &[]);
    let c = replay.bind("bind 10 without route", 10);
    c.notify().unwrap();
    pending(replay, "source 10 without route", 10);
    replay.note("signal consumed", count(&c));
    replay.route("route 10", &[pin(10, 0, 10)]);
    pending(replay, "source 10 after a late route", 10);
    c.notify().unwrap();
    pending(replay, "source 10 with route", 10);

    replay.identity("identity", 64);
    let [d, _resample] = replay.bind_resample("bind 11 resample", 11);
    replay.unbind("unbind 11", &d, 11);
}

fn signals_before_init(replay: &mut Replay<'_>) {
    let request = "route gsi 100 to source 5, before init";
    replay.route(request, &[pin(100, 0, 5)]);
    let a = replay.bind("bind 100", 100);
    let b = replay.bind("bind 6", 6);
    a.notify().unwrap();
    b.notify().unwrap();
    let _ = replay.vm.deliver();
    replay.vm.init_aia();
    pending(replay, "source 5 after a signal before init", 5);
    pending(replay, "source 6 after a signal before init", 6);
    a.notify().unwrap();
    b.notify().unwrap();
    pending(replay, "source 5 by gsi 100 after init", 5);
    pending(replay, "source 6 by gsi 6 after init", 6);
}
