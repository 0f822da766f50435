// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The requests that are the same on both architectures, and the comparison.

use std::fmt::Display;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use notify_core::{Bus, EventNotifier};
use notify_sim::SimVm;
use notify_sim::raw::{IoEventFd, IrqFd, IrqLevel, Msi, Routing, RoutingEntry};

pub(crate) const RESAMPLE: u32 = 2;
const DEASSIGN: u32 = 1;
/// Where the doorbells are.
pub(crate) const A: u64 = 0x0a00_0000;

/// State, request and result.
type Line = (String, String, String);

/// A VM in a state, and what it returned so far.
pub(crate) struct Replay<'a> {
    pub(crate) state: &'static str,
    pub(crate) vm: SimVm,
    pub(crate) lines: &'a mut Vec<Line>,
}

fn shown(result: io::Result<i32>) -> String {
    let error = match result {
        Ok(number) => return number.to_string(),
        Err(error) => error.raw_os_error().unwrap(),
    };
    let name = match error {
        libc::EAGAIN => "EAGAIN",
        libc::EBADF => "EBADF",
        libc::EBUSY => "EBUSY",
        libc::EEXIST => "EEXIST",
        libc::EINVAL => "EINVAL",
        libc::ENODEV => "ENODEV",
        libc::ENOENT => "ENOENT",
        libc::ENOSPC => "ENOSPC",
        libc::ENXIO => "ENXIO",
        other => return format!("errno {other}"),
    };
    name.into()
}

pub(crate) fn eventfd() -> EventNotifier {
    EventNotifier::new().unwrap()
}

/// Reads the counter, and clears it.
pub(crate) fn count(eventfd: &EventNotifier) -> u64 {
    eventfd.consume().unwrap().map_or(0, u64::from)
}

pub(crate) fn pin(gsi: u32, chip: u32, pin: u32) -> RoutingEntry {
    RoutingEntry {
        gsi,
        kind: 1,
        u: [chip, pin, 0, 0, 0, 0, 0, 0],
        ..RoutingEntry::default()
    }
}

fn halves(address: u64) -> [u32; 2] {
    let low = u32::try_from(address & 0xffff_ffff).unwrap();
    [low, u32::try_from(address >> 32).unwrap()]
}

fn msi(gsi: u32, address: u64, devid: Option<u32>) -> RoutingEntry {
    let [low, high] = halves(address);
    RoutingEntry {
        gsi,
        kind: 2,
        flags: devid.is_some().into(),
        u: [low, high, 1, devid.unwrap_or(0), 0, 0, 0, 0],
    }
}

