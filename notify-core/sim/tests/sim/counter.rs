// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What happens to a bound eventfd's counter, and to its signals.

use std::sync::mpsc;
use std::thread;

use notify_core::{EventFd, EventNotifier, MsiMessage};
use notify_sim::{Interrupt, SimVm};

use crate::common::*;

fn with_message(vector: u32) -> SimVm {
    let vm = pc();
    route(&vm, &[msi(24, vector)]).unwrap();
    vm
}

#[test]
fn a_signal_is_taken_whole_and_injected_once() {
    let vm = with_message(0x41);
    let one = eventfd();
    vm.kvm_irqfd(&irqfd(&one, 24, 0)).unwrap();
    let raw: &EventFd = one.as_ref();
    raw.write(3).unwrap();
    let injected = vm.deliver();
    assert_eq!(injected.len(), 1);
    assert_eq!(injected[0].gsi, Some(24));
    assert!(injected[0].taken);
    let message = MsiMessage::new(0xfee0_0000, 0x41);
    assert_eq!(injected[0].interrupt, Interrupt::Msi(message));
    expect_count(&one, 0);
    expect_vectors(&vm, &[0x41]);
}

#[test]
fn a_signal_from_before_is_injected_and_stays_until_the_next() {
    let vm = with_message(0x41);
    let one = EventNotifier::builder().initial(5).build().unwrap();
    vm.kvm_irqfd(&irqfd(&one, 24, 0)).unwrap();
    expect_vectors(&vm, &[0x41]);
    assert!(one.is_signalled().unwrap());
    let _ = vm.deliver();
    expect_vectors(&vm, &[]);
    assert!(one.is_signalled().unwrap());
    one.notify().unwrap();
    expect_vectors(&vm, &[0x41]);
    expect_count(&one, 0);
}

#[test]
fn other_signals_are_not_lost_while_one_from_before_is_injected() {
    let vm = pc();
    route(&vm, &[msi(24, 0x41), msi(25, 0x42)]).unwrap();
    let (early, other) = (eventfd(), eventfd());
    early.notify().unwrap();
    vm.kvm_irqfd(&irqfd(&other, 25, 0)).unwrap();
    other.notify().unwrap();
    vm.kvm_irqfd(&irqfd(&early, 24, 0)).unwrap();
    expect_vectors(&vm, &[0x41, 0x42]);
    expect_count(&other, 0);
    expect_count(&early, 1);
}

#[test]
fn deassigning_empties_the_counter() {
    let vm = with_message(0x41);
    let one = EventNotifier::builder().initial(5).build().unwrap();
    vm.kvm_irqfd(&irqfd(&one, 24, 0)).unwrap();
    vm.kvm_irqfd(&irqfd(&one, 24, DEASSIGN)).unwrap();
    expect_count(&one, 0);
    one.notify().unwrap();
    vm.clear_vectors(0);
    expect_vectors(&vm, &[]);
    expect_count(&one, 1);
}

#[test]
fn dropping_the_machine_empties_the_counter() {
    let vm = with_message(0x41);
    let one = EventNotifier::builder().initial(5).build().unwrap();
    vm.kvm_irqfd(&irqfd(&one, 24, 0)).unwrap();
    drop(vm);
    expect_count(&one, 0);
}

#[test]
fn a_semaphore_wakes_once_for_each_write_and_keeps_the_rest() {
    let vm = with_message(0x41);
    let one = EventNotifier::builder().semaphore(true).build().unwrap();
    vm.kvm_irqfd(&irqfd(&one, 24, 0)).unwrap();
    let raw: &EventFd = one.as_ref();
    raw.write(3).unwrap();
    assert_eq!(vm.deliver().len(), 1);
    assert_eq!(vm.deliver().len(), 0);
    expect_count(&one, 1);
    expect_count(&one, 1);
    expect_count(&one, 0);
}

