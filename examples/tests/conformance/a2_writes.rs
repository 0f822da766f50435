// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Which doorbells a guest's write rings.
//!
//! A write rings a doorbell if it has the doorbell's address, its width (unless the doorbell takes
//! every width) and its value in the byte order of the host (unless the doorbell takes every
//! value). A write that rings no doorbell exits to user space, unless a device in the kernel takes
//! it.

use nix::poll::PollFlags;

use crate::backend::{Bus, ExitWrite};
use crate::case::{Case, case};
use crate::event::{Event, FULL};
use crate::expect::{expect_count, expect_ok};
use crate::request::{CCW, IoEventFd, MMIO, PORT, deassign, doorbell, valued, wildcard};

/// Offset, width and value.
type Bell = (u64, u32, Option<u64>);
/// Offset and bytes.
type Write = (u64, &'static [u8]);

struct Row {
    name: &'static str,
    bells: &'static [Bell],
    writes: &'static [Write],
    /// How often each doorbell rings.
    rings: &'static [u64],
    exits: &'static [Write],
}

const fn row(
    name: &'static str,
    bells: &'static [Bell],
    writes: &'static [Write],
    rings: &'static [u64],
    exits: &'static [Write],
) -> Row {
    Row {
        name,
        bells,
        writes,
        rings,
        exits,
    }
}

const W1: &[u8] = &[0x11];
const W2: &[u8] = &[0x11, 0x22];
const W4: &[u8] = &[0x11, 0x22, 0x33, 0x44];
const W8: &[u8] = &[0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88];
const W16: &[u8] = &[
    0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff, 0,
];
/// The second half of [`W16`].
const HIGH8: &[u8] = &[0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff, 0];
const FIVE2: &[u8] = &[5, 0];
const SIX2: &[u8] = &[6, 0];
const FIVE4: &[u8] = &[5, 0, 0, 0];

/// Rows for memory and for ports.
const ANYWHERE: [Row; 21] = [
    row("any1_write1", &[(0, 1, None)], &[(0, W1)], &[1], &[]),
    row("any1_write2", &[(0, 1, None)], &[(0, W2)], &[0], &[(0, W2)]),
    row("any1_write4", &[(0, 1, None)], &[(0, W4)], &[0], &[(0, W4)]),
    row("any2_write1", &[(0, 2, None)], &[(0, W1)], &[0], &[(0, W1)]),
    row("any2_write2", &[(0, 2, None)], &[(0, W2)], &[1], &[]),
    row("any2_write4", &[(0, 2, None)], &[(0, W4)], &[0], &[(0, W4)]),
    row("any4_write1", &[(0, 4, None)], &[(0, W1)], &[0], &[(0, W1)]),
    row("any4_write2", &[(0, 4, None)], &[(0, W2)], &[0], &[(0, W2)]),
    row("any4_write4", &[(0, 4, None)], &[(0, W4)], &[1], &[]),
    row(
        "any4_write4_three_times",
        &[(0, 4, None)],
        &[(0, W4), (0, W4), (0, W4)],
        &[3],
        &[],
    ),
    row(
        "any2_a_byte_before",
        &[(4, 2, None)],
        &[(3, W2)],
        &[0],
        &[(3, W2)],
    ),
    row(
        "any2_a_byte_behind",
        &[(4, 2, None)],
        &[(5, W2)],
        &[0],
        &[(5, W2)],
    ),
    row(
        "any2_inside_the_write",
        &[(4, 2, None)],
        &[(2, W4)],
        &[0],
        &[(2, W4)],
    ),
    row(
        "each_width_has_its_own",
        &[(0, 1, None), (0, 2, None), (0, 4, None)],
        &[(0, W4), (0, W2), (0, W2), (0, W1), (0, W1), (0, W1)],
        &[3, 2, 1],
        &[],
    ),
    row(
        "any0_takes_each_width",
        &[(0, 0, None)],
        &[(0, W1), (0, W2), (0, W4)],
        &[3],
        &[],
    ),
    row(
        "any0_inside_the_write",
        &[(4, 0, None)],
        &[(2, W4)],
        &[0],
        &[(2, W4)],
    ),
    row(
        "any0_a_byte_behind",
        &[(4, 0, None)],
        &[(5, W1)],
        &[0],
        &[(5, W1)],
    ),
    row(
        "value2_equal_and_not",
        &[(0, 2, Some(5)), (0, 2, Some(6))],
        &[(0, FIVE2), (0, SIX2), (0, SIX2), (0, &[7, 0]), (0, &[5, 1])],
        &[1, 2],
        &[(0, &[7, 0]), (0, &[5, 1])],
    ),
    row(
        "value2_in_another_width",
        &[(0, 2, Some(5))],
        &[(0, FIVE4), (0, &[5])],
        &[0],
        &[(0, FIVE4), (0, &[5])],
    ),
    row(
        "value2_wider_than_that",
        &[(0, 2, Some(0x1_0005))],
        &[(0, FIVE2)],
        &[0],
        &[(0, FIVE2)],
    ),
    row(
        "value4_in_host_byte_order",
        &[(0, 4, Some(0x4433_2211))],
        &[(0, W4), (0, &[0x44, 0x33, 0x22, 0x11])],
        &[1],
        &[(0, &[0x44, 0x33, 0x22, 0x11])],
    ),
];

/// Wide and split stores, which only memory has.
const MEMORY: [Row; 21] = [
    row("any8_write8", &[(0, 8, None)], &[(0, W8)], &[1], &[]),
    row("any4_write8", &[(0, 4, None)], &[(0, W8)], &[0], &[(0, W8)]),
    row("any8_write4", &[(0, 8, None)], &[(0, W4)], &[0], &[(0, W4)]),
    row("any0_write8", &[(0, 0, None)], &[(0, W8)], &[1], &[]),
    row(
        "any4_at_an_odd_address",
        &[(3, 4, None)],
        &[(3, W4)],
        &[1],
        &[],
    ),
    row(
        "value8",
        &[(0, 8, Some(0x8877_6655_4433_2211))],
        &[(0, W8)],
        &[1],
        &[],
    ),
    row(
        "value8_other",
        &[(0, 8, Some(0x8877_6655_4433_2210))],
        &[(0, W8)],
        &[0],
        &[(0, W8)],
    ),
    row("value1_equal", &[(0, 1, Some(0x11))], &[(0, W1)], &[1], &[]),
    row(
        "value1_other",
        &[(0, 1, Some(0x12))],
        &[(0, W1)],
        &[0],
        &[(0, W1)],
    ),
    // A store of 16 bytes is two of 8. If the first half has exited, so does the rest.
    row(
        "write16_nobody",
        &[],
        &[(0, W16)],
        &[],
        &[(0, W8), (8, HIGH8)],
    ),
    row(
        "write16_any8_at_the_first_half",
        &[(0, 8, None)],
        &[(0, W16)],
        &[1],
        &[(8, HIGH8)],
    ),
    row(
        "write16_any8_at_the_second_half",
        &[(8, 8, None)],
        &[(0, W16)],
        &[0],
        &[(0, W8), (8, HIGH8)],
    ),
    row(
        "write16_any8_at_both",
        &[(0, 8, None), (8, 8, None)],
        &[(0, W16)],
        &[1, 1],
        &[],
    ),
    row(
        "write16_any0",
        &[(0, 0, None)],
        &[(0, W16)],
        &[1],
        &[(8, HIGH8)],
    ),
    row(
        "write16_value8",
        &[(0, 8, Some(0x8877_6655_4433_2211))],
        &[(0, W16)],
        &[1],
        &[(8, HIGH8)],
    ),
    // A store across a page boundary is two stores.
    row(
        "split4_nobody",
        &[],
        &[(0xffe, W4)],
        &[],
        &[(0xffe, &[0x11, 0x22]), (0x1000, &[0x33, 0x44])],
    ),
    row(
        "split4_any4",
        &[(0xffe, 4, None)],
        &[(0xffe, W4)],
        &[0],
        &[(0xffe, &[0x11, 0x22]), (0x1000, &[0x33, 0x44])],
    ),
    row(
        "split4_any2_before_the_page",
        &[(0xffe, 2, None)],
        &[(0xffe, W4)],
        &[1],
        &[(0x1000, &[0x33, 0x44])],
    ),
    row(
        "split4_any2_at_the_page",
        &[(0x1000, 2, None)],
        &[(0xffe, W4)],
        &[1],
        &[(0xffe, &[0x11, 0x22])],
    ),
    row(
        "split4_any2_at_both",
        &[(0xffe, 2, None), (0x1000, 2, None)],
        &[(0xffe, W4)],
        &[1, 1],
        &[],
    ),
    row(
        "split2_any1_at_both",
        &[(0xfff, 1, None), (0x1000, 1, None)],
        &[(0xfff, W2)],
        &[1, 1],
        &[],
    ),
];

/// Does the writes of a row on one bus, and compares rings and exits.
fn ring(name: String, bus: Bus, base: u64, row: &'static Row) -> Case {
    case(name, move |host| {
        let vm = host.vm();
        let events: Vec<_> = row.bells.iter().map(|_| Event::new()).collect();
        for (event, (offset, len, value)) in events.iter().zip(row.bells) {
            let request = match value {
                None => wildcard(event, bus, base + offset, *len),
                Some(value) => valued(event, bus, base + offset, *len, *value),
            };
            expect_ok(vm.ioeventfd(&request));
        }
        let writes = row.writes.iter();
        let exits: Vec<_> = writes
            .flat_map(|(offset, bytes)| vm.guest_write(bus, base + offset, bytes))
            .collect();
        let expected = row.exits.iter();
        let expected: Vec<_> = expected
            .map(|(offset, bytes)| ExitWrite::new(base + offset, bytes))
            .collect();
        assert_eq!(exits, expected, "exits");
        for (event, rings) in events.iter().zip(row.rings) {
            expect_count(event, *rings);
        }
    })
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for row in &ANYWHERE {
        cases.push(ring(format!("pio_{}", row.name), Bus::Pio, PORT, row));
        cases.push(ring(format!("mmio_{}", row.name), Bus::Mmio, MMIO, row));
    }
    for row in &MEMORY {
        cases.push(ring(format!("mmio_{}", row.name), Bus::Mmio, MMIO, row));
    }
    cases.extend([
        case("pio_string_element_by_element", |host| {
            let (vm, five, six) = (host.vm(), Event::new(), Event::new());
            expect_ok(vm.ioeventfd(&valued(&five, Bus::Pio, PORT, 2, 5)));
            expect_ok(vm.ioeventfd(&valued(&six, Bus::Pio, PORT, 2, 6)));
            let exits = vm.guest_write_string(PORT as u16, &[5, 9, 6, 5]);
            assert_eq!(exits, [ExitWrite::new(PORT, &[9, 0])]);
            expect_count(&five, 2);
            expect_count(&six, 1);
        }),
        case("one_eventfd_at_two_doorbells_adds_up", |host| {
            let (vm, event) = (host.vm(), Event::new());
            expect_ok(vm.ioeventfd(&wildcard(&event, Bus::Mmio, MMIO, 4)));
            expect_ok(vm.ioeventfd(&wildcard(&event, Bus::Pio, PORT, 2)));
            vm.expect_taken(Bus::Mmio, MMIO, W4);
            vm.expect_taken(Bus::Pio, PORT, W2);
            expect_count(&event, 2);
        }),
        case("a_channel_is_rung_by_no_write", |host| {
            let (vm, event) = (host.vm(), Event::new());
            let channel = IoEventFd {
                flags: CCW,
                ..doorbell(&event)
            };
            expect_ok(vm.ioeventfd(&channel));
            vm.expect_exit(Bus::Mmio, MMIO, W4);
            expect_count(&event, 0);
        }),
        case("memory_is_not_ports", |host| {
            let (vm, event) = (host.vm(), Event::new());
            expect_ok(vm.ioeventfd(&wildcard(&event, Bus::Mmio, PORT + 0xd000_0000, 2)));
            expect_ok(vm.ioeventfd(&wildcard(&event, Bus::Mmio, PORT, 2)));
            vm.expect_exit(Bus::Pio, PORT, W2);
            expect_count(&event, 0);
        }),
        case("a_semaphore_counts_each_write", |host| {
            let semaphore = nix::sys::eventfd::EfdFlags::EFD_SEMAPHORE;
            let (vm, event) = (host.vm(), Event::with(0, semaphore));
            expect_ok(vm.ioeventfd(&doorbell(&event)));
            vm.expect_taken(Bus::Mmio, MMIO, W4);
            vm.expect_taken(Bus::Mmio, MMIO, W4);
            expect_count(&event, 1);
            expect_count(&event, 1);
            expect_count(&event, 0);
        }),
        case("a_count_that_was_there_stays", |host| {
            let (vm, event) = (host.vm(), Event::at(40));
            expect_ok(vm.ioeventfd(&doorbell(&event)));
            vm.expect_taken(Bus::Mmio, MMIO, W4);
            vm.expect_taken(Bus::Mmio, MMIO, W4);
            expect_ok(vm.ioeventfd(&deassign(doorbell(&event))));
            expect_count(&event, 42);
        }),
        case("a_full_counter_takes_the_write_nevertheless", |host| {
            let (vm, event) = (host.vm(), Event::at(FULL));
            expect_ok(vm.ioeventfd(&doorbell(&event)));
            assert_eq!(event.poll(), PollFlags::POLLIN);
            vm.expect_taken(Bus::Mmio, MMIO, W4);
            vm.expect_taken(Bus::Mmio, MMIO, W4);
            assert!(event.read().unwrap() >= FULL, "it does not wrap");
        }),
        case("without_an_irqchip", |host| {
            let (vm, event) = (host.bare(), Event::new());
            expect_ok(vm.ioeventfd(&doorbell(&event)));
            vm.expect_taken(Bus::Mmio, MMIO, W4);
            expect_count(&event, 1);
        }),
    ]);
    cases
}