impl Replay<'_> {
    pub(crate) fn note(&mut self, request: &str, result: impl Display) {
        let line = (self.state.into(), request.into(), result.to_string());
        self.lines.push(line);
    }

    fn raw_irqfd(&mut self, request: &str, [fd, resamplefd]: [i32; 2], gsi: u32, flags: u32) {
        let result = self.vm.kvm_irqfd(&IrqFd {
            fd,
            gsi,
            flags,
            resamplefd,
        });
        self.note(request, shown(result));
    }

    pub(crate) fn irqfd(&mut self, request: &str, eventfd: &EventNotifier, gsi: u32, flags: u32) {
        self.raw_irqfd(request, [eventfd.as_raw_fd(), 0], gsi, flags);
    }

    pub(crate) fn bind(&mut self, request: &str, gsi: u32) -> EventNotifier {
        let eventfd = eventfd();
        self.irqfd(request, &eventfd, gsi, 0);
        eventfd
    }

    /// The eventfd, and its resample eventfd.
    pub(crate) fn bind_resample(&mut self, request: &str, gsi: u32) -> [EventNotifier; 2] {
        let both = [eventfd(), eventfd()];
        let fds = [both[0].as_raw_fd(), both[1].as_raw_fd()];
        self.raw_irqfd(request, fds, gsi, RESAMPLE);
        both
    }

    pub(crate) fn unbind(&mut self, request: &str, eventfd: &EventNotifier, gsi: u32) {
        self.irqfd(request, eventfd, gsi, DEASSIGN);
    }

    pub(crate) fn doorbell(&mut self, request: &str, args: &IoEventFd) {
        let result = self.vm.kvm_ioeventfd(args);
        self.note(request, shown(result));
    }

    pub(crate) fn route(&mut self, request: &str, entries: &[RoutingEntry]) {
        let result = self.vm.kvm_set_gsi_routing(&Routing::of(entries));
        self.note(request, shown(result));
    }

    /// Routes each of these GSIs to the pin of its number.
    pub(crate) fn identity(&mut self, request: &str, pins: u32) {
        let entries: Vec<_> = (0..pins).map(|n| pin(n, 0, n)).collect();
        self.route(request, &entries);
    }

    pub(crate) fn line(&mut self, irq: u32, level: u32) {
        let result = self.vm.kvm_irq_line(&IrqLevel { irq, level });
        self.note(&format!("IRQ_LINE {irq:#x} {level}"), shown(result));
    }

    fn line_status(&mut self, irq: u32, level: u32) {
        let result = self.vm.kvm_irq_line_status(&IrqLevel { irq, level });
        self.note(&format!("IRQ_LINE_STATUS {irq:#x} {level}"), shown(result));
    }

    pub(crate) fn msi(&mut self, request: &str, address: u64, [data, flags, devid]: [u32; 3]) {
        let [address_lo, address_hi] = halves(address);
        let result = self.vm.kvm_signal_msi(&Msi {
            address_lo,
            address_hi,
            data,
            flags,
            devid,
        });
        self.note(request, shown(result));
    }

    pub(crate) fn capabilities(&mut self) {
        for (name, number) in [
            ("IRQCHIP", 0),
            ("IRQ_ROUTING", 25),
            ("IRQ_INJECT_STATUS", 26),
            ("IRQFD", 32),
            ("IOEVENTFD", 36),
            ("IOEVENTFD_NO_LENGTH", 100),
            ("IOEVENTFD_ANY_LENGTH", 122),
            ("SIGNAL_MSI", 77),
            ("IRQFD_RESAMPLE", 82),
            ("ENABLE_CAP_VM", 98),
            ("SPLIT_IRQCHIP", 121),
            ("X2APIC_API", 129),
            ("MSI_DEVID", 131),
        ] {
            let result = self.vm.kvm_check_extension(number);
            self.note(&format!("cap {name}"), shown(result));
        }
    }

    pub(crate) fn irqfds(&mut self) {
        let (a, b, resample) = (eventfd(), eventfd(), eventfd());
        let null = File::open("/dev/null").unwrap();
        let none = [-1, 0];
        let other = [null.as_raw_fd(), 0];
        self.irqfd("irqfd flags 4", &a, 5, 4);
        self.raw_irqfd("irqfd fd -1", none, 5, 0);
        self.raw_irqfd("irqfd fd /dev/null", other, 5, 0);
        self.raw_irqfd("irqfd deassign fd -1", none, 5, 1);
        self.raw_irqfd("irqfd deassign /dev/null", other, 5, 1);
        self.irqfd("irqfd deassign never bound", &a, 5, 1);
        self.irqfd("irqfd deassign|resample never bound", &a, 5, 3);
        self.raw_irqfd("irqfd resample fd -1", [a.as_raw_fd(), -1], 6, 2);
        let fds = [a.as_raw_fd(), null.as_raw_fd()];
        self.raw_irqfd("irqfd resample /dev/null", fds, 6, 2);
        self.irqfd("irqfd assign gsi 5", &a, 5, 0);
        self.irqfd("irqfd assign again", &a, 5, 0);
        self.irqfd("irqfd assign other gsi", &a, 6, 0);
        self.irqfd("irqfd deassign other gsi", &a, 6, 1);
        let fds = [b.as_raw_fd(), resample.as_raw_fd()];
        self.raw_irqfd("irqfd resample ok", fds, 7, 2);
        self.irqfd("irqfd deassign 7 without the flag", &b, 7, 1);
        self.irqfd("irqfd gsi 4096", &b, 4096, 0);
        self.irqfd("irqfd deassign 4096", &b, 4096, 1);
        self.irqfd("irqfd gsi 0xffffffff", &b, u32::MAX, 0);
        self.irqfd("irqfd deassign 0xffffffff", &b, u32::MAX, 1);
        self.irqfd("irqfd deassign 5", &a, 5, 1);
    }

    /// Tables, on a platform that has `pins` pins, and takes messages at an address.
    pub(crate) fn tables(&mut self, pins: u32, address: u64) {
        self.route("routing empty", &[]);
        let flagged = Routing {
            flags: 1,
            ..Routing::default()
        };
        let result = self.vm.kvm_set_gsi_routing(&flagged);
        self.note("routing flags 1", shown(result));
        let last = pins - 1;
        self.route(&format!("routing pin {last}"), &[pin(0, 0, last)]);
        self.route(&format!("routing pin {pins}"), &[pin(0, 0, pins)]);
        self.route("routing pin 0xffffffff", &[pin(0, 0, u32::MAX)]);
        self.route("routing pin 64", &[pin(0, 0, 64)]);
        self.route("routing chip 1", &[pin(0, 1, 0)]);
        self.route("routing chip 2", &[pin(0, 2, 0)]);
        self.route("routing gsi 4095", &[pin(4095, 0, 0)]);
        self.route("routing gsi 4096", &[pin(4096, 0, 0)]);
        let bad = [pin(1, 5, 0), pin(4096, 0, 0)];
        self.route("routing gsi 4096 and a bad pin before", &bad);
        let mut entry = pin(0, 0, 0);
        entry.flags = 1;
        self.route("routing pin flags 1", &[entry]);
        let [one, two] = [pin(9, 0, 1), pin(9, 0, 2)];
        let message = msi(9, address, None);
        self.route("routing two pins on a gsi", &[one, two]);
        self.route("routing same pin twice on a gsi", &[one, one]);
        self.route("routing two gsis on a pin", &[one, pin(10, 0, 1)]);
        self.route("routing msi and pin", &[message, one]);
        self.route("routing pin and msi", &[one, message]);
        self.route("routing msi twice", &[message, message]);
        self.route("routing msi without devid", &[message]);
        self.route("routing msi with devid", &[msi(9, address, Some(3))]);
        let mut entry = msi(9, 0, None);
        entry.flags = 2;
        self.route("routing msi flags 2", &[entry]);
        self.route("routing msi odd address", &[msi(9, u64::MAX, None)]);
        for kind in [0, 3, 4, 5, 6, 99] {
            let mut entry = pin(0, 0, 0);
            entry.kind = kind;
            self.route(&format!("routing kind {kind}"), &[entry]);
        }
        let full: Vec<_> = (0..4096).map(|n| pin(n, 0, n % 64)).collect();
        self.route("routing 4096 entries", &full);
        let more: Vec<_> = (0..4097).map(|n| pin(n % 4096, 0, n % 64)).collect();
        self.route("routing 4097 entries", &more);
        self.identity("routing 988 identity pins", 988);
        self.identity("routing identity 64", 64);
    }

    /// Both levels of these, then those that both architectures were asked for.
    pub(crate) fn all_lines(&mut self, first: &[u32]) {
        /// On arm64: kind, vCPU and number of an interrupt.
        const IRQS: [u32; 26] = [
            0x0100_0000,
            0x0100_001f,
            0x0100_0020,
            0x0100_0025,
            0x0100_005f,
            0x0100_0060,
            0x0100_03fb,
            0x0100_03fc,
            0x0100_2000,
            0x0100_ffff,
            0x0101_0025,
            0x01ff_0025,
            0x1100_0025,
            0x0200_0000,
            0x0200_000f,
            0x0200_0010,
            0x0200_001b,
            0x0200_001f,
            0x0200_0020,
            0x0201_0014,
            0x1200_0014,
            0x02c8_000f,
            0x0300_0028,
            0x0f00_0028,
            0x0001_0000,
            0xffff_ffff,
        ];
        for irq in first.iter().copied().chain(IRQS) {
            self.line(irq, 1);
            self.line(irq, 0);
        }
        self.line(0x0100_0026, 2);
        self.line(0x0100_0026, u32::MAX);
        for irq in [5, 0x0100_0025, 0x0100_0060, 0x0200_0014] {
            self.line_status(irq, 1);
            self.line_status(irq, 0);
        }
    }

    /// Doorbells, also at the addresses of controllers.
    pub(crate) fn doorbells(&mut self, controllers: [(&str, u64); 2]) {
        let eventfd = eventfd();
        let null = File::open("/dev/null").unwrap();
        let at = |addr, len, flags, datamatch| IoEventFd {
            datamatch,
            addr,
            len,
            fd: eventfd.as_raw_fd(),
            flags,
        };
        for len in [0, 1, 2, 3, 4, 5, 8, 16] {
            let args = at(A + 0x100 * u64::from(len), len, 0, 0);
            self.doorbell(&format!("doorbell len {len}"), &args);
        }
        let [mut closed, mut other, mut gone] = [at(A, 4, 0, 0), at(A, 4, 0, 0), at(A, 4, 4, 0)];
        closed.fd = -1;
        other.fd = null.as_raw_fd();
        gone.fd = -1;
        for (request, args) in [
            ("flags 0x20", at(A + 0x2000, 4, 0x20, 0)),
            ("flags 0x10", at(A + 0x2010, 4, 0x10, 0)),
            ("ccw", at(A + 0x2020, 8, 8, 0)),
            ("pio", at(0x510, 2, 2, 0)),
            ("pio at 0x12345", at(0x12345, 2, 2, 0)),
            ("pio len 8", at(0x520, 8, 2, 0)),
            ("pio|ccw", at(0x530, 2, 0xa, 0)),
            ("len 0 with datamatch", at(A + 0x2030, 0, 1, 1)),
            ("wraps", at(u64::MAX, 1, 0, 0)),
            ("ends at 2^64", at(u64::MAX - 3, 4, 0, 0)),
            ("MAX len 0", at(u64::MAX, 0, 0, 0)),
            ("fd -1", closed),
            ("/dev/null", other),
            ("assign", at(A, 4, 0, 0)),
            ("again", at(A, 4, 0, 0)),
            ("match beside wildcard", at(A, 4, 1, 7)),
            ("other width", at(A, 2, 0, 0)),
            ("len 0 beside", at(A, 0, 0, 0)),
            ("overlap", at(A + 2, 4, 0, 0)),
            ("match 1", at(A + 0x10, 4, 1, 1)),
            ("match 2", at(A + 0x10, 4, 1, 2)),
            ("match 1 again", at(A + 0x10, 4, 1, 1)),
            ("match wide value", at(A + 0x20, 2, 1, 0x1_0000)),
            ("deassign other value", at(A + 0x10, 4, 5, 3)),
            ("deassign wildcard of match", at(A + 0x10, 4, 4, 1)),
            ("deassign fd -1", gone),
            ("deassign len 3", at(A, 3, 4, 0)),
            ("deassign flags 0x40", at(A, 4, 0x44, 0)),
            ("deassign again", at(A, 4, 4, 0)),
            ("deassign match 2", at(A + 0x10, 4, 5, 2)),
            (controllers[0].0, at(controllers[0].1, 4, 0, 0)),
            (controllers[1].0, at(controllers[1].1, 4, 0, 0)),
            ("in RAM", at(0x4000_0000, 4, 0, 0)),
        ] {
            self.doorbell(&format!("doorbell {request}"), &args);
        }
        let mut zones = (0..2000).map(|n| 0x2000_0000 + n * 0x10);
        let fit = zones.position(|zone| self.vm.add_coalesced(Bus::Mmio, zone, 0x10).is_err());
        self.note("coalesced zones that fit", fit.unwrap());
        self.doorbell("doorbell on a full bus", &at(A + 0x5000, 4, 0, 0));
    }
}

