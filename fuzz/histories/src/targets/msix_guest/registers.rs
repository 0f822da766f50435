// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The guest's registers: bytes, their writable bits, and their meaning by the specification.

use irqfd::msix::Registers;

/// A vector by its registers: open or not, and its message if it were open.
pub(super) type Wish = (bool, (u64, u32));

/// MSI-X: PCI Local Bus 3.0, 6.8.2.
#[derive(Debug, Clone)]
pub(super) struct Msix {
    pub(super) bytes: Vec<u8>,
    pub(super) enabled: bool,
    pub(super) masked: bool,
}

/// MSI: PCI Local Bus 3.0, 6.8.1.
#[derive(Debug, Clone)]
pub(super) struct Msi {
    pub(super) bytes: Vec<u8>,
    writable: Vec<u8>,
    log: u32,
    data_at: usize,
    maskable: bool,
    /// The message in force: the one when its data was written.
    taken: (u64, u32),
}

fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// The position of byte `n` of an access, if it lies inside a region of so many bytes.
fn place(offset: u64, n: usize, len: usize) -> Option<usize> {
    let at = usize::try_from(u128::from(offset) + n as u128).ok()?;
    (at < len).then_some(at)
}

/// The result of a read: a vCPU's lengths only, and all ones outside the registers.
pub(super) fn read(bytes: &[u8], offset: u64, len: usize) -> Vec<u8> {
    let known = [1, 2, 4, 8].contains(&len);
    let byte = |n| match place(offset, n, bytes.len()) {
        Some(at) if known => bytes[at],
        _ => 0xff,
    };
    (0..len).map(byte).collect()
}

impl Msix {
    pub(super) fn new(vectors: usize) -> Self {
        let entry = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
        Self {
            bytes: entry.repeat(vectors),
            enabled: false,
            masked: false,
        }
    }

    pub(super) fn vectors(&self) -> usize {
        self.bytes.len() / 16
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        if ![1, 2, 4, 8].contains(&bytes.len()) {
            return;
        }
        for (n, byte) in bytes.iter().enumerate() {
            if let Some(at) = place(offset, n, self.bytes.len()) {
                self.bytes[at] = match at % 16 {
                    0 => byte & 0xfc,
                    12 => byte & 1,
                    13..16 => 0,
                    _ => *byte,
                };
            }
        }
    }

    pub(super) fn control(&self) -> u16 {
        let size = self.vectors() as u16 - 1;
        u16::from(self.enabled) << 15 | u16::from(self.masked) << 14 | size
    }

    pub(super) fn write_control(&mut self, control: u16) {
        self.enabled = control & 0x8000 != 0;
        self.masked = control & 0x4000 != 0;
    }

    /// Only the upper byte of Message Control, the fourth of the capability, can be written.
    pub(super) fn config(&mut self, offset: u64, bytes: &[u8]) {
        let upper = (0..bytes.len()).find(|n| place(offset, *n, 4) == Some(3));
        if let Some(n) = upper {
            self.write_control(u16::from(bytes[n]) << 8);
        }
    }

    pub(super) fn wishes(&self) -> Vec<Wish> {
        let open = self.enabled && !self.masked;
        let entries = self.bytes.chunks(16);
        let message = |entry: &[u8]| (number(&entry[..8]), number(&entry[8..12]) as u32);
        entries
            .map(|entry| (open && entry[12] == 0, message(entry)))
            .collect()
    }

    /// The registers in another VMM's format.
    pub(super) fn foreign(&self, pending: &[bool]) -> Registers {
        let mut words = vec![0; pending.len().div_ceil(64)];
        for n in (0..pending.len()).filter(|n| pending[*n]) {
            words[n / 64] |= 1 << (n % 64);
        }
        Registers {
            control: self.control(),
            table: self.bytes.clone(),
            pending: words,
        }
    }

