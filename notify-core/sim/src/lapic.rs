// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The local APICs: which of them takes a message, and which vectors wait there.
//!
//! Kernel source: `kvm_irq_delivery_to_apic` and `__apic_accept_irq` in `arch/x86/kvm/`. Every APIC
//! is in xAPIC mode with a logical id of 0, as after reset, so that logical destinations other than
//! "all" match none.

use super::words::halves;
use notify_core::MsiMessage;

/// All APICs.
const BROADCAST: u32 = 0xff;

/// Where the registers lie, and how many bytes of them.
const BASE: u64 = 0xfee0_0000;
const LENGTH: u64 = 0x1000;
const EOI: u64 = 0xb0;

/// 256 bits.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Vectors([u64; 4]);

impl Vectors {
    fn set(&mut self, vector: u8, value: bool) {
        if let Some(word) = self.0.get_mut(usize::from(vector / 64)) {
            let bit = 1 << (vector % 64);
            *word = if value { *word | bit } else { *word & !bit };
        }
    }

    fn get(&self, vector: u8) -> bool {
        let word = self.0.get(usize::from(vector / 64));
        word.is_some_and(|word| word & (1 << (vector % 64)) != 0)
    }

    fn iter(&self) -> impl DoubleEndedIterator<Item = u8> + '_ {
        (0..=u8::MAX).filter(|vector| self.get(*vector))
    }

    fn highest(&self) -> Option<u8> {
        if self.0 == [0; 4] {
            return None;
        }
        self.iter().next_back()
    }
}

#[derive(Debug, Default, Clone)]
struct Lapic {
    enabled: bool,
    requested: Vectors,
    in_service: Vectors,
    /// Of those requested, which came level-triggered.
    level: Vectors,
}

/// The local APICs of all vCPUs; a vCPU's index is its APIC id.
#[derive(Debug, Default)]
pub(super) struct Lapics {
    all: Vec<Lapic>,
    /// Whether the last vCPU is in the map by which KVM finds destinations. The map was made when
    /// that vCPU was, a moment too early, and is made anew when any local APIC is set up.
    last_is_mapped: bool,
}

/// An interrupt on its way to the local APICs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message {
    pub(super) destination: u32,
    pub(super) logical: bool,
    /// To the one of lowest priority, for the hint in an MSI's address.
    pub(super) redirect: bool,
    pub(super) mode: u8,
    pub(super) vector: u8,
    pub(super) level: bool,
}

/// Delivery modes, in the encoding that MSI data and redirection entries share.
const FIXED: u8 = 0;
const LOWEST_PRIORITY: u8 = 1;
const SMI: u8 = 2;
const EXTERNAL: u8 = 7;

impl Message {
    /// Reads address and data of an MSI; with `wide` ids, bits 8 and up are in the high half.
    pub(super) fn from_msi(msi: &MsiMessage, wide: bool) -> Self {
        let [low, high] = halves(msi.address);
        let high = if wide { high & 0xffff_ff00 } else { 0 };
        let [vector, mode, ..] = msi.data.to_le_bytes();
        Self {
            destination: (low >> 12 & 0xff) | high,
            logical: low & 1 << 2 != 0,
            redirect: low & 1 << 3 != 0,
            mode: mode & 7,
            vector,
            level: msi.data & 1 << 15 != 0,
        }
    }

    fn lowest(&self) -> bool {
        self.redirect || self.mode == LOWEST_PRIORITY
    }
}

impl Lapic {
    fn accept(&mut self, message: &Message) -> bool {
        match message.mode {
            FIXED | LOWEST_PRIORITY if self.enabled => {
                self.level.set(message.vector, message.level);
                self.requested.set(message.vector, true);
                true
            }
            // The kernel takes an SMI only if it was built with CONFIG_KVM_SMM, which it need not
            // be.
            FIXED | LOWEST_PRIORITY | SMI | EXTERNAL => false,
            // Remote read, NMI, INIT and start-up are always taken.
            _ => true,
        }
    }
}

