// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The guest of `minimal`: a driver of a virtio-mmio disk and of a virtio PCI network card.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tiny_guest::iced_x86::code_asm::{dword_ptr, eax, qword_ptr, rax, rcx};
use tiny_guest::{Error, Machine, Program, ROUND, Slot, layout};

/// How often the guest kicks each queue.
pub const ROUNDS: u32 = 100;
/// The registers of the disk.
pub const DISK: u64 = 0xd000_0000;
/// The pin of the disk's line, which is level-triggered.
pub const PIN: u8 = 5;
/// Both places of the network card's BAR: the MSI-X table, and at 0x3000 the doorbells.
pub const BARS: [u32; 2] = [0xd100_0000, 0xd200_0000];
/// A port that stands for the BAR's register in configuration space.
pub const CONFIG_BAR: u16 = 0x500;
/// A port that stands for the network card's Message Control.
pub const CONFIG_MSIX: u16 = 0x504;

/// How many kicks the VMM has served, in all its VMs: for the report.
pub static SERVED: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

/// The guest's interrupt vectors: of the disk, and of each queue of the network card.
const VECTORS: [u8; 3] = [0x50, 0x51, 0x52];

/// The guest, and how many interrupts it has counted: of the disk, and of the network card's two
/// queues.
#[derive(Debug)]
pub struct Driver {
    taken: [Slot; 3],
}

impl Driver {
    /// Allocates memory of the guest. A VM with the same memory has it in the same place.
    ///
    /// # Errors
    ///
    /// When no RAM is left.
    pub fn new(machine: &Machine) -> Result<Self, Error> {
        Ok(Self {
            taken: [machine.slot()?, machine.slot()?, machine.slot()?],
        })
    }

    /// The code: in each round it kicks each queue, moves the BAR meanwhile, and waits for three
    /// interrupts.
    ///
    /// # Errors
    ///
    /// When it does not assemble.
    pub fn program(&self) -> Result<Program, Error> {
        let ([old, new], [disk, rx, tx]) = (BARS.map(u64::from), &self.taken);
        let program = Program::new(|asm| {
            asm.enable_lapic()?;
            asm.mask_pics()?; // the PICs have this pin, too
            asm.redirect_pin(PIN, u64::from(VECTORS[0]) | 1 << 15)?; // level-triggered
            for (entry, vector) in [old, old + 16].into_iter().zip(&VECTORS[1..]) {
                asm.mmio_write64(entry, layout::msi_address(0))?;
                asm.mmio_write64(entry + 8, u64::from(*vector))?; // unmasked
            }
            asm.port_write16(CONFIG_MSIX, 0x8000)?;
            asm.repeat(ROUNDS, |asm| {
                // The BAR moves, and the VM is saved, while kicks and interrupts are in flight.
                asm.mmio_write32(DISK + 0x50, 0)?;
                asm.mmio_write16(old + 0x3000, 0)?;
                asm.port_write32(CONFIG_BAR, BARS[1])?;
                asm.mmio_write16(new + 0x3004, 1)?;
                for taken in &self.taken {
                    asm.halt_until(taken, ROUND)?;
                }
                asm.port_write32(CONFIG_BAR, BARS[0])
            })
        })?;
        // A line may interrupt once more before the driver acknowledges, so InterruptStatus counts.
        let program = program.handler(VECTORS[0], |asm| {
            asm.mov(rcx, DISK + 0x60)?;
            asm.mov(eax, dword_ptr(rcx))?;
            asm.add(qword_ptr(disk.address()), rax)?;
            asm.mmio_write32(DISK + 0x64, 1)
        })?;
        let program = program.handler(VECTORS[1], |asm| asm.increment(rx))?;
        program.handler(VECTORS[2], |asm| asm.increment(tx))
    }

    /// Prints how many kicks were served and interrupts taken, in the order of the queues.
    ///
    /// # Errors
    ///
    /// If there was not one of each for each round.
    pub fn report(&self) -> Result<(), String> {
        let names = ["disk", "net queue 0", "net queue 1"];
        for ((name, served), taken) in names.into_iter().zip(&SERVED).zip(&self.taken) {
            let kicks = served.load(Relaxed);
            let taken = taken.load().map_err(|error| error.to_string())?;
            println!("{name}: {kicks} kicks served, {taken} interrupts taken");
            if (kicks, taken) != (ROUNDS.into(), ROUNDS.into()) {
                return Err(format!("{name}: not {ROUNDS} kicks and interrupts"));
            }
        }
        Ok(())
    }
}
