// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The IOAPIC.
//!
//! Kernel source: `arch/x86/kvm/ioapic.c`.

use std::fmt;

use super::lapic::{Lapics, Message};
use super::line::{Lines, Source};
use super::words::Hex;
use super::words::halves;

const PINS: u32 = 24;
/// The pin of the real-time clock, whose interrupts KVM counts until they are ended.
const RTC: u32 = 8;

/// Bits of a redirection entry.
const REMOTE_IRR: u64 = 1 << 14;
const DELIVERY_STATUS: u64 = 1 << 12;
const LEVEL: u64 = 1 << 15;
const MASKED: u64 = 1 << 16;

/// Registers of the IOAPIC, as KVM_GET_IRQCHIP shows them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct IoApicState {
    /// IRR: requested, not yet delivered.
    pub irr: u32,
    /// The redirection entries.
    ///
    /// Bits 0 to 7: vector; 14: waits for an EOI; 15: level-triggered; 16: masked; 56 to 63:
    /// destination.
    pub redirections: [u64; PINS as usize],
}

impl fmt::Debug for IoApicState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IoApicState")
            .field("irr", &Hex(self.irr))
            .field("redirections", &self.redirections.map(Hex))
            .finish()
    }
}

#[derive(Debug)]
pub(super) struct IoApic {
    state: IoApicState,
    delivered: u32,
    lines: Lines<{ PINS as usize }>,
    select: u8,
    /// Which vCPUs still hold a vector of the real-time clock.
    rtc: Vec<(usize, u8)>,
}

impl IoApic {
    /// Where it lies on the memory bus, and how many bytes of it.
    pub(super) const RANGE: (u64, u64) = (0xfec0_0000, 0x100);

    pub(super) fn new() -> Self {
        Self {
            state: IoApicState {
                irr: 0,
                redirections: [MASKED; PINS as usize],
            },
            delivered: 0,
            lines: Lines::default(),
            select: 0,
            rtc: Vec::new(),
        }
    }

    fn entry(&self, pin: u32) -> u64 {
        let pin = usize::try_from(pin).unwrap_or(usize::MAX);
        let entry = self.state.redirections.get(pin);
        entry.copied().unwrap_or(MASKED)
    }

    fn entry_mut(&mut self, pin: u32) -> Option<&mut u64> {
        let pin = usize::try_from(pin).ok()?;
        self.state.redirections.get_mut(pin)
    }

    /// More than 0: taken by so many, 0: one was pending, -1: masked or waiting for an EOI.
    pub(super) fn set(
        &mut self,
        lapics: &mut Lapics,
        pin: u32,
        (source, level): (Source, bool),
        with_status: bool,
    ) -> i32 {
        let level = self.lines.set(pin, source, level);
        self.request(lapics, pin, level, with_status)
    }

    fn request(&mut self, lapics: &mut Lapics, pin: u32, level: bool, with_status: bool) -> i32 {
        let mask = 1 << pin;
        if !level {
            self.state.irr &= !mask;
            return 1;
        }
        if pin == RTC && with_status && !self.rtc.is_empty() {
            return 0;
        }
        let before = self.state.irr;
        self.state.irr |= mask;
        if self.entry(pin) & LEVEL == 0 {
            self.delivered &= !mask;
            if before == self.state.irr {
                return 0;
            }
        }
        self.service(lapics, pin, with_status)
    }

    fn message(&self, pin: u32) -> Message {
        let entry = self.entry(pin);
        let [vector, modes, _, _, _, _, _, destination] = entry.to_le_bytes();
        Message {
            destination: destination.into(),
            logical: modes & 1 << 3 != 0,
            redirect: false,
            mode: modes & 7,
            vector,
            level: entry & LEVEL != 0,
        }
    }

    fn service(&mut self, lapics: &mut Lapics, pin: u32, with_status: bool) -> i32 {
        let entry = self.entry(pin);
        let level = entry & LEVEL != 0;
        if entry & MASKED != 0 || level && entry & REMOTE_IRR != 0 {
            return -1;
        }
        if !level {
            self.delivered |= 1 << pin;
        }
        let mut holders = Vec::new();
        let taken = lapics.deliver(self.message(pin), &mut holders);
        if pin == RTC && with_status {
            self.rtc = holders;
        }
        if taken != 0
            && level
            && let Some(entry) = self.entry_mut(pin)
        {
            *entry |= REMOTE_IRR;
        }
        taken
    }

