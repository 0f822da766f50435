// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! KVM_SIGNAL_MSI, KVM_IRQ_LINE, KVM_IRQ_LINE_STATUS and KVM_INTERRUPT: interrupts without an
//! eventfd.
//!
//! KVM_SIGNAL_MSI returns how many local APICs took the message. The status of a line is -1 if it
//! had no effect (no route, a masked pin, a message at level 0), 0 if the interrupt was pending
//! already, or the sum of the chips' results. KVM_INTERRUPT works only where KVM has no PICs.

use nix::errno::Errno::{EEXIST, EINVAL, ENXIO, EPERM};

use crate::backend::{Backend, Irqchip, Reply};
use crate::case::{Case, Host, case};
use crate::expect::{expect_errno, expect_ok};
use crate::request::{
    IOAPIC, MSI_ADDRESS, Msi, PIC_MASTER, Routing, line, msi, msi_route, pin_route,
};

const MSI: Msi = Msi {
    address_lo: MSI_ADDRESS,
    address_hi: 0,
    data: 0x30,
    flags: 0,
    devid: 0,
};
/// No vector is pending.
const NOTHING: &[u8] = &[];

const fn to(destination: u32) -> Msi {
    Msi {
        address_lo: MSI_ADDRESS | destination << 12,
        ..MSI
    }
}

const fn mode(mode: u32) -> Msi {
    Msi {
        data: mode << 8 | 0x30,
        ..MSI
    }
}

/// A message to a VM of one vCPU: the result, and the pending vectors.
const MESSAGES: [(&str, Msi, Reply, &[u8]); 19] = [
    ("vector_0x30", MSI, Ok(1), &[0x30]),
    ("vector_0xff", Msi { data: 0xff, ..MSI }, Ok(1), &[0xff]),
    ("vector_16", Msi { data: 16, ..MSI }, Ok(1), &[16]),
    ("vector_5", Msi { data: 5, ..MSI }, Ok(1), &[5]),
    (
        "address_0",
        Msi {
            address_lo: 0,
            ..MSI
        },
        Ok(1),
        &[0x30],
    ),
    (
        "address_high_1",
        Msi {
            address_hi: 1,
            ..MSI
        },
        Ok(1),
        &[0x30],
    ),
    (
        "flags_device_id",
        Msi {
            flags: 1,
            devid: 7,
            ..MSI
        },
        Ok(1),
        &[0x30],
    ),
    (
        "device_id_without_its_flag",
        Msi { devid: 7, ..MSI },
        Ok(1),
        &[0x30],
    ),
    ("flags_2", Msi { flags: 2, ..MSI }, Err(EINVAL), NOTHING),
    ("flags_3", Msi { flags: 3, ..MSI }, Err(EINVAL), NOTHING),
    ("to_absent_9", to(9), Ok(0), NOTHING),
    ("to_absent_1", to(1), Ok(0), NOTHING),
    ("to_all", to(0xff), Ok(1), &[0x30]),
    ("mode_lowest_priority", mode(1), Ok(1), &[0x30]),
    ("mode_reserved_3", mode(3), Ok(1), NOTHING),
    ("mode_nmi", mode(4), Ok(1), NOTHING),
    ("mode_external", mode(7), Ok(0), NOTHING),
    (
        "level_triggered",
        Msi {
            data: 0x8030,
            ..MSI
        },
        Ok(1),
        &[0x30],
    ),
    (
        "level_triggered_asserted",
        Msi {
            data: 0xc030,
            ..MSI
        },
        Ok(1),
        &[0x30],
    ),
];

/// The status of a line, step by step: GSI, level, status.
type Steps = &'static [(u32, u32, i32)];

const STEPS: [(&str, Steps); 11] = [
    ("no_route", &[(24, 1, -1), (24, 0, -1)]),
    ("gsi_4096", &[(4096, 1, -1)]),
    ("gsi_0xffffffff", &[(u32::MAX, 1, -1)]),
    // The edge was seen, and the IOAPIC's masked pin has no influence: the PIC gives the status.
    ("high", &[(7, 1, 1)]),
    ("high_again", &[(7, 1, 1), (7, 1, 1)]),
    ("low_after_high", &[(7, 1, 1), (7, 0, 2)]),
    ("low_at_first", &[(7, 0, 2)]),
    (
        "any_level_but_0_is_high",
        &[(7, 7, 1), (7, 0, 2), (7, u32::MAX, 0)],
    ),
    ("high_low_high_merges", &[(7, 1, 1), (7, 0, 2), (7, 1, 0)]),
    ("ioapic_masked_high", &[(20, 1, -1), (20, 1, 0)]),
    ("ioapic_low", &[(20, 1, -1), (20, 0, 1)]),
];

