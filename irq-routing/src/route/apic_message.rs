// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`ApicMessage`]: a message as the local APICs of an x86 VM read it. Compiled on every
//! architecture, because a dump may be of an x86 VM anywhere.

use std::fmt;

use crate::MsiMessage;

/// A message as KVM reads it on x86 (Intel SDM volume 3, "Message Signalled Interrupts"; kernel
/// source: `kvm_set_msi_irq`, later `kvm_msi_to_lapic_irq`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ApicMessage {
    /// The destination: bits 19 to 12 of the address, and above them bits 63 to 40, which count
    /// once the VMM has enabled KVM_CAP_X2APIC_API with 32-bit ids.
    pub(crate) destination: u32,
    /// Whether the destination is a logical one (address bit 2), else the id of an APIC.
    pub(crate) logical: bool,
    /// Whether it is for only one of several destinations (address bit 3).
    pub(crate) redirection_hint: bool,
    /// What is delivered (data bits 10 to 8).
    pub(crate) delivery: DeliveryMode,
    /// The vector (data bits 7 to 0).
    pub(crate) vector: u8,
    /// Whether it is level-triggered (data bit 15).
    pub(crate) level: bool,
}

/// What a message delivers: all the values of three bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum DeliveryMode {
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
    /// An interrupt with a vector from a PIC.
    ExtInt,
}

impl ApicMessage {
    /// The first vector that a local APIC delivers; those below are illegal.
    pub(crate) const FIRST_VECTOR: u8 = 16;

    /// Reads a message as KVM does, which checks neither the rest of the address nor the format.
    #[must_use]
    pub(crate) const fn decode(message: MsiMessage) -> Self {
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

    /// Whether the message delivers a vector: only interrupts have one.
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
