// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Which lease has which GSI, and what a lease leaves behind.

use std::sync::Arc;

use irq_routing::{Error, Platform, RoutingTable, Wiring};
use kvm_test::Recorder;

use crate::{committed, message, route, table};

#[test]
fn leases_come_lowest_first_and_return() {
    let (vm, table) = table();
    let leases: Vec<_> = (0..3).map(|_| table.lease().unwrap()).collect();
    let numbers: Vec<_> = leases.iter().map(|lease| lease.gsi().number()).collect();
    assert_eq!(numbers, [24, 25, 26], "the first 24 are for pins");
    drop(leases.into_iter().nth(1));
    assert_eq!(table.leased(), 0);
    assert_eq!(table.lease().unwrap().gsi().number(), 24);
    assert!(vm.take().is_empty(), "leases cost no ioctl");
}

#[test]
fn exact_leases_may_be_reserved_ones() {
    let (_, table) = table();
    let five = table.lease_exact(5).unwrap();
    let high = table.lease_exact(4095).unwrap();
    assert!(matches!(table.lease_exact(5), Err(Error::GsiInUse { gsi, .. }) if gsi == five.gsi()));
    let out = table.lease_exact(4096).unwrap_err();
    assert_eq!(
        out.to_string(),
        "GSI 4096 is out of range: the VM has 4096, numbered from 0"
    );
    drop((five, high));
    assert!(table.lease_exact(5).is_ok());
    assert_eq!(
        table.lease().unwrap().gsi().number(),
        24,
        "5 stays reserved"
    );
}

#[test]
fn exhaustion_counts() {
    let (_, table) = table();
    let leases: Vec<_> = std::iter::from_fn(|| table.lease().ok()).collect();
    assert_eq!(leases.len(), 4096 - 24);
    let error = table.lease().unwrap_err();
    let expected = "no GSI is free: 4072 of 4096 are leased, the others reserved, wired, \
        unclaimed, in quarantine or scattered; drop or park leases";
    assert_eq!(error.to_string(), expected);
    assert!(matches!(
        error,
        Error::Exhausted { wanted: 1, leased: 4072, limit: 4096, holders, .. } if holders.is_empty()
    ));
    assert!(table.lease_if_free().is_err());
    drop(leases);
    assert_eq!(table.leased(), 0);
    assert_eq!(table.lease_if_free().unwrap().gsi().number(), 24);
}

#[test]
fn messages_keep_clear_of_the_pins_of_each_platform() {
    for (platform, first) in [
        (Platform::X86, 24),
        (Platform::X86Split, 24),
        (Platform::Arm64Gic, 988),
        (Platform::Riscv64Aia, 1024),
    ] {
        let builder = RoutingTable::builder(Arc::new(Recorder::default()));
        let table = builder.wiring(Wiring::none(platform)).build().unwrap();
        assert_eq!(table.lease().unwrap().gsi().number(), first, "{platform}");
    }
}

#[test]
fn dropping_leases_costs_no_ioctl_and_the_next_commit_carries_the_removal() {
    let (vm, table) = table();
    let leases: Vec<_> = (1..9)
        .map(|data| table.lease_msi(message(data)).unwrap())
        .collect();
    vm.take();
    let mut leases = leases.into_iter();
    let kept = leases.next_back().unwrap();
    drop(leases);
    assert!(vm.take().is_empty());

    table.transaction().commit().unwrap();
    assert!(
        vm.take().is_empty(),
        "nothing else changed: the removal can wait"
    );
    route(&table, &kept, 42);
    assert_eq!(committed(&vm), [vec![31]]);
    table.flush().unwrap();
    assert!(vm.take().is_empty(), "nothing is left to remove");
    drop(kept);
    table.flush().unwrap();
    assert_eq!(committed(&vm), [Vec::<u32>::new()]);
}

#[test]
fn a_stale_gsi_that_is_leased_anew_leads_nowhere_until_it_is_routed() {
    let (vm, table) = table();
    drop(table.lease_msi(message(1)).unwrap());
    let again = table.lease().unwrap();
    assert_eq!(again.gsi().number(), 24);
    assert_eq!(again.route(), None);
    let rejected = again.into_line().unwrap_err();
    assert!(matches!(rejected.error, Error::NoRoute { .. }));
    let again = rejected.value;

    vm.take();
    let other = table.lease_msi(message(2)).unwrap();
    assert_eq!(committed(&vm), [vec![25]], "the stale route went");
    route(&table, &again, 3);
    assert_eq!(committed(&vm), [vec![25, 24]]);
    drop(other);
}

