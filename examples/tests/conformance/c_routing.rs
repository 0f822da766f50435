// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! KVM_SET_GSI_ROUTING: which tables are accepted.
//!
//! KVM checks: an irqchip, the number of entries (4096 at most), the flags, whether the entries can
//! be read, then each of them. Every failure is EINVAL, except EFAULT if the entries cannot be
//! read.
//!
//! A GSI can have one MSI, or one pin of each chip.

use nix::errno::Errno::{EFAULT, EINVAL, EPERM};

use crate::backend::{Irqchip, Reply};
use crate::case::{Case, case};
use crate::expect::{expect_errno, expect_ok};
use crate::request::{
    IOAPIC, KIND_MSI, KIND_PIN, MSI_ADDRESS, Msi, PIC_MASTER, PIC_SLAVE, Routing, RoutingEntry,
    line, msi_route, pin_route,
};

const OK: Reply = Ok(0);
const INVALID: Reply = Err(EINVAL);
const NONE: RoutingEntry = RoutingEntry {
    gsi: 0,
    kind: 0,
    flags: 0,
    u: [0; 8],
};
const MSI: RoutingEntry = RoutingEntry {
    kind: KIND_MSI,
    gsi: 30,
    u: [MSI_ADDRESS, 0, 0x41, 0, 0, 0, 0, 0],
    ..NONE
};

const fn pin(gsi: u32, chip: u32, pin: u32) -> RoutingEntry {
    RoutingEntry {
        gsi,
        kind: KIND_PIN,
        flags: 0,
        u: [chip, pin, 0, 0, 0, 0, 0, 0],
    }
}

const fn msi_with(index: usize, value: u32) -> RoutingEntry {
    let mut entry = MSI;
    entry.u[index] = value;
    entry
}

/// A table of one entry. Kind 4 is missing: KVM accepts it if it was built with Hyper-V support.
const ENTRIES: [(&str, RoutingEntry, Reply); 28] = [
    ("gsi_0", RoutingEntry { gsi: 0, ..MSI }, OK),
    ("gsi_4095", RoutingEntry { gsi: 4095, ..MSI }, OK),
    ("gsi_4096", RoutingEntry { gsi: 4096, ..MSI }, INVALID),
    (
        "gsi_0xffffffff",
        RoutingEntry {
            gsi: u32::MAX,
            ..MSI
        },
        INVALID,
    ),
    ("kind_0", RoutingEntry { kind: 0, ..MSI }, INVALID),
    (
        "kind_3_s390_adapter",
        RoutingEntry { kind: 3, ..MSI },
        INVALID,
    ),
    ("kind_5_xen", RoutingEntry { kind: 5, ..MSI }, INVALID),
    ("kind_6", RoutingEntry { kind: 6, ..MSI }, INVALID),
    (
        "kind_0xffffffff",
        RoutingEntry {
            kind: u32::MAX,
            ..MSI
        },
        INVALID,
    ),
    ("msi", MSI, OK),
    ("msi_flags_device_id", RoutingEntry { flags: 1, ..MSI }, OK),
    ("msi_flags_2", RoutingEntry { flags: 2, ..MSI }, INVALID),
    ("msi_flags_3", RoutingEntry { flags: 3, ..MSI }, INVALID),
    ("msi_device_id_without_its_flag", msi_with(3, 7), OK),
    ("msi_pad", msi_with(7, 1), OK),
    ("msi_address_0", msi_with(0, 0), OK),
    ("msi_address_high_1", msi_with(1, 1), OK),
    ("msi_address_high_0xffffffff", msi_with(1, u32::MAX), OK),
    ("msi_vector_5", msi_with(2, 5), OK),
    ("msi_data_0xffffffff", msi_with(2, u32::MAX), OK),
    (
        "pin_flags_1",
        RoutingEntry {
            flags: 1,
            ..pin(5, IOAPIC, 5)
        },
        INVALID,
    ),
    (
        "pin_flags_2",
        RoutingEntry {
            flags: 2,
            ..pin(5, IOAPIC, 5)
        },
        INVALID,
    ),
    ("pin_of_chip_3", pin(5, 3, 0), INVALID),
    ("pin_of_chip_0xffffffff", pin(5, u32::MAX, 0), INVALID),
    (
        "pin_0xffffffff_of_the_pic",
        pin(5, PIC_MASTER, u32::MAX),
        INVALID,
    ),
    (
        "pin_0xffffffff_of_the_ioapic",
        pin(5, IOAPIC, u32::MAX),
        INVALID,
    ),
    (
        "pin_of_the_ioapic_for_a_high_gsi",
        pin(4095, IOAPIC, 23),
        OK,
    ),
    (
        "pin_of_the_second_pic_for_a_low_gsi",
        pin(0, PIC_SLAVE, 7),
        OK,
    ),
];

