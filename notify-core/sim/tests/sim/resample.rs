// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Level-triggered irqfds and their resample eventfds.

use notify_core::{Bus, EventNotifier, Vm};
use notify_sim::SimVm;

use crate::common::*;

/// Whether the line of GSI 5 is high, as the IOAPIC sees it.
fn line(vm: &SimVm) -> bool {
    vm.ioapic().unwrap().irr & 0x20 != 0
}

fn shared() -> (SimVm, [EventNotifier; 4]) {
    let vm = pc();
    let [one, two, resample_one, resample_two] = [eventfd(), eventfd(), eventfd(), eventfd()];
    vm.kvm_irqfd(&level(&one, 5, &resample_one)).unwrap();
    vm.kvm_irqfd(&level(&two, 5, &resample_two)).unwrap();
    (vm, [one, two, resample_one, resample_two])
}

#[test]
fn an_eoi_lets_the_line_go_and_tells_all_holders() {
    let (vm, [one, _two, resample_one, resample_two]) = shared();
    one.notify().unwrap();
    assert!(line(&vm));
    vm.guest_eoi(PIC, 5);
    assert!(!line(&vm));
    expect_count(&resample_one, 1);
    expect_count(&resample_two, 1);
}

#[test]
fn an_eoi_tells_them_even_when_somebody_else_raised_the_line() {
    let (vm, [_one, _two, resample_one, _resample_two]) = shared();
    vm.irq_line_status(5, true).unwrap();
    vm.guest_eoi(PIC, 5);
    assert!(line(&vm), "held by KVM_IRQ_LINE");
    expect_count(&resample_one, 1);
    vm.irq_line_status(5, false).unwrap();
    assert!(!line(&vm));
}

#[test]
fn the_line_stays_until_the_last_holder_leaves() {
    let (vm, [one, two, ..]) = shared();
    one.notify().unwrap();
    vm.kvm_irqfd(&irqfd(&one, 5, DEASSIGN)).unwrap();
    assert!(line(&vm));
    vm.kvm_irqfd(&irqfd(&two, 5, DEASSIGN)).unwrap();
    assert!(!line(&vm));
}

#[test]
fn a_refused_holder_lets_a_line_go_that_nobody_else_holds() {
    let vm = pc();
    let (one, resample) = (eventfd(), eventfd());
    vm.kvm_irqfd(&irqfd(&one, 7, 0)).unwrap();
    expect_errno(vm.kvm_irqfd(&level(&one, 5, &resample)), libc::EBUSY);
    vm.guest_eoi(PIC, 5);
    expect_count(&resample, 0);
}

#[test]
fn of_two_gsis_on_one_pin_the_last_hears_of_eois() {
    let vm = pc();
    route(&vm, &[pin(5, PIC, 5), pin(55, PIC, 5)]).unwrap();
    let [one, two, resample_one, resample_two] = [eventfd(), eventfd(), eventfd(), eventfd()];
    vm.kvm_irqfd(&level(&one, 5, &resample_one)).unwrap();
    vm.kvm_irqfd(&level(&two, 55, &resample_two)).unwrap();
    one.notify().unwrap();
    vm.guest_eoi(PIC, 5);
    expect_count(&resample_one, 0);
    expect_count(&resample_two, 1);
}

#[test]
fn a_guest_ends_interrupts_by_writing_to_the_pic() {
    let (vm, [one, _two, resample_one, _resample_two]) = shared();
    one.notify().unwrap();
    vm.guest_write(Bus::Pio, 0x20, &[0x65]);
    expect_count(&resample_one, 1);
    assert!(!line(&vm));
}

#[test]
fn unmasking_a_pin_asks_its_holder_again() {
    let vm = pc();
    route(&vm, &[pin(20, IOAPIC, 20)]).unwrap();
    let (one, resample) = (eventfd(), eventfd());
    let mut ioapic = vm.ioapic().unwrap();
    ioapic.redirections[20] = 0x1_8071;
    vm.set_ioapic(ioapic);
    vm.kvm_irqfd(&level(&one, 20, &resample)).unwrap();
    one.notify().unwrap();
    expect_vectors(&vm, &[]);
    vm.guest_write(Bus::Mmio, 0xfec0_0000, &[0x10 + 40, 0, 0, 0]);
    vm.guest_write(Bus::Mmio, 0xfec0_0010, &[0x71, 0x80, 0, 0]);
    expect_count(&resample, 1);
    expect_vectors(&vm, &[]);
    one.notify().unwrap();
    expect_vectors(&vm, &[0x71]);
}

#[test]
fn a_resample_eventfd_may_be_an_irqfd_itself() {
    let vm = pc();
    let (one, resample) = (eventfd(), eventfd());
    vm.kvm_irqfd(&irqfd(&resample, 7, 0)).unwrap();
    vm.kvm_irqfd(&level(&one, 5, &resample)).unwrap();
    one.notify().unwrap();
    vm.guest_eoi(PIC, 5);
    assert_eq!(vm.pic().unwrap()[0].irr, 0xa0);
    expect_count(&resample, 0);
}
