// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A device with four MSI vectors: it is created, the guest moves a vector, it is removed.
//!
//! ```sh
//! cargo run -p irq-routing --example device
//! ```
//!
//! It runs on the simulator. A VMM uses a `KvmVm`; nothing else differs.

use std::error::Error;
use std::sync::Arc;

use irq_routing::{GsiLease, MsiMessage, RoutingTable};
use notify_sim::{CallKind, SimVm};

/// Returns the message for `vector` of the vCPU whose APIC has this id.
fn to(apic: u64, vector: u32) -> MsiMessage {
    MsiMessage::new(0xfee0_0000 | apic << 12, vector)
}

fn main() -> Result<(), Box<dyn Error>> {
    let vm = Arc::new(SimVm::builder().build());
    // One table for each VM; each device gets a clone.
    let table = RoutingTable::new(vm.clone())?;

    // The guest enables the device: four leases, one commit, one ioctl.
    let leases = (0..4)
        .map(|_| table.lease().map(|lease| lease.named("net0")))
        .collect::<Result<Vec<GsiLease>, _>>()?;
    let mut transaction = table.transaction();
    for (vector, lease) in (0x40..).zip(&leases) {
        transaction.route(lease, to(0, vector));
    }
    transaction.commit()?;
    println!("{} ioctl", vm.calls(CallKind::SetGsiRouting));

    // The guest moves the first vector to vCPU 1. While an irqfd is armed, a line keeps the route:
    // it may be changed, but not removed.
    let mut leases = leases.into_iter();
    let line = leases.next().ok_or("no lease")?.into_line()?;
    if let Some(lease) = line.lease() {
        lease.set_route(to(1, 0x50))?;
        let mut transaction = table.transaction();
        transaction.unroute(lease);
        if let Err(rejected) = transaction.commit() {
            println!("refused: {rejected}");
        }
    }
    println!("GSI {}: {}", line.gsi(), table.explain(line.gsi()));

    // The device is removed. Its GSIs are free at once; `flush` removes its routes from the kernel.
    drop((line, leases));
    table.flush()?;
    println!("{} leases", table.leased());
    Ok(())
}
