// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The port of `notify_core::ports`, over such a layer.

use std::error::Error as _;
use std::sync::Arc;
use std::{fmt, io};

use notify_core::{
    BorrowedEventFd, Bus, Extension, IoEventFdAction, IoEventFdRequest, IrqFdAction, IrqFdRequest,
    LineStatus, MsiMessage, MsiOutcome, RouteBuffer, RouteEntry, RouteTarget, Vm,
};

use super::hypervisor::{self, InterruptSourceConfig, IoEventAddress, IrqRoutingEntry};

pub(crate) struct Port {
    pub(crate) layer: Arc<dyn hypervisor::Vm>,
    /// What it returns for `IrqFdResample`.
    pub(crate) resample: u32,
}

impl Vm for Port {
    fn check_extension(&self, capability: Extension) -> io::Result<u32> {
        Ok(match capability {
            Extension::IrqRouting => 4096,
            Extension::IrqFd | Extension::IoEventFd | Extension::IoEventFdAnyLength => 1,
            Extension::IrqFdResample => self.resample,
            _ => 0,
        })
    }

    fn irqfd(&self, request: &IrqFdRequest<'_>) -> io::Result<()> {
        let fd = BorrowedEventFd::from(request.eventfd);
        match request.action {
            IrqFdAction::Assign => self.layer.register_irqfd(&fd, request.gsi),
            IrqFdAction::Deassign => self.layer.unregister_irqfd(&fd, request.gsi),
            _ => return Err(io::ErrorKind::Unsupported.into()),
        }
        .map_err(errno)
    }

    fn ioeventfd(&self, request: &IoEventFdRequest<'_>) -> io::Result<()> {
        let address = match request.bus {
            Bus::Pio => IoEventAddress::Pio(request.address),
            _ => IoEventAddress::Mmio(request.address),
        };
        if (request.datamatch, request.len) != (None, 0) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let fd = BorrowedEventFd::from(request.eventfd);
        match request.action {
            IoEventFdAction::Assign => self.layer.register_ioevent(&fd, &address, None),
            _ => self.layer.unregister_ioevent(&fd, &address),
        }
        .map_err(errno)
    }

    fn set_gsi_routing(&self, table: &RouteBuffer) -> io::Result<()> {
        let entries = table.iter().map(|entry| self.entry(entry));
        let entries: Vec<_> = entries.collect::<io::Result<_>>()?;
        self.layer.set_gsi_routing(&entries).map_err(errno)
    }

    fn signal_msi(&self, _: &MsiMessage) -> io::Result<MsiOutcome> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn irq_line_status(&self, _: u32, _: bool) -> io::Result<LineStatus> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl Port {
    fn entry(&self, entry: RouteEntry) -> io::Result<IrqRoutingEntry> {
        let config = match entry.target {
            RouteTarget::Msi(MsiMessage { address, data, .. }) => InterruptSourceConfig::MsiIrq {
                high_addr: (address >> 32) as u32,
                low_addr: address as u32,
                data,
            },
            RouteTarget::Pin { chip, pin } => {
                InterruptSourceConfig::LegacyIrq { irqchip: chip, pin }
            }
            _ => return Err(io::Error::from_raw_os_error(libc::EINVAL)),
        };
        Ok(self.layer.make_routing_entry(entry.gsi, &config))
    }
}

fn errno(error: hypervisor::Error) -> io::Error {
    let mut source = error.source();
    while let Some(inner) = source {
        let found = inner.downcast_ref::<io::Error>();
        if let Some(number) = found.and_then(io::Error::raw_os_error) {
            return io::Error::from_raw_os_error(number);
        }
        source = inner.source();
    }
    io::Error::other(error)
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Port")
    }
}
