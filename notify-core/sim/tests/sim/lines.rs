// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! KVM_IRQ_LINE, KVM_IRQ_LINE_STATUS and KVM_SIGNAL_MSI, and the chips behind them.

use notify_core::{Bus, LineStatus, MsiMessage, MsiOutcome, Vm};
use notify_sim::raw::{IrqLevel, Msi};
use notify_sim::{Profile, SimVm};

use crate::common::*;

fn status(vm: &SimVm, irq: u32, level: u32) -> i32 {
    vm.kvm_irq_line_status(&IrqLevel { irq, level }).unwrap()
}

fn to_vcpu(data: u32) -> Msi {
    Msi {
        address_lo: 0xfee0_0000,
        data,
        ..Msi::default()
    }
}

fn redirect(vm: &SimVm, pin: usize, entry: u64) {
    let mut ioapic = vm.ioapic().unwrap();
    ioapic.redirections[pin] = entry;
    vm.set_ioapic(ioapic);
}

#[test]
fn a_line_needs_an_irqchip_and_nothing_else() {
    let line = IrqLevel { irq: 5, level: 1 };
    let bare = machine(Profile::None);
    expect_errno(bare.kvm_irq_line(&line), libc::ENXIO);
    expect_errno(bare.kvm_irq_line_status(&line), libc::ENXIO);
    for irq in [5, 24, u32::MAX] {
        assert_eq!(pc().kvm_irq_line(&IrqLevel { irq, level: 7 }).unwrap(), 0);
    }
}

#[test]
fn a_status_is_the_sum_over_all_chips() {
    let vm = pc();
    assert_eq!(status(&vm, 24, 1), -1, "no route");
    assert_eq!(status(&vm, 7, 1), 1);
    assert_eq!(status(&vm, 7, 1), 1);
    assert_eq!(status(&vm, 7, 0), 2);
    assert_eq!(status(&vm, 20, 1), -1, "masked");
    assert_eq!(status(&vm, 20, 1), 0, "pending");
}

#[test]
fn a_message_has_no_low_level() {
    let vm = pc();
    route(&vm, &[msi(24, 0x41)]).unwrap();
    assert_eq!(status(&vm, 24, 1), 1);
    assert_eq!(status(&vm, 24, 1), 1);
    assert_eq!(status(&vm, 24, 0), -1);
}

#[test]
fn the_slave_asks_through_pin_2_of_the_master() {
    let vm = pc();
    assert_eq!(status(&vm, 9, 1), 1);
    let [master, slave] = vm.pic().unwrap();
    assert_eq!((master.irr, slave.irr), (4, 2));
    assert_eq!(status(&vm, 2, 1), 0, "it is pending already");
}

#[test]
fn a_masked_pin_of_the_pic_takes_nothing() {
    let vm = pc();
    route(&vm, &[pin(5, PIC, 5)]).unwrap();
    vm.guest_write(Bus::Pio, 0x21, &[0xff]);
    assert_eq!(status(&vm, 5, 1), -1);
}

#[test]
fn an_edge_counts_once_until_it_is_taken() {
    let vm = pc();
    for (port, byte) in [(0x20, 0x11), (0x21, 0x40), (0x21, 4), (0x21, 1)] {
        vm.guest_write(Bus::Pio, port, &[byte]);
    }
    assert_eq!(vm.take_pic(), None);
    vm.irq_line_status(5, true).unwrap();
    assert_eq!(vm.take_pic(), Some(0x45));
    assert_eq!(vm.take_pic(), None, "in service");
    vm.guest_write(Bus::Pio, 0x20, &[0x20]);
    assert_eq!(vm.take_pic(), None, "the line is still high");
    vm.irq_line_status(5, false).unwrap();
    vm.irq_line_status(5, true).unwrap();
    assert_eq!(vm.take_pic(), Some(0x45));
}

#[test]
fn a_level_that_waits_for_its_eoi_is_not_delivered_again() {
    let vm = pc();
    route(&vm, &[pin(20, IOAPIC, 20)]).unwrap();
    redirect(&vm, 20, 0x8071);
    assert_eq!(status(&vm, 20, 1), 1);
    assert_eq!(vm.take_vector(0), Some(0x71));
    assert_eq!(status(&vm, 20, 1), -1);
    vm.lapic_eoi(0);
    expect_vectors(&vm, &[0x71]);
    assert_eq!(status(&vm, 20, 0), 1);
}

#[test]
fn the_real_time_clock_counts_who_still_holds_it() {
    let vm = pc();
    route(&vm, &[pin(8, IOAPIC, 8)]).unwrap();
    redirect(&vm, 8, 0x68);
    assert_eq!(status(&vm, 8, 1), 1);
    status(&vm, 8, 0);
    assert_eq!(status(&vm, 8, 1), 0);
    assert_eq!(vm.take_vector(0), Some(0x68));
    vm.guest_write(Bus::Mmio, 0xfee0_00b0, &[0; 4]);
    assert_eq!(status(&vm, 8, 1), 1);
}

