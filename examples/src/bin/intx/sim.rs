// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The run without a kernel's help: a simulated machine, and a vCPU that is a thread.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use notify_core::EventNotifier;
use notify_core::sim::{DeliveryThread, Profile, SimVm};

use crate::board::{Board, PINS};
use crate::bus::Bus;
use crate::layout::{
    DEVICES, EXPORTED, IOAPIC, IOAPIC_VECTOR, LEVEL, PIC_BASE, PIC_EOI, PIC1, PIC2, PIN,
    SPURIOUS_SLAVE, acknowledge,
};
use crate::memory::Memory;
use crate::report::Report;
use crate::{Chip, Irqchip, Run, Settings, session};

/// What the handler and the devices share.
#[derive(Debug, Default)]
struct Shared {
    published: [AtomicU64; DEVICES],
    acknowledged: [AtomicU64; DEVICES],
    interrupts: AtomicU64,
    eois: AtomicU64,
    spurious: AtomicU64,
}

pub(crate) fn run(
    run: Run,
    settings: &Settings,
    interrupted: &AtomicBool,
) -> Result<Report, Box<dyn Error>> {
    let profile = match run.irqchip {
        Irqchip::Full => Profile::X86,
        Irqchip::Split => Profile::X86Split { pins: PINS },
    };
    let vm = Arc::new(SimVm::builder().profile(profile).build());
    vm.enable_lapic(0);
    let wake = Arc::new(EventNotifier::new()?);
    let wakes = |wake: &Arc<EventNotifier>| {
        let wake = Arc::clone(wake);
        // A counter that is full has been seen by nobody yet.
        move || drop(wake.notify())
    };
    let board = Board::new(run, vm.clone(), Box::new(wakes(&wake)))?;
    let woken = wakes(&wake);
    let delivery = DeliveryThread::start(&vm, move |_, _| woken())?;
    let (shared, over) = (Shared::default(), AtomicBool::new(false));
    let report = session::run(
        run,
        settings,
        interrupted,
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
            while !over.load(Ordering::SeqCst) {
                wake.wait(None).map_err(|error| error.to_string())?;
                // A line that is stuck has always one more.
                while !over.load(Ordering::SeqCst)
                    && let Some(vector) = guest.take()
                {
                    guest.handle(vector)?;
                }
            }
            Ok(())
        },
        || Ok(()),
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

struct Guest<'a> {
    run: Run,
    vm: &'a SimVm,
    bus: Bus<'a>,
    shared: &'a Shared,
}

impl Guest<'_> {
    /// Sets up the controller.
    fn start(&self) -> Result<(), String> {
        match self.run.chip {
            Chip::Ioapic => {
                let entry = LEVEL | u64::from(IOAPIC_VECTOR);
                let register = 0x10 + 2 * u32::from(PIN);
                for (register, half) in [(register + 1, entry >> 32), (register, entry)] {
                    self.write(IOAPIC, &register.to_le_bytes())?;
                    self.write(IOAPIC + 0x10, &(half as u32).to_le_bytes())?;
                }
            }
            Chip::Pic => {
                for (port, base, cascade) in [(PIC1, PIC_BASE, 4), (PIC2, PIC_BASE + 8, 2)] {
                    self.write_port(port, 0x11);
                    for word in [base, cascade, 1, 0] {
                        self.write_port(port + 1, word);
                    }
                }
                self.write_port(0x4d1, 1 << (PIN - 8));
            }
        }
        Ok(())
    }

    /// The processor takes an interrupt.
    fn take(&self) -> Option<u8> {
        match (self.run.chip, self.run.irqchip) {
            (Chip::Ioapic, _) => self.vm.take_vector(0),
            (Chip::Pic, Irqchip::Full) => self.vm.take_pic(),
            (Chip::Pic, Irqchip::Split) => self.bus.board.take(),
        }
    }

    fn handle(&self, vector: u8) -> Result<(), String> {
        let shared = self.shared;
        if vector == SPURIOUS_SLAVE {
            shared.spurious.fetch_add(1, Ordering::Relaxed);
            self.write_port(PIC1, PIC_EOI);
            return Ok(());
        }
        shared.interrupts.fetch_add(1, Ordering::AcqRel);
        let of_devices = shared.published.iter().zip(&shared.acknowledged);
        for (device, (published, acknowledged)) in of_devices.enumerate() {
            let number = published.load(Ordering::Acquire);
            if acknowledged.swap(number, Ordering::AcqRel) != number && device != EXPORTED {
                self.write(acknowledge(device), &number.to_le_bytes())?;
            }
        }
        match self.run.chip {
            Chip::Ioapic => {
                self.vm.lapic_eoi(0);
                if self.run.irqchip == Irqchip::Split {
                    self.bus.board.vector_ended(vector);
                }
            }
            Chip::Pic => {
                self.write_port(PIC2, PIC_EOI);
                self.write_port(PIC1, PIC_EOI);
            }
        }
        shared.eois.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    fn write(&self, address: u64, data: &[u8]) -> Result<(), String> {
        let outcome = self.vm.guest_write(notify_core::Bus::Mmio, address, data);
        let mut exits = outcome.exits.iter();
        exits.try_for_each(|exit| self.bus.write(exit.address, exit.bytes()))
    }

    fn write_port(&self, port: u16, value: u8) {
        let outcome = self
            .vm
            .guest_write(notify_core::Bus::Pio, port.into(), &[value]);
        for exit in &outcome.exits {
            self.bus.board.port_write(port, exit.bytes());
        }
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

    fn spurious(&self) -> Result<u64, String> {
        Ok(self.spurious.load(Ordering::Acquire))
    }
}
