// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`ApicMessage`]: what a message says to the local APICs of an x86 machine. Compiled everywhere,
//! for dumps of other machines.

use std::fmt;

use crate::MsiMessage;

/// A message as KVM reads it on x86 (Intel SDM volume 3, "Message Signalled Interrupts"; kernel
/// source: `kvm_set_msi_irq`, later `kvm_msi_to_lapic_irq`).
///
/// ```
/// use irq_routing::{ApicMessage, MsiMessage};
///
/// let message = ApicMessage::decode(MsiMessage::new(0xfee0_3000, 0x41));
/// assert_eq!((message.destination, message.vector), (3, 0x41));
/// assert_eq!(
///     message.to_string(),
///     "fixed interrupt, vector 0x41, to APIC 3 (physical destination)"
/// );
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ApicMessage {
    /// To whom: bits 19 to 12 of the address, and above them bits 63 to 40, which count once the
    /// VMM has enabled KVM_CAP_X2APIC_API with 32-bit ids.
    pub destination: u32,
    /// Whether the destination is a logical one (address bit 2), else the id of an APIC.
    pub logical: bool,
    /// Whether one of several destinations will do (address bit 3).
    pub redirection_hint: bool,
    /// What is delivered (data bits 10 to 8).
    pub delivery: DeliveryMode,
    /// The vector (data bits 7 to 0).
    pub vector: u8,
    /// Whether it is level-triggered (data bit 15).
    pub level: bool,
}

/// What a message delivers. Not `#[non_exhaustive]`: these are all the values of three bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeliveryMode {
    /// An interrupt, to all destinations.
    Fixed,
    /// An interrupt, to one of the destinations.
    LowestPriority,
    /// A system management interrupt.
    Smi,
    /// Code 3, reserved: KVM takes it for its own "wake up a halted vCPU".
    Reserved3,
    /// A non-maskable interrupt.
    Nmi,
    /// A reset of the processor.
    Init,
    /// Code 6, reserved in messages: KVM starts a processor that waits for it.
    Startup,
    /// An interrupt whose vector a PIC gives.
    ExtInt,
}

impl ApicMessage {
    /// The first vector that a local APIC delivers; those below are illegal.
    pub const FIRST_VECTOR: u8 = 16;

    /// Reads a message as KVM does, which looks neither at the rest of the address nor at the
    /// format.
    #[must_use]
    pub const fn decode(message: MsiMessage) -> Self {
        let MsiMessage { address, data, .. } = message;
        let [vector, control, ..] = data.to_le_bytes();
        let [_, low, middle, _, _, high @ ..] = address.to_le_bytes();
        let [high0, high1, high2] = high;
        Self {
            destination: u32::from_le_bytes([low >> 4 | middle << 4, high0, high1, high2]),
            logical: address & 1 << 2 != 0,
            redirection_hint: address & 1 << 3 != 0,
            delivery: DeliveryMode::decode(control),
            vector,
            level: control & 0x80 != 0,
        }
    }

    /// Whether it is a fixed interrupt for one local APIC, by its id, whether or not the VMM has
    /// enabled 32-bit ids. It is the kind that processors with posted interrupts deliver to a
    /// running vCPU by themselves, without KVM.
    #[must_use]
    pub const fn is_for_one_apic(self) -> bool {
        // Without 32-bit ids the lowest byte is all that counts.
        let to_all = self.destination & 0xff == 0xff;
        let fixed = matches!(self.delivery, DeliveryMode::Fixed);
        fixed && !to_all && !self.logical && !self.redirection_hint && !self.level
    }

    /// Whether a vector is delivered at all: interrupts have one, the others not.
    pub(crate) const fn is_interrupt(self) -> bool {
        matches!(
            self.delivery,
            DeliveryMode::Fixed | DeliveryMode::LowestPriority
        )
    }
}

impl DeliveryMode {
    const fn decode(control: u8) -> Self {
        match control & 7 {
            0 => Self::Fixed,
            1 => Self::LowestPriority,
            2 => Self::Smi,
            3 => Self::Reserved3,
            4 => Self::Nmi,
            5 => Self::Init,
            6 => Self::Startup,
            _ => Self::ExtInt,
        }
    }
}

impl fmt::Display for DeliveryMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fixed => "fixed interrupt",
            Self::LowestPriority => "lowest-priority interrupt",
            Self::Smi => "SMI",
            Self::Reserved3 => "reserved delivery mode 3",
            Self::Nmi => "NMI",
            Self::Init => "INIT",
            Self::Startup => "start-up",
            Self::ExtInt => "ExtINT",
        })
    }
}

impl fmt::Display for ApicMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.delivery.fmt(f)?;
        if self.is_interrupt() {
            write!(f, ", vector {:#04x}", self.vector)?;
        }
        match (self.destination, self.logical) {
            (0xff, _) => f.write_str(", to all APICs")?,
            (id, false) => write!(f, ", to APIC {id} (physical destination)")?,
            (set, true) => write!(f, ", to logical destination {set:#x}")?,
        }
        if self.redirection_hint {
            f.write_str(", any one of them")?;
        }
        if self.level {
            f.write_str(", level-triggered")?;
        }
        Ok(())
    }
}
