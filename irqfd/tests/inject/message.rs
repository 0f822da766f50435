// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Messages.

use std::sync::Arc;

use irq_routing::{MsiMessage, Platform, RoutingTable, Wiring};
use irqfd::inject::InjectError;
use irqfd::inject::{self, Injected};
use notify_sim::{CallKind, Profile, SimVm};

fn with(profile: Profile, vcpus: usize) -> (Arc<SimVm>, RoutingTable) {
    let vm = Arc::new(SimVm::builder().profile(profile).vcpus(vcpus).build());
    (0..vcpus).for_each(|vcpu| vm.enable_lapic(vcpu));
    let table = RoutingTable::new(vm.clone()).unwrap();
    (vm, table)
}

const TO_FIRST: MsiMessage = MsiMessage::new(0xfee0_0000, 0x41);
const TO_ALL: MsiMessage = MsiMessage::new(0xfeef_f000, 0x42);
const TO_NINTH: MsiMessage = MsiMessage::new(0xfee0_9000, 0x43);

#[test]
fn it_says_how_many_took_it() {
    let (vm, table) = with(Profile::X86, 3);
    for _ in 0..2 {
        assert_eq!(
            inject::message(&table, TO_FIRST).unwrap(),
            Injected::Delivered(1)
        );
    }
    assert_eq!(
        inject::message(&table, TO_ALL).unwrap(),
        Injected::Delivered(3)
    );
    vm.disable_lapic(1);
    assert_eq!(
        inject::message(&table, TO_ALL).unwrap(),
        Injected::Delivered(2)
    );
    assert_eq!(vm.pending_vectors(0), [0x41, 0x42]);
    assert_eq!(vm.calls(CallKind::SignalMsi), 4);
    assert_eq!(vm.total_calls(), 4, "and nothing else was asked");
}

#[test]
fn nobody_listens() {
    let (vm, table) = with(Profile::X86Split { pins: 24 }, 1);
    assert_eq!(
        inject::message(&table, TO_NINTH).unwrap(),
        Injected::NoListener
    );
    vm.disable_lapic(0);
    assert_eq!(
        inject::message(&table, TO_FIRST).unwrap(),
        Injected::NoListener
    );
}

#[test]
fn a_vm_without_vcpus_or_without_irqchip() {
    let (_, table) = with(Profile::X86, 0);
    let injected = inject::message(&table, TO_FIRST).unwrap();
    assert_eq!(injected, Injected::NoListener);

    let (_, table) = with(Profile::None, 1);
    let error = inject::message(&table, TO_FIRST).unwrap_err();
    assert!(matches!(error, InjectError::NoIrqChip { .. }), "{error}");
}

#[test]
fn it_goes_where_the_translation_leads() {
    let vm = Arc::new(SimVm::builder().build());
    vm.enable_lapic(0);
    let translate = |message: MsiMessage| match message.data {
        0x42 => None,
        data => Some(MsiMessage::new(0xfee0_0000, data + 0x10)),
    };
    let table = RoutingTable::builder(vm.clone())
        .translate(translate)
        .build()
        .unwrap();
    assert_eq!(
        inject::message(&table, TO_NINTH).unwrap(),
        Injected::Delivered(1)
    );
    assert_eq!(
        inject::message(&table, TO_ALL).unwrap(),
        Injected::Untranslated
    );
    assert_eq!(vm.pending_vectors(0), [0x53]);
}

#[test]
fn other_refusals_are_the_kernels() {
    let (vm, table) = with(Profile::X86, 1);
    for errno in [libc::EINVAL, libc::EIO] {
        vm.fail(CallKind::SignalMsi, 1, errno);
        let error = inject::message(&table, TO_FIRST).unwrap_err();
        assert!(
            matches!(&error, InjectError::MessageRefused { cause, .. }
                if cause.raw_os_error() == Some(errno)),
            "{error}"
        );
    }
    assert!(vm.pending_vectors(0).is_empty());
}

#[test]
fn riscv64_does_not_say() {
    let vm = SimVm::builder().profile(Profile::Riscv64Aia { sources: 32 });
    let vm = Arc::new(vm.build());
    vm.init_aia();
    let table = RoutingTable::builder(vm).wiring(Wiring::none(Platform::Riscv64Aia));
    let injected = inject::message(&table.build().unwrap(), TO_FIRST).unwrap();
    assert_eq!(injected, Injected::Untold);
}
