// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The kick addresses of virtio drivers, and devices with wrong registers.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;

use ioeventfd::virtio::{
    LayoutError, Notification, NotifyCapability, PciModern, PciQueue, QueueDoorbell, mmio,
    pci_legacy,
};
use ioeventfd::{Datamatch, DoorbellRegistry, DoorbellSet, IoAddress, Width, Window};
use kvm_test::Recorder;
use notify_core::{EventNotifier, Extension};
use notify_sim::SimVm;

/// BAR 4 of a QEMU device, and its notify region at 0xfe00b000 to 0xfe00bfff.
const BAR: IoAddress = IoAddress::Mmio(0xfe00_8000);
const BAR_SIZE: u64 = 0x4000;
const QEMU: NotifyCapability = capability(0x3000, 0x1000, 4);

const fn capability(offset: u32, length: u32, multiplier: u32) -> NotifyCapability {
    NotifyCapability {
        offset,
        length,
        multiplier,
    }
}

/// Queues from 0 on, by their offsets.
fn queues(offs: &[u16]) -> Vec<PciQueue> {
    let one = |(index, off): (u16, &u16)| PciQueue::new(index, *off);
    (0..).zip(offs).map(one).collect()
}

fn modern(capability: NotifyCapability) -> Result<PciModern, LayoutError> {
    PciModern::new(capability, BAR_SIZE, Notification::Index)
}

#[track_caller]
fn expect_error<T: std::fmt::Debug>(result: &Result<T, LayoutError>, text: &str) {
    match result {
        Err(error) => assert_eq!(error.to_string(), text),
        Ok(layout) => panic!("{layout:?}, instead of: {text}"),
    }
}

/// As Linux does in `vp_modern_map_vq_notify`: the address, or `None` where it refuses.
fn linux(notify_base: u64, notify_len: u64, multiplier: u32, off: u16) -> Option<u64> {
    let offset = u64::from(off) * u64::from(multiplier);
    (offset + 2 <= notify_len).then_some(notify_base + offset)
}

#[test]
fn a_modern_queue_is_kicked_where_linux_kicks_it() {
    for multiplier in [0, 2, 4, 8, 0x1000] {
        let capability = capability(0x3000, 0x1000, multiplier);
        let layout = modern(capability).unwrap();
        for off in [0, 1, 2, 63, 511, 512, 1023, 1024, 2047, 2048, u16::MAX] {
            let ours = layout
                .doorbells(BAR, queues(&[off]))
                .map(|bells| bells[0].address);
            let linux = linux(0xfe00_b000, 0x1000, multiplier, off);
            assert_eq!(ours.ok(), linux.map(IoAddress::Mmio), "{multiplier} {off}");
        }
    }
    // With "page-per-vq", a page for each of 1024 queues.
    let pages = PciModern::new(
        capability(0x40_0000, 0x40_0000, 0x1000),
        0x80_0000,
        Notification::Index,
    );
    let all: Vec<u16> = (0..1024).collect();
    let bells = pages
        .unwrap()
        .doorbells(IoAddress::Mmio(0x38_0000_0000), queues(&all))
        .unwrap();
    assert_eq!(bells[1023].address, IoAddress::Mmio(0x38_007f_f000));
}

#[test]
fn queues_with_addresses_of_their_own_take_any_index() {
    let all: Vec<u16> = (0..1024).collect();
    let bells = modern(QEMU).unwrap().doorbells(BAR, queues(&all)).unwrap();
    assert_eq!(bells[0].address, IoAddress::Mmio(0xfe00_b000));
    assert_eq!(bells[1023].address, IoAddress::Mmio(0xfe00_bffc));
    for (queue, bell) in (0..).zip(&bells) {
        assert_eq!(
            (bell.queue, bell.datamatch),
            (queue, Datamatch::Width(Width::W2))
        );
    }
    // Not in the order of the queues.
    let bells = modern(QEMU)
        .unwrap()
        .doorbells(BAR, queues(&[7, 3]))
        .unwrap();
    assert_eq!(bells[0].address, IoAddress::Mmio(0xfe00_b01c));
    assert_eq!(bells[1].address, IoAddress::Mmio(0xfe00_b00c));
}