impl Lapics {
    pub(super) fn new(count: usize) -> Self {
        Self {
            all: vec![Lapic::default(); count],
            last_is_mapped: false,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// How many took the message, or -1 if none is a destination. Those that hold a vector for it
    /// are added to `holders`.
    pub(super) fn deliver(&mut self, mut message: Message, holders: &mut Vec<(usize, u8)>) -> i32 {
        if self.all.is_empty() {
            return -1;
        }
        if message.destination != BROADCAST {
            let physical = usize::try_from(message.destination).unwrap_or(usize::MAX);
            let is_last = Some(physical) == self.all.len().checked_sub(1);
            if message.logical || (is_last && !self.last_is_mapped) {
                return 0;
            }
            return self.accept(physical, &message, holders);
        }
        if !message.logical && message.lowest() {
            message.mode = FIXED;
        }
        if !message.lowest() {
            let all = 0..self.all.len();
            return all.map(|at| self.accept(at, &message, holders)).sum();
        }
        let enabled = || self.all.iter().enumerate().filter(|(_, one)| one.enabled);
        let chosen = match enabled().count() {
            0 => None,
            count => enabled().nth(usize::from(message.vector) % count),
        };
        let chosen = chosen.map(|(at, _)| at);
        chosen.map_or(-1, |at| self.accept(at, &message, holders))
    }

    fn accept(&mut self, at: usize, message: &Message, holders: &mut Vec<(usize, u8)>) -> i32 {
        let taken = self.all.get_mut(at).is_some_and(|one| one.accept(message));
        if taken && message.mode <= LOWEST_PRIORITY {
            holders.push((at, message.vector));
        }
        i32::from(taken)
    }

    /// The vCPUs that a message is meant for, each for itself.
    pub(super) fn addressed(&self, message: &Message) -> impl Iterator<Item = usize> + use<> {
        let (destination, logical) = (message.destination, message.logical);
        (0..self.all.len()).filter(move |vcpu| {
            destination == BROADCAST || !logical && u32::try_from(*vcpu) == Ok(destination)
        })
    }

    /// Whether a vector waits or is in service.
    pub(super) fn holds(&self, vcpu: usize, vector: u8) -> bool {
        let lapic = self.all.get(vcpu);
        lapic.is_some_and(|one| one.requested.get(vector) || one.in_service.get(vector))
    }

    pub(super) fn enable(&mut self, vcpu: usize, enabled: bool) {
        self.last_is_mapped = true;
        if let Some(lapic) = self.all.get_mut(vcpu) {
            lapic.enabled = enabled;
        }
    }

    pub(super) fn clear(&mut self, vcpu: usize) {
        self.last_is_mapped = true;
        if let Some(lapic) = self.all.get_mut(vcpu) {
            lapic.requested = Vectors::default();
        }
    }

    pub(super) fn requested(&self, vcpu: usize) -> Vec<u8> {
        let lapic = self.all.get(vcpu);
        lapic.map_or_else(Vec::new, |lapic| lapic.requested.iter().collect())
    }

    /// The processor takes the highest vector, if none as high is in service.
    pub(super) fn acknowledge(&mut self, vcpu: usize) -> Option<u8> {
        let lapic = self.all.get_mut(vcpu)?;
        let vector = lapic.requested.highest()?;
        let busy = lapic.in_service.highest();
        if !lapic.enabled || busy.is_some_and(|busy| busy >> 4 >= vector >> 4) {
            return None;
        }
        lapic.requested.set(vector, false);
        lapic.in_service.set(vector, true);
        Some(vector)
    }

    /// The end of the highest vector in service, and whether it came level-triggered.
    pub(super) fn end_of_interrupt(&mut self, vcpu: usize) -> Option<(u8, bool)> {
        let lapic = self.all.get_mut(vcpu)?;
        let vector = lapic.in_service.highest()?;
        lapic.in_service.set(vector, false);
        Some((vector, lapic.level.get(vector)))
    }
}

/// Whether a write of so many bytes belongs to the writer's own local APIC, and ends an interrupt.
pub(super) fn claims(address: u64, len: usize) -> Option<bool> {
    let offset = address.checked_sub(BASE).filter(|at| *at < LENGTH)?;
    Some(offset == EOI && len == 4)
}
