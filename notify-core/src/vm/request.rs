// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Requests to a VM, and what they return, without a hypervisor's structs.

use std::fmt;
use std::os::fd::BorrowedFd;

use crate::hex::Hex;

/// One KVM_IRQFD.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct IrqFdRequest<'a> {
    /// The eventfd whose signals raise the GSI.
    pub eventfd: BorrowedFd<'a>,
    /// The GSI.
    pub gsi: u32,
    /// What to do with the eventfd.
    pub action: IrqFdAction<'a>,
}

/// What a KVM_IRQFD asks for.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum IrqFdAction<'a> {
    /// Bind: a signal pulses the GSI.
    Assign,
    /// Bind: a signal raises the GSI; the guest's EOI lowers it and signals this eventfd.
    AssignResample(BorrowedFd<'a>),
    /// Unbind.
    Deassign,
}

impl<'a> IrqFdRequest<'a> {
    /// Binds an eventfd to a GSI, edge-triggered.
    #[must_use]
    pub fn assign(eventfd: BorrowedFd<'a>, gsi: u32) -> Self {
        Self {
            eventfd,
            gsi,
            action: IrqFdAction::Assign,
        }
    }

    /// Binds an eventfd to a GSI, level-triggered.
    #[must_use]
    pub fn assign_resample(eventfd: BorrowedFd<'a>, gsi: u32, resample: BorrowedFd<'a>) -> Self {
        Self {
            eventfd,
            gsi,
            action: IrqFdAction::AssignResample(resample),
        }
    }

    /// Unbinds an eventfd from a GSI.
    #[must_use]
    pub fn deassign(eventfd: BorrowedFd<'a>, gsi: u32) -> Self {
        Self {
            eventfd,
            gsi,
            action: IrqFdAction::Deassign,
        }
    }
}

/// The address space in which a doorbell lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Bus {
    /// Guest-physical memory.
    Mmio,
    /// I/O ports (x86).
    Pio,
}

/// One KVM_IOEVENTFD.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct IoEventFdRequest<'a> {
    /// The eventfd that a matching write signals.
    pub eventfd: BorrowedFd<'a>,
    /// The address space.
    pub bus: Bus,
    /// The address in it.
    pub address: u64,
    /// The length in bytes of the writes that match: 1, 2, 4, 8, or 0 for any.
    pub len: u32,
    /// The one value that matches, or `None` for any.
    pub datamatch: Option<u64>,
    /// What to do with the eventfd.
    pub action: IoEventFdAction,
}

/// What a KVM_IOEVENTFD asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IoEventFdAction {
    /// Bind.
    Assign,
    /// Unbind what was bound with the same key and eventfd.
    Deassign,
}

impl<'a> IoEventFdRequest<'a> {
    /// Binds an eventfd to writes of `len` bytes at an address.
    #[must_use]
    pub fn assign(eventfd: BorrowedFd<'a>, bus: Bus, address: u64, len: u32) -> Self {
        Self {
            eventfd,
            bus,
            address,
            len,
            datamatch: None,
            action: IoEventFdAction::Assign,
        }
    }

    /// Only for writes of this value.
    #[must_use]
    pub fn datamatch(mut self, value: Option<u64>) -> Self {
        self.datamatch = value;
        self
    }

    /// The request that undoes this one.
    #[must_use]
    pub fn deassign(mut self) -> Self {
        self.action = IoEventFdAction::Deassign;
        self
    }
}

impl fmt::Debug for IoEventFdRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IoEventFdRequest")
            .field("eventfd", &self.eventfd)
            .field("bus", &self.bus)
            .field("address", &Hex(self.address))
            .field("len", &self.len)
            .field("datamatch", &self.datamatch.map(Hex))
            .field("action", &self.action)
            .finish()
    }
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MsiOutcome {
    /// Delivered, or merged with one that was pending there. On x86 the number is that of the local
    /// APICs that took it; elsewhere it is at least 1 and has no meaning.
    Delivered(u32),
    /// No local APIC took it: none has that destination, or it is switched off. (On riscv64 KVM
    /// returns this for every message that it does not refuse.)
    Blocked,
}

/// What became of a change of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LineStatus {
    /// Delivered; the number is the sum over all chips, whatever they count.
    Delivered(u32),
    /// KVM returned 0: an interrupt of the pin was pending already, or no local APIC took it.
    Coalesced,
    /// KVM returned -1: the pin is masked or waits for an EOI, the GSI is not routed, or it is
    /// routed to a message, for which level 0 has no meaning.
    Ignored,
    /// KVM does not return a status (it lacks KVM_CAP_IRQ_INJECT_STATUS).
    Unknown,
}
