// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A run on KVM or on the simulator: the devices, their threads, and the guest's thread.

use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use examples::progress::Progress;
use irqfd::LevelIrq;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use notify_core::EventNotifier;

use crate::board::Board;
use crate::bus::Bus;
use crate::device::{Device, Exported, Own};
use crate::layout::{EXPORTED, PLAIN, TOLD};
use crate::memory::Memory;
use crate::report::Report;
use crate::storm::{self, Storm};
use crate::watch::Watch;
use crate::{Run, Settings};

/// What differs between KVM and the simulator.
pub(crate) struct Machine<'a> {
    pub(crate) backend: &'static str,
    pub(crate) board: &'a Board,
    pub(crate) memory: &'a dyn Memory,
    /// Whether the controller of the pin sees it high.
    pub(crate) pin: &'a (dyn Fn() -> Result<bool, String> + Sync),
    /// Makes the vCPU exit to the host, so that it has run since.
    pub(crate) visit: &'a (dyn Fn() + Sync),
    /// Whether the guest exits after each EOI; the report prints why.
    pub(crate) leaves: bool,
}

/// Runs the storm in a guest. `guest` runs it until `stop` is called, and `ready` waits until it
/// takes interrupts.
pub(crate) fn run(
    run: Run,
    settings: &Settings,
    machine: &Machine<'_>,
    guest: impl FnOnce(Bus<'_>) -> Result<(), String> + Send,
    ready: impl FnOnce() -> Result<(), String> + Send,
    stop: impl FnOnce(),
) -> Result<Report, String> {
    let (board, memory) = (machine.board, machine.memory);
    let line = &board.line;
    let irq = Mutex::new(None);
    let plain = Own::new(PLAIN, false, line, memory)?;
    let exported = Exported::new(EXPORTED, line, &irq, memory)?;
    let told = Own::new(TOLD, true, line, memory)?;
    let over = EventNotifier::new().map_err(|error| error.to_string())?;
    let devices: storm::Devices<'_> = [&plain, &exported, &told];
    let start = Instant::now();
    let (storm, guest, helpers) = thread::scope(|scope| {
        let (plain, told) = (&plain, &told);
        let guest = scope.spawn(move || guest(Bus { board, plain, told }));
        let relay = board.is_in_user_space().then(|| {
            let (trigger, irq, over) = (exported.trigger(), &irq, &over);
            scope.spawn(move || at_signals(trigger, over, || relay(trigger, irq)))
        });
        let answers = told.notifier().map(|notifier| {
            let over = &over;
            scope.spawn(move || at_signals(notifier, over, || told.was_told()))
        });
        // In a thread, so that the guest is stopped even if it panics.
        let devices = &devices;
        let storm = scope.spawn(move || {
            ready()?;
            let mut watch = Watch::new(run, machine);
            let (chip, place) = (run.chip.title(), run.irqchip.place());
            let title = format!("{chip} {place}");
            let progress = Progress::new(title, settings.assertions);
            storm::run(devices, memory, &mut watch, settings, progress)
        });
        let storm = storm.join();
        stop();
        let guest = guest.join();
        // If this fails, the thread has failed and returns.
        let _ = over.notify();
        let helpers = [relay, answers].map(|thread| thread.map(|thread| thread.join()));
        (storm, guest, helpers)
    });
    guest.map_err(|_| "the vCPU's thread panicked")??;
    for helper in helpers.into_iter().flatten() {
        helper.map_err(|_| "a thread that takes signals panicked")??;
    }
    let storm: Storm = storm.map_err(|_| "the storm panicked")??;
    let counts = devices.map(Device::counts);
    Report::new(run, settings, machine, start.elapsed(), storm, counts)
}

/// Calls `act` at each signal of a notifier, until the run is over.
fn at_signals(
    notifier: &EventNotifier,
    over: &EventNotifier,
    act: impl Fn() -> Result<(), String>,
) -> Result<(), String> {
    let mut fds = [notifier.as_fd(), over.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
    while !over.is_signalled().map_err(|error| error.to_string())? {
        // After an interrupted poll, too, the notifiers show what there is to do.
        let _ = poll(&mut fds, PollTimeout::NONE);
        act()?;
    }
    Ok(())
}

/// A VMM with its own controllers takes an exported device's triggers itself.
fn relay(trigger: &EventNotifier, irq: &Mutex<Option<LevelIrq>>) -> Result<(), String> {
    let taken = match &*irq.lock().unwrap_or_else(PoisonError::into_inner) {
        Some(irq) => irq.take_trigger().map(drop),
        // The device is not on the line.
        None => {
            return trigger
                .consume()
                .map(drop)
                .map_err(|error| error.to_string());
        }
    };
    taken.map_err(|error| error.to_string())
}
