// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! One queue from the guest's kick to its interrupt, on a simulated VM.
//!
//! ```sh
//! cargo run -p notify-sim --example kick_and_call
//! ```
//!
//! A VMM with `/dev/kvm` makes the VM by `KvmVm::try_from(&vm_fd)`, and everything else stays as it
//! is here. The crates `ioeventfd`, `irq-routing` and `irqfd` make the requests of `set_up` for a
//! whole device, and undo them.

use std::error::Error;
use std::os::fd::AsFd;
use std::sync::Arc;

use notify_core::dispatcher::{Dispatcher, Turn};
use notify_core::{
    Bus, IoEventFdRequest, IrqFdRequest, MsiMessage, NotifierPair, RouteEntry, RouteTarget, Vm,
};
use notify_sim::SimVm;

/// Where the guest's driver writes when it has made buffers available, and the value it writes.
const DOORBELL: (u64, u16) = (0xd000_0000, 0);
/// The message by which the device interrupts the guest: vector 0x41 of the first vCPU.
const MESSAGE: MsiMessage = MsiMessage::new(0xfee0_0000, 0x41);
/// The first GSI above the pins of the IOAPIC.
const GSI: u32 = 24;

/// Lets KVM signal the kick when the guest writes, and inject the interrupt at a call.
fn set_up(vm: &dyn Vm, queue: &NotifierPair) -> std::io::Result<()> {
    let (address, value) = DOORBELL;
    let kick = queue.host_notifier.as_fd();
    let doorbell = IoEventFdRequest::assign(kick, Bus::Mmio, address, 2);
    vm.ioeventfd(&doorbell.datamatch(Some(value.into())))?;

    let route = RouteEntry::new(GSI, RouteTarget::Msi(MESSAGE));
    vm.set_gsi_routing(&[route].into_iter().collect())?;
    vm.irqfd(&IrqFdRequest::assign(queue.guest_notifier.as_fd(), GSI))
}

fn main() -> Result<(), Box<dyn Error>> {
    let vm = SimVm::builder().build();
    vm.enable_lapic(0); // as a guest does when it starts
    let queue = NotifierPair::new()?;
    set_up(&vm, &queue)?;

    // The device: a handler for the kick. In a VMM a thread runs `Dispatcher::run`.
    let dispatcher = Dispatcher::new()?;
    let call = Arc::clone(&queue.guest_notifier);
    let kick = Arc::clone(&queue.host_notifier);
    dispatcher.handle().add(kick, move |kicks| {
        println!("device: {kicks} kick(s), so it looks at the ring");
        call.notify()?;
        Ok(())
    })?;

    for _ in 0..2 {
        let (address, value) = DOORBELL;
        let write = vm.guest_write(Bus::Mmio, address, &value.to_ne_bytes());
        println!(
            "guest: rang {} doorbell(s), and did not exit",
            write.signalled
        );
    }
    assert_eq!(dispatcher.run_once(None)?, Turn::Worked(1)); // two kicks, one call
    assert_eq!(vm.pending_vectors(0), [0x41]);
    println!("guest: vector 0x41 is pending");
    Ok(())
}
