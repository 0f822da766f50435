// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A line of a split irqchip, whose EOIs and levels come from different threads.

use std::io;
use std::sync::Arc;

use irq_routing::{MsiMessage, Platform, RoutingTable, Wiring};
use irqfd::{EoiExits, EventNotifier, LevelIrq, LevelLine};
use loom::sync::Mutex;
use loom::thread;
use notify_core::{
    Extension, IoEventFdRequest, IrqFdAction, IrqFdRequest, LineStatus, MsiOutcome, RouteBuffer,
    RouteTarget, Vm,
};

use crate::explore;

const GSI: u32 = 10;
const VECTOR: u8 = 0x41;

/// A VM with one local APIC, reduced to one line.
#[derive(Debug, Default)]
struct Split {
    apic: Mutex<Apic>,
    /// The vector of the line's route.
    route: Mutex<Option<u8>>,
}

/// Vectors that wait, and the one in service.
#[derive(Debug, Default)]
struct Apic {
    requested: Vec<u8>,
    in_service: Option<u8>,
}

impl Split {
    fn line(vector: u8) -> (Arc<Self>, LevelLine, EoiExits) {
        let vm = Arc::new(Self::default());
        let builder = RoutingTable::builder(vm.clone());
        let table = builder.wiring(Wiring::none(Platform::X86Split));
        let lease = table.build().unwrap().lease_exact(GSI).unwrap();
        lease.set_route(MsiMessage::default()).unwrap();
        let exits = EoiExits::default();
        let builder = LevelLine::builder(lease.into_line().unwrap()).eoi_exits(&exits);
        let line = builder.build().unwrap();
        line.redirect(entry(vector), false).unwrap();
        (vm, line, exits)
    }

    /// The guest takes an interrupt and ends it, if there is one. Returns whether that was an EOI
    /// of the line.
    fn serve(&self, exits: &EoiExits) -> Option<usize> {
        let mut apic = self.apic.lock().unwrap();
        let vector = apic.requested.pop()?;
        apic.in_service = Some(vector);
        drop(apic);
        self.apic.lock().unwrap().in_service = None;
        Some(exits.on_vector(vector))
    }

    fn requests(&self, vector: u8) -> bool {
        self.apic.lock().unwrap().requested.contains(&vector)
    }
}

fn entry(vector: u8) -> MsiMessage {
    MsiMessage::new(0xfee0_0000, 1 << 15 | u32::from(vector))
}

impl Vm for Split {
    fn check_extension(&self, _: Extension) -> io::Result<u32> {
        Ok(32)
    }

    fn irqfd(&self, request: &IrqFdRequest<'_>) -> io::Result<()> {
        match request.action {
            IrqFdAction::AssignResample(_) => Err(io::ErrorKind::InvalidInput.into()),
            _ => Ok(()),
        }
    }

    fn ioeventfd(&self, _: &IoEventFdRequest<'_>) -> io::Result<()> {
        Ok(())
    }

    fn set_gsi_routing(&self, table: &RouteBuffer) -> io::Result<()> {
        let vector = table.iter().find_map(|entry| match entry.target {
            RouteTarget::Msi(MsiMessage { data, .. }) => Some(data.to_le_bytes()[0]),
            _ => None,
        });
        *self.route.lock().unwrap() = vector;
        Ok(())
    }

    fn signal_msi(&self, _: &MsiMessage) -> io::Result<MsiOutcome> {
        Ok(MsiOutcome::Delivered(1))
    }

    fn irq_line_status(&self, gsi: u32, level: bool) -> io::Result<LineStatus> {
        assert_eq!((gsi, level), (GSI, true));
        let vector = self.route.lock().unwrap().unwrap();
        let mut apic = self.apic.lock().unwrap();
        if !apic.requested.contains(&vector) {
            apic.requested.push(vector);
        }
        Ok(LineStatus::Delivered(1))
    }
}

fn notifier() -> Arc<EventNotifier> {
    Arc::new(EventNotifier::new().unwrap())
}

fn told(irq: &LevelIrq) -> usize {
    let count = irq.resample_notifier().unwrap().consume().unwrap();
    count.map_or(0, |count| count.get() as usize)
}

/// While a device asserts, an interrupt is to come, again and again; when none does, they end.
fn expect_heard_to_the_end(vm: &Split, exits: &EoiExits, asserting: Vec<LevelIrq>) -> usize {
    let mut eois = 0;
    if !asserting.is_empty() {
        for _ in 0..3 {
            eois += vm.serve(exits).expect("an interrupt is to come");
        }
    }
    asserting.iter().for_each(|irq| irq.deassert().unwrap());
    for _ in 0..3 {
        eois += vm.serve(exits).unwrap_or(0);
    }
    assert!(vm.serve(exits).is_none(), "no device asserts any more");
    eois
}

#[test]
fn an_assertion_is_never_left_without_an_interrupt_to_come() {
    explore(3, || {
        let (vm, line, exits) = Split::line(VECTOR);
        let (one, other) = (line.join().unwrap(), line.join().unwrap());
        let net = line.join_resampled(notifier()).unwrap();
        one.assert().unwrap();
        let device = thread::spawn(move || {
            one.deassert().unwrap();
            one.assert().unwrap();
            one
        });
        let leaver = thread::spawn(move || {
            other.assert().unwrap();
            drop(other);
        });
        let mut eois = 0;
        for _ in 0..2 {
            eois += vm.serve(&exits).unwrap_or(0);
        }
        let one = device.join().unwrap();
        leaver.join().unwrap();
        eois += expect_heard_to_the_end(&vm, &exits, vec![one]);
        assert_eq!(told(&net), eois, "signalled once for each");
    });
}

