// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The counter of an eventfd while it is bound as an irqfd.

use nix::errno::Errno::EAGAIN;
use nix::poll::PollFlags;
use nix::sys::eventfd::EfdFlags;

use crate::backend::Backend;
use crate::case::{Case, Host, case};
use crate::event::{Event, FULL};
use crate::expect::{expect_count, expect_ok};
use crate::request::{Routing, irqfd, msi_route, unbind};

const GSI: u32 = 100;
const VECTOR: u8 = 0x41;

fn vm(host: &Host) -> Box<dyn Backend> {
    let vm = host.vm();
    expect_ok(vm.set_gsi_routing(&Routing::of(&[msi_route(GSI, VECTOR)])));
    vm
}

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("a_write_is_drained", |host| {
            let (vm, event) = (vm(host), Event::new());
            expect_ok(vm.irqfd(&irqfd(&event, GSI)));
            vm.signal(&event);
            expect_count(&event, 0);
            vm.expect_msi(&[VECTOR]);
        }),
        case("a_write_of_3_is_one_interrupt", |host| {
            let (vm, event) = (vm(host), Event::new());
            expect_ok(vm.irqfd(&irqfd(&event, GSI)));
            assert_eq!(event.write(3), Ok(8));
            vm.settle();
            assert_eq!(event.poll(), PollFlags::POLLOUT);
            expect_count(&event, 0);
            vm.expect_msi(&[VECTOR]);
            vm.expect_silence();
        }),
        case("each_write_injects_anew", |host| {
            let (vm, event) = (vm(host), Event::new());
            expect_ok(vm.irqfd(&irqfd(&event, GSI)));
            for _ in 0..3 {
                vm.signal(&event);
                vm.expect_msi(&[VECTOR]);
            }
        }),
        case("a_write_by_a_duplicate", |host| {
            let (vm, event) = (vm(host), Event::new());
            expect_ok(vm.irqfd(&irqfd(&event, GSI)));
            vm.signal(&event.dup());
            vm.expect_msi(&[VECTOR]);
        }),
        case("a_write_before_is_kept", |host| {
            let (vm, event) = (vm(host), Event::new());
            vm.signal(&event);
            vm.expect_silence();
            expect_count(&event, 1);
        }),
        case("signalled_before_injects_at_assign", |host| {
            let (vm, event) = (vm(host), Event::at(1));
            expect_ok(vm.irqfd(&irqfd(&event, GSI)));
            vm.settle();
            vm.expect_msi(&[VECTOR]);
        }),
        case("signalled_before_stays_in_the_counter", |host| {
            let (vm, event) = (vm(host), Event::at(5));
            expect_ok(vm.irqfd(&irqfd(&event, GSI)));
            vm.settle();
            expect_count(&event, 5);
        }),
        case("signalled_before_is_drained_by_the_next_write", |host| {
            let (vm, event) = (vm(host), Event::at(5));
            expect_ok(vm.irqfd(&irqfd(&event, GSI)));
            vm.settle();
            vm.expect_msi(&[VECTOR]);
            vm.signal(&event);
            expect_count(&event, 0);
            vm.expect_msi(&[VECTOR]);
        }),
        case("signalled_before_is_zeroed_by_deassign", |host| {
            let (vm, event) = (vm(host), Event::at(5));
            expect_ok(vm.irqfd(&irqfd(&event, GSI)));
            expect_ok(vm.irqfd(&unbind(&event, GSI)));
            expect_count(&event, 0);
        }),
        case("deassign_of_another_gsi_zeroes_nothing", |host| {
            let (vm, event) = (vm(host), Event::at(5));
            expect_ok(vm.irqfd(&irqfd(&event, GSI)));
            expect_ok(vm.irqfd(&unbind(&event, GSI + 1)));
            expect_count(&event, 5);
        }),
        case("deassign_of_what_was_never_bound_zeroes_nothing", |host| {
            let (vm, event) = (vm(host), Event::at(5));
            expect_ok(vm.irqfd(&unbind(&event, GSI)));
            expect_count(&event, 5);
        }),
        case("a_write_after_deassign_is_kept", |host| {
            let (vm, event) = (vm(host), Event::new());
            expect_ok(vm.irqfd(&irqfd(&event, GSI)));
            expect_ok(vm.irqfd(&unbind(&event, GSI)));
            vm.signal(&event);
            vm.expect_silence();
            expect_count(&event, 1);
        }),
        case("a_write_between_two_bindings_is_delivered", |host| {
            let (vm, event) = (vm(host), Event::new());
            expect_ok(vm.irqfd(&irqfd(&event, GSI)));
            expect_ok(vm.irqfd(&unbind(&event, GSI)));
            vm.signal(&event);
            vm.expect_silence();
            expect_ok(vm.irqfd(&irqfd(&event, GSI)));
            vm.settle();
            vm.expect_msi(&[VECTOR]);
        }),
        case("a_semaphore_keeps_the_rest", |host| {
            let (vm, event) = (vm(host), Event::with(0, EfdFlags::EFD_SEMAPHORE));
            expect_ok(vm.irqfd(&irqfd(&event, GSI)));
            assert_eq!(event.write(3), Ok(8));
            vm.settle();
            vm.expect_msi(&[VECTOR]);
            expect_count(&event, 1);
            expect_count(&event, 1);
            expect_count(&event, 0);
        }),
        case("a_full_one_can_be_bound", |host| {
            let (vm, event) = (vm(host), Event::at(FULL));
            expect_ok(vm.irqfd(&irqfd(&event, GSI)));
            vm.settle();
            vm.expect_msi(&[VECTOR]);
        }),
        case("a_full_one_takes_no_write", |host| {
            let (vm, event) = (vm(host), Event::at(FULL));
            expect_ok(vm.irqfd(&irqfd(&event, GSI)));
            vm.settle();
            vm.clear_vectors();
            assert_eq!(event.write(1), Err(EAGAIN));
            vm.settle();
            vm.expect_silence();
        }),
        case("a_write_to_an_unrouted_one_is_drained_too", |host| {
            let (vm, event) = (vm(host), Event::new());
            expect_ok(vm.irqfd(&irqfd(&event, GSI + 1)));
            vm.signal(&event);
            vm.expect_silence();
            expect_count(&event, 0);
        }),
        case("two_on_one_gsi_are_drained_apart", |host| {
            let (vm, one, other) = (vm(host), Event::new(), Event::new());
            expect_ok(vm.irqfd(&irqfd(&one, GSI)));
            expect_ok(vm.irqfd(&irqfd(&other, GSI)));
            vm.signal(&one);
            vm.expect_msi(&[VECTOR]);
            vm.signal(&other);
            vm.expect_msi(&[VECTOR]);
            expect_count(&one, 0);
            expect_count(&other, 0);
        }),
    ]
}