#[test]
fn a_signal_without_a_route_is_lost() {
    let vm = pc();
    route(&vm, &[]).unwrap();
    let one = eventfd();
    vm.kvm_irqfd(&irqfd(&one, 24, 0)).unwrap();
    one.notify().unwrap();
    route(&vm, &[msi(24, 0x41)]).unwrap();
    expect_vectors(&vm, &[]);
    expect_count(&one, 0);
    one.notify().unwrap();
    expect_vectors(&vm, &[0x41]);
}

#[test]
fn a_signal_takes_the_route_of_before_the_call_that_finds_it() {
    let vm = with_message(0x41);
    let one = eventfd();
    vm.kvm_irqfd(&irqfd(&one, 24, 0)).unwrap();
    one.notify().unwrap();
    route(&vm, &[msi(24, 0x42)]).unwrap();
    expect_vectors(&vm, &[0x41]);
    one.notify().unwrap();
    expect_vectors(&vm, &[0x42]);
    expect_errno(route(&vm, &[msi(24, 1), msi(24, 2)]), libc::EINVAL);
    one.notify().unwrap();
    expect_vectors(&vm, &[0x42]);
}

#[test]
fn signals_are_carried_out_in_the_order_of_the_writes() {
    let vm = pc();
    route(&vm, &[msi(24, 0x41), msi(25, 0x42), msi(26, 0x43)]).unwrap();
    let all = [eventfd(), eventfd(), eventfd()];
    for (gsi, one) in (24..).zip(&all) {
        vm.kvm_irqfd(&irqfd(one, gsi, 0)).unwrap();
    }
    for n in [2, 0, 1] {
        all[n].notify().unwrap();
    }
    let order: Vec<_> = vm.deliver().iter().map(|one| one.gsi.unwrap()).collect();
    assert_eq!(order, [26, 24, 25]);
}

#[test]
fn a_hundred_eventfds_are_drained_at_once() {
    let vm = with_message(0x41);
    let all: Vec<_> = (0..100).map(|_| eventfd()).collect();
    for one in &all {
        vm.kvm_irqfd(&irqfd(one, 24, 0)).unwrap();
    }
    all.iter().for_each(|one| one.notify().unwrap());
    assert_eq!(vm.deliver().len(), 100);
}

#[test]
fn one_eventfd_as_doorbell_and_irqfd_needs_no_exit() {
    let vm = with_message(0x55);
    let one = eventfd();
    vm.kvm_irqfd(&irqfd(&one, 24, 0)).unwrap();
    vm.kvm_ioeventfd(&doorbell(&one, 0xd000_0000, 4)).unwrap();
    let written = vm.guest_write(notify_core::Bus::Mmio, 0xd000_0000, &[0; 4]);
    assert!(written.exits.is_empty());
    expect_vectors(&vm, &[0x55]);
    expect_count(&one, 0);
}

/// The kernel takes each signal at the moment at which it comes, or leaves it in the counter.
#[test]
fn a_signal_is_not_lost_between_two_bindings() {
    let vm = with_message(0x41);
    let one = eventfd();
    let (ask, asked) = mpsc::channel();
    let (result, results) = mpsc::channel();
    thread::scope(|scope| {
        let signalled = &one;
        scope.spawn(move || {
            for () in asked {
                signalled.notify().unwrap();
                result.send(()).unwrap();
            }
        });
        for round in 0..20_000 {
            vm.kvm_irqfd(&irqfd(&one, 24, 0)).unwrap();
            ask.send(()).unwrap();
            (0..round % 64).for_each(|_| std::hint::spin_loop());
            vm.kvm_irqfd(&irqfd(&one, 24, DEASSIGN)).unwrap();
            results.recv().unwrap();
            let kept = one.consume().unwrap().is_some();
            let injected = vm.deliver().len();
            assert_eq!(injected + usize::from(kept), 1, "round {round}");
        }
        drop(ask);
    });
}
