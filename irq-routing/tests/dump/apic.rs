// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Messages as an x86 machine reads them.

use irq_routing::{ApicMessage, DeliveryMode, MsiMessage};

fn decode(address: u64, data: u32) -> ApicMessage {
    ApicMessage::decode(MsiMessage::new(address, data))
}

#[test]
fn each_field_is_where_the_processor_manual_has_it() {
    let message = decode(0xfee0_0000, 0x4041);
    assert_eq!(message.vector, 0x41);
    assert_eq!(message.delivery, DeliveryMode::Fixed);
    assert!(!message.logical && !message.redirection_hint && !message.level);
    assert_eq!(decode(0xfeea_5000, 0).destination, 0xa5);
    assert_eq!(decode(0xfff0_0ff3, 0).destination, 0);
    assert!(decode(0xfee0_0004, 0).logical);
    assert!(decode(0xfee0_0008, 0).redirection_hint);
    assert!(decode(0xfee0_0000, 0x8000).level);
    assert_eq!(decode(0xfee0_0000, 0xffff_00ff).vector, 0xff);
    assert_eq!(
        decode(0xfee0_0000, 0xffff_00ff).delivery,
        DeliveryMode::Fixed
    );
    // With 32-bit ids the high half holds all but the lowest byte.
    assert_eq!(decode(0x1234_5600_fee7_8000, 0).destination, 0x1234_5678);
    assert_eq!(decode(0xff_fee7_8000, 0).destination, 0x78);
}

#[test]
fn delivery_modes_are_numbered_as_in_the_processor_manual() {
    let modes = [
        DeliveryMode::Fixed,
        DeliveryMode::LowestPriority,
        DeliveryMode::Smi,
        DeliveryMode::Reserved3,
        DeliveryMode::Nmi,
        DeliveryMode::Init,
        DeliveryMode::Startup,
        DeliveryMode::ExtInt,
    ];
    for (code, mode) in (0..).zip(modes) {
        assert_eq!(decode(0xfee0_0000, code << 8 | 0x41).delivery, mode);
    }
}

#[test]
fn a_message_is_told_in_words() {
    for (address, data, words) in [
        (
            0xfee0_3000,
            0x41,
            "fixed interrupt, vector 0x41, to APIC 3 (physical destination)",
        ),
        (
            0xfee0_300c,
            0x8105,
            "lowest-priority interrupt, vector 0x05, to logical destination 0x3, any one of them, \
             level-triggered",
        ),
        (0xfeef_f000, 0x441, "NMI, to all APICs"),
    ] {
        assert_eq!(decode(address, data).to_string(), words);
    }
}
