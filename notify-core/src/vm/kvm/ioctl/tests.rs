// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Request numbers, and the layout of what is passed, against the C structs.

use super::*;
use crate::{RouteEntry, RouteTarget};
use kvm_bindings::{kvm_irq_routing_entry, kvm_irq_routing_xen_evtchn};

/// As `strace -X raw` prints them on the architectures with the common ioctl encoding.
#[test]
fn request_numbers() {
    let numbers = [
        (number::GET_API_VERSION, 0xae00),
        (number::CHECK_EXTENSION, 0xae03),
        (number::IRQ_LINE, 0x4008_ae61),
        (number::IRQ_LINE_STATUS, 0xc008_ae67),
        (number::SET_GSI_ROUTING, 0x4008_ae6a),
        (number::IRQFD, 0x4020_ae76),
        (number::IOEVENTFD, 0x4040_ae79),
        (number::SIGNAL_MSI, 0x4020_aea5),
    ];
    for (number, known) in numbers {
        // The kernel looks at 32 bits.
        assert_eq!(number as u32, known, "{number:#x}");
    }
}

#[test]
fn a_message_has_a_device_id_only_if_it_was_given() {
    let message = MsiMessage::new(0x1122_3344_5566_7788, 0x99);
    let plain = msi(&message);
    assert_eq!(
        (plain.address_hi, plain.address_lo),
        (0x1122_3344, 0x5566_7788)
    );
    assert_eq!((plain.data, plain.flags, plain.devid), (0x99, 0, 0));
    let sent = msi(&message.with_devid(0));
    assert_eq!((sent.flags, sent.devid), (KVM_MSI_VALID_DEVID, 0));
    assert_eq!(msi(&message.with_devid(7)).devid, 7);
}

/// The kernel believes the header, so it must be true whatever a caller does.
#[test]
fn a_panic_in_the_middle_of_a_splice_leaves_the_header_true() {
    let entry = |gsi| RouteEntry::new(gsi, RouteTarget::HvSint { vcpu: 0, sint: 0 });
    let mut table: RouteBuffer = (0..100).map(entry).collect();
    let two_and_a_bug = (0..3).map(|gsi| {
        if gsi == 2 {
            panic!("on purpose")
        } else {
            entry(gsi)
        }
    });
    let splice = std::panic::AssertUnwindSafe(|| table.splice(0..100, two_and_a_bug));
    assert!(std::panic::catch_unwind(splice).is_err());
    // A clone has no room to spare that the kernel might read.
    assert!(as_kernel_at_most(&table.clone()) <= table.len());
    table.push(entry(5));
    assert_eq!(as_kernel(&table).len(), table.len());
}

#[test]
fn memory_that_is_reserved_is_no_entry() {
    let mut table = RouteBuffer::new();
    table.reserve(100);
    table.reserve(usize::MAX);
    assert_eq!((table.len(), as_kernel_at_most(&table)), (0, 0));
    let words = table.as_words().as_ptr();
    (0..100).for_each(|gsi| {
        table.push(RouteEntry::new(
            gsi,
            RouteTarget::HvSint { vcpu: 0, sint: 0 },
        ));
    });
    assert_eq!(table.as_words().as_ptr(), words, "it has not moved");
}

/// How many entries the kernel would read.
fn as_kernel_at_most(table: &RouteBuffer) -> usize {
    let header = table.as_words().as_ptr().cast::<kvm_irq_routing>();
    // SAFETY: the allocation starts with the header, and is aligned for it.
    unsafe { (*header).nr as usize }
}

/// Reads a table as the kernel does: through the C struct.
fn as_kernel(table: &RouteBuffer) -> Vec<kvm_irq_routing_entry> {
    let header = table.as_words().as_ptr().cast::<kvm_irq_routing>();
    // SAFETY: the allocation starts with the header, and is aligned for it.
    let count = unsafe { (*header).nr } as usize;
    assert_eq!(
        table.as_words().len() * 8,
        size_of::<kvm_irq_routing>() + count * size_of::<kvm_irq_routing_entry>()
    );
    // SAFETY: the assertion above holds, so `count` initialised entries follow the header.
    unsafe { (*header).entries.as_slice(count) }.to_vec()
}

