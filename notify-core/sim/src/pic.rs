// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The two 8259A interrupt controllers of the AT.
//!
//! Kernel source: `arch/x86/kvm/i8259.c`.

use super::line::{Lines, Source};

/// Registers of one of the two controllers, as KVM_GET_IRQCHIP shows them.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct PicState {
    /// The levels at which the pins were last seen.
    pub last_irr: u8,
    /// IRR: requested, not yet taken.
    pub irr: u8,
    /// IMR: masked.
    pub imr: u8,
    /// ISR: taken, no EOI yet.
    pub isr: u8,
    /// The pin of highest priority.
    pub priority_add: u8,
    /// The vector of pin 0.
    pub irq_base: u8,
    /// ELCR: level-triggered.
    pub elcr: u8,
    auto_eoi: bool,
    rotate_on_auto_eoi: bool,
    special_fully_nested: bool,
    init_state: u8,
    init4: bool,
}

impl PicState {
    /// 1: taken, 0: one was pending, -1: the pin is masked.
    fn set(&mut self, pin: u32, level: bool) -> i32 {
        let mask = 1 << pin;
        let mut result = 1;
        let level_triggered = self.elcr & mask != 0;
        if level {
            if level_triggered || self.last_irr & mask == 0 {
                result = i32::from(self.irr & mask == 0);
                self.irr |= mask;
            }
            self.last_irr |= mask;
        } else {
            self.last_irr &= !mask;
            if level_triggered {
                self.irr &= !mask;
            }
        }
        if self.imr & mask == 0 { result } else { -1 }
    }

    fn priority(&self, of: u8) -> Option<u32> {
        let rotated = of.rotate_right(u32::from(self.priority_add));
        (of != 0).then(|| rotated.trailing_zeros())
    }

    fn pin(&self, priority: u32) -> u32 {
        (priority + u32::from(self.priority_add)) & 7
    }

    /// The pin that is to be taken next.
    fn wanted(&self, master: bool) -> Option<u32> {
        let priority = self.priority(self.irr & !self.imr)?;
        let cascade = u8::from(self.special_fully_nested && master) << 2;
        let current = self.priority(self.isr & !cascade).unwrap_or(8);
        (priority < current).then(|| self.pin(priority))
    }

    /// The pin is taken; returns whether that ends it at once.
    fn take(&mut self, pin: u32) -> bool {
        self.isr |= 1 << pin;
        if self.elcr & 1 << pin == 0 {
            self.irr &= !(1 << pin);
        }
        if self.auto_eoi && self.rotate_on_auto_eoi {
            self.rotate_behind(pin);
        }
        if self.auto_eoi {
            self.isr &= !(1 << pin);
        }
        self.auto_eoi
    }

    fn rotate_behind(&mut self, pin: u32) {
        self.priority_add = u8::try_from((pin + 1) & 7).unwrap_or(0);
    }

    /// The first initialisation word; returns which pins are ended by it.
    fn reset(&mut self, value: u8, has_vcpu: bool) -> u8 {
        self.init4 = value & 1 != 0;
        // Without a vCPU there is no EOI to report.
        let ended = if has_vcpu { self.irr & !self.elcr } else { 0 };
        self.last_irr = 0;
        self.irr &= self.elcr;
        self.imr = 0;
        self.priority_add = 0;
        if !self.init4 {
            self.special_fully_nested = false;
            self.auto_eoi = false;
        }
        self.init_state = 1;
        self.isr &= !ended;
        ended
    }

    /// An EOI in its forms, or a change of priorities. Returns which pin it ends, and whether
    /// anything changed that decides about the next interrupt.
    fn command(&mut self, value: u8) -> (u8, bool) {
        let pin = u32::from(value & 7);
        let ended = match value >> 5 {
            command @ (0 | 4) => {
                self.rotate_on_auto_eoi = command == 4;
                None
            }
            1 | 5 => self.priority(self.isr).map(|priority| self.pin(priority)),
            3 | 7 => Some(pin),
            6 => {
                self.rotate_behind(pin);
                return (0, true);
            }
            _ => None,
        };
        let Some(ended) = ended else {
            return (0, false);
        };
        if value >> 5 >= 5 {
            self.rotate_behind(ended);
        }
        self.isr &= !(1 << ended);
        (1 << ended, true)
    }

