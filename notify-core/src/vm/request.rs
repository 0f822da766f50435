// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Requests to a machine, and its answers, in terms of no hypervisor's structs.

use std::os::fd::BorrowedFd;

/// One KVM_IRQFD.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct IrqFdRequest<'a> {
    /// The eventfd whose signals raise the GSI.
    pub eventfd: BorrowedFd<'a>,
    /// The GSI.
    pub gsi: u32,
    /// What to do with them.
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
    /// Take off.
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

    /// Takes an eventfd off a GSI.
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
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct IoEventFdRequest<'a> {
    /// The eventfd that a matching write signals.
    pub eventfd: BorrowedFd<'a>,
    /// Where.
    pub bus: Bus,
    /// At which address.
    pub address: u64,
    /// For writes of how many bytes: 1, 2, 4, 8, or 0 for any.
    pub len: u32,
    /// For this value only.
    pub datamatch: Option<u64>,
    /// What to do.
    pub action: IoEventFdAction,
}

/// What a KVM_IOEVENTFD asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum IoEventFdAction {
    /// Bind.
    Assign,
    /// Take off what was bound with the same key and eventfd.
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

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MsiOutcome {
    /// Taken, or merged with one that was pending there. The number is that of the local APICs on x86; it
    /// is at least 1, and says no more elsewhere.
    Delivered(u32),
    /// No local APIC took it: none has that destination, or it is switched off. (riscv64: the kernel only says that
    /// it found nothing wrong.)
    Blocked,
}

/// What became of a change of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LineStatus {
    /// Taken; the number is the sum over all chips, whatever they count.
    Delivered(u32),
    /// The kernel says 0: an interrupt of the pin was pending already, or no local APIC took it.
    Coalesced,
    /// The kernel says -1: the pin is masked or awaits the end of its last interrupt, nothing is routed
    /// there, or it leads to a message, for which level 0 means nothing.
    Ignored,
    /// The kernel does not say (it lacks KVM_CAP_IRQ_INJECT_STATUS).
    Unknown,
}
