// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Triggering a vector, against the bare system call for it.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use irq_routing::{MsiMessage, RoutingTable};
use irqfd::{Triggered, Vector};
use nix::unistd::write;
use notify_core::{EventNotifier, KvmVm};
use tiny_guest::kvm_bindings::kvm_msi;
use tiny_guest::{Machine, Vcpu, layout};

use super::VECTOR;
use crate::measure::{Step, alternate};
use crate::row::Row;

const ROUNDS: u32 = 400;
const BATCH: u32 = 1000;

/// KVM_SIGNAL_MSI with and without a gate around it.
pub(crate) fn internal() -> Result<Row, Box<dyn Error>> {
    let bench = Bench::new()?;
    let vector = bench.vector(Kind::Internal)?;
    let vm_fd = bench.machine.vm();
    let message = kvm_msi {
        address_lo: layout::msi_address(0) as u32,
        data: VECTOR,
        ..kvm_msi::default()
    };
    let bare = || match vm_fd.signal_msi(message)? {
        0 => Err("no vCPU took it".into()),
        _ => Ok(()),
    };
    let ours = || expect(&vector, Triggered::Delivered);
    let (ours, others) = alternate(ROUNDS, BATCH, ours, bare)?;
    Ok(Row::times(
        "a bare KVM_SIGNAL_MSI",
        ours,
        others,
        "trigger of an internal vector: exact masking costs two atomic operations",
    ))
}

/// A write to an irqfd with and without a gate around it.
pub(crate) fn exported() -> Result<Row, Box<dyn Error>> {
    let bench = Bench::new()?;
    let vector = bench.vector(Kind::Exported)?;
    let notifier = vector.notifier().ok_or("no notifier")?;
    let ours = || expect(&vector, Triggered::Signalled);
    let (ours, others) = alternate(ROUNDS, BATCH, ours, || bare(&notifier))?;
    Ok(Row::times(
        "a bare write(2)",
        ours,
        others,
        "trigger of an exported vector, and a write to its irqfd",
    ))
}

/// The same for an eventfd that only the vector has; it is written only while it is bound.
pub(crate) fn private() -> Result<Row, Box<dyn Error>> {
    let bench = Bench::new()?;
    let vector = bench.vector(Kind::Private)?;
    let exported = bench.vector(Kind::Exported)?;
    let notifier = exported.notifier().ok_or("no notifier")?;
    let ours = || expect(&vector, Triggered::Signalled);
    let (ours, others) = alternate(ROUNDS, BATCH, ours, || bare(&notifier))?;
    Ok(Row::times(
        "a bare write(2)",
        ours,
        others,
        "trigger of a private vector, and a write to an irqfd",
    ))
}

/// An internal vector, against what devices of other VMMs do.
pub(crate) fn against_irqfd() -> Result<Row, Box<dyn Error>> {
    let bench = Bench::new()?;
    let vector = bench.vector(Kind::Internal)?;
    let exported = bench.vector(Kind::Exported)?;
    let locked = Mutex::new(exported.notifier().ok_or("no notifier")?);
    let other = || bare(&locked.lock().unwrap_or_else(PoisonError::into_inner));
    let ours = || expect(&vector, Triggered::Delivered);
    let (ours, others) = alternate(ROUNDS, BATCH, ours, other)?;
    Ok(Row::times(
        "an irqfd behind a lock",
        ours,
        others,
        "trigger of an internal vector; the other locks a Mutex and writes to an irqfd",
    ))
}

/// A trigger of a masked vector.
pub(crate) fn masked() -> Result<Row, Box<dyn Error>> {
    let bench = Bench::new()?;
    let (vector, open) = (bench.vector(Kind::Internal)?, bench.vector(Kind::Internal)?);
    vector.mask();
    let ours = || expect(&vector, Triggered::Kept);
    let other = || expect(&open, Triggered::Delivered);
    let (ours, others) = alternate(ROUNDS, BATCH, ours, other)?;
    Ok(Row::times(
        "a trigger that injects",
        ours,
        others,
        "trigger of a masked internal vector: no system call",
    ))
}

fn expect(vector: &Vector, expected: Triggered) -> Step {
    let triggered = vector.trigger()?;
    match triggered == expected {
        true => Ok(()),
        false => Err(format!("a trigger was {triggered:?}").into()),
    }
}

fn bare(notifier: &EventNotifier) -> Step {
    write(notifier, &1u64.to_ne_bytes())?;
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Internal,
    Private,
    Exported,
}

/// A VM that never runs; its local APIC takes interrupts all the same.
struct Bench {
    machine: Machine,
    _vcpus: Vec<Vcpu>,
    table: RoutingTable,
}

impl Bench {
    fn new() -> Result<Self, Box<dyn Error>> {
        let (machine, vcpus) = Machine::builder().build()?;
        vcpus.iter().try_for_each(Vcpu::enable_lapic)?;
        let table = RoutingTable::new(Arc::new(KvmVm::try_from(machine.vm())?))?;
        Ok(Self {
            machine,
            _vcpus: vcpus,
            table,
        })
    }

    /// A vector that is armed.
    fn vector(&self, kind: Kind) -> Result<Vector, Box<dyn Error>> {
        let builder = Vector::builder(&self.table).private_irqfd(kind == Kind::Private);
        let vector = builder.build()?;
        vector.set_message(MsiMessage::new(layout::msi_address(0), VECTOR))?;
        if kind == Kind::Exported {
            vector.export()?;
        }
        vector.unmask()?;
        Ok(vector)
    }
}
