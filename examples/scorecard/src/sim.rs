// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The simulator, against KVM. Fuzzing depends on the speed of the first two rows.

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use ioeventfd::{Datamatch, IoAddress, IoEventFd};
use irq_routing::{MsiMessage, RoutingTable};
use irqfd::IrqFd;
use kvm_ioctls::Kvm;
use notify_core::{Bus, EventNotifier, KvmVm, RouteBuffer, RouteEntry, RouteTarget, Vm};
use notify_sim::SimVm;
use tiny_guest::layout::DOORBELL;
use tiny_guest::{Exit, Machine, Program};

use crate::measure::{Step, alternate, median};
use crate::row::Row;

const ROUNDS: u32 = 60;
const DOORBELLS: u32 = 1000;
const WRITES: u32 = 2000;

/// Assigning an irqfd and deassigning it.
pub(crate) fn irqfd() -> Result<Row, Box<dyn Error>> {
    let table = |vm: Arc<dyn Vm>| -> Result<_, Box<dyn Error>> {
        let table = RoutingTable::new(vm)?;
        let lease = table.lease_msi(MsiMessage::new(0xfee0_0000, 0x40))?;
        Ok(Some(IrqFd::builder(lease)))
    };
    let mut sim = table(Arc::new(SimVm::builder().build()))?;
    let mut kvm = table(kvm()?)?;
    let again = |builder: &mut Option<irqfd::IrqFdBuilder>| -> Step {
        let irq = builder.take().ok_or("nothing to bind")?.assign()?;
        *builder = Some(irq.deassign()?);
        Ok(())
    };
    let (ours_ns, other_ns) = alternate(ROUNDS, 100, || again(&mut sim), || again(&mut kvm))?;
    Ok(Row::times(
        "KVM",
        ours_ns,
        other_ns,
        "an IrqFd assigned and deassigned",
    ))
}

/// A table of 4096 messages.
pub(crate) fn commit_4096() -> Result<Row, Box<dyn Error>> {
    let (sim, kvm) = (SimVm::builder().build(), kvm()?);
    let target = RouteTarget::Msi(MsiMessage {
        address: 0xfee0_0000,
        data: 0x40,
        devid: None,
    });
    let table: RouteBuffer = (0..4096).map(|gsi| RouteEntry::new(gsi, target)).collect();
    let (ours_ns, other_ns) = alternate(
        ROUNDS,
        5,
        || Ok(sim.set_gsi_routing(&table)?),
        || Ok(kvm.set_gsi_routing(&table)?),
    )?;
    Ok(Row::times(
        "KVM",
        ours_ns,
        other_ns,
        "KVM_SET_GSI_ROUTING with 4096 messages",
    ))
}

/// A guest's write to one of a thousand doorbells.
pub(crate) fn guest_write_1000() -> Result<Row, Box<dyn Error>> {
    let notifier = Arc::new(EventNotifier::new()?);
    let register = |vm: Arc<dyn Vm>| -> Result<Vec<IoEventFd>, Box<dyn Error>> {
        let one = |number: u32| {
            let address = IoAddress::Mmio(DOORBELL + u64::from(number) * 4);
            let builder = IoEventFd::builder(Arc::clone(&vm), address, Datamatch::U32(1));
            Ok(builder.notifier(Arc::clone(&notifier)).assign()?)
        };
        (0..DOORBELLS).map(one).collect()
    };
    let sim = Arc::new(SimVm::builder().build());
    let (machine, vcpus) = Machine::builder().build()?;
    let mut vcpu = vcpus.into_iter().next().ok_or("a VM without a vCPU")?;
    let kvm = Arc::new(KvmVm::try_from(machine.vm())?);
    let doorbells = (register(sim.clone())?, register(kvm.clone())?);

    let rung = DOORBELL + u64::from(DOORBELLS / 2) * 4;
    let (mut ours, mut other) = (Vec::new(), Vec::new());
    for _ in 0..11 {
        let start = Instant::now();
        for _ in 0..WRITES {
            sim.guest_write(Bus::Mmio, rung, &1u32.to_le_bytes());
        }
        ours.push(start.elapsed().as_secs_f64() * 1e9 / f64::from(WRITES));
        let write = |asm: &mut tiny_guest::Asm| asm.mmio_write32(rung, 1);
        vcpu.load(Program::new(|asm| asm.repeat(WRITES, write))?)?;
        let start = Instant::now();
        if !matches!(vcpu.run()?, Exit::Finished(0)) {
            return Err("a write was not matched".into());
        }
        other.push(start.elapsed().as_secs_f64() * 1e9 / f64::from(WRITES));
    }
    kvm.retire();
    drop(doorbells);
    Ok(Row::times(
        "KVM",
        median(ours),
        median(other),
        "a write to one of 1000 doorbells; KVM's by a guest's loop, as this host runs guests",
    ))
}

/// A VM that never runs.
fn kvm() -> Result<Arc<KvmVm>, Box<dyn Error>> {
    let vm_fd = Kvm::new()?.create_vm()?;
    vm_fd.create_irq_chip()?;
    Ok(Arc::new(KvmVm::try_from(&vm_fd)?))
}
