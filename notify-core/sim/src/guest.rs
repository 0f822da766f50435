// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The guest's part: writes, EOIs, and what is pending.

use std::fmt;

use super::bus::Device;
use super::interrupt::{Chips, IOAPIC, PIC_MASTER, PIC_SLAVE};
use super::pic::Pic;
use super::state::State;
use super::words::Hex;
use super::{IoApicState, PicState, SimVm, lapic};
use notify_core::Bus;

/// A piece of a store never crosses this.
const PAGE: u64 = 0x1000;
/// What the bus takes at a time.
const WORD: usize = 8;

/// The effect of a guest's write.
///
/// A wide store, or one across a page, is looked up in pieces, which may have different effects.
#[derive(Debug, Default, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct GuestWrite {
    /// The number of doorbells that it signalled.
    pub signalled: u32,
    /// The number of pieces that a device in the kernel took.
    pub devices: u32,
    /// The number of pieces that went to memory.
    pub memory: u32,
    /// The pieces that exit to user space.
    pub exits: Vec<ExitWrite>,
}

/// A piece of a write that exits to user space (KVM_EXIT_MMIO or KVM_EXIT_IO).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ExitWrite {
    /// The guest-physical address, or the port.
    pub address: u64,
    data: [u8; WORD],
    len: usize,
}

impl ExitWrite {
    /// Returns the bytes that were written, at most 8.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.data.get(..self.len).unwrap_or(&self.data)
    }

    fn new(address: u64, bytes: &[u8]) -> Self {
        let mut data = [0; WORD];
        for (to, from) in data.iter_mut().zip(bytes) {
            *to = *from;
        }
        Self {
            address,
            data,
            len: bytes.len().min(WORD),
        }
    }
}

impl fmt::Debug for ExitWrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExitWrite")
            .field("address", &Hex(self.address))
            .field("bytes", &self.bytes())
            .finish()
    }
}

impl State {
    fn store(&mut self, address: u64, bytes: &[u8], outcome: &mut GuestWrite) {
        let mut last_first = self.memory.iter().rev();
        let slot = last_first.find(|(range, _)| range.contains(&address));
        if slot.is_some_and(|(_, writable)| *writable) {
            outcome.memory += 1;
            return;
        }
        let mut at = address;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (word, behind) = rest.split_at(rest.len().min(WORD));
            if !self.look_up(Bus::Mmio, at, word, outcome) {
                break;
            }
            at = at.wrapping_add(WORD as u64);
            rest = behind;
        }
        for piece in rest.chunks(WORD) {
            outcome.exits.push(ExitWrite::new(at, piece));
            at = at.wrapping_add(WORD as u64);
        }
    }

    fn look_up(&mut self, bus: Bus, address: u64, bytes: &[u8], outcome: &mut GuestWrite) -> bool {
        if bus == Bus::Mmio
            && self.chips.lapics().is_some()
            && let Some(ends) = lapic::claims(address, bytes.len())
        {
            if ends {
                self.end_of_interrupt(0);
            }
            outcome.devices += 1;
            return true;
        }
        match self.doorbells.write(bus, address, bytes) {
            None => return false,
            Some(Device::Doorbell(_)) => outcome.signalled += 1,
            Some(device) => {
                outcome.devices += 1;
                self.write_device(device, address, bytes);
            }
        }
        true
    }

    fn write_device(&mut self, device: Device, address: u64, bytes: &[u8]) {
        let Some((lapics, pc)) = self.chips.pc() else {
            return;
        };
        match (device, bytes) {
            (Device::Pic, [byte]) => {
                let (ended, update) = pc.pic.write(address, *byte, !lapics.is_empty());
                self.pic_ended(ended, update);
            }
            (Device::IoApic, _) if matches!(bytes.len(), 1 | 2 | 4 | 8) => {
                if let Some(pin) = pc.ioapic.write(address, bytes) {
                    self.ioapic_unmasked(pin);
                }
            }
            _ => {}
        }
    }

    /// Handles EOIs at the PICs, one bit for each pin.
    fn pic_ended(&mut self, pins: u16, update: bool) {
        for pin in (0..16).filter(|pin| pins & 1 << pin != 0) {
            self.acknowledged(pin / 8, pin % 8);
        }
        if let Some((_, pc)) = self.chips.pc().filter(|_| update) {
            pc.pic.update();
        }
    }

    fn ioapic_unmasked(&mut self, pin: u32) {
        let asked_again = self.resample_at_unmask && self.resample(IOAPIC, pin);
        if let Some((lapics, pc)) = self.chips.pc() {
            pc.ioapic.unmasked(lapics, pin, asked_again);
        }
    }

    fn ioapic_ended(&mut self, pin: u32, level: bool) {
        self.acknowledged(IOAPIC, pin);
        if let Some((lapics, pc)) = self.chips.pc().filter(|_| level) {
            pc.ioapic.ended(lapics, pin);
        }
    }

    fn end_of_interrupt(&mut self, vcpu: usize) {
        let ended = self
            .chips
            .lapics()
            .and_then(|all| all.end_of_interrupt(vcpu));
        let (Some((vector, level)), Some((_, pc))) = (ended, self.chips.pc()) else {
            return;
        };
        pc.ioapic.rtc_ended(vcpu, vector);
        for pin in pc.ioapic.pins_of(vector) {
            self.ioapic_ended(pin, level);
        }
    }

    fn eoi(&mut self, chip: u32, pin: u32) {
        match (&mut self.chips, chip) {
            (Chips::X86(_, Some(pc)), PIC_MASTER | PIC_SLAVE) => {
                let pin = pin % 8 + chip * 8;
                pc.pic.end(pin);
                self.pic_ended(1 << pin, true);
            }
            (Chips::X86(_, Some(pc)), IOAPIC) if pin < 24 => {
                let level = pc.ioapic.is_level(pin);
                self.ioapic_ended(pin, level);
            }
            // Nothing is done for the EOI of an edge.
            (Chips::Gic(gic), 0) if gic.is_level_triggered(pin) => self.acknowledged(chip, pin),
            _ => {}
        }
    }
}