#[test]
fn queues_at_one_address_are_told_apart_by_their_index() {
    let layout = modern(capability(0x3000, 2, 0)).unwrap();
    let bells = layout.doorbells(BAR, queues(&[0, 1, 500])).unwrap();
    for (queue, bell) in (0u16..).zip(&bells) {
        assert_eq!(bell.address, IoAddress::Mmio(0xfe00_b000));
        assert_eq!(bell.datamatch, Datamatch::U16(queue.to_le()));
    }
    for (address, bells) in [
        (IoAddress::Pio(0xc010), pci_legacy(0xc000, 0..3).unwrap()),
        (IoAddress::Pio(0xfffe), pci_legacy(0xffee, 0..3).unwrap()),
    ] {
        for (queue, bell) in (0..).zip(&bells) {
            let expected = (queue, address, Datamatch::U16(queue));
            assert_eq!((bell.queue, bell.address, bell.datamatch), expected);
        }
    }
    let bells = mmio(0xd000_0000, 0..3, Notification::Index).unwrap();
    for (queue, bell) in (0u16..).zip(&bells) {
        assert_eq!(bell.address, IoAddress::Mmio(0xd000_0050));
        assert_eq!(bell.datamatch, Datamatch::U32(u32::from(queue).to_le()));
    }
}

#[test]
fn notification_data_is_four_bytes_of_any_value() {
    let data = |capability| PciModern::new(capability, BAR_SIZE, Notification::Data);
    let bells = data(QEMU).unwrap().doorbells(BAR, queues(&[0, 1])).unwrap();
    assert_eq!(bells[1].address, IoAddress::Mmio(0xfe00_b004));
    assert_eq!(bells[1].datamatch, Datamatch::Width(Width::W4));
    let shared = data(capability(0x3000, 4, 0)).unwrap();
    assert_eq!(
        shared.doorbells(BAR, queues(&[0])).unwrap()[0].datamatch,
        Datamatch::Width(Width::W4)
    );
    assert_eq!(
        shared.doorbells(BAR, queues(&[0, 0])),
        Err(LayoutError::Indistinct)
    );
    assert_eq!(
        mmio(0, 0..2, Notification::Data),
        Err(LayoutError::Indistinct)
    );
    assert_eq!(
        mmio(0, 0..1, Notification::Data).unwrap()[0].datamatch,
        Datamatch::Width(Width::W4)
    );
    for (capability, error) in [
        (
            capability(0x3002, 0x100, 4),
            "cap.offset is 0x3002, which is not aligned to the 4 bytes of a kick",
        ),
        (
            capability(0x3000, 0x100, 2),
            "notify_off_multiplier is 2: it must be 0, or a power of two that is at least 4",
        ),
        (
            capability(0x3000, 3, 0),
            "cap.length is 3: it must be at least 4, which a kick has",
        ),
    ] {
        expect_error(&data(capability), error);
    }
    // The last doorbell has two bytes only.
    assert!(
        data(capability(0x3000, 6, 4))
            .unwrap()
            .doorbells(BAR, queues(&[0, 1]))
            .is_err()
    );
    assert!(
        modern(capability(0x3000, 6, 4))
            .unwrap()
            .doorbells(BAR, queues(&[0, 1]))
            .is_ok()
    );
}

#[test]
fn a_capability_that_lies_is_found_out() {
    let misaligned = "cap.offset is 0x3001, which is not aligned to the 2 bytes of a kick";
    expect_error(&modern(capability(0x3001, 0x100, 4)), misaligned);
    for length in [0, 1] {
        let error = format!("cap.length is {length}: it must be at least 2, which a kick has");
        expect_error(&modern(capability(0x3000, length, 4)), &error);
    }
    for multiplier in [1, 3, 6, u32::MAX] {
        let error = format!(
            "notify_off_multiplier is {multiplier}: it must be 0, or a power of two that is at \
             least 2"
        );
        expect_error(&modern(capability(0x3000, 0x1000, multiplier)), &error);
    }
    for (offset, length) in [
        (0x3000, 0x1001),
        (0x3002, 0x1000),
        (0x4000, 2),
        (u32::MAX - 1, 2),
        (u32::MAX - 1, u32::MAX),
        (0, u32::MAX),
    ] {
        let outside = modern(capability(offset, length, 4));
        assert!(
            matches!(outside, Err(LayoutError::OutsideBar { .. })),
            "{offset:#x}"
        );
    }
    assert!(modern(capability(0x3000, 0x1000, 1 << 31)).is_ok());
    let outside = |multiplier, off| {
        let layout = modern(capability(0x3000, 0x1000, multiplier)).unwrap();
        layout.doorbells(BAR, queues(&[0, off]))
    };
    expect_error(
        &outside(1 << 31, u16::MAX),
        "queue 1 has its doorbell 0x7fff80000000 bytes into a notify region of 0x1000 bytes",
    );
    assert!(outside(4, 0x3ff).is_ok());
    assert!(outside(4, 0x400).is_err());
}