    /// The pins that an end of this vector concerns.
    pub(super) fn pins_of(&self, vector: u8) -> impl Iterator<Item = u32> + use<> {
        let entries = self.state.redirections;
        (0..PINS).zip(entries).filter_map(move |(pin, entry)| {
            let [of, ..] = entry.to_le_bytes();
            (of == vector).then_some(pin)
        })
    }

    pub(super) fn is_level(&self, pin: u32) -> bool {
        self.entry(pin) & LEVEL != 0
    }

    pub(super) fn rtc_ended(&mut self, vcpu: usize, vector: u8) {
        self.rtc.retain(|holder| *holder != (vcpu, vector));
    }

    /// After a restore it is not known which vCPUs hold the real-time clock's vector because of it,
    /// so all do that could.
    pub(super) fn restore_rtc(&mut self, lapics: &Lapics) {
        let message = self.message(RTC);
        self.rtc = lapics
            .addressed(&message)
            .filter(|vcpu| lapics.holds(*vcpu, message.vector))
            .map(|vcpu| (vcpu, message.vector))
            .collect();
    }

    /// A level-triggered interrupt of this pin has ended; one that is still requested comes again.
    pub(super) fn ended(&mut self, lapics: &mut Lapics, pin: u32) {
        if let Some(entry) = self.entry_mut(pin) {
            *entry &= !REMOTE_IRR;
        }
        if self.state.irr & 1 << pin != 0 {
            self.service(lapics, pin, false);
        }
    }

    /// Writes to the registers. Returns a level-triggered pin that became deliverable while it is
    /// requested, for [`unmasked`](Self::unmasked).
    pub(super) fn write(&mut self, address: u64, bytes: &[u8]) -> Option<u32> {
        let mut value = [0; 4];
        for (to, from) in value.iter_mut().zip(bytes) {
            *to = *from;
        }
        let value = u32::from_le_bytes(value);
        match address & 0xff {
            0 => {
                [self.select, ..] = value.to_le_bytes();
                None
            }
            0x10 => self.write_window(value),
            _ => None,
        }
    }

    fn write_window(&mut self, value: u32) -> Option<u32> {
        let high = self.select & 1 != 0;
        let pin = u32::from(self.select.checked_sub(0x10)? >> 1);
        let entry = self.entry_mut(pin)?;
        let kept = *entry & (REMOTE_IRR | DELIVERY_STATUS);
        let [low_half, high_half] = halves(*entry);
        *entry = if high {
            u64::from(value) << 32 | u64::from(low_half)
        } else {
            u64::from(high_half) << 32 | u64::from(value)
        };
        *entry = *entry & !(REMOTE_IRR | DELIVERY_STATUS) | kept;
        if *entry & LEVEL == 0 {
            *entry &= !REMOTE_IRR;
        }
        let deliverable = *entry & (LEVEL | MASKED | REMOTE_IRR) == LEVEL;
        (deliverable && self.state.irr & 1 << pin != 0).then_some(pin)
    }

    /// A pin that waited can be delivered. If the devices that hold it up were asked again, the
    /// request that waited is forgotten.
    pub(super) fn unmasked(&mut self, lapics: &mut Lapics, pin: u32, asked_again: bool) {
        if asked_again {
            self.state.irr &= !(1 << pin);
        } else {
            self.service(lapics, pin, false);
        }
    }

    pub(super) fn state(&self) -> IoApicState {
        IoApicState {
            irr: self.state.irr & !self.delivered,
            ..self.state
        }
    }

    /// KVM_SET_IRQCHIP: what is requested is requested anew.
    pub(super) fn set_state(&mut self, lapics: &mut Lapics, state: IoApicState) {
        self.state = IoApicState { irr: 0, ..state };
        self.delivered = 0;
        self.rtc.clear();
        for pin in (0..PINS).filter(|pin| state.irr & 1 << pin != 0) {
            self.request(lapics, pin, true, true);
        }
        self.restore_rtc(lapics);
    }
}
