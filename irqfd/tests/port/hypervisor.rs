// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A hypervisor layer in the shape of Cloud Hypervisor's `hypervisor::Vm`, over the simulator.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use notify_core::{
    Bus, EventFd, EventNotifier, IoEventFdRequest, IrqFdRequest, MsiMessage, RouteBuffer,
    RouteEntry, RouteTarget,
};
use notify_sim::SimVm;

/// The error type of the layer, which wraps an `anyhow::Error`.
#[derive(Debug, thiserror::Error)]
#[error("the hypervisor refuses")]
pub(crate) struct Error(#[source] io::Error);

type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, Clone, Copy)]
pub(crate) enum IoEventAddress {
    Pio(u64),
    Mmio(u64),
}

#[derive(Debug)]
#[allow(dead_code, reason = "the port registers no doorbell for one value")]
pub(crate) enum DataMatch {
    DataMatch32(u32),
    DataMatch64(u64),
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum InterruptSourceConfig {
    LegacyIrq {
        irqchip: u32,
        pin: u32,
    },
    MsiIrq {
        high_addr: u32,
        low_addr: u32,
        data: u32,
    },
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct IrqRoutingEntry(RouteEntry);

pub(crate) trait Vm: Send + Sync {
    fn register_irqfd(&self, fd: &EventFd, gsi: u32) -> Result<()>;
    fn unregister_irqfd(&self, fd: &EventFd, gsi: u32) -> Result<()>;
    fn register_ioevent(
        &self,
        fd: &EventFd,
        addr: &IoEventAddress,
        datamatch: Option<DataMatch>,
    ) -> Result<()>;
    fn unregister_ioevent(&self, fd: &EventFd, addr: &IoEventAddress) -> Result<()>;
    fn make_routing_entry(&self, gsi: u32, config: &InterruptSourceConfig) -> IrqRoutingEntry;
    fn set_gsi_routing(&self, entries: &[IrqRoutingEntry]) -> Result<()>;
}

/// The simulator as the hypervisor.
pub(crate) struct SimLayer(pub(crate) Arc<SimVm>);

impl Vm for SimLayer {
    fn register_irqfd(&self, fd: &EventFd, gsi: u32) -> Result<()> {
        with(fd, |fd| self.port().irqfd(&IrqFdRequest::assign(fd, gsi)))
    }

    fn unregister_irqfd(&self, fd: &EventFd, gsi: u32) -> Result<()> {
        with(fd, |fd| self.port().irqfd(&IrqFdRequest::deassign(fd, gsi)))
    }

    fn register_ioevent(
        &self,
        fd: &EventFd,
        addr: &IoEventAddress,
        datamatch: Option<DataMatch>,
    ) -> Result<()> {
        let (len, value) = match datamatch {
            None => (0, None),
            Some(DataMatch::DataMatch32(value)) => (4, Some(u64::from(value))),
            Some(DataMatch::DataMatch64(value)) => (8, Some(value)),
        };
        let (bus, number) = place(*addr);
        with(fd, |fd| {
            let request = IoEventFdRequest::assign(fd, bus, number, len);
            self.port().ioeventfd(&request.datamatch(value))
        })
    }

    fn unregister_ioevent(&self, fd: &EventFd, addr: &IoEventAddress) -> Result<()> {
        let (bus, number) = place(*addr);
        with(fd, |fd| {
            let request = IoEventFdRequest::assign(fd, bus, number, 0);
            self.port().ioeventfd(&request.deassign())
        })
    }

    fn make_routing_entry(&self, gsi: u32, config: &InterruptSourceConfig) -> IrqRoutingEntry {
        let target = match *config {
            InterruptSourceConfig::LegacyIrq { irqchip, pin } => {
                RouteTarget::Pin { chip: irqchip, pin }
            }
            InterruptSourceConfig::MsiIrq {
                high_addr,
                low_addr,
                data,
            } => RouteTarget::Msi(MsiMessage {
                address: u64::from(high_addr) << 32 | u64::from(low_addr),
                data,
                devid: None,
            }),
        };
        IrqRoutingEntry(RouteEntry::new(gsi, target))
    }

    fn set_gsi_routing(&self, entries: &[IrqRoutingEntry]) -> Result<()> {
        let mut table = RouteBuffer::new();
        entries.iter().for_each(|entry| table.push(entry.0));
        self.port().set_gsi_routing(&table).map_err(Error)
    }
}

impl SimLayer {
    fn port(&self) -> &dyn notify_core::Vm {
        &*self.0
    }
}

/// Calls the simulator with an eventfd, which it identifies by the open file: a duplicate works.
fn with(fd: &EventFd, call: impl FnOnce(BorrowedFd<'_>) -> io::Result<()>) -> Result<()> {
    let duplicate = fd.try_clone().map_err(Error)?;
    call(EventNotifier::from(duplicate).as_fd()).map_err(Error)
}

fn place(address: IoEventAddress) -> (Bus, u64) {
    match address {
        IoEventAddress::Pio(address) => (Bus::Pio, address),
        IoEventAddress::Mmio(address) => (Bus::Mmio, address),
    }
}
