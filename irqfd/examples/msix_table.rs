// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A PCI device with MSI-X: its driver programs two vectors, and a back-end signals one of them.
//!
//! It runs on the simulator. In a VMM, `KvmVm::try_from(&vm_fd)?` takes the place of `SimVm`, and
//! `driver` is what the vCPU threads pass on.

use std::error::Error;
use std::sync::Arc;

use irqfd::{ArmQueue, Dead, RoutingTable, msix};
use notify_sim::SimVm;

fn report(dead: &[Dead]) {
    dead.iter().for_each(|dead| eprintln!("{dead}"));
}

/// What a driver does: enables MSI-X with all vectors masked, writes the entries, opens them.
fn driver(table: &msix::Table) {
    report(&table.config_write(2, &0xc000_u16.to_le_bytes()));
    for vector in 0..2_u32 {
        let entry = 16 * u64::from(vector);
        report(&table.write(entry, &0xfee0_0000_u64.to_le_bytes()));
        report(&table.write(entry + 8, &(0x40 + vector).to_le_bytes()));
        report(&table.write(entry + 12, &0_u32.to_le_bytes()));
    }
    report(&table.config_write(2, &0x8000_u16.to_le_bytes()));
}

fn main() -> Result<(), Box<dyn Error>> {
    let vm = Arc::new(SimVm::builder().build());
    vm.enable_lapic(0); // the guest's part
    let routing = RoutingTable::new(vm.clone())?;
    let queue = ArmQueue::new(&routing)?; // one for each VM, in the VMM's event loop
    let table = msix::Table::builder(&routing)
        .name("net0")
        .vectors(2)
        .queue(&queue)
        .build()?;

    // The queue of the device that the VMM serves, and the one that a vhost back-end serves.
    let control = msix::Binding::new(&table);
    control.bind(0);
    let data = msix::Binding::new(&table);
    data.bind(1);
    let call = data.call()?; // VHOST_SET_VRING_CALL

    driver(&table);
    let round = queue.run_pending(); // when the queue's descriptor is readable
    report(&round.failed);
    println!("{} vector armed", round.armed);

    let outcome = control.trigger()?;
    println!(
        "vector 0: {}",
        outcome.map_or("none".to_owned(), |it| it.to_string())
    );
    call.notify()?; // the back-end
    println!("the guest has {:02x?}", vm.pending_vectors(0));

    // While the guest masks a vector its interrupts are pending bits.
    report(&table.write(16 + 12, &1_u32.to_le_bytes()));
    call.notify()?;
    let mut pending = [0; 8];
    table.pba_read(0, &mut pending);
    println!("pending bits {:#b}", u64::from_le_bytes(pending));
    Ok(())
}
