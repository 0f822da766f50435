// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`RouteBuffer`]: a routing table in the kernel's own layout.

use std::fmt;
use std::ops::Range;

use crate::MsiMessage;

/// Eight-byte words in one `struct kvm_irq_routing_entry`.
const ENTRY: usize = 6;
/// Eight-byte words before the entries: `nr` and `flags` of `struct kvm_irq_routing`.
const HEADER: usize = 1;

const IRQCHIP: u32 = kvm_bindings::KVM_IRQ_ROUTING_IRQCHIP;
const MSI: u32 = kvm_bindings::KVM_IRQ_ROUTING_MSI;
const HV_SINT: u32 = kvm_bindings::KVM_IRQ_ROUTING_HV_SINT;
const XEN_EVTCHN: u32 = kvm_bindings::KVM_IRQ_ROUTING_XEN_EVTCHN;
const MSI_VALID_DEVID: u32 = kvm_bindings::KVM_MSI_VALID_DEVID;

/// A routing table in the layout of KVM_SET_GSI_ROUTING: header and entries in one allocation.
///
/// It is changed in place and passed to the kernel as it is, so a commit copies nothing in user
/// space. Entries keep their order, except over [`swap_remove`](Self::swap_remove).
#[derive(Clone)]
pub struct RouteBuffer {
    words: Vec<u64>,
}

/// One entry of a routing table: a GSI, and what it is routed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct RouteEntry {
    /// The GSI.
    pub gsi: u32,
    /// What it is routed to.
    pub target: RouteTarget,
}

/// What one entry of a routing table routes its GSI to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RouteTarget {
    /// A pin of an interrupt controller in the kernel.
    Pin {
        /// KVM's number of the interrupt controller.
        chip: u32,
        /// The pin's number.
        pin: u32,
    },
    /// An MSI message.
    Msi(MsiMessage),
    /// A synthetic interrupt source of Hyper-V.
    HvSint {
        /// The vCPU.
        vcpu: u32,
        /// The source.
        sint: u32,
    },
    /// An event channel of Xen.
    XenEvtchn {
        /// The port.
        port: u32,
        /// The vCPU.
        vcpu: u32,
        /// The priority.
        priority: u32,
    },
}

impl fmt::Display for RouteTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pin { chip, pin } => write!(f, "pin {pin} of chip {chip}"),
            Self::Msi(message) => message.fmt(f),
            Self::HvSint { vcpu, sint } => write!(f, "SINT {sint} of vCPU {vcpu}"),
            Self::XenEvtchn { port, vcpu, .. } => {
                write!(f, "Xen event channel {port} of vCPU {vcpu}")
            }
        }
    }
}

impl RouteEntry {
    /// Creates an entry.
    #[must_use]
    pub fn new(gsi: u32, target: RouteTarget) -> Self {
        Self { gsi, target }
    }

    fn encode(&self) -> [u64; ENTRY] {
        let (kind, flags, union) = match self.target {
            RouteTarget::Pin { chip, pin } => (IRQCHIP, 0, [chip, pin, 0, 0]),
            RouteTarget::Msi(MsiMessage {
                address,
                data,
                devid,
            }) => {
                let flags = if devid.is_some() { MSI_VALID_DEVID } else { 0 };
                let [low, high] = halves(address);
                (MSI, flags, [low, high, data, devid.unwrap_or(0)])
            }
            RouteTarget::HvSint { vcpu, sint } => (HV_SINT, 0, [vcpu, sint, 0, 0]),
            RouteTarget::XenEvtchn {
                port,
                vcpu,
                priority,
            } => (XEN_EVTCHN, 0, [port, vcpu, priority, 0]),
        };
        let [u0, u1, u2, u3] = union;
        [
            in_memory(self.gsi, kind),
            in_memory(flags, 0),
            in_memory(u0, u1),
            in_memory(u2, u3),
            0,
            0,
        ]
    }

    fn decode(words: &[u64; ENTRY]) -> Option<Self> {
        let [w0, w1, w2, w3, ..] = *words;
        let ((gsi, kind), (flags, _)) = (from_memory(w0), from_memory(w1));
        let ((u0, u1), (u2, u3)) = (from_memory(w2), from_memory(w3));
        let target = match kind {
            IRQCHIP => RouteTarget::Pin { chip: u0, pin: u1 },
            MSI => RouteTarget::Msi(MsiMessage {
                address: u64::from(u1) << 32 | u64::from(u0),
                data: u2,
                devid: (flags & MSI_VALID_DEVID != 0).then_some(u3),
            }),
            HV_SINT => RouteTarget::HvSint { vcpu: u0, sint: u1 },
            XEN_EVTCHN => RouteTarget::XenEvtchn {
                port: u0,
                vcpu: u1,
                priority: u2,
            },
            _ => return None,
        };
        Some(Self { gsi, target })
    }
}

