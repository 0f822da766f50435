// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Well-formed requests; cases change one field of them.

pub(crate) use notify_sim::raw::{IoEventFd, IrqFd, IrqLevel, Msi, Routing, RoutingEntry};

use crate::backend::Bus;
use crate::event::Event;

/// The usual address of doorbells.
pub(crate) const MMIO: u64 = 0xd000_0000;
pub(crate) const PORT: u64 = 0x510;
/// Messages to the first vCPU.
pub(crate) const MSI_ADDRESS: u32 = 0xfee0_0000;

/// Flags of KVM_IOEVENTFD.
pub(crate) const DATAMATCH: u32 = 1 << 0;
pub(crate) const PIO: u32 = 1 << 1;
pub(crate) const DEASSIGN: u32 = 1 << 2;
pub(crate) const CCW: u32 = 1 << 3;
/// KVM knows the next bit, though no header names it.
pub(crate) const FAST_MMIO: u32 = 1 << 4;

/// Flags of KVM_IRQFD.
pub(crate) const IRQFD_DEASSIGN: u32 = 1 << 0;
pub(crate) const RESAMPLE: u32 = 1 << 1;

/// Kinds of routing entries, and of chips.
pub(crate) const KIND_PIN: u32 = 1;
pub(crate) const KIND_MSI: u32 = 2;
pub(crate) const PIC_MASTER: u32 = 0;
pub(crate) const PIC_SLAVE: u32 = 1;
pub(crate) const IOAPIC: u32 = 2;

/// A doorbell that takes every value of one width (0: every width).
pub(crate) fn wildcard(event: &Event, bus: Bus, addr: u64, len: u32) -> IoEventFd {
    IoEventFd {
        datamatch: 0,
        addr,
        len,
        fd: event.fd(),
        flags: match bus {
            Bus::Pio => PIO,
            _ => 0,
        },
    }
}

/// A doorbell that takes one value.
pub(crate) fn valued(event: &Event, bus: Bus, addr: u64, len: u32, datamatch: u64) -> IoEventFd {
    let any = wildcard(event, bus, addr, len);
    IoEventFd {
        datamatch,
        flags: any.flags | DATAMATCH,
        ..any
    }
}

/// The usual doorbell: any 4 bytes at [`MMIO`].
pub(crate) fn doorbell(event: &Event) -> IoEventFd {
    wildcard(event, Bus::Mmio, MMIO, 4)
}

pub(crate) fn deassign(request: IoEventFd) -> IoEventFd {
    IoEventFd {
        flags: request.flags | DEASSIGN,
        ..request
    }
}

pub(crate) fn irqfd(event: &Event, gsi: u32) -> IrqFd {
    IrqFd {
        fd: event.fd(),
        gsi,
        flags: 0,
        resamplefd: 0,
    }
}

pub(crate) fn resampling(event: &Event, gsi: u32, resample: &Event) -> IrqFd {
    IrqFd {
        flags: RESAMPLE,
        resamplefd: resample.fd(),
        ..irqfd(event, gsi)
    }
}

pub(crate) fn unbind(event: &Event, gsi: u32) -> IrqFd {
    IrqFd {
        flags: IRQFD_DEASSIGN,
        ..irqfd(event, gsi)
    }
}

/// Routes a GSI to a vector of the first vCPU.
pub(crate) fn msi_route(gsi: u32, vector: u8) -> RoutingEntry {
    RoutingEntry {
        gsi,
        kind: KIND_MSI,
        flags: 0,
        u: [MSI_ADDRESS, 0, vector.into(), 0, 0, 0, 0, 0],
    }
}

pub(crate) fn pin_route(gsi: u32, chip: u32, pin: u32) -> RoutingEntry {
    RoutingEntry {
        gsi,
        kind: KIND_PIN,
        flags: 0,
        u: [chip, pin, 0, 0, 0, 0, 0, 0],
    }
}

/// An MSI to a vector of the first vCPU.
pub(crate) fn msi(vector: u8) -> Msi {
    Msi {
        address_lo: MSI_ADDRESS,
        data: vector.into(),
        ..Msi::default()
    }
}

pub(crate) fn line(irq: u32, level: u32) -> IrqLevel {
    IrqLevel { irq, level }
}
