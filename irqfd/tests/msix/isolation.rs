// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A vector that cannot deliver is reported dead, and disturbs no other.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use irq_routing::{MsiMessage, RoutingTable};
use irqfd::msix::Table;
use irqfd::{ArmQueue, VectorError, VectorState};
use kvm_test::{Call, Recorder};
use notify_sim::CallKind;

use super::{Bench, program, set_mask, vector, write32};

/// A kernel that refuses one address.
fn choosy() -> (Arc<Recorder>, RoutingTable) {
    let vm = Arc::new(Recorder::default());
    vm.on_routes(|entries| {
        let bad = entries
            .iter()
            .any(|entry| format!("{entry:?}").contains(&format!("address: {BAD:#x}")));
        if bad {
            return Err(std::io::Error::from_raw_os_error(22));
        }
        Ok(())
    });
    let routing = RoutingTable::new(vm.clone()).unwrap();
    (vm, routing)
}

const BAD: u64 = 0x0bad_fee0_0000;

fn aim_badly(table: &Table, number: u64) {
    write32(table, 16 * number, BAD as u32);
    write32(table, 16 * number + 4, (BAD >> 32) as u32);
}

#[test]
fn one_bad_message_among_many_kills_one_vector() {
    let (_vm, routing) = choosy();
    for with_queue in [false, true] {
        let queue = ArmQueue::new(&routing).unwrap();
        let mut builder = Table::builder(&routing).vectors(16);
        if with_queue {
            builder = builder.queue(&queue);
        }
        let table = builder.build().unwrap();
        for number in 0..16 {
            vector(&table, number as u16).export().unwrap();
            program(&table, number, 0x40);
            set_mask(&table, number, false);
        }
        aim_badly(&table, 11);
        let _ = table.set_control(true, false);
        let _ = queue.run_pending();
        let dead = super::dead(table.vectors());
        assert_eq!(dead.len(), 1);
        assert_eq!(dead[0].0, 11);
        assert!(matches!(dead[0].1, VectorError::Route { .. }), "{dead:?}");
        let armed = table.vectors().iter().map(|vector| vector.state());
        let armed = armed.filter(|state| matches!(state, VectorState::Armed));
        assert_eq!(armed.count(), 15);

        // A valid message, and it works.
        set_mask(&table, 11, true);
        assert!(
            super::dead(table.vectors()).is_empty(),
            "a masked vector is masked"
        );
        program(&table, 11, 0x40);
        set_mask(&table, 11, false);
        let _ = queue.run_pending();
        assert!(matches!(vector(&table, 11).state(), VectorState::Armed));
    }
}

#[test]
fn an_internal_vector_whose_message_is_refused_is_dead_until_it_is_opened_again() {
    let bench = Bench::new();
    let table = bench.enabled(2);
    for number in 0..2 {
        program(&table, number, 0x40 + number as u32);
        set_mask(&table, number, false);
    }
    bench.vm.fail(CallKind::SignalMsi, 1, 22);
    assert!(vector(&table, 1).trigger().is_err());
    let dead = super::dead(table.vectors());
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].0, 1);
    let VectorError::MessageRefused { message, .. } = &dead[0].1 else {
        panic!("{dead:?}");
    };
    assert_eq!(*message, MsiMessage::new(super::LAPIC, 0x41));
    vector(&table, 0).trigger().unwrap();
    bench.expect(&[0x40]);
    set_mask(&table, 1, true);
    set_mask(&table, 1, false);
    assert!(super::dead(table.vectors()).is_empty());
}

#[test]
fn a_guest_without_gsis_left_gets_what_there_are() {
    let bench = Bench::new();
    let leases: Vec<_> = std::iter::from_fn(|| bench.routing.lease().ok()).collect();
    let mut leases = leases.into_iter();
    drop(leases.next());
    let table = bench.table(3);
    for number in 0..3 {
        vector(&table, number as u16).export().unwrap();
        program(&table, number, 0x40);
        set_mask(&table, number, false);
    }
    let _ = table.set_control(true, false);
    assert!(matches!(vector(&table, 0).state(), VectorState::Armed));
    let dead = super::dead(table.vectors());
    assert_eq!([dead[0].0, dead[1].0], [1, 2]);
    assert!(matches!(dead[0].1, VectorError::NoGsi { .. }));
    drop(leases);
    set_mask(&table, 2, true);
    set_mask(&table, 2, false);
    assert!(matches!(vector(&table, 2).state(), VectorState::Armed));
}

#[test]
fn routes_come_before_irqfds_and_irqfds_go_first() {
    let vm = Arc::new(Recorder::default());
    let routing = RoutingTable::new(vm.clone()).unwrap();
    let table = Table::builder(&routing).vectors(2).build().unwrap();
    for number in 0..2 {
        vector(&table, number as u16).export().unwrap();
        set_mask(&table, number, false);
    }
    vm.take();
    let _ = table.set_control(true, false);
    drop(table);
    routing.flush().unwrap();
    let calls = vm.take();
    let [
        Call::Routes(first),
        Call::Assign(..),
        Call::Assign(..),
        Call::Deassign(..),
        Call::Deassign(..),
        Call::Routes(last),
    ] = calls.as_slice()
    else {
        panic!("{calls:?}");
    };
    assert_eq!((first.len(), last.len()), (2, 0));
}

#[test]
fn a_panic_of_the_machine_leaves_a_table_that_works() {
    let (vm, routing) = choosy();
    let table = Table::builder(&routing).vectors(2).build().unwrap();
    for number in 0..2 {
        vector(&table, number as u16).export().unwrap();
        set_mask(&table, number, false);
    }
    vm.on_routes(|_| panic!("on purpose"));
    let opened = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let _ = table.set_control(true, false);
    }));
    assert!(opened.is_err());
    let dead = super::dead(table.vectors());
    assert_eq!(dead.len(), 2);
    assert!(matches!(dead[0].1, VectorError::Panicked));
    vm.on_routes(|_| Ok(()));
    let _ = table.set_control(false, false);
    let _ = table.set_control(true, false);
    assert!(super::dead(table.vectors()).is_empty());
    assert!(matches!(vector(&table, 1).state(), VectorState::Armed));
}
