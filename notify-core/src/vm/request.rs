// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Requests to a VM and their results, without structs of a hypervisor.

use std::fmt;
use std::os::fd::BorrowedFd;

use crate::hex::Hex;

/// The arguments of [`Vm::irqfd`](crate::Vm::irqfd) (KVM_IRQFD).
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

/// What an [`IrqFdRequest`] does.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum IrqFdAction<'a> {
    /// Binds the eventfd: a signal pulses the GSI.
    Assign,
    /// Binds the eventfd: a signal raises the GSI. The guest's EOI lowers it and signals this
    /// eventfd.
    AssignResample(BorrowedFd<'a>),
    /// Unbinds the eventfd.
    Deassign,
}

impl<'a> IrqFdRequest<'a> {
    /// Creates a request that binds an eventfd to a GSI, edge-triggered.
    #[must_use]
    pub fn assign(eventfd: BorrowedFd<'a>, gsi: u32) -> Self {
        Self {
            eventfd,
            gsi,
            action: IrqFdAction::Assign,
        }
    }

    /// Creates a request that binds an eventfd to a GSI, level-triggered.
    #[must_use]
    pub fn assign_resample(eventfd: BorrowedFd<'a>, gsi: u32, resample: BorrowedFd<'a>) -> Self {
        Self {
            eventfd,
            gsi,
            action: IrqFdAction::AssignResample(resample),
        }
    }

    /// Creates a request that unbinds an eventfd from a GSI.
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

/// The arguments of [`Vm::ioeventfd`](crate::Vm::ioeventfd) (KVM_IOEVENTFD).
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct IoEventFdRequest<'a> {
    /// The eventfd that a matching write of the guest signals.
    pub eventfd: BorrowedFd<'a>,
    /// The address space of the doorbell.
    pub bus: Bus,
    /// The guest-physical address, or the port.
    pub address: u64,
    /// The length in bytes of writes that match: 1, 2, 4, 8, or 0 for any.
    pub len: u32,
    /// The one value that matches, or `None` for any value.
    pub datamatch: Option<u64>,
    /// What to do with the eventfd.
    pub action: IoEventFdAction,
}

/// What an [`IoEventFdRequest`] does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IoEventFdAction {
    /// Binds the eventfd.
    Assign,
    /// Unbinds what was bound with the same address, length, value and eventfd.
    Deassign,
}

impl<'a> IoEventFdRequest<'a> {
    /// Creates a request that binds an eventfd to writes of `len` bytes at an address.
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

    /// Sets the one value that matches; `None`, the default, matches any value.
    #[must_use]
    pub fn datamatch(mut self, value: Option<u64>) -> Self {
        self.datamatch = value;
        self
    }

    /// Returns the request that undoes this one.
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

/// What KVM did with an MSI message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MsiOutcome {
    /// Delivered, or merged with one that was pending.
    ///
    /// On x86 the number counts the local APICs that took it. Elsewhere it is at least 1 and has no
    /// meaning.
    Delivered(u32),
    /// Dropped: no local APIC has that destination, or it is switched off.
    ///
    /// On riscv64 KVM returns this for every message that it does not refuse.
    Blocked,
}

/// What KVM did with a change of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LineStatus {
    /// Delivered. The number is the sum of what all chips return.
    Delivered(u32),
    /// Nothing new was delivered (KVM returned 0).
    ///
    /// An interrupt of the pin was pending already, or no local APIC took it.
    Coalesced,
    /// Ignored (KVM returned -1).
    ///
    /// The pin is masked or waits for an EOI, or the GSI has no route. Level 0 of a GSI that is
    /// routed to a message is ignored, too.
    Ignored,
    /// Not known: KVM lacks KVM_CAP_IRQ_INJECT_STATUS.
    Unknown,
}
