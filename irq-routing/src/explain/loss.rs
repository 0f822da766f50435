// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Loss`]: why a signal never reaches the guest.

use crate::route::apic_message::{ApicMessage, DeliveryMode};

/// Why a signal never reaches the guest; KVM reports no error for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub(crate) enum Loss {
    /// The number is out of range. KVM accepts an irqfd on it all the same.
    #[error("the VM has no such GSI (it has {limit}), yet KVM takes an irqfd on it")]
    OutOfRange {
        /// The VM's number of GSIs.
        limit: u32,
    },

    /// The GSI has no route, and is not leased.
    #[error("the GSI has no route")]
    NoRoute,

    /// The GSI is leased and has no route, or it had none when it was quarantined.
    #[error("the GSI is leased, and has no route yet")]
    Unrouted,

    /// The lease of the GSI was dropped. The kernel may still deliver by the old route; the next
    /// commit removes it.
    #[error("its lease was dropped (the next commit removes what is left in the kernel)")]
    Stale,

    /// The table's translation blocks the message, so the kernel has no route.
    #[error("the translation blocks the message, so the kernel has no route")]
    Blocked,

    /// KVM refuses a table with these entries; [`Dump::problems`](crate::Dump::problems) lists why.
    #[error("KVM refuses a table with these entries")]
    Refused,

    /// x86: the local APIC accepts the interrupt and never delivers it: its priority class, 0, is
    /// never above the processor's (kernel source: `apic_has_interrupt_for_ppr`).
    #[error(
        "vector {:#04x} is below 16, and a local APIC never delivers it ({message})",
        message.vector
    )]
    IllegalVector {
        /// The whole message.
        message: ApicMessage,
    },

    /// x86: KVM takes such a message and does nothing (kernel source: `__apic_accept_irq`).
    #[error("KVM ignores messages of delivery mode ExtINT ({message})")]
    ExtInt {
        /// The whole message.
        message: ApicMessage,
    },

    /// arm64: the ITS needs the id of the device that sends a message.
    #[error("the message has no device id, and the ITS refuses it")]
    NoDeviceId,

    /// riscv64: interrupt sources are numbered from 1.
    #[error("the APLIC has no source 0")]
    NoSource,
}

/// Why a message on x86 is lost for any destination.
pub(super) fn of_apic_message(message: ApicMessage) -> Option<Loss> {
    match message.delivery {
        DeliveryMode::ExtInt => Some(Loss::ExtInt { message }),
        _ if message.is_interrupt() && message.vector < ApicMessage::FIRST_VECTOR => {
            Some(Loss::IllegalVector { message })
        }
        _ => None,
    }
}