#[test]
fn route_buffer_has_the_layout_of_the_kernels_structs() {
    let msi = RouteTarget::Msi(MsiMessage {
        address: 0x1122_3344_5566_7788,
        data: 0x99aa_bbcc,
        devid: Some(0xddee_ff00),
    });
    let mut table = RouteBuffer::new();
    table.push(RouteEntry::new(7, RouteTarget::Pin { chip: 2, pin: 23 }));
    table.push(RouteEntry::new(24, msi));
    table.push(RouteEntry::new(
        25,
        RouteTarget::HvSint { vcpu: 3, sint: 4 },
    ));
    let xen = RouteTarget::XenEvtchn {
        port: 5,
        vcpu: 6,
        priority: 8,
    };
    table.push(RouteEntry::new(26, xen));

    let entries = as_kernel(&table);
    let heads: Vec<_> = entries.iter().map(|e| (e.gsi, e.type_, e.flags)).collect();
    assert_eq!(heads, [(7, 1, 0), (24, 2, 1), (25, 4, 0), (26, 5, 0)]);
    let [pin, msi, sint, channel] = entries.as_slice() else {
        panic!("four entries went in");
    };
    // SAFETY: the fields of the union are made of integers, for which every value is valid.
    unsafe {
        assert_eq!((pin.u.irqchip.irqchip, pin.u.irqchip.pin), (2, 23));
        assert_eq!(
            (msi.u.msi.address_hi, msi.u.msi.address_lo),
            (0x1122_3344, 0x5566_7788)
        );
        assert_eq!(msi.u.msi.data, 0x99aa_bbcc);
        assert_eq!(msi.u.msi.__bindgen_anon_1.devid, 0xddee_ff00);
        assert_eq!((sint.u.hv_sint.vcpu, sint.u.hv_sint.sint), (3, 4));
        let kvm_irq_routing_xen_evtchn {
            port,
            vcpu,
            priority,
        } = channel.u.xen_evtchn;
        assert_eq!((port, vcpu, priority), (5, 6, 8));
    }
}

#[test]
fn route_buffer_header_follows_every_edit() {
    let entry = |gsi| {
        RouteEntry::new(
            gsi,
            RouteTarget::Msi(MsiMessage {
                address: 0,
                data: gsi,
                devid: None,
            }),
        )
    };
    let mut table: RouteBuffer = (0..5).map(entry).collect();
    let gsis = |table: &RouteBuffer| as_kernel(table).iter().map(|e| e.gsi).collect::<Vec<_>>();
    assert_eq!(gsis(&table), [0, 1, 2, 3, 4]);

    assert_eq!(table.swap_remove(1), Some(entry(1)));
    assert_eq!(gsis(&table), [0, 4, 2, 3]);
    assert_eq!(table.replace(0, entry(9)), Some(entry(0)));
    assert_eq!(table.swap_remove(3), Some(entry(3)));
    assert_eq!(gsis(&table), [9, 4, 2]);
    assert_eq!(table.get(1), Some(entry(4)));
    assert_eq!(table.get(3), None);
    assert_eq!(table.replace(3, entry(1)), None);
    assert_eq!(table.swap_remove(3), None);
    assert_eq!(
        table.iter().collect::<Vec<_>>(),
        [entry(9), entry(4), entry(2)]
    );
    table.splice(0..2, [entry(1), entry(2), entry(3)]);
    assert_eq!(gsis(&table), [1, 2, 3, 2]);
    table.splice(3..9, []);
    assert_eq!(gsis(&table), [1, 2, 3]);
    table.splice(9..9, [entry(4)]);
    assert_eq!(gsis(&table), [1, 2, 3, 4]);
}
