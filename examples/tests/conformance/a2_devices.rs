// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Doorbells beside devices in the kernel, memory, and coalesced zones.

use crate::backend::{Bus, RAM_END, ROM};
use crate::case::{Case, case};
use crate::event::Event;
use crate::expect::{expect_count, expect_ok};
use crate::request::{MMIO, PORT, wildcard};

const PIC_COMMAND: u64 = 0x20;
const PIC_MASK: u64 = 0x21;
const IOAPIC_SELECT: u64 = 0xfec0_0000;
const IOAPIC_WINDOW: u64 = 0xfec0_0010;
const LAPIC_EOI: u64 = 0xfee0_00b0;
const W4: &[u8] = &[7, 0, 0, 0];

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("pic_command_is_stolen_from_the_pic", |host| {
            let (vm, event) = (host.vm(), Event::new());
            expect_ok(vm.ioeventfd(&wildcard(&event, Bus::Pio, PIC_COMMAND, 1)));
            vm.expect_taken(Bus::Pio, PIC_COMMAND, &[0x20]);
            expect_count(&event, 1);
        }),
        case("pic_mask_stays_the_pics", |host| {
            let (vm, event) = (host.vm(), Event::new());
            expect_ok(vm.ioeventfd(&wildcard(&event, Bus::Pio, PIC_MASK, 1)));
            vm.expect_taken(Bus::Pio, PIC_MASK, &[0xff]);
            expect_count(&event, 0);
            assert_eq!(vm.pics()[0].imr, 0xff);
        }),
        case("pic_takes_its_own_without_doorbells", |host| {
            let vm = host.vm();
            vm.expect_taken(Bus::Pio, 0xa1, &[0x55]);
            assert_eq!(vm.pics()[1].imr, 0x55);
        }),
        case("pic_ports_exit_without_an_irqchip", |host| {
            host.bare().expect_exit(Bus::Pio, PIC_COMMAND, &[0x20]);
        }),
        case("pic_ports_exit_on_a_split_irqchip", |host| {
            host.split().expect_exit(Bus::Pio, PIC_COMMAND, &[0x20]);
        }),
        case("ioapic_select_is_stolen_from_the_ioapic", |host| {
            let (vm, event) = (host.vm(), Event::new());
            expect_ok(vm.ioeventfd(&wildcard(&event, Bus::Mmio, IOAPIC_SELECT, 4)));
            vm.expect_taken(Bus::Mmio, IOAPIC_SELECT, W4);
            expect_count(&event, 1);
        }),
        case("ioapic_window_stays_the_ioapics", |host| {
            let (vm, event) = (host.vm(), Event::new());
            expect_ok(vm.ioeventfd(&wildcard(&event, Bus::Mmio, IOAPIC_WINDOW, 4)));
            vm.expect_taken(Bus::Mmio, IOAPIC_WINDOW, W4);
            expect_count(&event, 0);
        }),
        case("ioapic_exits_on_a_split_irqchip", |host| {
            host.split().expect_exit(Bus::Mmio, IOAPIC_SELECT, W4);
        }),
        case("lapic_stays_the_lapics", |host| {
            let (vm, event) = (host.vm(), Event::new());
            expect_ok(vm.ioeventfd(&wildcard(&event, Bus::Mmio, LAPIC_EOI, 4)));
            vm.expect_taken(Bus::Mmio, LAPIC_EOI, &[0; 4]);
            expect_count(&event, 0);
        }),
        case("lapic_stays_the_lapics_on_a_split_irqchip", |host| {
            let (vm, event) = (host.split(), Event::new());
            expect_ok(vm.ioeventfd(&wildcard(&event, Bus::Mmio, LAPIC_EOI, 4)));
            vm.expect_taken(Bus::Mmio, LAPIC_EOI, &[0; 4]);
            expect_count(&event, 0);
        }),
        case("lapic_is_free_without_an_irqchip", |host| {
            let (vm, event) = (host.bare(), Event::new());
            expect_ok(vm.ioeventfd(&wildcard(&event, Bus::Mmio, LAPIC_EOI, 4)));
            vm.expect_taken(Bus::Mmio, LAPIC_EOI, &[0; 4]);
            expect_count(&event, 1);
        }),
        case("ram_never_rings", |host| {
            let (vm, event) = (host.vm(), Event::new());
            let address = RAM_END - 0x1000;
            expect_ok(vm.ioeventfd(&wildcard(&event, Bus::Mmio, address, 4)));
            vm.expect_taken(Bus::Mmio, address, W4);
            expect_count(&event, 0);
        }),
        case("read_only_memory_rings", |host| {
            let (vm, event) = (host.vm(), Event::new());
            vm.add_rom();
            expect_ok(vm.ioeventfd(&wildcard(&event, Bus::Mmio, ROM + 0x10, 4)));
            vm.expect_taken(Bus::Mmio, ROM + 0x10, W4);
            vm.expect_exit(Bus::Mmio, ROM + 0x20, W4);
            expect_count(&event, 1);
        }),
        case("a_coalesced_zone_swallows_writes", |host| {
            let vm = host.vm();
            expect_ok(vm.coalesce(Bus::Mmio, MMIO, 0x1000));
            vm.expect_taken(Bus::Mmio, MMIO + 0x10, W4);
            vm.expect_taken(Bus::Mmio, MMIO + 0xffc, W4);
            vm.expect_exit(Bus::Mmio, MMIO + 0x1000, W4);
        }),
        case("a_coalesced_zone_of_ports", |host| {
            let vm = host.vm();
            expect_ok(vm.coalesce(Bus::Pio, PORT, 4));
            vm.expect_taken(Bus::Pio, PORT + 2, &[1, 2]);
            vm.expect_exit(Bus::Pio, PORT + 3, &[1, 2]);
        }),
        case(
            "a_coalesced_zone_loses_to_a_doorbell_at_its_start",
            |host| {
                let (vm, event) = (host.vm(), Event::new());
                expect_ok(vm.coalesce(Bus::Mmio, MMIO, 0x1000));
                expect_ok(vm.ioeventfd(&wildcard(&event, Bus::Mmio, MMIO, 4)));
                vm.expect_taken(Bus::Mmio, MMIO, W4);
                expect_count(&event, 1);
            },
        ),
        case("a_coalesced_zone_silences_the_doorbell_inside", |host| {
            let (vm, start, inside) = (host.vm(), Event::new(), Event::new());
            expect_ok(vm.coalesce(Bus::Mmio, MMIO, 0x1000));
            expect_ok(vm.ioeventfd(&wildcard(&start, Bus::Mmio, MMIO, 4)));
            expect_ok(vm.ioeventfd(&wildcard(&inside, Bus::Mmio, MMIO + 0x10, 4)));
            vm.expect_taken(Bus::Mmio, MMIO, W4);
            vm.expect_taken(Bus::Mmio, MMIO + 0x10, W4);
            expect_count(&start, 1);
            expect_count(&inside, 0);
        }),
        case("a_coalesced_zone_and_16_doorbells_inside", |host| {
            let vm = host.vm();
            expect_ok(vm.coalesce(Bus::Mmio, MMIO, 0x1000));
            let bells: Vec<_> = (0..16).map(|n| (MMIO + n * 4, Event::new())).collect();
            for (address, event) in &bells {
                expect_ok(vm.ioeventfd(&wildcard(event, Bus::Mmio, *address, 4)));
            }
            for (address, _) in &bells {
                vm.expect_taken(Bus::Mmio, *address, W4);
            }
            // The search reaches the zone before it reaches the second doorbell.
            for (n, (_, event)) in bells.iter().enumerate() {
                expect_count(event, u64::from(n != 1));
            }
        }),
    ]
}
