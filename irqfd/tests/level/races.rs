// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Actions of another thread in the middle of a call.

use std::io;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use kvm_test::PATIENCE;

use irq_routing::{MsiMessage, Platform, RoutingTable, Wiring};
use irqfd::{Controller, EoiExits, LevelLine};
use notify_core::{
    Extension, IoEventFdRequest, IrqFdRequest, LineStatus, MsiOutcome, RouteBuffer, Vm,
};
use notify_sim::{Profile, SimVm};

use super::bench::{GSI, VECTOR, level};
use super::{exported, heard, own, signal, told};

/// A split irqchip with a hook that runs when a message was sent or a trigger bound, before the
/// caller knows.
struct Busy {
    vm: SimVm,
    then: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl std::fmt::Debug for Busy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Busy")
    }
}

impl Busy {
    fn line() -> (Arc<Self>, LevelLine, EoiExits) {
        let vm = SimVm::builder().profile(Profile::X86Split { pins: 24 });
        let (vm, then) = (vm.build(), Mutex::default());
        vm.enable_lapic(0);
        let busy = Arc::new(Self { vm, then });
        let table = RoutingTable::builder(busy.clone()).wiring(Wiring::none(Platform::X86Split));
        let lease = table.build().unwrap().lease_exact(GSI).unwrap();
        lease.set_route(MsiMessage::default()).unwrap();
        let exits = EoiExits::default();
        let builder = LevelLine::builder(lease.into_line().unwrap()).eoi_exits(&exits);
        (busy, builder.build().unwrap(), exits)
    }

    /// Another thread does something in the middle of the next call. Returns what.
    fn meanwhile<T: Send + 'static>(
        &self,
        act: impl FnOnce() -> T + Send + 'static,
    ) -> Receiver<T> {
        let (sender, result) = mpsc::channel();
        let then = move || {
            let (done, wait) = mpsc::channel();
            thread::spawn(move || {
                sender.send(act()).unwrap();
                let _ = done.send(());
            });
            // The other thread may have to wait for this call.
            let _ = wait.recv_timeout(Duration::from_millis(200));
        };
        *self.then.lock().unwrap() = Some(Box::new(then));
        result
    }

    /// Another vCPU takes the next interrupt and ends it, at once. Returns how many lines that
    /// concerned.
    fn serve_the_next(self: &Arc<Self>, exits: &EoiExits) -> Receiver<usize> {
        let (busy, exits) = (Arc::clone(self), exits.clone());
        self.meanwhile(move || {
            let vector = busy.vm.take_vector(0).unwrap();
            busy.vm.lapic_eoi(0);
            exits.on_vector(vector)
        })
    }

    fn then(&self) {
        let then = self.then.lock().unwrap().take();
        then.into_iter().for_each(|then| then());
    }
}

impl Vm for Busy {
    fn check_extension(&self, capability: Extension) -> io::Result<u32> {
        self.vm.check_extension(capability)
    }

    fn irqfd(&self, request: &IrqFdRequest<'_>) -> io::Result<()> {
        self.vm.irqfd(request)?;
        if !self.vm.deliver().is_empty() {
            self.then();
        }
        Ok(())
    }

    fn ioeventfd(&self, request: &IoEventFdRequest<'_>) -> io::Result<()> {
        self.vm.ioeventfd(request)
    }

    fn set_gsi_routing(&self, table: &RouteBuffer) -> io::Result<()> {
        self.vm.set_gsi_routing(table)
    }

    fn signal_msi(&self, message: &MsiMessage) -> io::Result<MsiOutcome> {
        self.vm.signal_msi(message)
    }

    fn irq_line_status(&self, gsi: u32, level: bool) -> io::Result<LineStatus> {
        let status = self.vm.irq_line_status(gsi, level)?;
        self.then();
        Ok(status)
    }
}

/// The guest has a vCPU that is quicker than the one that wrote the entry.
#[test]
fn an_interrupt_that_ends_before_its_redirection_returns_is_heard_of() {
    let (busy, line, exits) = Busy::line();
    let (disk, net) = (own(&line), told(&line));
    disk.assert().unwrap();
    for vector in [VECTOR, VECTOR + 0x10] {
        let ended = busy.serve_the_next(&exits);
        line.redirect(level(vector), false).unwrap();
        assert_eq!(ended.recv(), Ok(1), "{vector:#x}");
        assert_eq!(busy.vm.take_vector(0), Some(vector), "the disk asserts");
        busy.vm.lapic_eoi(0);
    }
    // Two that were served, and the end of the service of the first vector.
    assert_eq!(heard(&net), 3);
}