/// Chips and how many pins they have.
const PINS: [(&str, u32, u32); 3] = [
    ("first_pic", PIC_MASTER, 8),
    ("second_pic", PIC_SLAVE, 8),
    ("ioapic", IOAPIC, 24),
];

/// Several entries, most of them for one GSI.
const TABLES: [(&str, &[RoutingEntry], Reply); 16] = [
    ("two_messages", &[MSI, msi_with(2, 0x42)], INVALID),
    ("the_same_message_twice", &[MSI, MSI], INVALID),
    ("message_then_pin", &[MSI, pin(30, IOAPIC, 5)], INVALID),
    ("pin_then_message", &[pin(30, IOAPIC, 5), MSI], INVALID),
    (
        "two_pins_of_the_ioapic",
        &[pin(5, IOAPIC, 5), pin(5, IOAPIC, 6)],
        INVALID,
    ),
    (
        "the_same_pin_twice",
        &[pin(5, IOAPIC, 5), pin(5, IOAPIC, 5)],
        INVALID,
    ),
    (
        "two_pins_of_a_pic",
        &[pin(5, PIC_MASTER, 5), pin(5, PIC_MASTER, 6)],
        INVALID,
    ),
    (
        "pic_and_ioapic",
        &[pin(5, PIC_MASTER, 5), pin(5, IOAPIC, 5)],
        OK,
    ),
    (
        "ioapic_and_pic",
        &[pin(5, IOAPIC, 5), pin(5, PIC_MASTER, 5)],
        OK,
    ),
    (
        "both_pics",
        &[pin(5, PIC_MASTER, 5), pin(5, PIC_SLAVE, 5)],
        OK,
    ),
    (
        "all_three_chips",
        &[
            pin(5, PIC_MASTER, 5),
            pin(5, PIC_SLAVE, 5),
            pin(5, IOAPIC, 5),
        ],
        OK,
    ),
    (
        "all_three_chips_and_one_again",
        &[
            pin(5, PIC_MASTER, 5),
            pin(5, PIC_SLAVE, 5),
            pin(5, IOAPIC, 5),
            pin(5, PIC_MASTER, 6),
        ],
        INVALID,
    ),
    (
        "two_gsis_of_one_pin",
        &[pin(5, IOAPIC, 5), pin(6, IOAPIC, 5)],
        OK,
    ),
    (
        "two_gsis_of_one_message",
        &[MSI, RoutingEntry { gsi: 31, ..MSI }],
        OK,
    ),
    (
        "descending_gsis",
        &[RoutingEntry { gsi: 31, ..MSI }, MSI, pin(5, IOAPIC, 5)],
        OK,
    ),
    (
        "a_bad_entry_behind_good_ones",
        &[MSI, pin(5, IOAPIC, 5), pin(6, IOAPIC, 24)],
        INVALID,
    ),
];

/// The high half of an address with 32-bit APIC ids, and whether KVM accepts it.
const WIDE_IDS: [(u32, bool); 6] = [
    (0, true),
    (1, false),
    (0xff, false),
    (0x100, true),
    (0x101, false),
    (0xffff_ff00, true),
];

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, entry, reply) in ENTRIES {
        cases.push(case(name, move |host| {
            assert_eq!(host.vm().set_gsi_routing(&Routing::of(&[entry])), reply);
        }));
    }
    for (chip_name, chip, pins) in PINS {
        for (pin, reply) in [(pins - 1, OK), (pins, INVALID)] {
            cases.push(case(format!("pin_{pin}_of_the_{chip_name}"), move |host| {
                let entry = pin_route(5, chip, pin);
                assert_eq!(host.vm().set_gsi_routing(&Routing::of(&[entry])), reply);
            }));
        }
    }
    for (name, entries, reply) in TABLES {
        cases.push(case(format!("table_{name}"), move |host| {
            assert_eq!(host.vm().set_gsi_routing(&Routing::of(entries)), reply);
        }));
    }
    for (high, good) in WIDE_IDS {
        cases.push(case(
            format!("wide_ids_address_high_{high:#x}"),
            move |host| {
                // There is no vCPU, so a valid message returns EPERM.
                let vm = host.machine(Irqchip::Full, 0);
                vm.enable_x2apic_ids();
                let table = [msi_with(1, high)];
                let message = Msi {
                    address_lo: MSI_ADDRESS,
                    address_hi: high,
                    ..Msi::default()
                };
                let (route, signal) = if good {
                    (OK, Err(EPERM))
                } else {
                    (INVALID, INVALID)
                };
                assert_eq!(vm.set_gsi_routing(&Routing::of(&table)), route);
                assert_eq!(vm.signal_msi(&message), signal);
            },
        ));
    }
    cases.extend(headers());
    cases.extend(irqchips());
    cases
}

