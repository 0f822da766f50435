// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The flag words of the two structs that have them.

use bitflags::bitflags;
use kvm_bindings as kvm;

use crate::{Bus, IoEventFdAction, IoEventFdRequest, IrqFdAction};

bitflags! {
    /// `kvm_irqfd.flags`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct IrqFdFlags: u32 {
        const DEASSIGN = kvm::KVM_IRQFD_FLAG_DEASSIGN;
        const RESAMPLE = kvm::KVM_IRQFD_FLAG_RESAMPLE;
    }
}

bitflags! {
    /// `kvm_ioeventfd.flags`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct IoEventFdFlags: u32 {
        const DATAMATCH = 1 << kvm::kvm_ioeventfd_flag_nr_datamatch;
        const PIO = 1 << kvm::kvm_ioeventfd_flag_nr_pio;
        const DEASSIGN = 1 << kvm::kvm_ioeventfd_flag_nr_deassign;
    }
}

impl From<&IrqFdAction<'_>> for IrqFdFlags {
    fn from(action: &IrqFdAction<'_>) -> Self {
        match action {
            IrqFdAction::Assign => Self::empty(),
            IrqFdAction::AssignResample(_) => Self::RESAMPLE,
            IrqFdAction::Deassign => Self::DEASSIGN,
        }
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

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn flag_words() {
        let file = std::io::stdin();
        let fd = file.as_fd();
        for (action, bits) in [
            (IrqFdAction::Assign, 0),
            (IrqFdAction::Deassign, 1),
            (IrqFdAction::AssignResample(fd), 2),
        ] {
            assert_eq!(IrqFdFlags::from(&action).bits(), bits);
        }
        let request = IoEventFdRequest::assign(fd, Bus::Mmio, 0, 4);
        assert_eq!(IoEventFdFlags::from(&request).bits(), 0);
        assert_eq!(IoEventFdFlags::from(&request.deassign()).bits(), 4);
        let request = IoEventFdRequest::assign(fd, Bus::Pio, 0, 4).datamatch(Some(0));
        assert_eq!(IoEventFdFlags::from(&request).bits(), 3);
    }
}
