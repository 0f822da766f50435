// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Hint`]: a remark about a route, for debugging.

use std::fmt;

use crate::MsiMessage;
use crate::route::apic_message::{ApicMessage, DeliveryMode};

/// A remark about a route, for people who debug an interrupt.
///
/// Hints about messages are about what KVM reads: a few bits, and it ignores the rest (kernel
/// source: `kvm_set_msi_irq`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub(super) enum Hint {
    /// The dump has only the kind of the entry.
    #[error("the dump does not contain the details")]
    Untold,

    /// The lease of the GSI is parked ([`GsiLease::park`](crate::GsiLease::park)): its holder has
    /// nothing armed on the GSI.
    #[error("its lease is parked: nothing is armed on it, and the table may take it back")]
    Parked,

    /// x86: address and data are 0.
    #[error("the message is all zero: the guest has not programmed it")]
    NeverProgrammed,

    /// x86: on hardware it would be a write to memory.
    #[error("address {address:#x} is not that of local APICs, 0xfeexxxxx; KVM does not check it")]
    NotToAnApic {
        /// The address.
        address: u64,
    },

    /// x86: the message names an entry in an IOMMU's table.
    #[error(
        "it is in remappable format (address bit 4): an IOMMU in the VMM must translate it \
         first, and KVM reads it as it is"
    )]
    Remappable,

    /// x86: bits 11 to 5 of the address hold more of the destination, and KVM does not read them.
    #[error(
        "address bits 11 to 5 mean APIC {destination}: the VMM must translate it \
         (KVM_FEATURE_MSI_EXT_DEST_ID), and KVM reads 8 bits"
    )]
    ExtendedDestination {
        /// The whole destination.
        destination: u32,
    },

    /// x86: the high half of the address is not 0.
    #[error(
        "the high half of the address is {high:#x}: it counts only with KVM_CAP_X2APIC_API and \
         32-bit ids"
    )]
    HighAddress {
        /// The high half.
        high: u32,
    },

    /// x86: something other than an interrupt.
    #[error("it is not an interrupt, but {0}")]
    NoInterrupt(DeliveryMode),

    /// x86: the vector is one of the processor's exceptions.
    #[error("vector {0:#04x} is one of the processor's exceptions")]
    ExceptionVector(u8),

    /// x86: only pins of an IOAPIC in user space are, not messages of PCI devices.
    #[error(
        "it is level-triggered, as a pin of an IOAPIC in user space may be, but not a PCI device"
    )]
    LevelTriggered,

    /// arm64: the guest's ITS tables decide what a message is routed to, perhaps to nothing.
    #[error(
        "through the ITS at its address; by a worker thread until the ITS has translated it once"
    )]
    Its,

    /// arm64: a plain irqfd raises an SPI and never lowers it.
    #[error(
        "raised and never lowered by a plain irqfd: an SPI that the guest has made \
         level-triggered sticks"
    )]
    NeverLowered,

    /// riscv64: a plain irqfd raises a source and never lowers it, and only a rise is an edge.
    /// Kernel source: `kvm_riscv_aia_aplic_inject`.
    #[error(
        "raised and never lowered by a plain irqfd: a source for rising edges takes only the \
         first signal, until something lowers it"
    )]
    FirstEdgeAlone,
}

/// Prints the text, which has addresses in hex.
impl fmt::Debug for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hint({self})")
    }
}

/// What is unusual about a message on x86.
pub(super) fn of_apic_message(message: MsiMessage, decoded: ApicMessage) -> Vec<Hint> {
    let MsiMessage { address, data, .. } = message;
    if address == 0 && data == 0 {
        return vec![Hint::NeverProgrammed];
    }
    let mut hints = Vec::new();
    if address >> 20 & 0xfff != 0xfee {
        hints.push(Hint::NotToAnApic { address });
    }
    let extended = u32::from(bits(address >> 5) & 0x7f);
    if address & 1 << 4 != 0 {
        hints.push(Hint::Remappable);
    } else if extended != 0 {
        let destination = extended << 8 | decoded.destination & 0xff;
        hints.push(Hint::ExtendedDestination { destination });
    }
    let [_, _, _, _, high @ ..] = address.to_le_bytes();
    let high = u32::from_le_bytes(high);
    if high != 0 {
        hints.push(Hint::HighAddress { high });
    }
    match decoded.delivery {
        DeliveryMode::Fixed | DeliveryMode::LowestPriority => {
            if (ApicMessage::FIRST_VECTOR..32).contains(&decoded.vector) {
                hints.push(Hint::ExceptionVector(decoded.vector));
            }
        }
        other => hints.push(Hint::NoInterrupt(other)),
    }
    if decoded.level {
        hints.push(Hint::LevelTriggered);
    }
    hints
}

/// The lowest 16 bits.
fn bits(number: u64) -> u16 {
    let [low, high, ..] = number.to_le_bytes();
    u16::from_le_bytes([low, high])
}
