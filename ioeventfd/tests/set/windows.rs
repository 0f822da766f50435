// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Doorbells keep away from the registers of devices in the kernel.

use std::sync::Arc;

use ioeventfd::{
    Conflict, Datamatch, Doorbell, DoorbellRegistry, DoorbellSet, Error, IoAddress, Window,
};
use notify_sim::{Profile, SimVm};

use crate::common::*;
use crate::planning::found;

#[test]
fn devices_in_the_kernel_keep_their_windows() {
    let rig = rig();
    let one = notifier();
    let port = |port, datamatch| Doorbell::new(0, IoAddress::Pio(port), datamatch, one.clone());
    let byte = Datamatch::U8(0);
    for (bell, free) in [
        (port(0x1f, byte), true),
        (port(0x20, byte), false),
        (port(0x21, byte), false),
        (port(0x22, byte), true),
        (port(0x1f, W2), false),
        (port(0xa0, byte), false),
        (port(0xa1, byte), false),
        (port(0xa2, byte), true),
        (port(0x4cf, W4), false),
        (port(0x4d0, byte), false),
        (port(0x4d1, byte), false),
        (port(0x4d2, byte), true),
        (port(0x40, byte), true),
        (mmio(0, 0xfebf_fffc, W4, &one), true),
        (mmio(0, 0xfec0_0000, Datamatch::AnyWrite, &one), false),
        (mmio(0, 0xfec0_00ff, byte, &one), false),
        (mmio(0, 0xfec0_0100, byte, &one), true),
        (mmio(0, 0xfec0_0100, Datamatch::AnyWrite, &one), false),
        (mmio(0, 0xfec0_0101, Datamatch::AnyWrite, &one), true),
        (mmio(0, 0xfee0_0000, W4, &one), false),
        (mmio(0, 0xfee0_0ffc, W4, &one), false),
        (mmio(0, 0xfee0_1000, W4, &one), true),
    ] {
        let conflict = found(rig.set.plan([bell.clone()]).map(drop));
        assert_eq!(conflict.is_none(), free, "{bell:?}");
        assert!(matches!(conflict, None | Some(Conflict::Device(_))));
    }
    let split = DoorbellRegistry::new(rig.vm.clone(), &Window::X86_IRQCHIP[4..]);
    let set = DoorbellSet::new(&split);
    assert!(set.plan([port(0x20, byte)]).is_ok());
    assert!(set.plan([mmio(0, 0xfee0_00b0, W4, &one)]).is_err());
    for window in Window::X86_PIT {
        split.reserve(*window).unwrap();
    }
    for (at, free) in [
        (0x3f, true),
        (0x40, false),
        (0x43, false),
        (0x44, true),
        (0x61, false),
    ] {
        assert_eq!(set.plan([port(at, byte)]).is_ok(), free, "{at:#x}");
    }
}

#[test]
fn the_windows_of_an_irqchip_are_found_out() {
    for (profile, windows) in [
        (Profile::X86, Window::X86_IRQCHIP),
        (Profile::X86Split { pins: 24 }, &Window::X86_IRQCHIP[4..]),
        (Profile::Arm64Gic { spis: 32 }, &[]),
        (Profile::None, &[]),
    ] {
        let vm = SimVm::builder().profile(profile).build();
        assert_eq!(Window::of_irqchip(&vm).unwrap(), windows);
    }
}

#[test]
fn a_window_is_not_reserved_over_a_doorbell() {
    let rig = rig();
    have(&rig.set, queues(BASE, &notifiers(1)));
    let window = |start| Window::new(IoAddress::Mmio(start), 0x100, "the GIC");
    let error = rig.registry.reserve(window(BASE - 0xff)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the doorbell at MMIO 0xfe00b000 for any 16-bit write cannot be there: it lies in the \
         registers of the GIC (0x100 bytes from MMIO 0xfe00af01 on)"
    );
    rig.registry.reserve(window(BASE - 0x100)).unwrap();
    rig.registry.reserve(window(BASE + 2)).unwrap();
    have(&rig.set, []);
    rig.registry.reserve(window(BASE)).unwrap();
    assert!(rig.set.plan(queues(BASE, &notifiers(1))).is_err());
}

#[test]
fn an_empty_window_is_nowhere() {
    const AT: u64 = BASE + 0x10;
    let vm = Arc::new(SimVm::builder().build());
    let nowhere = Window::new(IoAddress::Mmio(AT), 0, "nothing");
    let set = DoorbellSet::new(&DoorbellRegistry::new(vm, &[nowhere]));
    let one = notifier();
    for bell in [
        mmio(0, AT, Datamatch::AnyWrite, &one),
        mmio(0, AT, W4, &one),
        mmio(0, AT - 2, W4, &one),
    ] {
        assert!(set.plan([bell.clone()]).is_ok(), "{bell:?}");
    }
}

/// A byte before each window and one behind it are free; the first byte and the last are not.
#[test]
fn interrupt_controllers_of_other_architectures_keep_their_windows() {
    const AT: u64 = 0x0800_0000;
    let arm64 = Profile::Arm64Gic { spis: 32 };
    let riscv64 = Profile::Riscv64Aia { sources: 32 };
    let gic = Window::gicv3(AT, &[(AT, 1), (AT, 512)], &[AT]);
    let [distributor, one, many, its] = gic.try_into().unwrap();
    let [aplic, imsic] = Window::aia(AT, &[AT]).try_into().unwrap();
    for (profile, window, size) in [
        (arm64, distributor, 0x1_0000),
        (arm64, one, 0x2_0000),
        (arm64, many, 512 * 0x2_0000),
        (arm64, its, 0x2_0000),
        (riscv64, aplic, 0x4000),
        (riscv64, imsic, 0x1000),
    ] {
        let vm = Arc::new(SimVm::builder().profile(profile).build());
        let set = DoorbellSet::new(&DoorbellRegistry::new(vm, &[window]));
        let one = notifier();
        let plan = |at| set.plan([mmio(0, at, Datamatch::U8(0), &one)]).map(drop);
        for (at, free) in [
            (AT - 1, true),
            (AT, false),
            (AT + size - 1, false),
            (AT + size, true),
        ] {
            let conflict = found(plan(at));
            let expected = (!free).then_some(Conflict::Device(window));
            assert_eq!(conflict, expected, "{window}: {at:#x}");
        }
    }
}

#[test]
fn a_clone_is_the_same_registry() {
    let rig = rig();
    have(&rig.set, queues(BASE, &notifiers(1)));
    let other = DoorbellSet::new(&rig.registry.clone());
    let planned = other.plan(queues(BASE, &notifiers(1)));
    assert_eq!(found(planned.map(drop)), Some(Conflict::Taken));
    let reserved = rig.registry.clone().reserve(Window::new(
        IoAddress::Mmio(ELSEWHERE),
        0x100,
        "a device in the kernel",
    ));
    assert_eq!(reserved, Ok(()));
    let planned = rig.set.plan(queues(ELSEWHERE, &notifiers(1)));
    assert!(matches!(planned, Err(Error::Conflict { .. })));
}