/// Two neighbouring `u32` of a C struct as the eight bytes that they are.
fn in_memory(first: u32, second: u32) -> u64 {
    let ([a, b, c, d], [e, f, g, h]) = (first.to_ne_bytes(), second.to_ne_bytes());
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

/// The inverse of [`in_memory`].
fn from_memory(word: u64) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = word.to_ne_bytes();
    (
        u32::from_ne_bytes([a, b, c, d]),
        u32::from_ne_bytes([e, f, g, h]),
    )
}

/// The low and the high half of an address.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the halves are what is wanted"
)]
pub(crate) fn halves(address: u64) -> [u32; 2] {
    [address as u32, (address >> 32) as u32]
}

impl RouteBuffer {
    /// Creates an empty table.
    #[must_use]
    pub fn new() -> Self {
        Self { words: vec![0] }
    }

    /// Returns the number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries().len()
    }

    /// Returns whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries().is_empty()
    }

    /// Returns the entry at `index`; `None` beyond the end.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<RouteEntry> {
        self.entries().get(index).and_then(RouteEntry::decode)
    }

    /// Iterates over all entries in order.
    pub fn iter(&self) -> impl Iterator<Item = RouteEntry> + Clone + '_ {
        self.entries().iter().filter_map(RouteEntry::decode)
    }

    /// Reserves memory for this many more entries; reserves none if there is not enough.
    pub fn reserve(&mut self, additional: usize) {
        // The entries take what they need, one by one.
        let _ = self.words.try_reserve(additional.saturating_mul(ENTRY));
    }

    /// Appends an entry.
    pub fn push(&mut self, entry: RouteEntry) {
        self.words.extend_from_slice(&entry.encode());
        self.update_header();
    }

    /// Overwrites the entry at `index` and returns the old one; `None` beyond the end.
    pub fn replace(&mut self, index: usize, entry: RouteEntry) -> Option<RouteEntry> {
        let slot = self.entries_mut().get_mut(index)?;
        RouteEntry::decode(&std::mem::replace(slot, entry.encode()))
    }

    /// Replaces the entries at `range`; those behind keep their order.
    ///
    /// A range that reaches beyond the end stops there.
    pub fn splice(&mut self, range: Range<usize>, entries: impl IntoIterator<Item = RouteEntry>) {
        let word = |index: usize| HEADER + index.min(self.len()) * ENTRY;
        let words = word(range.start.min(range.end))..word(range.end);
        let new = entries.into_iter().flat_map(|entry| entry.encode());
        // The caller's iterator may panic half way, and the kernel believes the header.
        self.set_count(0);
        drop(self.words.splice(words, new));
        self.update_header();
    }

    /// Removes and returns the entry at `index`; the last one takes its place.
    pub fn swap_remove(&mut self, index: usize) -> Option<RouteEntry> {
        let entries = self.entries_mut();
        let last = *entries.last()?;
        let removed = std::mem::replace(entries.get_mut(index)?, last);
        self.words.truncate(self.words.len() - ENTRY);
        self.update_header();
        RouteEntry::decode(&removed)
    }

    /// The table as the kernel reads it: `struct kvm_irq_routing`, then its entries.
    pub(crate) fn as_words(&self) -> &[u64] {
        &self.words
    }

    fn entries(&self) -> &[[u64; ENTRY]] {
        self.words.get(HEADER..).unwrap_or(&[]).as_chunks().0
    }

    fn entries_mut(&mut self) -> &mut [[u64; ENTRY]] {
        self.words
            .get_mut(HEADER..)
            .unwrap_or(&mut [])
            .as_chunks_mut()
            .0
    }

    fn update_header(&mut self) {
        self.set_count(self.len());
    }

    fn set_count(&mut self, entries: usize) {
        // More entries than a u32 counts do not fit into memory; KVM refuses all above 4096.
        let count = u32::try_from(entries).unwrap_or(u32::MAX);
        if let Some(header) = self.words.first_mut() {
            *header = in_memory(count, 0);
        }
    }
}

impl fmt::Debug for RouteBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Default for RouteBuffer {
    fn default() -> Self {
        Self::new()
    }
}

impl FromIterator<RouteEntry> for RouteBuffer {
    fn from_iter<I: IntoIterator<Item = RouteEntry>>(entries: I) -> Self {
        let mut buffer = Self::new();
        entries.into_iter().for_each(|entry| buffer.push(entry));
        buffer
    }
}