#[test]
fn a_base_that_leaves_the_address_space_is_refused() {
    let layout = modern(QEMU).unwrap();
    for base in [
        IoAddress::Mmio(u64::MAX - BAR_SIZE + 3),
        IoAddress::Mmio(u64::MAX - 1),
        IoAddress::Pio(0xc002),
        IoAddress::Pio(0xfffe),
    ] {
        let error = layout.doorbells(base, queues(&[0])).unwrap_err();
        assert!(matches!(error, LayoutError::AddressSpace { base: it, .. } if it == base));
    }
    assert!(
        layout
            .doorbells(IoAddress::Pio(0xc000), queues(&[0]))
            .is_ok()
    );
    expect_error(
        &layout.doorbells(IoAddress::Mmio(0xfe00_8001), queues(&[0])),
        "a device or BAR at MMIO 0xfe008001 is not aligned to the 2 bytes of a kick",
    );
    assert!(pci_legacy(0xfff0, 0..1).is_err());
    assert!(pci_legacy(0xffef, 0..1).is_err());
    assert!(mmio(u64::MAX - 3, 0..1, Notification::Index).is_err());
    assert!(mmio(u64::MAX - 0x53, 0..1, Notification::Index).is_err());
    assert!(mmio(0xd000_0002, 0..1, Notification::Index).is_err());
    assert!(mmio(0, 0..0, Notification::Data).unwrap().is_empty());
}

#[test]
fn a_transitional_device_has_two_doorbells_for_each_queue() {
    let vm = Arc::new(SimVm::builder().build());
    let set = DoorbellSet::new(&DoorbellRegistry::new(vm.clone(), Window::X86_IRQCHIP));
    let notifiers: Vec<_> = (0..4)
        .map(|_| Arc::new(EventNotifier::new().unwrap()))
        .collect();
    let offs: Vec<u16> = (0..4).collect();
    let bells = modern(QEMU).unwrap().doorbells(BAR, queues(&offs)).unwrap();
    let bells = bells.into_iter().chain(pci_legacy(0xc000, 0..4).unwrap());
    let bells = bells.map(|bell| bell.signalling(notifiers[usize::from(bell.queue)].clone()));
    set.apply(set.plan(bells).unwrap()).unwrap();
    for queue in 0..4u16 {
        let at = 0xfe00_b000 + u64::from(queue) * 4;
        vm.guest_write(notify_core::Bus::Mmio, at, &queue.to_le_bytes());
        vm.guest_write(notify_core::Bus::Pio, 0xc010, &queue.to_le_bytes());
    }
    for queue in &notifiers {
        assert_eq!(queue.consume().unwrap().map(u64::from), Some(2));
    }
}

/// Two queue pairs, each of which shares a doorbell, and a queue with a doorbell of its own.
#[test]
fn queues_that_share_an_offset_are_told_apart_by_value() {
    let vm = Arc::new(SimVm::builder().build());
    let layout = modern(QEMU).unwrap().any_width(&*vm).unwrap();
    let bells = layout.doorbells(BAR, queues(&[0, 0, 1, 1, 2])).unwrap();
    let value = |queue: u16| Datamatch::U16(queue.to_le());
    let own = Datamatch::Width(Width::W2);
    assert_eq!(
        bells.iter().map(|bell| bell.datamatch).collect::<Vec<_>>(),
        [value(0), value(1), value(2), value(3), own]
    );
    assert_eq!(bells[2].address, bells[3].address);
    let set = DoorbellSet::new(&DoorbellRegistry::new(vm.clone(), Window::X86_IRQCHIP));
    let one = Arc::new(EventNotifier::new().unwrap());
    let bells = bells.into_iter().map(|bell| bell.signalling(one.clone()));
    set.apply(set.plan(bells).unwrap()).unwrap();
    // Notification data contains the ring's position, so no value can be matched.
    let data = PciModern::new(QEMU, BAR_SIZE, Notification::Data).unwrap();
    assert_eq!(
        data.doorbells(BAR, queues(&[0, 0])),
        Err(LayoutError::Indistinct)
    );
    // One queue twice.
    let twice = [PciQueue::new(3, 1), PciQueue::new(3, 1)];
    let is_refused = |bells: Result<Vec<QueueDoorbell>, LayoutError>| {
        expect_error(&bells, "queue 3 is named twice");
    };
    is_refused(layout.doorbells(BAR, twice));
    let other_value = PciQueue {
        value: 7,
        ..PciQueue::new(3, 1)
    };
    for other_place in [PciQueue::new(3, 2), other_value] {
        let twice = [PciQueue::new(3, 1), PciQueue::new(0, 0), other_place];
        is_refused(layout.doorbells(BAR, twice));
        is_refused(data.doorbells(BAR, twice));
    }
    is_refused(mmio(0, [3, 3], Notification::Index));
    is_refused(pci_legacy(0xc000, [3, 3]));
}

