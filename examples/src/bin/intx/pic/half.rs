// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Half`]: one 8259A.

/// The pin of the first PIC to which the second is connected.
pub(super) const CASCADE: u32 = 2;

#[derive(Debug, Default)]
pub(super) struct Half {
    /// The levels of the pins.
    levels: u8,
    /// Edges whose interrupt was not taken yet.
    edges: u8,
    mask: u8,
    in_service: u8,
    level_triggered: u8,
    base: u8,
    next: Next,
}

/// Which initialisation word comes next.
#[derive(Debug, Default)]
enum Next {
    #[default]
    None,
    Base {
        fourth: bool,
    },
    Cascade {
        fourth: bool,
    },
    Mode,
}

impl Half {
    pub(super) fn set(&mut self, pin: u32, level: bool) {
        let bit = 1 << pin;
        if level {
            self.edges |= bit & !self.levels & !self.level_triggered;
            self.levels |= bit;
        } else {
            // An edge that is withdrawn before it is taken is forgotten.
            self.edges &= !bit;
            self.levels &= !bit;
        }
    }

    /// The pins that request an interrupt, masked or not.
    pub(super) fn requests(&self) -> u8 {
        self.levels & self.level_triggered | self.edges
    }

    pub(super) fn mask(&self) -> u8 {
        self.mask
    }

    pub(super) fn level_triggered(&self) -> u8 {
        self.level_triggered
    }

    pub(super) fn set_level_triggered(&mut self, pins: u8) {
        self.level_triggered = pins;
        self.edges &= !pins;
    }

    /// The pin that is taken next, with the requests in `more` added: the highest priority, if it
    /// is higher than that of any pin in service.
    pub(super) fn wanted(&self, more: u8) -> Option<u32> {
        let wanted = (self.requests() | more) & !self.mask;
        let pin = wanted.trailing_zeros();
        (pin < self.in_service.trailing_zeros()).then_some(pin)
    }

    /// The vCPU takes a pin's interrupt: returns its vector.
    pub(super) fn take(&mut self, pin: u32) -> u8 {
        self.in_service |= 1 << pin;
        self.edges &= !(1 << pin);
        self.vector(pin)
    }

    pub(super) fn vector(&self, pin: u32) -> u8 {
        self.base | u8::try_from(pin & 7).unwrap_or(0)
    }

    /// Writes to the command register. Returns the pin whose interrupt this ends.
    pub(super) fn command(&mut self, value: u8) -> Option<u32> {
        if value & 0x10 != 0 {
            let fourth = value & 1 != 0;
            self.next = Next::Base { fourth };
            (self.mask, self.in_service, self.edges) = (0, 0, 0);
            return None;
        }
        let pin = match value >> 3 {
            // The highest priority in service, or the named one.
            0b00100 => self.in_service.trailing_zeros(),
            0b01100 => u32::from(value & 7),
            _ => return None,
        };
        let bit = 1u8.checked_shl(pin).unwrap_or(0);
        let ends = self.in_service & bit != 0;
        self.in_service &= !bit;
        ends.then_some(pin)
    }

    /// Writes to the data register: a mask, or the next initialisation word.
    pub(super) fn data(&mut self, value: u8) {
        self.next = match self.next {
            Next::None => {
                self.mask = value;
                Next::None
            }
            Next::Base { fourth } => {
                self.base = value & 0xf8;
                Next::Cascade { fourth }
            }
            Next::Cascade { fourth: true } => Next::Mode,
            Next::Cascade { fourth: false } | Next::Mode => Next::None,
        };
    }
}