/// One device stops while another one starts: the line stays high.
#[test]
fn levels_of_two_threads_add_up() {
    explore(3, || {
        let (vm, line, exits) = Split::line(VECTOR);
        let (one, other) = (line.join().unwrap(), line.join().unwrap());
        one.assert().unwrap();
        // It stays, since leaving would correct a wrong level.
        let stops = thread::spawn(move || {
            one.deassert().unwrap();
            one
        });
        let starts = thread::spawn(move || {
            other.assert().unwrap();
            other
        });
        vm.serve(&exits);
        let _stays = stops.join().unwrap();
        let other = starts.join().unwrap();
        assert!(line.is_asserted());
        expect_heard_to_the_end(&vm, &exits, vec![other]);
    });
}

#[test]
fn eois_from_two_threads_are_told_one_by_one() {
    explore(3, || {
        let (vm, line, exits) = Split::line(VECTOR);
        let disk = line.join().unwrap();
        let net = line.join_resampled(notifier()).unwrap();
        disk.assert().unwrap();
        let ends = |exits: &EoiExits| {
            let exits = exits.clone();
            thread::spawn(move || exits.on_vector(VECTOR))
        };
        let threads = [ends(&exits), ends(&exits)];
        disk.deassert().unwrap();
        disk.assert().unwrap();
        let eois: usize = threads.map(|thread| thread.join().unwrap()).iter().sum();
        assert_eq!((eois, told(&net)), (2, 2));
        assert!(vm.requests(VECTOR));
    });
}

/// The guest moves the pin to another vector, and masks it for that.
#[test]
fn a_redirection_loses_nothing() {
    explore(3, || {
        const NEW: u8 = 0x42;
        let (vm, line, exits) = Split::line(VECTOR);
        let (disk, late) = (line.join().unwrap(), line.join().unwrap());
        let net = line.join_resampled(notifier()).unwrap();
        disk.assert().unwrap();
        let device = thread::spawn(move || {
            late.assert().unwrap();
            late
        });
        let guest = {
            let (vm, exits) = (vm.clone(), exits.clone());
            thread::spawn(move || vm.serve(&exits).unwrap_or(0))
        };
        line.redirect(entry(NEW), true).unwrap();
        line.redirect(entry(NEW), false).unwrap();
        let late = device.join().unwrap();
        let mut eois = guest.join().unwrap();
        assert!(vm.requests(NEW), "both assert");
        // The end of the service of the old vector, if it had not ended before.
        let before = told(&net);
        assert!((eois..=eois + 1).contains(&before), "{eois} {before}");
        vm.apic
            .lock()
            .unwrap()
            .requested
            .retain(|vector| *vector == NEW);
        eois = expect_heard_to_the_end(&vm, &exits, vec![disk, late]);
        assert_eq!(told(&net), eois);
    });
}

/// The guest moves the pin without masking it, and takes the resulting interrupts before its write
/// has returned.
#[test]
fn a_redirection_of_an_open_entry_loses_nothing() {
    explore(3, || {
        const NEW: u8 = 0x42;
        let (vm, line, exits) = Split::line(VECTOR);
        let disk = line.join().unwrap();
        disk.assert().unwrap();
        let guest = {
            let (vm, exits) = (vm.clone(), exits.clone());
            thread::spawn(move || {
                vm.serve(&exits);
                vm.serve(&exits);
            })
        };
        line.redirect(entry(NEW), false).unwrap();
        guest.join().unwrap();
        assert!(vm.requests(NEW), "the disk asserts");
        vm.apic
            .lock()
            .unwrap()
            .requested
            .retain(|vector| *vector == NEW);
        expect_heard_to_the_end(&vm, &exits, vec![disk]);
    });
}

/// A device asserts and the guest sends an EOI while the line is paused and resumed.
#[test]
fn a_pause_loses_nothing_and_sends_nothing() {
    explore(3, || {
        let (vm, line, exits) = Split::line(VECTOR);
        let (disk, late) = (line.join().unwrap(), line.join().unwrap());
        let net = line.join_resampled(notifier()).unwrap();
        disk.assert().unwrap();
        let guest = {
            let (vm, exits) = (vm.clone(), exits.clone());
            thread::spawn(move || vm.serve(&exits).unwrap_or(0))
        };
        let device = thread::spawn(move || {
            disk.deassert().unwrap();
            late.assert().unwrap();
            (disk, late)
        });
        line.pause().unwrap();
        let before = vm.requests(VECTOR);
        thread::yield_now();
        assert!(before || !vm.requests(VECTOR), "it is paused");
        line.resume().unwrap();
        let mut eois = guest.join().unwrap();
        let (_disk, late) = device.join().unwrap();
        eois += expect_heard_to_the_end(&vm, &exits, vec![late]);
        assert_eq!(told(&net), eois, "signalled once for each");
    });
}