impl SimVm {
    /// Writes these bytes in one store of the first vCPU, at a guest-physical address or a port.
    ///
    /// Doorbells are found as KVM's bus finds them. The devices in the kernel (PIC, IOAPIC, local
    /// APIC) take writes to their registers.
    ///
    /// ```
    /// use std::os::fd::AsFd;
    /// use notify_core::{Bus, EventNotifier, IoEventFdRequest, Vm};
    /// use notify_sim::SimVm;
    ///
    /// let vm = SimVm::builder().build();
    /// let kick = EventNotifier::new()?;
    /// vm.ioeventfd(&IoEventFdRequest::assign(kick.as_fd(), Bus::Mmio, 0xd000_0000, 2))?;
    /// assert_eq!(vm.guest_write(Bus::Mmio, 0xd000_0000, &[1, 0]).signalled, 1);
    /// assert_eq!(vm.guest_write(Bus::Mmio, 0xd000_0000, &[1]).exits[0].bytes(), [1]);
    /// assert_eq!(kick.consume()?.map(u64::from), Some(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn guest_write(&self, bus: Bus, address: u64, bytes: &[u8]) -> GuestWrite {
        let mut state = self.enter();
        let mut outcome = GuestWrite::default();
        if bus == Bus::Pio {
            let port = u16::try_from(address).is_ok();
            if !port || !state.look_up(bus, address, bytes, &mut outcome) {
                outcome.exits.push(ExitWrite::new(address, bytes));
            }
            return outcome;
        }
        let (mut at, mut rest) = (address, bytes);
        while !rest.is_empty() {
            let room = usize::try_from(PAGE - at % PAGE).unwrap_or(usize::MAX);
            let (piece, behind) = rest.split_at(rest.len().min(room));
            state.store(at, piece, &mut outcome);
            at = at.wrapping_add(piece.len() as u64);
            rest = behind;
        }
        outcome
    }

    /// Ends the interrupt of a pin, as the guest's EOI does.
    ///
    /// The resample eventfds of its GSI are signalled, and an interrupt that is still asserted is
    /// injected again. Chips are numbered as in KVM_SET_GSI_ROUTING.
    pub fn guest_eoi(&self, chip: u32, pin: u32) {
        self.enter().eoi(chip, pin);
    }

    /// Returns the vectors that are pending in a vCPU's local APIC, in ascending order.
    #[must_use]
    pub fn pending_vectors(&self, vcpu: usize) -> Vec<u8> {
        let mut state = self.enter();
        let lapics = state.chips.lapics();
        lapics.map_or_else(Vec::new, |lapics| lapics.requested(vcpu))
    }

    /// Clears the vectors that are pending in a vCPU's local APIC.
    pub fn clear_vectors(&self, vcpu: usize) {
        self.enter()
            .chips
            .restore_lapic(|lapics| lapics.clear(vcpu));
    }

    /// Makes a vCPU take its highest pending vector, and returns it.
    ///
    /// It takes none while it serves one of the same or a higher priority class.
    pub fn take_vector(&self, vcpu: usize) -> Option<u8> {
        self.enter().chips.lapics()?.acknowledge(vcpu)
    }

    /// Writes the EOI register of a vCPU's local APIC.
    ///
    /// This ends the vector that it serves, at the IOAPIC's pins too.
    pub fn lapic_eoi(&self, vcpu: usize) {
        self.enter().end_of_interrupt(vcpu);
    }

    /// Makes the first vCPU take an interrupt from the PICs. Returns its vector.
    pub fn take_pic(&self) -> Option<u8> {
        let mut state = self.enter();
        let (_, pc) = state.chips.pc()?;
        let (vector, ended) = pc.pic.acknowledge()?;
        state.pic_ended(ended, true);
        Some(vector)
    }

    /// Returns the state of the PICs, master and slave (KVM_GET_IRQCHIP).
    #[must_use]
    pub fn pic(&self) -> Option<[PicState; 2]> {
        let mut state = self.enter();
        let pic: &Pic = &state.chips.pc()?.1.pic;
        Some([pic.state(false), pic.state(true)])
    }

    /// Returns the state of the IOAPIC (KVM_GET_IRQCHIP).
    #[must_use]
    pub fn ioapic(&self) -> Option<IoApicState> {
        Some(self.enter().chips.pc()?.1.ioapic.state())
    }

    /// Returns whether an interrupt is pending at a pin of the GIC or a source of the APLIC.
    #[must_use]
    pub fn is_pin_pending(&self, pin: u32) -> bool {
        match &self.enter().chips {
            Chips::Gic(gic) => gic.is_pending(pin),
            Chips::Aplic(aplic) => aplic.is_pending(pin),
            Chips::None | Chips::X86(..) => false,
        }
    }

    /// Takes the pending interrupt of a pin, as the guest does. Returns whether there was one.
    ///
    /// A level stays pending until it is lowered.
    pub fn take_pin(&self, pin: u32) -> bool {
        match &mut self.enter().chips {
            Chips::Gic(gic) => gic.acknowledge(pin),
            Chips::Aplic(aplic) => aplic.acknowledge(pin),
            Chips::None | Chips::X86(..) => false,
        }
    }
}
