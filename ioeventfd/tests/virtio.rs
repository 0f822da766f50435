// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Where virtio drivers kick, and devices that say nonsense about it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;

use ioeventfd::virtio::{LayoutError, Notification, NotifyCapability, PciModern, mmio, pci_legacy};
use ioeventfd::{Datamatch, DoorbellRegistry, DoorbellSet, IoAddress, Width, Window};
use notify_core::EventNotifier;
use notify_core::sim::SimVm;

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

fn modern(capability: NotifyCapability) -> Result<PciModern, LayoutError> {
    PciModern::new(capability, BAR_SIZE, Notification::Index)
}

/// As Linux has it in `vp_modern_map_vq_notify`: the address, or `None` where it refuses.
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
            let ours = layout.doorbells(BAR, &[off]).map(|bells| bells[0].address);
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
        .doorbells(IoAddress::Mmio(0x38_0000_0000), &all)
        .unwrap();
    assert_eq!(bells[1023].address, IoAddress::Mmio(0x38_007f_f000));
}

#[test]
fn queues_with_addresses_of_their_own_take_any_index() {
    let all: Vec<u16> = (0..1024).collect();
    let bells = modern(QEMU).unwrap().doorbells(BAR, &all).unwrap();
    assert_eq!(bells[0].address, IoAddress::Mmio(0xfe00_b000));
    assert_eq!(bells[1023].address, IoAddress::Mmio(0xfe00_bffc));
    for (queue, bell) in (0..).zip(&bells) {
        assert_eq!(
            (bell.queue, bell.datamatch),
            (queue, Datamatch::Width(Width::W2))
        );
    }
    // Not in the order of the queues.
    let bells = modern(QEMU).unwrap().doorbells(BAR, &[7, 3]).unwrap();
    assert_eq!(bells[0].address, IoAddress::Mmio(0xfe00_b01c));
    assert_eq!(bells[1].address, IoAddress::Mmio(0xfe00_b00c));
}

#[test]
fn queues_at_one_address_are_told_apart_by_their_index() {
    let layout = modern(capability(0x3000, 2, 0)).unwrap();
    let bells = layout.doorbells(BAR, &[0, 1, 500]).unwrap();
    for (queue, bell) in (0u16..).zip(&bells) {
        assert_eq!(bell.address, IoAddress::Mmio(0xfe00_b000));
        assert_eq!(bell.datamatch, Datamatch::U16(queue.to_le()));
    }
    for (address, bells) in [
        (IoAddress::Pio(0xc010), pci_legacy(0xc000, 3).unwrap()),
        (IoAddress::Pio(0xfffe), pci_legacy(0xffee, 3).unwrap()),
    ] {
        for (queue, bell) in (0..).zip(&bells) {
            let expected = (queue, address, Datamatch::U16(queue));
            assert_eq!((bell.queue, bell.address, bell.datamatch), expected);
        }
    }
    let bells = mmio(0xd000_0000, 3, Notification::Index).unwrap();
    for (queue, bell) in (0u16..).zip(&bells) {
        assert_eq!(bell.address, IoAddress::Mmio(0xd000_0050));
        assert_eq!(bell.datamatch, Datamatch::U32(u32::from(queue).to_le()));
    }
}

#[test]
fn notification_data_is_four_bytes_of_any_value() {
    let data = |capability| PciModern::new(capability, BAR_SIZE, Notification::Data);
    let bells = data(QEMU).unwrap().doorbells(BAR, &[0, 1]).unwrap();
    assert_eq!(bells[1].address, IoAddress::Mmio(0xfe00_b004));
    assert_eq!(bells[1].datamatch, Datamatch::Width(Width::W4));
    let shared = data(capability(0x3000, 4, 0)).unwrap();
    assert_eq!(
        shared.doorbells(BAR, &[0]).unwrap()[0].datamatch,
        Datamatch::Width(Width::W4)
    );
    assert_eq!(shared.doorbells(BAR, &[0, 0]), Err(LayoutError::Indistinct));
    assert_eq!(mmio(0, 2, Notification::Data), Err(LayoutError::Indistinct));
    assert_eq!(
        mmio(0, 1, Notification::Data).unwrap()[0].datamatch,
        Datamatch::Width(Width::W4)
    );
    let bytes = 4;
    assert_eq!(
        data(capability(0x3002, 0x100, 4)),
        Err(LayoutError::Misaligned {
            address: 0x3002,
            bytes
        })
    );
    assert_eq!(
        data(capability(0x3000, 0x100, 2)),
        Err(LayoutError::Multiplier {
            multiplier: 2,
            bytes
        })
    );
    assert_eq!(
        data(capability(0x3000, 3, 0)),
        Err(LayoutError::TooShort { length: 3, bytes })
    );
    // The last doorbell has two bytes only.
    assert!(
        data(capability(0x3000, 6, 4))
            .unwrap()
            .doorbells(BAR, &[0, 1])
            .is_err()
    );
    assert!(
        modern(capability(0x3000, 6, 4))
            .unwrap()
            .doorbells(BAR, &[0, 1])
            .is_ok()
    );
}

