// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The backend in memory.

use std::io;

use notify_sim::{GuestWrite, Profile, SimVm};

use super::{Backend, Bus, ExitWrite, Irqchip, Pic, RAM_END, ROM, Reply, Spec};
use crate::event::errno;
use crate::request::{IoEventFd, IrqFd, IrqLevel, Msi, Routing};

pub(crate) struct Sim(SimVm);

impl Sim {
    pub(crate) fn new(Spec { irqchip, vcpus }: Spec) -> Self {
        let profile = match irqchip {
            Irqchip::None => Profile::None,
            Irqchip::Split => Profile::X86Split { pins: 24 },
            Irqchip::Full => Profile::X86,
        };
        let builder = SimVm::builder().profile(profile);
        let vm = builder.vcpus(vcpus.into()).build();
        vm.add_ram(0..RAM_END);
        Self(vm)
    }
}

fn reply(result: io::Result<i32>) -> Reply {
    result.map_err(errno)
}

fn exits(write: GuestWrite) -> Vec<ExitWrite> {
    let exits = write.exits.iter();
    exits
        .map(|exit| ExitWrite::new(exit.address, exit.bytes()))
        .collect()
}

impl Backend for Sim {
    fn ioeventfd(&self, request: &IoEventFd) -> Reply {
        reply(self.0.kvm_ioeventfd(request))
    }

    fn irqfd(&self, request: &IrqFd) -> Reply {
        reply(self.0.kvm_irqfd(request))
    }

    fn set_gsi_routing(&self, request: &Routing<'_>) -> Reply {
        reply(self.0.kvm_set_gsi_routing(request))
    }

    fn signal_msi(&self, request: &Msi) -> Reply {
        reply(self.0.kvm_signal_msi(request))
    }

    fn irq_line(&self, request: &IrqLevel) -> Reply {
        reply(self.0.kvm_irq_line(request))
    }

    fn irq_line_status(&self, request: &IrqLevel) -> Reply {
        reply(self.0.kvm_irq_line_status(request))
    }

    fn interrupt(&self, vector: u32) -> Reply {
        reply(self.0.kvm_interrupt(0, vector))
    }

    fn enable_x2apic_ids(&self) {
        self.0.enable_x2apic_ids();
    }

    fn coalesce(&self, bus: Bus, address: u64, size: u32) -> Reply {
        reply(self.0.add_coalesced(bus, address, size).map(|()| 0))
    }

    fn add_rom(&self) {
        self.0.add_rom(ROM..ROM + 0x1000);
    }

    fn guest_write(&self, bus: Bus, address: u64, bytes: &[u8]) -> Vec<ExitWrite> {
        exits(self.0.guest_write(bus, address, bytes))
    }

    fn guest_write_string(&self, port: u16, words: &[u16]) -> Vec<ExitWrite> {
        let one = |word: &u16| self.guest_write(Bus::Pio, port.into(), &word.to_le_bytes());
        words.iter().flat_map(one).collect()
    }

    fn guest_takes_interrupt(&self) -> Option<u8> {
        self.0.take_pic().or_else(|| self.0.take_interrupt(0))
    }

    fn guest_interrupted(&self, vector: u32) -> Option<u8> {
        assert_eq!(self.interrupt(vector), Ok(0));
        self.0.take_interrupt(0)
    }

    fn enable_lapic(&self) {
        self.0.enable_lapic(0);
    }

    fn disable_lapic(&self) {
        self.0.disable_lapic(0);
    }

    fn vectors(&self) -> Vec<u8> {
        self.0.pending_vectors(0)
    }

    fn clear_vectors(&self) {
        self.0.clear_vectors(0);
    }

    fn pics(&self) -> [Pic; 2] {
        self.0.pic().unwrap().map(|pic| Pic {
            irr: pic.irr,
            isr: pic.isr,
            imr: pic.imr,
        })
    }

    fn ioapic_irr(&self) -> u32 {
        self.0.ioapic().unwrap().irr
    }

    fn redirect_pin(&self, pin: u32, entry: u64) {
        let mut ioapic = self.0.ioapic().unwrap();
        ioapic.redirections[pin as usize] = entry;
        self.0.set_ioapic(ioapic);
    }

    /// The simulator carries out signals at the next look, and this is one.
    fn settle(&self) {
        drop(self.0.deliver());
    }
}
