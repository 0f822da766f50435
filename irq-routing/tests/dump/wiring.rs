// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The initial tables of VMs, on the simulator.

use std::sync::Arc;

use irq_routing::{Error, IrqChip, Pin, Platform, Route, RoutingTable, Wiring};
use notify_core::{LineStatus, Vm};
use notify_sim::{CallKind, Profile, SimVm};

fn machine(profile: Profile) -> Arc<SimVm> {
    Arc::new(SimVm::builder().profile(profile).build())
}

/// A table that has committed its initial routes.
fn wired(vm: &Arc<SimVm>, wiring: Wiring) -> RoutingTable {
    let table = RoutingTable::builder(vm.clone()).wiring(wiring);
    let table = table.build().unwrap();
    table.recommit().unwrap();
    table
}

/// The status of raising and lowering every GSI, and its effects on the PICs and the IOAPIC.
fn behaviour(vm: &SimVm) -> Vec<(LineStatus, LineStatus, [u8; 2], u32)> {
    let drive = |gsi| {
        let raised = vm.irq_line_status(gsi, true).unwrap();
        let requested = vm.pic().unwrap().map(|pic| pic.irr);
        let ioapic = vm.ioapic().unwrap().irr;
        (
            raised,
            vm.irq_line_status(gsi, false).unwrap(),
            requested,
            ioapic,
        )
    };
    (0..32).map(drive).collect()
}

#[test]
fn the_kernels_default_is_that_of_the_simulator() {
    let fresh = machine(Profile::X86);
    let vm = machine(Profile::X86);
    let _table = wired(&vm, Wiring::kernel_default_x86());
    assert_eq!(vm.calls(CallKind::SetGsiRouting), 1);
    assert_eq!(behaviour(&vm), behaviour(&fresh));

    let pc = machine(Profile::X86);
    let _table = wired(&pc, Wiring::pc());
    assert_ne!(behaviour(&pc), behaviour(&fresh));
}

#[test]
fn identities_go_up_to_the_last_pin() {
    let pin = |chip, number| Route::from(Pin::new(chip, number).unwrap());
    let routes = |wiring: &Wiring| {
        let vm = Arc::new(kvm_test::Recorder::default());
        let table = RoutingTable::builder(vm).wiring(wiring.clone());
        let routes = table.build().unwrap().routes().into_iter();
        routes
            .map(|(gsi, route)| (gsi.number(), route))
            .collect::<Vec<_>>()
    };
    let gic = Wiring::gic(988).unwrap();
    assert_eq!(routes(&gic).len(), 988);
    assert_eq!(routes(&gic).last(), Some(&(987, pin(IrqChip::Gic, 987))));
    assert!(matches!(
        Wiring::gic(989),
        Err(Error::NoSuchPin {
            chip: IrqChip::Gic,
            pin: 988,
            ..
        })
    ));
    assert!(Wiring::gic(u32::MAX).is_err());
    assert_eq!(routes(&Wiring::gic(0).unwrap()), []);

    let aia = Wiring::aia(1023).unwrap();
    assert_eq!(routes(&aia).len(), 1024);
    assert_eq!(
        routes(&aia).last(),
        Some(&(1023, pin(IrqChip::Aplic, 1023)))
    );
    assert!(matches!(
        Wiring::aia(1024),
        Err(Error::NoSuchPin {
            chip: IrqChip::Aplic,
            pin: 1024,
            ..
        })
    ));
    assert!(Wiring::aia(u32::MAX).is_err());
}

#[test]
fn identities_are_those_that_the_simulator_installs() {
    let spis = 64;
    let vm = machine(Profile::Arm64Gic { spis });
    vm.init_gic();
    let _gic = wired(&vm, Wiring::gic(spis).unwrap());
    let riscv = machine(Profile::Riscv64Aia { sources: 8 });
    riscv.init_aia();
    let _aia = wired(&riscv, Wiring::aia(8).unwrap());
    for (vm, pins) in [(vm, 0..spis), (riscv, 1..9)] {
        for pin in pins {
            let event = notify_core::EventNotifier::new().unwrap();
            let fd = std::os::fd::AsFd::as_fd(&event);
            vm.irqfd(&notify_core::IrqFdRequest::assign(fd, pin))
                .unwrap();
            event.notify().unwrap();
            assert_eq!(vm.deliver().len(), 1);
            assert!(vm.take_pin(pin), "pin {pin}");
        }
    }
}

#[test]
fn a_wiring_beyond_the_last_gsi_is_refused() {
    let small = Arc::new(kvm_test::Recorder::default());
    small.answer(notify_core::Extension::IrqRouting, 16);
    let builder = RoutingTable::builder(small).wiring(Wiring::pc());
    assert!(matches!(
        builder.build(),
        Err(Error::GsiOutOfRange {
            gsi: 16,
            limit: 16,
            ..
        })
    ));
}

#[test]
fn what_a_table_starts_with_can_be_changed() {
    let vm = machine(Profile::X86);
    let table = RoutingTable::builder(vm.clone()).wiring(Wiring::pc());
    let table = table.build().unwrap();
    let mut transaction = table.transaction();
    transaction.wire(table.gsi(4).unwrap(), Pin::new(IrqChip::IoApic, 4).unwrap());
    transaction.unwire(table.gsi(5).unwrap());
    transaction.commit().unwrap();
    assert_eq!(vm.calls(CallKind::SetGsiRouting), 1);
    assert_eq!(
        table.route(table.gsi(4).unwrap()).unwrap().to_string(),
        "IOAPIC pin 4"
    );
    assert_eq!(table.routes().len(), 22);
    assert_eq!(table.platform(), Platform::X86);
}
