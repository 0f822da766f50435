// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The run without KVM: a simulated VM, and a vCPU that is a thread.

mod guest;

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use notify_core::EventNotifier;
use notify_sim::{DeliveryThread, Profile, SimVm};

use crate::board::{Board, PINS};
use crate::layout::{DEVICES, PIN};
use crate::memory::Memory;
use crate::report::Report;
use crate::storm::PATIENCE;
use crate::{Chip, Irqchip, Run, Settings, session};
use guest::Guest;

/// What the handler and the devices share.
#[derive(Debug, Default)]
struct Shared {
    published: [AtomicU64; DEVICES],
    acknowledged: [AtomicU64; DEVICES],
    interrupts: AtomicU64,
    eois: AtomicU64,
    spurious: AtomicU64,
    masks: AtomicU64,
    moves: AtomicU64,
    /// The lower half of the pin's redirection entry.
    entry: AtomicU32,
}

pub(crate) fn run(run: Run, settings: &Settings) -> Result<Report, Box<dyn Error>> {
    let profile = match run.irqchip {
        Irqchip::Full => Profile::X86,
        Irqchip::Split => Profile::X86Split { pins: PINS },
    };
    let vm = Arc::new(SimVm::builder().profile(profile).build());
    vm.enable_lapic(0);
    let wake = Arc::new(EventNotifier::new()?);
    let wakes = |wake: &Arc<EventNotifier>| {
        let wake = Arc::clone(wake);
        // If the counter is full, its signals have not been taken yet, so nothing is lost.
        move || drop(wake.notify())
    };
    let board = Board::new(run, vm.clone(), Box::new(wakes(&wake)))?;
    let woken = wakes(&wake);
    let delivery = DeliveryThread::start(Arc::clone(&vm), move |_, _| woken())?;
    // Unmasking a pin that waits signals an EOI, so devices wait until the guest has started.
    let started = EventNotifier::new()?;
    let (shared, over) = (Shared::default(), AtomicBool::new(false));
    let report = session::run(
        run,
        settings,
        &session::Machine {
            backend: "sim",
            board: &board,
            memory: &shared,
            pin: &|| Ok(is_pin_high(run, &vm)),
            visit: &wakes(&wake),
            leaves: false,
        },
        |bus| {
            let (vm, shared) = (&*vm, &shared);
            let guest = Guest {
                run,
                vm,
                bus,
                shared,
            };
            guest.start()?;
            started.notify().map_err(|error| error.to_string())?;
            while !over.load(Ordering::SeqCst) {
                wake.wait(None).map_err(|error| error.to_string())?;
                // A stuck line interrupts without end.
                while !over.load(Ordering::SeqCst)
                    && let Some(vector) = guest.take()
                {
                    guest.handle(vector)?;
                }
            }
            Ok(())
        },
        || {
            let ready = started.wait(Some(PATIENCE));
            let ready = ready.map_err(|error| error.to_string())?;
            ready
                .map(drop)
                .ok_or_else(|| "the guest does not start".to_owned())
        },
        || {
            over.store(true, Ordering::SeqCst);
            wakes(&wake)();
        },
    )?;
    drop(delivery);
    Ok(report)
}

fn is_pin_high(run: Run, vm: &SimVm) -> bool {
    match run.chip {
        Chip::Ioapic => vm.ioapic().is_some_and(|state| state.irr >> PIN & 1 == 1),
        Chip::Pic => vm
            .pic()
            .is_some_and(|[_, second]| second.irr >> (PIN - 8) & 1 == 1),
    }
}

impl Memory for Shared {
    fn publish(&self, device: usize, number: u64) -> Result<(), String> {
        let published = self.published.get(device).ok_or("no such device")?;
        published.store(number, Ordering::Release);
        Ok(())
    }

    fn published(&self, device: usize) -> Result<u64, String> {
        let published = self.published.get(device).ok_or("no such device")?;
        Ok(published.load(Ordering::Acquire))
    }

    fn acknowledged(&self, device: usize) -> Result<u64, String> {
        let acknowledged = self.acknowledged.get(device).ok_or("no such device")?;
        Ok(acknowledged.load(Ordering::Acquire))
    }

    fn interrupts(&self) -> Result<u64, String> {
        Ok(self.interrupts.load(Ordering::Acquire))
    }

    fn eois(&self) -> Result<u64, String> {
        Ok(self.eois.load(Ordering::Acquire))
    }

    fn masks(&self) -> Result<u64, String> {
        Ok(self.masks.load(Ordering::Acquire))
    }

    fn moves(&self) -> Result<u64, String> {
        Ok(self.moves.load(Ordering::Acquire))
    }

    fn spurious(&self) -> Result<u64, String> {
        Ok(self.spurious.load(Ordering::Acquire))
    }
}