fn with_route(host: &Host) -> Box<dyn Backend> {
    let vm = host.vm();
    expect_ok(vm.set_gsi_routing(&Routing::of(&[msi_route(100, 0x44)])));
    vm
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, message, reply, vectors) in MESSAGES {
        cases.push(case(format!("msi_{name}"), move |host| {
            let vm = host.vm();
            assert_eq!(vm.signal_msi(&message), reply);
            vm.expect_msi(vectors);
        }));
    }
    for (name, steps) in STEPS {
        cases.push(case(format!("line_status_{name}"), move |host| {
            let vm = host.vm();
            for (gsi, level, status) in steps {
                let reply = vm.irq_line_status(&line(*gsi, *level));
                assert_eq!(reply, Ok(*status), "GSI {gsi}, level {level}");
            }
        }));
    }
    for (name, gsi, level) in [
        ("pin", 5, 1),
        ("low", 5, 0),
        ("level_7", 5, 7),
        ("no_route", 24, 1),
        ("gsi_4096", 4096, 1),
        ("gsi_0xffffffff", u32::MAX, 1),
    ] {
        cases.push(case(format!("line_{name}"), move |host| {
            expect_ok(host.vm().irq_line(&line(gsi, level)));
        }));
    }
    cases.extend(messages());
    cases.extend(lines());
    cases.extend(irqchips());
    cases.extend(vcpus());
    cases
}

fn messages() -> Vec<Case> {
    vec![
        case("msi_merges_while_it_waits", |host| {
            let vm = host.vm();
            assert_eq!(vm.signal_msi(&msi(0x30)), Ok(1));
            assert_eq!(vm.signal_msi(&msi(0x30)), Ok(1));
            vm.expect_msi(&[0x30]);
        }),
        case("msi_each_vector_waits", |host| {
            let vm = host.vm();
            for vector in [0x30, 0xef, 0x31, 0x10] {
                assert_eq!(vm.signal_msi(&msi(vector)), Ok(1));
            }
            vm.expect_msi(&[0x10, 0x30, 0x31, 0xef]);
        }),
        case("msi_to_a_lapic_that_is_off", |host| {
            let vm = host.machine(Irqchip::Full, 1);
            assert_eq!(vm.signal_msi(&MSI), Ok(0));
            vm.expect_silence();
        }),
        case("msi_nmi_to_a_lapic_that_is_off", |host| {
            let vm = host.vm();
            vm.disable_lapic();
            assert_eq!(vm.signal_msi(&mode(4)), Ok(1));
            assert_eq!(vm.signal_msi(&MSI), Ok(0));
        }),
        case("msi_nmi_to_a_new_vcpu_is_lost", |host| {
            // KVM looks destinations up in a map, which the last vCPU enters when its local APIC is
            // first set up.
            let vm = host.machine(Irqchip::Full, 1);
            assert_eq!(vm.signal_msi(&mode(4)), Ok(0));
            vm.enable_lapic();
            assert_eq!(vm.signal_msi(&mode(4)), Ok(1));
        }),
        case("msi_nmi_to_the_first_of_two_new_vcpus", |host| {
            let vm = host.machine(Irqchip::Full, 2);
            assert_eq!(vm.signal_msi(&mode(4)), Ok(1));
        }),
        case("msi_nmi_to_all_new_vcpus", |host| {
            let vm = host.machine(Irqchip::Full, 2);
            let to_all = Msi {
                address_lo: to(0xff).address_lo,
                ..mode(4)
            };
            assert_eq!(vm.signal_msi(&to_all), Ok(2));
        }),
        case("msi_to_all_of_two_one_of_them_off", |host| {
            let vm = host.machine(Irqchip::Full, 2);
            vm.enable_lapic();
            assert_eq!(vm.signal_msi(&to(0xff)), Ok(1));
        }),
        case("msi_to_the_second_of_two_which_is_off", |host| {
            let vm = host.machine(Irqchip::Full, 2);
            vm.enable_lapic();
            assert_eq!(vm.signal_msi(&to(1)), Ok(0));
            vm.expect_silence();
        }),
    ]
}