    /// A mask, or the next initialisation word; returns whether it was a mask.
    fn data(&mut self, value: u8) -> bool {
        match self.init_state {
            0 => {
                self.imr = value;
                return true;
            }
            1 => {
                self.irq_base = value & 0xf8;
                self.init_state = 2;
            }
            2 => self.init_state = if self.init4 { 3 } else { 0 },
            _ => {
                self.special_fully_nested = value & 0x10 != 0;
                self.auto_eoi = value & 2 != 0;
                self.init_state = 0;
            }
        }
        false
    }
}

/// Both controllers; the slave's pins are 8 to 15.
#[derive(Debug, Default)]
pub(super) struct Pic {
    master: PicState,
    slave: PicState,
    lines: Lines<16>,
}

impl Pic {
    /// Where they lie on the bus of ports, two bytes each.
    pub(super) const PORTS: [u64; 3] = [0x20, 0xa0, 0x4d0];

    pub(super) fn set(&mut self, pin: u32, source: Source, level: bool) -> i32 {
        let level = self.lines.set(pin, source, level);
        let result = self.half(pin >= 8).set(pin & 7, level);
        self.update();
        result
    }

    pub(super) fn state(&self, slave: bool) -> PicState {
        if slave { self.slave } else { self.master }
    }

    pub(super) fn set_state(&mut self, slave: bool, state: PicState) {
        *self.half(slave) = state;
        self.update();
    }

    fn half(&mut self, slave: bool) -> &mut PicState {
        if slave {
            &mut self.slave
        } else {
            &mut self.master
        }
    }

    /// The slave's request arrives at the master as an edge on pin 2.
    pub(super) fn update(&mut self) {
        if self.slave.wanted(false).is_some() {
            self.master.set(2, true);
            self.master.set(2, false);
        }
    }

    pub(super) fn end(&mut self, pin: u32) {
        self.half(pin >= 8).isr &= !(1 << (pin & 7));
    }

    /// The processor takes an interrupt; returns its vector, and which pins that ends at once. To
    /// be followed by an [`update`](Self::update).
    pub(super) fn acknowledge(&mut self) -> Option<(u8, u16)> {
        let pin = self.master.wanted(true)?;
        let mut ended = u16::from(self.master.take(pin)) << pin;
        let (base, pin) = if pin == 2 {
            let wanted = self.slave.wanted(false);
            if let Some(pin) = wanted {
                ended |= u16::from(self.slave.take(pin)) << (pin + 8);
            }
            (self.slave.irq_base, wanted.unwrap_or(7))
        } else {
            (self.master.irq_base, pin)
        };
        Some((base.wrapping_add(u8::try_from(pin).unwrap_or(7)), ended))
    }

    /// A byte written to a port; returns which pins it ends, and whether to
    /// [`update`](Self::update) once that has been made known.
    pub(super) fn write(&mut self, port: u64, value: u8, has_vcpu: bool) -> (u16, bool) {
        let slave = matches!(port, 0xa0 | 0xa1 | 0x4d1);
        let half = self.half(slave);
        let (ended, update) = match port {
            0x4d0 | 0x4d1 => {
                half.elcr = value & if slave { 0xde } else { 0xf8 };
                (0, false)
            }
            0x20 | 0xa0 if value & 0x10 != 0 => (half.reset(value, has_vcpu), false),
            // Only reads are changed by this one.
            0x20 | 0xa0 if value & 0x08 != 0 => (0, false),
            0x20 | 0xa0 => half.command(value),
            _ => (0, half.data(value)),
        };
        (u16::from(ended) << if slave { 8 } else { 0 }, update)
    }
}
