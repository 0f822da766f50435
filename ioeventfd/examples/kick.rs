// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! One doorbell: a write of the guest signals an eventfd.
//!
//! It runs on a simulated VM. With KVM the VM is `Arc::new(KvmVm::try_from(&vm_fd)?)`, and the
//! guest writes by itself.

use std::error::Error;
use std::sync::Arc;

use ioeventfd::{Datamatch, IoAddress, IoEventFd};
use notify_core::Bus;
use notify_sim::SimVm;

fn main() -> Result<(), Box<dyn Error>> {
    let vm = Arc::new(SimVm::builder().build());

    // Writes of two bytes with the value 1 to port 0xc010. Most VMMs have a length and a value.
    let datamatch = Datamatch::new(2, Some(1))?;
    let address = IoAddress::Pio(0xc010);
    let doorbell = IoEventFd::builder(vm.clone(), address, datamatch).assign()?;

    // The guest kicks twice. Neither write exits to user space.
    for _ in 0..2 {
        let write = vm.guest_write(Bus::Pio, 0xc010, &1u16.to_le_bytes());
        assert!(write.exits.is_empty());
    }
    // Both kicks are in the counter of the eventfd.
    let kicks = doorbell.notifier().consume()?.map_or(0, u64::from);
    println!("{kicks} kicks at {address}");
    assert_eq!(kicks, 2);

    // Another value is no kick, so it exits: the VMM emulates it.
    let write = vm.guest_write(Bus::Pio, 0xc010, &7u16.to_le_bytes());
    println!("{} exit", write.exits.len());
    assert_eq!(write.exits.len(), 1);

    // Dropping the doorbell deregisters it. `deassign` does too, and returns whether that worked.
    drop(doorbell.deassign()?);
    Ok(())
}
