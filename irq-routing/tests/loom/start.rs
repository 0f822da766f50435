// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A table that starts while other threads use it.

use std::sync::{Arc, Mutex};

use irq_routing::{Platform, RoutingTable};
use kvm_test::Recorder;
use loom::thread;
use notify_core::RouteEntry;

use crate::{GUILTY, commit, explore, in_kernel, machine, message, pin_of};

/// A table that has not started, of a VM that has got its irqchip since.
fn early() -> (RoutingTable, Arc<Mutex<Vec<RouteEntry>>>) {
    let (vm, kernel) = machine();
    vm.lack_irqchip();
    let table = RoutingTable::new(vm.clone()).unwrap();
    vm.has(Platform::X86);
    (table, kernel)
}

/// How many entries for pins the kernel has.
fn pins(kernel: &Mutex<Vec<RouteEntry>>) -> usize {
    let kernel = kernel.lock().unwrap();
    kernel.iter().filter_map(pin_of).count()
}

#[test]
fn a_flush_is_under_way_while_the_start_is_decided() {
    explore(|| {
        let (table, kernel) = early();
        let other = table.clone();
        let flusher = thread::spawn(move || other.flush().unwrap());
        let lease = table.lease().unwrap();
        commit(&table, &lease, 1).unwrap();
        assert_eq!(pins(&kernel), 40);
        flusher.join().unwrap();
        table.recommit().unwrap();
        assert_eq!(pins(&kernel), 40);
        assert_eq!(in_kernel(&kernel, &[lease]), [Some(1)]);
    });
}

#[test]
fn of_two_first_commits_each_has_the_pins() {
    explore(|| {
        let (table, kernel) = early();
        let other = table.clone();
        let liner = thread::spawn(move || other.line(4).unwrap());
        let lease = table.lease().unwrap();
        commit(&table, &lease, 1).unwrap();
        assert_eq!(pins(&kernel), 40);
        let line = liner.join().unwrap();
        assert_eq!(pins(&kernel), 40);
        drop(line);
        assert_eq!(table.routes().len(), 24 + 1);
    });
}

/// The kernel refuses the restored table, and another thread commits meanwhile.
#[test]
fn a_restore_that_is_refused_costs_no_pins() {
    explore(|| {
        let vm = Arc::new(Recorder::default());
        vm.has(Platform::X86);
        let source = RoutingTable::new(vm).unwrap();
        let mut transaction = source.transaction();
        transaction.unwire(source.gsi(9).unwrap());
        transaction.commit().unwrap();
        let low = source.lease_exact(9).unwrap();
        low.set_route(message(GUILTY)).unwrap();
        let snapshot = source.snapshot();

        let (table, kernel) = early();
        let other = table.clone();
        let committer = thread::spawn(move || {
            let lease = other.lease().unwrap();
            commit(&other, &lease, 1).unwrap();
            lease
        });
        table.restore(&snapshot).unwrap_err();
        let lease = committer.join().unwrap();
        assert_eq!(pins(&kernel), 40);
        assert_eq!(table.routes().len(), 24 + 1);
        assert_eq!(in_kernel(&kernel, &[lease]), [Some(1)]);
        table.recommit().unwrap();
        assert_eq!(pins(&kernel), 40);
    });
}
