// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The program of the README, in a VM whose serial port has an interrupt of its own.

use ioeventfd::{Datamatch, IoAddress, IoEventFd};
use irqfd::{IrqFd, MsiMessage, RoutingTable};
use kvm_test::{Machine, Trial, kvm_x86, wait_until};
use notify_core::{NotifierPair, Vm};

/// The serial ports.
const COM1: u32 = 4;
const COM2: u32 = 3;

pub(crate) fn trials() -> Vec<Trial> {
    vec![kvm_x86(
        "the_program_of_the_readme_keeps_the_serial_port",
        keeps_the_serial_port,
    )]
}

fn keeps_the_serial_port() {
    let machine = Machine::new().unwrap();
    let vm = machine.vm();
    let table = RoutingTable::new(vm.clone()).unwrap();
    let queue = NotifierPair::new().unwrap();
    let lease = table.lease_msi(MsiMessage::new(Machine::MSI_ADDRESS, 0x40));
    let call = IrqFd::builder(lease.unwrap()).notifier(queue.guest_notifier.clone());
    let call = call.assign().unwrap();
    let address = IoAddress::Mmio(0xfe00_b000);
    let kick = IoEventFd::builder(vm.clone(), address, Datamatch::U16(0));
    let kick = kick.notifier(queue.host_notifier.clone());
    let kick = kick.assign().unwrap();
    queue.guest_notifier.notify().unwrap();
    assert_eq!(machine.delivered().unwrap(), [0x40]);

    // The first port by an irqfd on its GSI. KVM pulses a pin from a thread of its own.
    let serial = IrqFd::builder(table.line(COM1).unwrap()).assign().unwrap();
    serial.notifier().notify().unwrap();
    wait_until(|| machine.requests().unwrap().pic_master & 1 << COM1 != 0);
    // The second port by a call of the VMM.
    vm.irq_line(COM2, true).unwrap();
    let requests = machine.requests().unwrap();
    assert_eq!(requests.pic_master, 1 << COM1 | 1 << COM2);
    assert_eq!(requests.ioapic, 1 << COM2);
    drop((call, kick, serial));
}
