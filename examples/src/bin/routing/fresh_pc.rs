// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The table of a fresh PC with a network device that has three vectors.

use std::error::Error;
use std::sync::Arc;

use irq_routing::{MsiMessage, RoutingTable, Wiring};
use notify_core::Vm;
use notify_sim::SimVm;

use crate::report::Report;

/// Configuration changes, and two queues, each of which interrupts a vCPU of its own.
const VECTORS: [MsiMessage; 3] = [
    MsiMessage::new(0xfee0_0000, 0x4041),
    MsiMessage::new(0xfee0_0000, 0x4042),
    MsiMessage::new(0xfee0_1000, 0x4041),
];

pub(crate) fn report() -> Result<Report, Box<dyn Error>> {
    let (vm, backend, source) = create();
    let builder = RoutingTable::builder(vm).wiring(Wiring::pc());
    let table = builder.build()?;

    let leases: Vec<_> = VECTORS
        .iter()
        .map(|_| table.lease())
        .collect::<Result<_, _>>()?;
    let mut transaction = table.transaction();
    for (lease, message) in leases.iter().zip(VECTORS) {
        transaction.route(lease, message);
    }
    transaction.commit()?;
    Ok(Report::new(source, backend, table.dump()))
}

/// Creates a VM on KVM, or else a simulated one.
fn create() -> (Arc<dyn Vm>, &'static str, String) {
    match real() {
        Ok(vm) => (vm, "kvm", "a fresh PC on /dev/kvm".to_owned()),
        Err(why) => {
            let source = format!("a fresh PC on SimVm, because KVM cannot be used ({why})");
            (Arc::new(SimVm::builder().build()), "sim", source)
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn real() -> Result<Arc<dyn Vm>, String> {
    kvm_probe::probe().map_err(|why| why.to_string())?;
    let create = || -> Result<_, Box<dyn Error>> {
        let vm = kvm_ioctls::Kvm::new()?.create_vm()?;
        vm.create_irq_chip()?;
        Ok(notify_core::KvmVm::try_from(&vm)?)
    };
    match create() {
        Ok(vm) => Ok(Arc::new(vm)),
        Err(error) => Err(format!("KVM creates no irqchip: {error}")),
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn real() -> Result<Arc<dyn Vm>, String> {
    Err("this is no x86 processor".to_owned())
}
