// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The doorbells of a virtio-pci device: they start with the driver and follow the BAR.
//!
//! It runs on a simulated VM. With KVM the VM is `Arc::new(KvmVm::try_from(&vm_fd)?)`, and exits
//! come from `KVM_RUN`.

use std::error::Error;
use std::sync::Arc;

use ioeventfd::virtio::{Notification, NotifyCapability, PciModern, PciQueue};
use ioeventfd::{AfterExit, DoorbellRegistry, DoorbellSet, IoAddress, Window};
use notify_core::{Bus, EventNotifier};
use notify_sim::SimVm;

const BAR_SIZE: u64 = 0x4000;
const OLD: u64 = 0xfe00_8000;
const NEW: u64 = 0xfd00_0000;

fn main() -> Result<(), Box<dyn Error>> {
    let vm = Arc::new(SimVm::builder().build());
    // One registry for each VM. It refuses conflicts between devices, and with the irqchip.
    let registry = DoorbellRegistry::new(vm.clone(), Window::of_irqchip(&*vm)?);

    // The device's notify capability, and the queues that the driver has enabled.
    let capability = NotifyCapability {
        offset: 0x3000,
        length: 0x1000,
        multiplier: 4,
    };
    let layout = PciModern::new(capability, BAR_SIZE, Notification::Index)?;
    let enabled = [PciQueue::new(0, 0), PciQueue::new(1, 1)];
    let queues = [
        Arc::new(EventNotifier::new()?),
        Arc::new(EventNotifier::new()?),
    ];
    let bells = layout.doorbells(IoAddress::Mmio(OLD), enabled)?;
    let wanted = bells.into_iter().zip(&queues);
    let wanted = wanted.map(|(bell, queue)| bell.signalling(Arc::clone(queue)));

    // A plan finds conflicts before the VM is asked. It is applied as a whole or not at all.
    let set = DoorbellSet::new(&registry);
    set.apply(set.plan(wanted)?)?;

    // The guest kicks queue 1, moves the BAR, and kicks queue 1 at both places.
    let kick = 1u16.to_le_bytes();
    let queue_1 = 0x3000 + 4;
    vm.guest_write(Bus::Mmio, OLD + queue_1, &kick);
    let moved = set.relocate(IoAddress::Mmio(OLD), BAR_SIZE, IoAddress::Mmio(NEW))?;
    vm.guest_write(Bus::Mmio, NEW + queue_1, &kick);
    for exit in vm.guest_write(Bus::Mmio, OLD + queue_1, &kick).exits {
        // A vCPU was on its way to the old place: its write exits, and is a kick all the same.
        let next = set.on_exit_write(IoAddress::Mmio(exit.address), exit.bytes())?;
        assert_eq!(next, AfterExit::Resume);
    }
    // No vCPU can bring an earlier write any more, so writes to the old place are no kicks.
    set.vcpus_passed(moved)?;
    let next = set.on_exit_write(IoAddress::Mmio(OLD + queue_1), &kick)?;
    println!("a write to the old place: {next}");
    assert_eq!(next, AfterExit::Emulate);

    // The driver resets the device. Queue 1 has kicks that were not served.
    for leftover in set.stop()?.leftovers {
        println!("queue {}: {} kicks", leftover.key, leftover.kicks);
        assert_eq!((leftover.key, leftover.kicks.get()), (1, 3));
    }
    Ok(())
}