/// Asserts that the file has these lines, in this order, and those of `left_out` besides, each once
/// with the reason.
#[track_caller]
pub(crate) fn compare(file: &str, replayed: &[Line], left_out: &[(&str, &str)]) {
    let mut skipped = Vec::new();
    let mut observed = Vec::new();
    for line in file.lines().filter(|line| !line.starts_with('#')) {
        let [state, request, result] = line.split(" | ").collect::<Vec<_>>()[..] else {
            panic!("not a line of three parts: {line}");
        };
        if left_out.iter().any(|(left, _)| *left == request) {
            skipped.push(request);
        } else {
            observed.push((state, request, result));
        }
    }
    let named: Vec<_> = left_out.iter().map(|(request, _)| *request).collect();
    assert_eq!(skipped, named, "what is left out is in the file, once");
    let mut differences = Vec::new();
    for (at, ((state, request, result), ours)) in observed.iter().zip(replayed).enumerate() {
        assert_eq!((*state, *request), (&*ours.0, &*ours.1), "request {at}");
        if *result != ours.2 {
            differences.push(format!("{state} | {request} | {result}, SimVm: {}", ours.2));
        }
    }
    assert_eq!(replayed.len(), observed.len(), "requests");
    assert!(
        differences.is_empty(),
        "{} differences:\n{}",
        differences.len(),
        differences.join("\n")
    );
}