fn lines() -> Vec<Case> {
    vec![
        case("line_high_and_low_in_the_chips", |host| {
            let vm = host.vm();
            expect_ok(vm.irq_line(&line(5, 1)));
            vm.expect_lines(1 << 5, 0, 1 << 5);
            expect_ok(vm.irq_line(&line(5, 0)));
            // The PIC remembers the edge.
            vm.expect_lines(1 << 5, 0, 0);
        }),
        case("line_of_a_message_at_level_1", |host| {
            let vm = with_route(host);
            assert_eq!(vm.irq_line_status(&line(100, 1)), Ok(1));
            assert_eq!(vm.irq_line_status(&line(100, 1)), Ok(1));
            vm.expect_msi(&[0x44]);
        }),
        case("line_of_a_message_at_level_0", |host| {
            let vm = with_route(host);
            assert_eq!(vm.irq_line_status(&line(100, 0)), Ok(-1));
            vm.expect_silence();
        }),
        case("line_without_status_of_a_message", |host| {
            let vm = with_route(host);
            expect_ok(vm.irq_line(&line(100, 1)));
            vm.expect_msi(&[0x44]);
        }),
        case("line_edge_unmasked", |host| {
            let vm = host.vm();
            vm.redirect_pin(20, 0x71);
            assert_eq!(vm.irq_line_status(&line(20, 1)), Ok(1));
            vm.expect_msi(&[0x71]);
            assert_eq!(vm.irq_line_status(&line(20, 1)), Ok(0));
            vm.expect_silence();
            assert_eq!(vm.irq_line_status(&line(20, 0)), Ok(1));
            assert_eq!(vm.irq_line_status(&line(20, 1)), Ok(1));
            vm.expect_msi(&[0x71]);
        }),
        case("line_level_unmasked", |host| {
            let vm = host.vm();
            vm.redirect_pin(20, 0x8071);
            assert_eq!(vm.irq_line_status(&line(20, 1)), Ok(1));
            vm.expect_msi(&[0x71]);
            // It waits for the EOI of the first.
            assert_eq!(vm.irq_line_status(&line(20, 1)), Ok(-1));
            vm.expect_silence();
        }),
        case("line_level_masked_waits", |host| {
            let vm = host.vm();
            vm.redirect_pin(20, 0x8071 | 1 << 16);
            assert_eq!(vm.irq_line_status(&line(20, 1)), Ok(-1));
            vm.expect_lines(0, 0, 1 << 20);
            vm.redirect_pin(20, 0x8071);
            vm.expect_msi(&[0x71]);
        }),
        case("line_to_two_chips_adds_up", |host| {
            let vm = host.vm();
            vm.redirect_pin(6, 0x76);
            assert_eq!(vm.irq_line_status(&line(6, 1)), Ok(2));
            vm.expect_msi(&[0x76]);
        }),
        case("line_two_gsis_of_one_pin_share_it", |host| {
            let vm = host.vm();
            let routes = [pin_route(5, IOAPIC, 5), pin_route(55, IOAPIC, 5)];
            expect_ok(vm.set_gsi_routing(&Routing::of(&routes)));
            expect_ok(vm.irq_line(&line(5, 1)));
            expect_ok(vm.irq_line(&line(55, 0)));
            vm.expect_lines(0, 0, 0);
        }),
        case("line_rerouted_while_high_stays", |host| {
            let vm = host.vm();
            expect_ok(vm.irq_line(&line(5, 1)));
            expect_ok(vm.set_gsi_routing(&Routing::of(&[pin_route(5, PIC_MASTER, 6)])));
            expect_ok(vm.irq_line(&line(5, 0)));
            // KVM does not lower the old pin.
            vm.expect_lines(1 << 5, 0, 1 << 5);
        }),
    ]
}

