// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The words of KVM's structs: their flags, and numbers in halves.

use std::fmt;

use bitflags::bitflags;
use kvm_bindings as kvm;
use notify_core::{Bus, IoEventFdAction, IoEventFdRequest};

bitflags! {
    /// `kvm_irqfd.flags`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(super) struct IrqFdFlags: u32 {
        const DEASSIGN = kvm::KVM_IRQFD_FLAG_DEASSIGN;
        const RESAMPLE = kvm::KVM_IRQFD_FLAG_RESAMPLE;
    }
}

bitflags! {
    /// `kvm_ioeventfd.flags`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(super) struct IoEventFdFlags: u32 {
        const DATAMATCH = 1 << kvm::kvm_ioeventfd_flag_nr_datamatch;
        const PIO = 1 << kvm::kvm_ioeventfd_flag_nr_pio;
        const DEASSIGN = 1 << kvm::kvm_ioeventfd_flag_nr_deassign;
    }
}

impl From<&IoEventFdRequest<'_>> for IoEventFdFlags {
    fn from(request: &IoEventFdRequest<'_>) -> Self {
        let mut flags = Self::empty();
        flags.set(Self::DATAMATCH, request.datamatch.is_some());
        flags.set(Self::PIO, request.bus == Bus::Pio);
        flags.set(Self::DEASSIGN, request.action == IoEventFdAction::Deassign);
        flags
    }
}

/// The low and the high half of an address.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the halves are what is wanted"
)]
pub(super) fn halves(address: u64) -> [u32; 2] {
    [address as u32, (address >> 32) as u32]
}

/// Prints in hex, with `0x`.
pub(super) struct Hex<T>(pub(super) T);

impl<T: fmt::LowerHex> fmt::Debug for Hex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}