#[test]
fn a_signal_that_is_served_before_its_redirection_returns_is_heard_of() {
    let (busy, line, exits) = Busy::line();
    let card = exported(&line);
    signal(&card);
    let ended = busy.serve_the_next(&exits);
    line.redirect(level(VECTOR), false).unwrap();
    assert_eq!(ended.recv(), Ok(1));
    assert_eq!(heard(&card), 1);
}

/// The redirection has ended the service of the old vector.
#[test]
fn an_eoi_of_the_old_vector_that_comes_during_a_redirection_is_too_late() {
    let (busy, line, exits) = Busy::line();
    let (disk, net) = (own(&line), told(&line));
    line.redirect(level(VECTOR), false).unwrap();
    disk.assert().unwrap();
    assert_eq!(busy.vm.take_vector(0), Some(VECTOR));
    let late = {
        let (busy, exits) = (Arc::clone(&busy), exits.clone());
        busy.clone().meanwhile(move || {
            busy.vm.lapic_eoi(0);
            // The new one is in flight to the guest.
            assert_eq!(busy.vm.take_vector(0), Some(VECTOR + 0x10));
            exits.on_vector(VECTOR)
        })
    };
    line.redirect(level(VECTOR + 0x10), false).unwrap();
    assert_eq!(late.recv(), Ok(0));
    assert_eq!(heard(&net), 1);
    assert_eq!(busy.vm.take_vector(0), None, "once is enough");
    busy.vm.lapic_eoi(0);
    assert_eq!(exits.on_vector(VECTOR + 0x10), 1);
}

/// A controller with which another thread does something when it is given a level.
#[derive(Debug)]
struct Shared {
    exits: EoiExits,
    took: Mutex<Option<bool>>,
}

impl Controller for Shared {
    fn set_level(&self, pin: u32, _: bool) -> io::Result<()> {
        let (done, wait) = mpsc::channel();
        let exits = self.exits.clone();
        thread::spawn(move || {
            let chip = Arc::new(super::bench::Chip::default());
            let line = LevelLine::on_controller(pin + 1, chip, &exits);
            assert_eq!(exits.on_pin(pin + 1), 1);
            drop(line);
            let _ = done.send(());
        });
        let took = wait.recv_timeout(PATIENCE).is_ok();
        *self.took.lock().unwrap() = Some(took);
        Ok(())
    }
}

/// A device is plugged in while a report waits for the lock of the controller, which the thread
/// that plugs it in may have.
#[test]
fn a_line_is_built_while_the_end_of_an_interrupt_is_reported() {
    let exits = EoiExits::default();
    let chip = Arc::new(Shared {
        exits: exits.clone(),
        took: Mutex::default(),
    });
    let line = LevelLine::on_controller(GSI, chip.clone(), &exits);
    let disk = own(&line);
    disk.assert().unwrap();
    *chip.took.lock().unwrap() = None;
    assert_eq!(exits.on_pin(GSI), 1);
    assert_eq!(*chip.took.lock().unwrap(), Some(true));
}

/// A controller with a bug, once.
#[derive(Debug)]
struct Panics(super::bench::Chip, Mutex<bool>);

impl Controller for Panics {
    fn set_level(&self, pin: u32, level: bool) -> io::Result<()> {
        let panics = std::mem::take(&mut *self.1.lock().unwrap());
        assert!(!panics, "a bug of the controller's");
        self.0.set_level(pin, level)
    }
}

/// The caller panics with it; the line is what it was.
#[test]
fn a_panic_of_the_controller_changes_nothing() {
    let exits = EoiExits::default();
    let chip = Arc::new(Panics(super::bench::Chip::default(), Mutex::default()));
    let line = LevelLine::on_controller(GSI, chip.clone(), &exits);
    let disk = own(&line);
    let panics = |act: &dyn Fn()| {
        *chip.1.lock().unwrap() = true;
        let act = std::panic::AssertUnwindSafe(act);
        std::panic::catch_unwind(act).unwrap_err();
    };
    panics(&|| disk.assert().unwrap());
    assert!(!disk.is_asserted() && !line.is_asserted());
    disk.assert().unwrap();
    assert!(chip.0.level());
    panics(&|| disk.deassert().unwrap());
    assert!(disk.is_asserted() && line.is_asserted());
    disk.deassert().unwrap();
    assert!(!chip.0.level());
}
