// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The initial routing table of a VM.
//!
//! KVM_CREATE_IRQCHIP routes GSI 0 to 15 to the pin of that number of the IOAPIC and of the PICs,
//! and 16 to 23 to the IOAPIC alone, whose pins are masked. The first KVM_SET_GSI_ROUTING replaces
//! the whole table. A split irqchip starts without routes.

use crate::case::{Case, case};
use crate::expect::expect_ok;
use crate::request::{IOAPIC, Routing, line, msi_route, pin_route};

/// The status of raising a GSI's line: a PIC's pin takes it, a masked pin of the IOAPIC does not.
fn status(gsi: u32) -> i32 {
    if gsi < 16 { 1 } else { -1 }
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for gsi in [0, 1, 7, 8, 15, 16, 23, 24, 25] {
        cases.push(case(format!("gsi_{gsi}_status"), move |host| {
            let reply = host.vm().irq_line_status(&line(gsi, 1));
            assert_eq!(reply, Ok(status(gsi)));
        }));
    }
    for gsi in 0..16 {
        cases.push(case(format!("gsi_{gsi}_lines"), move |host| {
            let vm = host.vm();
            expect_ok(vm.irq_line(&line(gsi, 1)));
            match gsi {
                0..8 => vm.expect_lines(1 << gsi, 0, 1 << gsi),
                // The second PIC requests through pin 2 of the first.
                _ => vm.expect_lines(1 << 2, 1 << (gsi - 8), 1 << gsi),
            }
        }));
    }
    cases.extend([
        case("gsi_16_to_23_lines", |host| {
            let vm = host.vm();
            for gsi in 16..24 {
                expect_ok(vm.irq_line(&line(gsi, 1)));
            }
            vm.expect_lines(0, 0, 0xff_0000);
        }),
        case("several_lines_add_up", |host| {
            let vm = host.vm();
            for gsi in [0, 2, 9] {
                expect_ok(vm.irq_line(&line(gsi, 1)));
            }
            vm.expect_lines(0x05, 0x02, 0x205);
        }),
        case("any_table_replaces_it", |host| {
            let vm = host.vm();
            expect_ok(vm.set_gsi_routing(&Routing::of(&[pin_route(5, IOAPIC, 5)])));
            for gsi in [0, 4, 5, 6] {
                expect_ok(vm.irq_line(&line(gsi, 1)));
            }
            vm.expect_lines(0, 0, 1 << 5);
        }),
        case("an_empty_table_replaces_it", |host| {
            let vm = host.vm();
            expect_ok(vm.set_gsi_routing(&Routing::of(&[])));
            assert_eq!(vm.irq_line_status(&line(5, 1)), Ok(-1));
            vm.expect_lines(0, 0, 0);
        }),
        case("a_refused_table_does_not", |host| {
            let vm = host.vm();
            let twice = [msi_route(5, 0x41), msi_route(5, 0x41)];
            assert!(vm.set_gsi_routing(&Routing::of(&twice)).is_err());
            assert_eq!(vm.irq_line_status(&line(5, 1)), Ok(1));
        }),
        case("split_has_none", |host| {
            let vm = host.split();
            for gsi in 0..24 {
                assert_eq!(vm.irq_line_status(&line(gsi, 1)), Ok(-1), "GSI {gsi}");
            }
        }),
    ]);
    cases
}
