// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What is refused before any request to the VM, and the texts of the errors.

use std::sync::Arc;

use irq_routing::{Error, IrqChip, Pin, Pins, Route, RoutingTable};
use kvm_test::Recorder;
use notify_core::Extension;

use crate::{EINVAL, committed, message, pin, table};

#[test]
fn a_machine_without_gsis_has_no_table_and_one_with_too_many_gets_fewer() {
    let vm = Arc::new(Recorder::default());
    vm.answer(Extension::IrqRouting, 0);
    assert!(matches!(
        RoutingTable::new(vm.clone()),
        Err(Error::NoRoutingTable)
    ));
    vm.answer(Extension::IrqRouting, u32::MAX);
    let table = RoutingTable::new(vm).unwrap();
    assert_eq!(table.gsi(65535).unwrap().number(), 65535);
    assert!(matches!(
        table.gsi(65536),
        Err(Error::GsiOutOfRange { limit: 65536, .. })
    ));
}

#[test]
fn a_gsi_of_a_larger_machine_is_out_of_range() {
    let (_, large) = table();
    let vm = Arc::new(Recorder::default());
    vm.answer(Extension::IrqRouting, 64);
    let small = RoutingTable::new(vm.clone()).unwrap();
    let mut transaction = small.transaction();
    transaction.wire(large.gsi(4000).unwrap(), pin(IrqChip::IoApic, 1));
    let error = transaction.commit().unwrap_err().error;
    assert!(
        matches!(
            error,
            Error::GsiOutOfRange {
                gsi: 4000,
                limit: 64,
                ..
            }
        ),
        "{error}"
    );
    assert!(vm.take().is_empty());
}

#[test]
fn the_kernel_takes_no_more_entries_than_gsis() {
    let (vm, table) = table();
    let leases: Vec<_> = std::iter::from_fn(|| table.lease().ok()).collect();
    let mut transaction = table.transaction();
    for lease in &leases {
        transaction.route(lease, message(1));
    }
    transaction.commit().unwrap();
    vm.take();

    let mut transaction = table.transaction();
    for number in 0..24 {
        let mut pins = vec![pin(IrqChip::IoApic, number)];
        pins.extend(Pin::new(IrqChip::PicMaster, number).ok());
        transaction.wire(table.gsi(number).unwrap(), Pins::new(pins).unwrap());
    }
    let error = transaction.commit().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the table would have 4104 entries, and the kernel takes 4096: drop or park leases"
    );
    assert!(vm.take().is_empty(), "the kernel was not asked");
    table.recommit().unwrap();
    assert_eq!(committed(&vm)[0].len(), 4072);
}

#[test]
fn numbers_are_validated_where_they_are_made() {
    for (chip, last) in [
        (IrqChip::PicMaster, 7),
        (IrqChip::PicSlave, 7),
        (IrqChip::IoApic, 23),
        (IrqChip::Gic, 987),
        (IrqChip::Aplic, 1023),
    ] {
        assert_eq!(Pin::new(chip, last).unwrap().number(), last);
        for number in [last + 1, 0x1_0000, u32::MAX] {
            assert!(matches!(
                Pin::new(chip, number),
                Err(Error::NoSuchPin { .. })
            ));
        }
    }
    assert!(matches!(Pins::new([]), Err(Error::NoPins)));
    let twice = [pin(IrqChip::IoApic, 1), pin(IrqChip::IoApic, 2)];
    assert!(matches!(
        Pins::new(twice),
        Err(Error::TwoPinsOfOneChip { .. })
    ));
    let mixed = [pin(IrqChip::IoApic, 1), pin(IrqChip::Gic, 2)];
    assert!(matches!(Pins::new(mixed), Err(Error::TwoPlatforms { .. })));
    let three = [
        pin(IrqChip::IoApic, 9),
        pin(IrqChip::PicMaster, 2),
        pin(IrqChip::PicSlave, 1),
    ];
    let chips: Vec<_> = Pins::new(three)
        .unwrap()
        .iter()
        .map(|pin| pin.chip())
        .collect();
    assert_eq!(
        chips,
        [IrqChip::PicMaster, IrqChip::PicSlave, IrqChip::IoApic]
    );
}

#[test]
fn routes_read_as_they_are_spoken_of() {
    let both = Pins::new([pin(IrqChip::IoApic, 2), pin(IrqChip::PicMaster, 0)]).unwrap();
    for (route, text) in [
        (Route::from(both), "PIC master pin 0, IOAPIC pin 2"),
        (message(0x41).into(), "MSI 0x41 to 0xfee00000"),
        (
            message(1).with_devid(0x20).into(),
            "MSI 0x1 to 0xfee00000 from device 0x20",
        ),
        (Route::HvSint { vcpu: 1, sint: 2 }, "SINT 2 of vCPU 1"),
    ] {
        assert_eq!(route.to_string(), text);
    }
}

#[test]
fn a_missing_irqchip_is_told_from_other_refusals() {
    let (vm, table) = table();
    vm.lack_irqchip();
    vm.fail_after(0, EINVAL);
    assert!(matches!(table.recommit(), Err(Error::NoIrqChip { .. })));
    vm.fail_after(0, 12);
    assert!(
        matches!(table.recommit(), Err(Error::Refused { .. })),
        "out of memory is another thing"
    );
}

#[test]
fn what_the_kernel_is_short_of_may_be_there_later() {
    let (vm, table) = table();
    let short = [
        libc::ENOMEM,
        libc::EAGAIN,
        libc::EINTR,
        libc::EMFILE,
        libc::ENFILE,
        libc::ENOSPC,
    ];
    let lasting = [EINVAL, libc::EPERM, libc::EFAULT, libc::ENOTTY];
    for errno in short.into_iter().chain(lasting) {
        vm.fail_after(0, errno);
        let error = table.recommit().unwrap_err();
        assert_eq!(error.is_transient(), short.contains(&errno), "{error:?}");
    }
    assert!(!Error::NoPins.is_transient());
}
