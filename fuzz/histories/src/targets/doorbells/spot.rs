// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Spot`]: bus, address, width and value, and KVM's rules for two of them.

use ioeventfd::{Datamatch, IoAddress, Width};
use notify_core::Bus;

/// The key of a doorbell in KVM. A width of 0 is any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Spot {
    pub(super) pio: bool,
    pub(super) at: u64,
    pub(super) len: u32,
    pub(super) value: Option<u64>,
}

impl Spot {
    /// Whether KVM signals it for a write that is looked up in one piece.
    pub(super) fn takes(&self, pio: bool, at: u64, bytes: &[u8]) -> bool {
        if self.pio != pio || self.at != at {
            return false;
        }
        if self.len == 0 {
            return true;
        }
        if self.len as usize != bytes.len() {
            return false;
        }
        match self.value {
            None => true,
            Some(value) => bytes == bytes_of(value, bytes.len()),
        }
    }

    /// Whether KVM refuses both together (EEXIST).
    pub(super) fn is_refused_beside(&self, other: &Self) -> bool {
        if (self.pio, self.at) != (other.pio, other.at) {
            return false;
        }
        if self.len == 0 || other.len == 0 {
            return true;
        }
        let wild = self.value.is_none() || other.value.is_none();
        self.len == other.len && (wild || self.value == other.value)
    }

    /// Whether the two may not be on one bus: KVM refuses them, or may miss one of them.
    pub(super) fn is_against(&self, other: &Self) -> bool {
        if self.pio != other.pio {
            return false;
        }
        if self.at == other.at {
            return self.is_refused_beside(other);
        }
        let (low, high) = match self.at < other.at {
            true => (self, other),
            false => (other, self),
        };
        // One without a width counts as one byte.
        let end = low.at + u64::from(low.len.max(1));
        high.at < end || (high.at == end && high.len == 0 && low.len != 0)
    }

    /// Whether it lies among the registers of a device in the kernel.
    pub(super) fn is_in(&self, (pio, start, size): (bool, u64, u64)) -> bool {
        let (end, window_end) = (self.at + u64::from(self.len.max(1)), start + size);
        let shares = self.at < window_end && start < end;
        size > 0 && self.pio == pio && (shares || (self.len == 0 && self.at == window_end))
    }

    /// Whether a guest can make such a write, and KVM look it up in one piece.
    pub(super) fn exists(&self) -> bool {
        let last = self.at + u64::from(self.len.max(1)) - 1;
        match self.pio {
            true => self.len <= 4 && last <= 0xffff,
            false => self.at / 4096 == last / 4096,
        }
    }

    pub(super) fn address(&self) -> IoAddress {
        address(self.pio, self.at)
    }

    pub(super) fn datamatch(&self) -> Datamatch {
        match (self.len, self.value) {
            (0, _) => Datamatch::AnyWrite,
            (1, None) => Datamatch::Width(Width::W1),
            (2, None) => Datamatch::Width(Width::W2),
            (4, None) => Datamatch::Width(Width::W4),
            (8, None) => Datamatch::Width(Width::W8),
            (1, Some(value)) => Datamatch::U8(value as u8),
            (2, Some(value)) => Datamatch::U16(value as u16),
            (4, Some(value)) => Datamatch::U32(value as u32),
            (_, value) => Datamatch::U64(value.unwrap_or(0)),
        }
    }

    pub(super) fn of(address: IoAddress, datamatch: Datamatch) -> Self {
        Self {
            pio: address.bus() == Bus::Pio,
            at: address.number(),
            len: datamatch.bytes(),
            value: datamatch.value(),
        }
    }
}

pub(super) fn address(pio: bool, at: u64) -> IoAddress {
    match pio {
        true => IoAddress::Pio(u16::try_from(at).expect("a port")),
        false => IoAddress::Mmio(at),
    }
}

/// A value as so many bytes of the guest's memory.
pub(super) fn bytes_of(value: u64, len: usize) -> Vec<u8> {
    let mut bytes = value.to_ne_bytes().to_vec();
    if cfg!(target_endian = "big") {
        bytes.rotate_left(8_usize.saturating_sub(len));
    }
    bytes.resize(len, 0);
    bytes
}

/// A piece of a store: where, and what.
pub(super) type Piece = (u64, Vec<u8>);

/// The pieces of a store: split at pages, and each part into eight bytes.
pub(super) fn cut(pio: bool, at: u64, bytes: &[u8]) -> Vec<Vec<Piece>> {
    if pio {
        return vec![vec![(at, bytes.to_vec())]];
    }
    let mut parts: Vec<Vec<u8>> = Vec::new();
    let mut starts = Vec::new();
    for (offset, byte) in (0..).zip(bytes) {
        if offset == 0 || (at + offset).is_multiple_of(4096) {
            starts.push(at + offset);
            parts.push(Vec::new());
        }
        parts.last_mut().expect("one at least").push(*byte);
    }
    let words = |(start, part): (u64, Vec<u8>)| {
        let words = part.chunks(8).enumerate();
        words
            .map(|(index, word)| (start + 8 * index as u64, word.to_vec()))
            .collect()
    };
    starts.into_iter().zip(parts).map(words).collect()
}