#[test]
fn a_stale_route_that_is_wanted_again_needs_no_ioctl() {
    let (vm, table) = table();
    drop(table.lease_msi(message(1)).unwrap());
    vm.take();
    let again = table.lease_msi(message(1)).unwrap();
    assert!(vm.take().is_empty());
    let other = table.lease_msi(message(2)).unwrap();
    assert_eq!(committed(&vm), [vec![24, 25]], "it is not stale any more");
    drop((again, other));
}

#[test]
fn an_edit_needs_the_lease_of_its_gsi() {
    let (_, one) = table();
    let (vm, other) = table();
    let foreign = one.lease().unwrap();
    let native = other.lease().unwrap();
    assert_eq!(foreign.gsi(), native.gsi());
    let mut transaction = other.transaction();
    transaction.route(&foreign, message(1));
    let rejected = transaction.commit().unwrap_err();
    assert!(matches!(rejected.error, Error::NotLeased { gsi, .. } if gsi == native.gsi()));

    let mut transaction = other.transaction();
    transaction.route(&native, message(1));
    drop(native);
    let successor = other.lease().unwrap();
    assert!(matches!(
        transaction.commit().unwrap_err().error,
        Error::NotLeased { .. }
    ));
    assert_eq!(successor.route(), None);
    assert!(vm.take().is_empty());
}

#[test]
fn exhaustion_names_the_holders() {
    let (_, table) = table();
    let name = |number: usize| match number {
        0..2000 => Some("net0"),
        2000..3000 => Some("disk"),
        3000..3010 => Some("rng"),
        3010..3012 => Some("balloon"),
        3012 => Some("rtc"),
        _ => None,
    };
    let mut leases: Vec<_> = std::iter::from_fn(|| table.lease().ok())
        .enumerate()
        .map(|(number, lease)| match name(number) {
            Some(name) => lease.named(name),
            None => lease,
        })
        .collect();
    assert_eq!(leases[0].name().as_deref(), Some("net0"));
    let error = table.lease_block(8).unwrap_err();
    let expected = "no 8 GSIs in a row are free: 4072 of 4096 are leased (2000 by net0, 1000 by \
        disk, \
                    10 by rng, 2 by balloon, 1 by others with a name), the others reserved, \
                    wired, unclaimed, \
                    in quarantine or scattered; drop or park leases";
    assert_eq!(error.to_string(), expected);

    drop(leases.drain(..2000));
    let taken = table.lease().unwrap();
    assert_eq!(taken.name(), None, "a name goes with its lease");
    let all: Vec<_> = std::iter::from_fn(|| table.lease().ok()).collect();
    let Err(Error::Exhausted { holders, .. }) = table.lease() else {
        panic!("none is left");
    };
    assert_eq!(&*holders[0].name, "disk");
    assert_eq!(
        holders.iter().map(|holder| holder.leases).sum::<usize>(),
        1013
    );
    drop(all);
}

#[test]
fn a_gsi_in_quarantine_has_no_holder() {
    let (_, table) = table();
    let line = table.lease_msi(message(1)).unwrap().named("net0");
    line.into_line().unwrap().quarantine();
    let held = table.lease().unwrap().named("disk");
    let error = table.lease_block(4096).unwrap_err();
    let expected = "no 4096 GSIs in a row are free: 1 of 4096 are leased (1 by disk), the others \
        reserved, \
                    wired, unclaimed, in quarantine or scattered; drop or park leases";
    assert_eq!(error.to_string(), expected);
    drop(held);
}

#[test]
fn a_block_is_in_a_row_aligned_and_lowest() {
    let (_, table) = table();
    let first = |count| {
        let block = table.lease_block(count).unwrap();
        let numbers: Vec<_> = block.iter().map(|lease| lease.gsi().number()).collect();
        let expected: Vec<_> = (numbers[0]..).take(count as usize).collect();
        assert_eq!(numbers, expected, "in a row");
        (block, numbers[0])
    };
    let (_eight, at) = first(8);
    assert_eq!(at, 24, "the first that is not reserved");
    let (thirty_two, at) = first(32);
    assert_eq!(at, 32);
    let (_five, at) = first(5);
    assert_eq!(at, 64, "at a multiple of eight");
    let (_single, at) = first(1);
    assert_eq!(at, 69);
    let hole = table.lease_exact(100).unwrap();
    let (_more, at) = first(32);
    assert_eq!(at, 128, "around one that is taken");
    drop((thirty_two, hole));
    assert_eq!(first(16).1, 32);
    assert!(table.lease_block(0).unwrap().is_empty());
    let leased = table.leased();
    for count in [4096, 4097, u32::MAX] {
        assert!(table.lease_block(count).is_err());
    }
    assert_eq!(table.leased(), leased, "all or none");
}
