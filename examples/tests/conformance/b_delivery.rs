// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Where a signal goes: it follows the route that its GSI has at that moment.

use nix::errno::Errno::EINVAL;

use crate::backend::{Backend, Bus, Irqchip};
use crate::case::{Case, Host, case};
use crate::event::Event;
use crate::expect::{expect_count, expect_errno, expect_ok};
use crate::request::{
    IOAPIC, MMIO, MSI_ADDRESS, PIC_MASTER, Routing, RoutingEntry, doorbell, irqfd, msi_route,
    pin_route, unbind,
};

const GSI: u32 = 100;
/// A pin that only the IOAPIC has, its vector, and bits of its redirection entry.
const PIN: u32 = 20;
const PIN_VECTOR: u8 = 0x71;
const EDGE: u64 = PIN_VECTOR as u64;
const LEVEL: u64 = EDGE | 1 << 15;
const MASKED: u64 = 1 << 16;

#[track_caller]
fn route(vm: &dyn Backend, entries: &[RoutingEntry]) {
    expect_ok(vm.set_gsi_routing(&Routing::of(entries)));
}

/// A VM with an eventfd that is bound to [`GSI`].
fn bound(host: &Host, entries: &[RoutingEntry]) -> (Box<dyn Backend>, Event) {
    let (vm, event) = (host.vm(), Event::new());
    route(&*vm, entries);
    expect_ok(vm.irqfd(&irqfd(&event, GSI)));
    (vm, event)
}

/// A VM with an eventfd that is bound to a pin of the IOAPIC with this redirection entry.
fn bound_to_pin(host: &Host, entry: u64) -> (Box<dyn Backend>, Event) {
    let (vm, event) = (host.vm(), Event::new());
    vm.redirect_pin(PIN, entry);
    expect_ok(vm.irqfd(&irqfd(&event, PIN)));
    (vm, event)
}

