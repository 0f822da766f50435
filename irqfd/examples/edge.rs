// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! An edge-triggered interrupt: a device signals an eventfd, and the guest takes a vector.
//!
//! It runs on the simulator. In a VMM, `KvmVm::try_from(&vm_fd)?` takes the place of `SimVm`.

use std::error::Error;
use std::sync::Arc;
use std::thread;

use irqfd::{IrqFd, MsiMessage, RoutingTable};
use notify_sim::SimVm;

fn main() -> Result<(), Box<dyn Error>> {
    let vm = Arc::new(SimVm::builder().build());
    vm.enable_lapic(0); // the guest's part

    // One table for each VM. The lease is a GSI with a message: vector 0x41 of vCPU 0.
    let table = RoutingTable::new(vm.clone())?;
    let lease = table.lease_msi(MsiMessage::new(0xfee0_0000, 0x41))?;
    let gsi = lease.gsi();
    let irq = IrqFd::builder(lease).assign()?;

    // The device has the notifier, here in a thread, or as a descriptor in another process.
    let notifier = Arc::clone(irq.notifier());
    let device = thread::spawn(move || notifier.notify());
    device.join().map_err(|_| "the device panicked")??;
    println!("GSI {gsi}: the guest has {:02x?}", vm.pending_vectors(0));

    // The guest moves the interrupt to another vector. The irqfd stays bound.
    if let Some(lease) = irq.lease() {
        lease.set_route(MsiMessage::new(0xfee0_0000, 0x52))?;
    }
    irq.notifier().notify()?;
    println!("GSI {gsi}: the guest has {:02x?}", vm.pending_vectors(0));

    // Dropping it would do as well. This returns what it was made of, or the error.
    let (_lease, _notifier) = irq.deassign()?.into_parts();
    println!("GSI {gsi} is unbound");
    Ok(())
}