    /// The meaning of such registers, if they are consistent: as if written to a new table.
    pub(super) fn of_foreign(foreign: &Registers) -> Option<(Self, Vec<bool>)> {
        let vectors = usize::from(foreign.control & 0x7ff) + 1;
        let bit = |n: usize| foreign.pending[n / 64] >> (n % 64) & 1 != 0;
        let mut pending = Vec::from_iter((0..64 * foreign.pending.len()).map(bit));
        let none = pending.iter().skip(vectors).all(|pending| !pending);
        pending.resize(vectors, false);
        let mut registers = Self::new(vectors);
        for (offset, bytes) in (0..).step_by(4).zip(foreign.table.chunks(4)) {
            registers.write(offset, bytes);
        }
        registers.write_control(foreign.control);
        let agree = none && foreign.table.len() == 16 * vectors;
        agree.then_some((registers, pending))
    }

    pub(super) fn pba(&self, pending: &[bool]) -> Vec<u8> {
        let mut bytes = vec![0; 8 * self.vectors().div_ceil(64)];
        for (n, (is_open, _)) in self.wishes().into_iter().enumerate() {
            if pending[n] && !is_open {
                bytes[n / 8] |= 1 << (n % 8);
            }
        }
        bytes
    }
}

impl Msi {
    pub(super) fn new(log: u32, wide: bool, maskable: bool) -> Self {
        let mut writable = vec![0, 0, 0x71, 0, 0xfc, 0xff, 0xff, 0xff];
        if wide {
            writable.extend([0xff; 4]);
        }
        let data_at = writable.len();
        writable.extend([0xff; 2]);
        if maskable {
            let vectors = (1_u64 << (1 << log)) - 1;
            writable.extend([0, 0]);
            writable.extend((vectors as u32).to_le_bytes());
            writable.extend([0; 4]);
        }
        let mut bytes = vec![0; writable.len()];
        bytes[0] = 5;
        bytes[2] = (log << 1) as u8 | u8::from(wide) << 7;
        bytes[3] = maskable.into();
        Self {
            bytes,
            writable,
            log,
            data_at,
            maskable,
            taken: (0, 0),
        }
    }

    pub(super) fn after_reset(&self) -> Self {
        Self::new(self.log, self.data_at == 12, self.maskable)
    }

    pub(super) fn vectors(&self) -> usize {
        1 << self.log
    }

    pub(super) fn granted(&self) -> usize {
        1 << (self.bytes[2] >> 4 & 7)
    }

    pub(super) fn data_at(&self) -> usize {
        self.data_at
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.bytes[2] & 1 != 0
    }

    fn is_open(&self, n: usize) -> bool {
        let mask = self.data_at + 4 + n / 8;
        let masked = self.maskable && self.bytes[mask] >> (n % 8) & 1 != 0;
        self.is_enabled() && n < self.granted() && !masked
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        let before = self.clone();
        let mut complete = false;
        for (n, byte) in bytes.iter().enumerate() {
            let Some(at) = place(offset, n, self.bytes.len()) else {
                continue;
            };
            complete |= at == self.data_at || at == self.data_at + 1;
            let writable = self.writable[at];
            self.bytes[at] = self.bytes[at] & !writable | byte & writable;
        }
        // At most as many as the device has.
        if self.granted() > self.vectors() {
            self.bytes[2] = self.bytes[2] & 0x8f | (self.log as u8) << 4;
        }
        let opens = (0..self.vectors()).any(|n| self.is_open(n) && !before.is_open(n));
        if complete || opens || self.granted() != before.granted() {
            let data = number(&self.bytes[self.data_at..self.data_at + 2]);
            self.taken = (number(&self.bytes[4..self.data_at]), data as u32);
        }
    }

    pub(super) fn wishes(&self) -> Vec<Wish> {
        let low = self.granted() as u32 - 1;
        let (address, data) = self.taken;
        let message = |n: usize| (address, data & !low | n as u32 & low);
        (0..self.vectors())
            .map(|n| (self.is_open(n), message(n)))
            .collect()
    }

    pub(super) fn read(&self, offset: u64, len: usize, pending: &[bool]) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        for n in 0..self.granted() {
            if self.maskable && pending[n] && !self.is_open(n) {
                bytes[self.data_at + 8 + n / 8] |= 1 << (n % 8);
            }
        }
        let byte = |n| place(offset, n, bytes.len()).map_or(0, |at| bytes[at]);
        (0..len).map(byte).collect()
    }
}