/// An MSI with another address.
fn msi_to(address: u32, data: u32) -> RoutingEntry {
    let mut entry = msi_route(GSI, 0);
    entry.u[0] = address;
    entry.u[2] = data;
    entry
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = vec![
        case("msi", |host| {
            let (vm, event) = bound(host, &[msi_route(GSI, 0x41)]);
            vm.signal(&event);
            vm.expect_msi(&[0x41]);
        }),
        case("msi_on_a_split_irqchip", |host| {
            let (vm, event) = (host.split(), Event::new());
            route(&*vm, &[msi_route(GSI, 0x41)]);
            expect_ok(vm.irqfd(&irqfd(&event, GSI)));
            vm.signal(&event);
            vm.expect_msi(&[0x41]);
        }),
        case("msi_routed_after_binding", |host| {
            let (vm, event) = (host.vm(), Event::new());
            expect_ok(vm.irqfd(&irqfd(&event, GSI)));
            route(&*vm, &[msi_route(GSI, 0x41)]);
            vm.signal(&event);
            vm.expect_msi(&[0x41]);
        }),
        case("a_new_route_counts_at_once", |host| {
            let (vm, event) = bound(host, &[msi_route(GSI, 0x41)]);
            vm.signal(&event);
            route(&*vm, &[msi_route(GSI, 0x42)]);
            vm.signal(&event);
            vm.expect_msi(&[0x41, 0x42]);
        }),
        case("another_gsis_route_is_not_taken", |host| {
            let (vm, event) = bound(host, &[msi_route(GSI, 0x41), msi_route(GSI + 1, 0x42)]);
            vm.signal(&event);
            vm.expect_msi(&[0x41]);
        }),
        case("two_eventfds_of_one_gsi", |host| {
            let (vm, one) = bound(host, &[msi_route(GSI, 0x41)]);
            let other = Event::new();
            expect_ok(vm.irqfd(&irqfd(&other, GSI)));
            vm.signal(&other);
            vm.expect_msi(&[0x41]);
            vm.signal(&one);
            vm.expect_msi(&[0x41]);
        }),
        case("signals_merge_while_the_vector_waits", |host| {
            let (vm, event) = bound(host, &[msi_route(GSI, 0x41)]);
            (0..1000).for_each(|_| assert_eq!(event.write(1), Ok(8)));
            vm.settle();
            vm.expect_msi(&[0x41]);
            expect_count(&event, 0);
        }),
        case("unrouted_is_lost", |host| {
            let (vm, event) = bound(host, &[]);
            vm.signal(&event);
            vm.expect_silence();
            expect_count(&event, 0);
            // A route that is set later does not bring it back.
            route(&*vm, &[msi_route(GSI, 0x50)]);
            vm.settle();
            vm.expect_silence();
            vm.signal(&event);
            vm.expect_msi(&[0x50]);
        }),
        case("an_empty_table_silences_and_forgets", |host| {
            let (vm, event) = bound(host, &[msi_route(GSI, 0x42)]);
            route(&*vm, &[]);
            vm.signal(&event);
            vm.expect_silence();
            route(&*vm, &[msi_route(GSI, 0x42)]);
            vm.settle();
            vm.expect_silence();
        }),
        case("a_refused_table_leaves_the_old_one", |host| {
            let (vm, event) = bound(host, &[msi_route(GSI, 0x43)]);
            let twice = [msi_route(GSI, 0x44), msi_route(GSI, 0x44)];
            expect_errno(vm.set_gsi_routing(&Routing::of(&twice)), EINVAL);
            vm.signal(&event);
            vm.expect_msi(&[0x43]);
        }),
        case("gsi_4096_leads_nowhere", |host| {
            let (vm, event) = (host.vm(), Event::new());
            expect_ok(vm.irqfd(&irqfd(&event, 4096)));
            vm.signal(&event);
            vm.expect_silence();
            expect_count(&event, 0);
        }),
        case("gsi_4095_is_the_last", |host| {
            let (vm, event) = (host.vm(), Event::new());
            route(&*vm, &[msi_route(4095, 0x41)]);
            expect_ok(vm.irqfd(&irqfd(&event, 4095)));
            vm.signal(&event);
            vm.expect_msi(&[0x41]);
        }),
        case("to_an_absent_vcpu_is_lost", |host| {
            let (vm, event) = bound(host, &[msi_to(MSI_ADDRESS | 9 << 12, 0x41)]);
            vm.signal(&event);
            vm.expect_silence();
            expect_count(&event, 0);
        }),
        case("to_all_vcpus", |host| {
            let (vm, event) = bound(host, &[msi_to(MSI_ADDRESS | 0xff << 12, 0x41)]);
            vm.signal(&event);
            vm.expect_msi(&[0x41]);
        }),
        case("to_a_lapic_that_is_off_is_lost", |host| {
            let vm = host.machine(Irqchip::Full, 1);
            let event = Event::new();
            route(&*vm, &[msi_route(GSI, 0x41)]);
            expect_ok(vm.irqfd(&irqfd(&event, GSI)));
            vm.signal(&event);
            vm.enable_lapic();
            vm.settle();
            vm.expect_silence();
            expect_count(&event, 0);
        }),
        case("a_doorbell_that_is_an_interrupt", |host| {
            let (vm, event) = bound(host, &[msi_route(GSI, 0x55)]);
            expect_ok(vm.ioeventfd(&doorbell(&event)));
            vm.expect_taken(Bus::Mmio, MMIO, &[1, 0, 0, 0]);
            vm.settle();
            vm.expect_msi(&[0x55]);
            expect_count(&event, 0);
        }),
        case("a_doorbell_after_deassign_counts_again", |host| {
            let (vm, event) = bound(host, &[msi_route(GSI, 0x55)]);
            expect_ok(vm.ioeventfd(&doorbell(&event)));
            expect_ok(vm.irqfd(&unbind(&event, GSI)));
            vm.expect_taken(Bus::Mmio, MMIO, &[1, 0, 0, 0]);
            vm.settle();
            vm.expect_silence();
            expect_count(&event, 1);
        }),
    ];
    cases.extend(pins());
    cases
}