#[test]
fn a_capability_that_lies_is_found_out() {
    let bytes = 2;
    for (capability, expected) in [
        (
            capability(0x3001, 0x100, 4),
            LayoutError::Misaligned {
                address: 0x3001,
                bytes,
            },
        ),
        (
            capability(0x3000, 0, 4),
            LayoutError::TooShort { length: 0, bytes },
        ),
        (
            capability(0x3000, 1, 4),
            LayoutError::TooShort { length: 1, bytes },
        ),
        (
            capability(0x3000, 0x1000, 1),
            LayoutError::Multiplier {
                multiplier: 1,
                bytes,
            },
        ),
        (
            capability(0x3000, 0x1000, 3),
            LayoutError::Multiplier {
                multiplier: 3,
                bytes,
            },
        ),
        (
            capability(0x3000, 0x1000, 6),
            LayoutError::Multiplier {
                multiplier: 6,
                bytes,
            },
        ),
        (
            capability(0x3000, 0x1000, u32::MAX),
            LayoutError::Multiplier {
                multiplier: u32::MAX,
                bytes,
            },
        ),
    ] {
        assert_eq!(modern(capability), Err(expected));
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
        layout.doorbells(BAR, &[0, off])
    };
    assert_eq!(
        outside(1 << 31, u16::MAX),
        Err(LayoutError::OutsideRegion {
            queue: 1,
            offset: 0xffff << 31,
            length: 0x1000
        })
    );
    assert!(outside(4, 0x3ff).is_ok());
    assert!(outside(4, 0x400).is_err());
    assert_eq!(
        outside(4, 0),
        Err(LayoutError::Overlap { queue: 1, other: 0 })
    );
    let many = vec![0; 0x1_0001];
    assert_eq!(
        modern(capability(0, 2, 0)).unwrap().doorbells(BAR, &many),
        Err(LayoutError::TooManyQueues { queues: 0x1_0001 })
    );
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
        let error = layout.doorbells(base, &[0]).unwrap_err();
        assert_eq!(error, LayoutError::AddressSpace { base });
    }
    assert!(layout.doorbells(IoAddress::Pio(0xc000), &[0]).is_ok());
    assert!(matches!(
        layout.doorbells(IoAddress::Mmio(0xfe00_8001), &[0]),
        Err(LayoutError::Misaligned { .. })
    ));
    assert!(pci_legacy(0xfff0, 1).is_err());
    assert!(pci_legacy(0xffef, 1).is_err());
    assert!(mmio(u64::MAX - 3, 1, Notification::Index).is_err());
    assert!(mmio(u64::MAX - 0x53, 1, Notification::Index).is_err());
    assert!(mmio(0xd000_0002, 1, Notification::Index).is_err());
    assert!(mmio(0, 0, Notification::Data).unwrap().is_empty());
}

#[test]
fn a_transitional_device_has_two_doorbells_for_each_queue() {
    let vm = Arc::new(SimVm::builder().build());
    let set = DoorbellSet::new(&DoorbellRegistry::new(vm.clone(), Window::X86_IRQCHIP));
    let queues: Vec<_> = (0..4)
        .map(|_| Arc::new(EventNotifier::new().unwrap()))
        .collect();
    let offs: Vec<u16> = (0..4).collect();
    let bells = modern(QEMU).unwrap().doorbells(BAR, &offs).unwrap();
    let bells = bells.into_iter().chain(pci_legacy(0xc000, 4).unwrap());
    let bells = bells.map(|bell| bell.signalling(queues[usize::from(bell.queue)].clone()));
    set.apply(set.plan(bells).unwrap()).unwrap();
    for queue in 0..4u16 {
        let at = 0xfe00_b000 + u64::from(queue) * 4;
        vm.guest_write(notify_core::Bus::Mmio, at, &queue.to_le_bytes());
        vm.guest_write(notify_core::Bus::Pio, 0xc010, &queue.to_le_bytes());
    }
    for queue in &queues {
        assert_eq!(queue.consume().unwrap().map(u64::from), Some(2));
    }
}