#[test]
fn a_message_is_checked_before_it_is_sent() {
    expect_errno(
        machine(Profile::None).kvm_signal_msi(&to_vcpu(0x30)),
        libc::EINVAL,
    );
    let vm = SimVm::builder().vcpus(0).build();
    expect_errno(vm.kvm_signal_msi(&to_vcpu(0x30)), libc::EPERM);
    let flags = |flags| Msi {
        flags,
        ..to_vcpu(0x30)
    };
    expect_errno(vm.kvm_signal_msi(&flags(2)), libc::EINVAL);
    assert_eq!(pc().kvm_signal_msi(&flags(1)).unwrap(), 1);

    vm.enable_x2apic_ids();
    let high = |address_hi| Msi {
        address_hi,
        ..to_vcpu(0x30)
    };
    expect_errno(vm.kvm_signal_msi(&high(1)), libc::EINVAL);
    expect_errno(vm.kvm_signal_msi(&high(0x100)), libc::EPERM);
}

#[test]
fn a_message_is_answered_by_those_who_take_it() {
    let vm = SimVm::builder().vcpus(2).build();
    assert_eq!(
        vm.kvm_signal_msi(&to_vcpu(0x30)).unwrap(),
        0,
        "switched off"
    );
    vm.enable_lapic(0);
    vm.enable_lapic(1);
    let sent = |address_lo, data| {
        let message = Msi {
            address_lo,
            data,
            ..Msi::default()
        };
        vm.kvm_signal_msi(&message).unwrap()
    };
    assert_eq!(sent(0xfee0_0000, 0x30), 1);
    assert_eq!(sent(0xfee0_0000, 0x30), 1, "pending already");
    assert_eq!(sent(0xfee0_1000, 0x31), 1);
    assert_eq!(sent(0xfee0_9000, 0x32), 0, "no such APIC");
    assert_eq!(sent(0xfeef_f000, 0x33), 2, "all");
    assert_eq!(sent(0xfeef_f000, 0x135), 2, "lowest priority becomes all");
    assert_eq!(sent(0xfeef_f00c, 0x134), 1, "one of all");
    assert_eq!(sent(0, 0x05), 1, "the address is not looked at");
    assert_eq!(sent(0xfee0_0000, 0x430), 1, "NMI");
    assert_eq!(sent(0xfee0_0000, 0x730), 0, "ExtINT");
    assert_eq!(vm.pending_vectors(0), [0x05, 0x30, 0x33, 0x34, 0x35]);
    assert_eq!(vm.pending_vectors(1), [0x31, 0x33, 0x35]);
}

#[test]
fn the_typed_port_says_the_same() {
    let vm = pc();
    let message = MsiMessage::new(0xfee0_0000, 0x41);
    assert_eq!(vm.signal_msi(&message).unwrap(), MsiOutcome::Delivered(1));
    vm.disable_lapic(0);
    assert_eq!(vm.signal_msi(&message).unwrap(), MsiOutcome::Blocked);
    assert_eq!(vm.irq_line_status(24, true).unwrap(), LineStatus::Ignored);
    assert_eq!(
        vm.irq_line_status(7, true).unwrap(),
        LineStatus::Delivered(1)
    );
    vm.irq_line(20, true).unwrap();
    assert_eq!(vm.irq_line_status(20, true).unwrap(), LineStatus::Coalesced);
    vm.enable_lapic(0);
    let to_all = MsiMessage::new(0xfeef_f000, 0x41);
    assert_eq!(vm.signal_msi(&to_all).unwrap(), MsiOutcome::Delivered(1));
    expect_errno(machine(Profile::None).irq_line(20, true), libc::ENXIO);
}

#[test]
fn a_plain_irqfd_on_a_masked_pin_or_a_waiting_level_is_lost() {
    let vm = pc();
    route(&vm, &[pin(20, IOAPIC, 20)]).unwrap();
    let one = eventfd();
    vm.kvm_irqfd(&irqfd(&one, 20, 0)).unwrap();
    one.notify().unwrap();
    assert!(vm.deliver().iter().all(|one| one.taken
        != matches!(one.interrupt,
        notify_sim::Interrupt::Pin { level, .. } if level)));
    redirect(&vm, 20, 0x8071);
    expect_vectors(&vm, &[]);
    one.notify().unwrap();
    expect_vectors(&vm, &[0x71]);
    one.notify().unwrap();
    expect_vectors(&vm, &[]);
}