/// A plain irqfd raises a pin and lowers it again at once.
fn pins() -> Vec<Case> {
    vec![
        case("pin_of_the_pic_remembers_the_edge", |host| {
            let (vm, event) = (host.vm(), Event::new());
            expect_ok(vm.irqfd(&irqfd(&event, 3)));
            vm.signal(&event);
            vm.expect_lines(1 << 3, 0, 0);
        }),
        case("pin_of_the_second_pic_shows_at_the_first", |host| {
            let (vm, event) = (host.vm(), Event::new());
            expect_ok(vm.irqfd(&irqfd(&event, 9)));
            vm.signal(&event);
            vm.expect_lines(1 << 2, 1 << 1, 0);
        }),
        case("pin_signalled_before_injects_at_assign", |host| {
            let (vm, event) = (host.vm(), Event::at(1));
            expect_ok(vm.irqfd(&irqfd(&event, 3)));
            vm.settle();
            vm.expect_lines(1 << 3, 0, 0);
            expect_count(&event, 1);
        }),
        case("pin_masked_edge_is_lost", |host| {
            let (vm, event) = bound_to_pin(host, EDGE | MASKED);
            vm.signal(&event);
            expect_count(&event, 0);
            vm.redirect_pin(PIN, EDGE);
            vm.expect_lines(0, 0, 0);
            vm.expect_silence();
        }),
        case("pin_masked_level_is_lost", |host| {
            let (vm, event) = bound_to_pin(host, LEVEL | MASKED);
            vm.signal(&event);
            vm.redirect_pin(PIN, LEVEL);
            vm.expect_lines(0, 0, 0);
            vm.expect_silence();
        }),
        case("pin_edge", |host| {
            let (vm, event) = bound_to_pin(host, EDGE);
            vm.signal(&event);
            vm.expect_msi(&[PIN_VECTOR]);
            vm.signal(&event);
            vm.expect_msi(&[PIN_VECTOR]);
        }),
        case("pin_level_waits_for_the_end_of_the_first", |host| {
            let (vm, event) = bound_to_pin(host, LEVEL);
            vm.signal(&event);
            vm.expect_msi(&[PIN_VECTOR]);
            vm.signal(&event);
            vm.expect_silence();
        }),
        case("pin_and_its_routes_to_both_chips", |host| {
            let (vm, event) = (host.vm(), Event::new());
            vm.redirect_pin(5, 0x75);
            expect_ok(vm.irqfd(&irqfd(&event, 5)));
            vm.signal(&event);
            vm.expect_lines(1 << 5, 0, 0);
            vm.expect_msi(&[0x75]);
        }),
        case("pin_of_another_gsi", |host| {
            let (vm, event) = bound(host, &[pin_route(GSI, PIC_MASTER, 6)]);
            vm.signal(&event);
            vm.expect_lines(1 << 6, 0, 0);
        }),
        case("pin_of_the_ioapic_alone", |host| {
            let (vm, event) = bound(host, &[pin_route(GSI, IOAPIC, PIN)]);
            vm.redirect_pin(PIN, EDGE);
            vm.signal(&event);
            vm.expect_msi(&[PIN_VECTOR]);
            vm.expect_lines(0, 0, 0);
        }),
        case("pin_then_message", |host| {
            let (vm, event) = bound(host, &[pin_route(GSI, PIC_MASTER, 6)]);
            route(&*vm, &[msi_route(GSI, 0x41)]);
            vm.signal(&event);
            vm.expect_msi(&[0x41]);
            vm.expect_lines(0, 0, 0);
        }),
        case("pin_1000_signals", |host| {
            let (vm, event) = bound_to_pin(host, EDGE);
            (0..1000).for_each(|_| assert_eq!(event.write(1), Ok(8)));
            vm.settle();
            vm.expect_msi(&[PIN_VECTOR]);
            expect_count(&event, 0);
        }),
    ]
}