fn irqchips() -> Vec<Case> {
    vec![
        case("no_irqchip_msi", |host| {
            expect_errno(host.bare().signal_msi(&MSI), EINVAL);
        }),
        case("no_irqchip_line", |host| {
            expect_errno(host.bare().irq_line(&line(5, 1)), ENXIO);
        }),
        case("no_irqchip_line_status", |host| {
            expect_errno(host.bare().irq_line_status(&line(5, 1)), ENXIO);
        }),
        case("no_vcpu_msi", |host| {
            let vm = host.machine(Irqchip::Full, 0);
            expect_errno(vm.signal_msi(&MSI), EPERM);
        }),
        case("msi_to_a_logical_destination_of_none", |host| {
            // The only local APIC is disabled.
            let vm = host.machine(Irqchip::Full, 1);
            let logical = Msi {
                address_lo: MSI_ADDRESS | 0xc,
                ..MSI
            };
            let reply = vm.signal_msi(&logical);
            if host.is_linux_since(6, 3) {
                assert_eq!(reply, Ok(0));
            } else {
                assert_eq!(reply, Err(EPERM));
            }
        }),
        case("no_vcpu_msi_flags_2", |host| {
            let vm = host.machine(Irqchip::Full, 0);
            expect_errno(vm.signal_msi(&Msi { flags: 2, ..MSI }), EINVAL);
        }),
        case("no_vcpu_line", |host| {
            let vm = host.machine(Irqchip::Full, 0);
            assert_eq!(vm.irq_line_status(&line(5, 1)), Ok(1));
        }),
        case("split_msi", |host| {
            let vm = host.split();
            assert_eq!(vm.signal_msi(&MSI), Ok(1));
            vm.expect_msi(&[0x30]);
        }),
        case("split_line", |host| {
            expect_ok(host.split().irq_line(&line(5, 1)));
        }),
        case("split_line_status", |host| {
            assert_eq!(host.split().irq_line_status(&line(5, 1)), Ok(-1));
        }),
        case("split_line_status_of_a_message", |host| {
            let vm = host.split();
            expect_ok(vm.set_gsi_routing(&Routing::of(&[msi_route(5, 0x45)])));
            assert_eq!(vm.irq_line_status(&line(5, 1)), Ok(1));
            vm.expect_msi(&[0x45]);
        }),
    ]
}

fn vcpus() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, irqchip, vector, reply) in [
        ("full", Irqchip::Full, 0x20, Err(ENXIO)),
        ("full_0xff", Irqchip::Full, 0xff, Err(ENXIO)),
        ("full_256", Irqchip::Full, 256, Err(EINVAL)),
        ("full_0xffffffff", Irqchip::Full, u32::MAX, Err(EINVAL)),
        ("split", Irqchip::Split, 0x20, Ok(0)),
        ("split_0", Irqchip::Split, 0, Ok(0)),
        ("split_0xff", Irqchip::Split, 0xff, Ok(0)),
        ("split_256", Irqchip::Split, 256, Err(EINVAL)),
        ("no_irqchip", Irqchip::None, 0x20, Ok(0)),
        ("no_irqchip_0", Irqchip::None, 0, Ok(0)),
        ("no_irqchip_0xff", Irqchip::None, 0xff, Ok(0)),
        ("no_irqchip_256", Irqchip::None, 256, Err(EINVAL)),
        (
            "no_irqchip_0xffffffff",
            Irqchip::None,
            u32::MAX,
            Err(EINVAL),
        ),
    ] {
        cases.push(case(format!("interrupt_{name}"), move |host| {
            assert_eq!(host.machine(irqchip, 1).interrupt(vector), reply);
        }));
    }
    cases.extend([
        case("interrupt_split_while_one_waits", |host| {
            let vm = host.split();
            expect_ok(vm.interrupt(0x60));
            expect_errno(vm.interrupt(0x60), EEXIST);
            expect_errno(vm.interrupt(0x61), EEXIST);
            expect_errno(vm.interrupt(256), EINVAL);
            vm.expect_silence();
        }),
        case("interrupt_split_is_taken_once", |host| {
            let vm = host.split();
            expect_ok(vm.interrupt(0x63));
            assert_eq!(vm.guest_takes_interrupt(), Some(0x63));
            assert_eq!(vm.guest_takes_interrupt(), None);
            expect_ok(vm.interrupt(0x64));
            assert_eq!(vm.guest_takes_interrupt(), Some(0x64));
        }),
        case("interrupt_split_beside_a_message", |host| {
            let vm = host.split();
            assert_eq!(vm.signal_msi(&MSI), Ok(1));
            expect_ok(vm.interrupt(0x63));
            vm.expect_msi(&[0x30]);
        }),
        case("interrupt_split_that_is_refused_leaves_the_first", |host| {
            let vm = host.split();
            expect_ok(vm.interrupt(0x65));
            expect_errno(vm.interrupt(0x66), EEXIST);
            assert_eq!(vm.guest_takes_interrupt(), Some(0x65));
            assert_eq!(vm.guest_takes_interrupt(), None);
        }),
        case("interrupt_no_irqchip_always", |host| {
            let vm = host.bare();
            for vector in [0x20, 0x20, 0x21] {
                expect_ok(vm.interrupt(vector));
            }
        }),
        case("interrupt_no_irqchip_is_taken", |host| {
            let vm = host.bare();
            assert_eq!(vm.guest_interrupted(0x61), Some(0x61));
            assert_eq!(vm.guest_interrupted(0x62), Some(0x62));
        }),
        case("interrupt_split_is_taken", |host| {
            let vm = host.split();
            assert_eq!(vm.guest_interrupted(0x61), Some(0x61));
        }),
    ]);
    cases
}