fn headers() -> Vec<Case> {
    let header = |name: &str, nr: u32, flags: u32, reply: Reply| {
        case(format!("header_{name}"), move |host| {
            let routing = Routing {
                nr,
                flags,
                entries: &[],
            };
            assert_eq!(host.vm().set_gsi_routing(&routing), reply);
        })
    };
    vec![
        header("empty", 0, 0, OK),
        header("flags_1", 0, 1, INVALID),
        header("flags_0x80000000", 0, 1 << 31, INVALID),
        header("nr_4097", 4097, 0, INVALID),
        header("nr_0xffffffff", u32::MAX, 0, INVALID),
        header("nr_1_but_nothing_there", 1, 0, Err(EFAULT)),
        header("nr_4096_but_nothing_there", 4096, 0, Err(EFAULT)),
        header("flags_before_what_is_not_there", 1, 1, INVALID),
        case("header_nr_5_but_4_there", |host| {
            let entries: Vec<_> = (30..34).map(|gsi| msi_route(gsi, 0x41)).collect();
            let routing = Routing {
                nr: 5,
                flags: 0,
                entries: &entries,
            };
            expect_errno(host.vm().set_gsi_routing(&routing), EFAULT);
        }),
        case("header_nr_2_of_4_takes_the_first_two", |host| {
            let vm = host.vm();
            let entries: Vec<_> = (30..34).map(|gsi| msi_route(gsi, gsi as u8 + 32)).collect();
            let routing = Routing {
                nr: 2,
                flags: 0,
                entries: &entries,
            };
            expect_ok(vm.set_gsi_routing(&routing));
            for (gsi, status) in [(30, 1), (31, 1), (32, -1)] {
                let reply = vm.irq_line_status(&line(gsi, 1));
                assert_eq!(reply, Ok(status), "GSI {gsi}");
            }
        }),
        case("header_nr_4096", |host| {
            let entries: Vec<_> = (0..4096).map(|gsi| msi_route(gsi, 0x41)).collect();
            expect_ok(host.vm().set_gsi_routing(&Routing::of(&entries)));
        }),
        case("header_nr_4097_all_there", |host| {
            let entries: Vec<_> = (0..4097).map(|n| msi_route(n % 4096, 0x41)).collect();
            expect_errno(host.vm().set_gsi_routing(&Routing::of(&entries)), EINVAL);
        }),
        case("header_nr_4096_by_pins_of_three_chips", |host| {
            // More entries than GSIs.
            let entries: Vec<_> = (0..1365)
                .flat_map(|gsi| [PIC_MASTER, PIC_SLAVE, IOAPIC].map(|chip| pin(gsi, chip, 0)))
                .collect();
            expect_ok(host.vm().set_gsi_routing(&Routing::of(&entries)));
        }),
    ]
}

fn irqchips() -> Vec<Case> {
    vec![
        case("no_irqchip_empty_table", |host| {
            expect_errno(host.bare().set_gsi_routing(&Routing::of(&[])), EINVAL);
        }),
        case("no_irqchip_message", |host| {
            expect_errno(host.bare().set_gsi_routing(&Routing::of(&[MSI])), EINVAL);
        }),
        case("no_irqchip_before_what_is_not_there", |host| {
            let routing = Routing {
                nr: 1,
                flags: 0,
                entries: &[],
            };
            expect_errno(host.bare().set_gsi_routing(&routing), EINVAL);
        }),
        case("split_empty_table", |host| {
            expect_ok(host.split().set_gsi_routing(&Routing::of(&[])));
        }),
        case("split_message", |host| {
            expect_ok(host.split().set_gsi_routing(&Routing::of(&[MSI])));
        }),
        case("split_pin_of_the_ioapic", |host| {
            let table = [pin(5, IOAPIC, 5)];
            expect_errno(host.split().set_gsi_routing(&Routing::of(&table)), EINVAL);
        }),
        case("split_pin_of_the_pic", |host| {
            let table = [pin(5, PIC_MASTER, 5)];
            expect_errno(host.split().set_gsi_routing(&Routing::of(&table)), EINVAL);
        }),
        case("no_vcpu", |host| {
            let vm = host.machine(Irqchip::Full, 0);
            expect_ok(vm.set_gsi_routing(&Routing::of(&[MSI, pin(5, IOAPIC, 5)])));
        }),
    ]
}