#[test]
fn queues_that_are_not_enabled_are_left_out() {
    // A network device of 4 queue pairs, with one pair enabled, its control queue and an
    // administration queue.
    let enabled = [0, 1, 8, 0x100];
    let layout = modern(QEMU).unwrap();
    let pci = enabled.map(|queue| PciQueue::new(queue, queue));
    for bells in [
        layout.doorbells(BAR, pci).unwrap(),
        mmio(0xd000_0000, enabled, Notification::Index).unwrap(),
        pci_legacy(0xc000, enabled).unwrap(),
    ] {
        let queues: Vec<_> = bells.iter().map(|bell| bell.queue).collect();
        assert_eq!(queues, enabled);
    }
    let bells = layout.doorbells(BAR, pci).unwrap();
    assert_eq!(bells[3].address, IoAddress::Mmio(0xfe00_b400));
}

#[test]
fn with_config_data_the_value_is_the_devices() {
    let shared = modern(capability(0x3000, 2, 0)).unwrap();
    let queue = |index, value| PciQueue {
        index,
        notify_off: 0,
        value,
    };
    let bells = shared.doorbells(BAR, [queue(0, 0x700), queue(1, 0)]);
    let bells = bells.unwrap();
    assert_eq!(bells[0].datamatch, Datamatch::U16(0x700_u16.to_le()));
    assert_eq!(bells[1].datamatch, Datamatch::U16(0));
    assert_eq!((bells[0].queue, bells[1].queue), (0, 1));
    expect_error(
        &shared.doorbells(BAR, [queue(0, 7), queue(4, 7)]),
        "queues 4 and 0 are kicked at one address by one value",
    );
}

#[test]
fn doorbells_of_any_width_where_kvm_is_faster_with_them() {
    let vm = Recorder::default();
    let datamatches = |vm: &Recorder, notification| {
        let layout = PciModern::new(QEMU, BAR_SIZE, notification).unwrap();
        let layout = layout.any_width(vm).unwrap();
        let bells = layout.doorbells(BAR, queues(&[0, 1])).unwrap();
        [bells[0].datamatch, bells[1].datamatch]
    };
    vm.answer(Extension::IoEventFdAnyLength, 1);
    vm.answer(Extension::IoEventFdNoLength, 1);
    for notification in [Notification::Index, Notification::Data] {
        assert_eq!(datamatches(&vm, notification), [Datamatch::AnyWrite; 2]);
    }
    // arm64 and riscv64 accept such doorbells, but are no faster with them.
    for (accepts, is_faster) in [(1, 0), (0, 1)] {
        vm.answer(Extension::IoEventFdAnyLength, accepts);
        vm.answer(Extension::IoEventFdNoLength, is_faster);
        for (notification, width) in [
            (Notification::Index, Width::W2),
            (Notification::Data, Width::W4),
        ] {
            assert_eq!(datamatches(&vm, notification), [Datamatch::Width(width); 2]);
        }
    }
    // With a multiplier of 0 all queues have one address, and only the value names the queue.
    vm.answer(Extension::IoEventFdAnyLength, 1);
    vm.answer(Extension::IoEventFdNoLength, 1);
    let shared = modern(capability(0x3000, 2, 0)).unwrap().any_width(&vm);
    let bells = shared.unwrap().doorbells(BAR, queues(&[0])).unwrap();
    assert_eq!(bells[0].datamatch, Datamatch::U16(0));
}
