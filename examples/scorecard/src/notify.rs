// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Signalling an irqfd, against a bare write(2) to the same eventfd.

use std::error::Error;
use std::sync::Arc;

use irq_routing::{MsiMessage, RoutingTable};
use irqfd::IrqFd;
use nix::unistd::write;
use notify_core::KvmVm;
use tiny_guest::{Machine, Vcpu, layout};

use crate::measure::{Step, alternate};
use crate::row::Row;

const ROUNDS: u32 = 400;
const BATCH: u32 = 1000;

/// The bare write against itself, which shows the noise of the host.
pub(crate) fn against_itself() -> Result<Row, Box<dyn Error>> {
    let irq = irq()?;
    let (ours_ns, other_ns) = alternate(ROUNDS, BATCH, || bare(&irq), || bare(&irq))?;
    Ok(Row::times(
        "itself",
        ours_ns,
        other_ns,
        "a bare write(2) to an irqfd, twice: the noise",
    ))
}

pub(crate) fn against_write() -> Result<Row, Box<dyn Error>> {
    let irq = irq()?;
    let ours = || Ok(irq.notifier().notify()?);
    let (ours_ns, other_ns) = alternate(ROUNDS, BATCH, ours, || bare(&irq))?;
    Ok(Row::times(
        "a bare write(2)",
        ours_ns,
        other_ns,
        "EventNotifier::notify on an irqfd, which injects an MSI",
    ))
}

fn bare(irq: &IrqFd) -> Step {
    write(irq.notifier(), &1u64.to_ne_bytes())?;
    Ok(())
}

/// An interrupt of a VM that never runs.
fn irq() -> Result<IrqFd, Box<dyn Error>> {
    let (machine, vcpus) = Machine::builder().build()?;
    vcpus.iter().try_for_each(Vcpu::enable_lapic)?;
    let table = RoutingTable::new(Arc::new(KvmVm::try_from(machine.vm())?))?;
    let lease = table.lease_msi(MsiMessage::new(layout::msi_address(0), 0x40))?;
    Ok(IrqFd::builder(lease).assign()?)
}
