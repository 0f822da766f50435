// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Lines with one driver, whose pins no other GSI may be routed to.

use std::sync::{Arc, Mutex};

use irq_routing::{
    DrivenLine, Error, Gsi, GsiLease, IrqChip, Pins, Platform, Route, RoutingTable, Wiring,
};
use kvm_test::Recorder;

use crate::crowd::Gate;
use crate::{committed, message, pin, table};

type Commit = Box<dyn FnOnce() -> Result<(), Error> + Send>;

fn pc() -> (Arc<Recorder>, RoutingTable) {
    let vm = Arc::new(Recorder::default());
    let table = RoutingTable::builder(vm.clone()).wiring(Wiring::pc());
    let table = table.build().unwrap();
    table.recommit().unwrap();
    vm.take();
    (vm, table)
}

fn drive(table: &RoutingTable, gsi: u32) -> DrivenLine {
    table.line(gsi).unwrap().drive().unwrap()
}

fn ioapic(number: u32) -> Pins {
    pin(IrqChip::IoApic, number).into()
}

fn wire(table: &RoutingTable, wires: &[(u32, Pins)]) -> Commit {
    let mut transaction = table.transaction();
    for (gsi, pins) in wires {
        transaction.wire(table.gsi(*gsi).unwrap(), *pins);
    }
    Box::new(move || Ok(transaction.commit()?))
}

/// The results of commits that come while a message of this data is in the kernel.
fn behind(
    gate: &Gate,
    table: &RoutingTable,
    lease: &GsiLease,
    data: u32,
    commits: Vec<Commit>,
) -> Vec<Result<(), Error>> {
    let mut first = table.transaction();
    first.route(lease, message(data));
    let first: Commit = Box::new(move || Ok(first.commit()?));
    let (first, results) = gate.crowd(first, commits, || {});
    first.unwrap().unwrap();
    results
}

#[track_caller]
fn expect_shared<T: std::fmt::Debug>(result: Result<T, Error>, driven: u32, by: u32) {
    let error = result.unwrap_err();
    assert!(
        matches!(error, Error::PinShared { gsi, other, .. }
            if (gsi.number(), other.number()) == (driven, by)),
        "{error}"
    );
}

#[test]
fn a_line_has_one_driver() {
    let (vm, table) = pc();
    let driven = drive(&table, 10);
    let rejected = table.line(10).unwrap().drive().unwrap_err();
    assert!(matches!(rejected.error, Error::AlreadyDriven { gsi, .. } if gsi.number() == 10));
    drop(driven);
    let driven = rejected.value.drive().unwrap();
    let line = driven.into_line();
    assert_eq!(line.gsi().number(), 10);
    drop(drive(&table, 10));
    assert_eq!(vm.take(), [], "no ioctl");
}

/// The second GSI of a pin is there before a caller drives one of them.
#[test]
fn a_pin_of_two_gsis_has_no_driver() {
    let (_, table) = pc();
    wire(&table, &[(30, ioapic(10))])().unwrap();
    expect_shared(table.line(10).unwrap().drive().map_err(Error::from), 10, 30);
    expect_shared(table.line(30).unwrap().drive().map_err(Error::from), 30, 10);
    drop(drive(&table, 11));
    wire(&table, &[(30, ioapic(2))])().unwrap();
    drop(drive(&table, 10));
    // A lease is routed there too, and then one in quarantine.
    let lease = table.lease().unwrap();
    lease.set_route(pin(IrqChip::PicSlave, 2)).unwrap();
    let gsi = lease.gsi().number();
    expect_shared(
        table.line(10).unwrap().drive().map_err(Error::from),
        10,
        gsi,
    );
    lease.into_line().unwrap().quarantine();
    expect_shared(
        table.line(10).unwrap().drive().map_err(Error::from),
        10,
        gsi,
    );
}

/// And afterwards.
#[test]
fn nobody_is_led_to_the_pins_of_a_driven_line() {
    let (vm, table) = pc();
    let driven = drive(&table, 10);
    let lease = table.lease().unwrap();
    for pin in [pin(IrqChip::PicSlave, 2), pin(IrqChip::IoApic, 10)] {
        expect_shared(wire(&table, &[(31, pin.into())])(), 10, 31);
        expect_shared(lease.set_route(pin), 10, lease.gsi().number());
    }
    let message = message(1);
    assert_eq!(vm.take(), [], "refused before the kernel is asked");
    assert_eq!(lease.route(), None);
    // Routes to other pins do not matter, nor does the line itself where it is.
    lease.set_route(message).unwrap();
    let Some(Route::Pins(own)) = table.route(table.gsi(10).unwrap()) else {
        panic!("GSI 10 is wired");
    };
    wire(&table, &[(10, own)])().unwrap();
    wire(&table, &[(31, ioapic(11))])().unwrap();
    drop(driven);
    lease.set_route(pin(IrqChip::IoApic, 10)).unwrap();
}

#[test]
fn a_driven_line_is_not_led_to_anothers_pins() {
    let (_, table) = pc();
    let driven = drive(&table, 10);
    expect_shared(wire(&table, &[(10, ioapic(11))])(), 10, 11);
    // Both at once are allowed: they change places, or one takes the pin that the other leaves.
    wire(&table, &[(10, ioapic(11)), (11, ioapic(10))])().unwrap();
    expect_shared(wire(&table, &[(12, ioapic(11))])(), 10, 12);
    wire(
        &table,
        &[(10, ioapic(12)), (12, ioapic(2)), (0, ioapic(11))],
    )()
    .unwrap();
    expect_shared(
        wire(
            &table,
            &[(10, ioapic(13)), (30, ioapic(13)), (13, ioapic(1))],
        )(),
        10,
        30,
    );
    // Free now.
    wire(&table, &[(30, pin(IrqChip::PicSlave, 2).into())])().unwrap();
    drop(driven);
}

/// The kernel keeps the route of a dropped lease until the next commit, and it may stand last
/// there.
#[test]
fn routes_of_dropped_leases_are_removed_before_a_pin_is_driven() {
    let (vm, table) = pc();
    let lease = table.lease().unwrap();
    lease.set_route(pin(IrqChip::IoApic, 10)).unwrap();
    let gsi = lease.gsi().number();
    vm.take();
    drop(lease);
    vm.fail_after(0, 12);
    let rejected = table.line(10).unwrap().drive().unwrap_err();
    assert!(matches!(rejected.error, Error::Refused { .. }));
    vm.take();
    let driven = rejected.value.drive().unwrap();
    let tables = committed(&vm);
    assert_eq!(tables.len(), 1);
    assert!(!tables[0].contains(&gsi));
    drop(driven);
    // A message has no pin.
    let (one, other) = (
        table.lease_msi(message(1)).unwrap(),
        table.lease_msi(message(2)).unwrap(),
    );
    vm.take();
    drop(one);
    drop(other.into_line().unwrap().drive().unwrap());
    assert_eq!(vm.take(), []);
}

#[test]
fn of_commits_that_go_together_only_the_one_that_shares_fails() {
    let (vm, table) = pc();
    let driven = drive(&table, 10);
    let lease = table.lease_msi(message(1)).unwrap();
    vm.take();
    let gate = Gate::new(&vm, |_| Ok(()));
    let innocent = || wire(&table, &[(31, ioapic(2))]);
    let others = vec![innocent(), wire(&table, &[(32, ioapic(10))]), innocent()];
    let results = behind(&gate, &table, &lease, 2, others);
    let [one, guilty, other] = <[_; 3]>::try_from(results).unwrap();
    one.unwrap();
    other.unwrap();
    expect_shared(guilty, 10, 32);
    assert_eq!(vm.take().len(), 2);
    drop(driven);
}

/// Neither is wrong by itself, so they are not committed together, and the second sees the result
/// of the first.
#[test]
fn two_that_meet_at_a_free_pin_are_told_apart() {
    let (vm, table) = pc();
    let driven = drive(&table, 10);
    let lease = table.lease_msi(message(1)).unwrap();
    for moves_first in [true, false] {
        wire(&table, &[(10, ioapic(10)), (30, ioapic(1)), (1, ioapic(2))])().unwrap();
        wire(&table, &[(30, ioapic(2))])().unwrap();
        vm.take();
        let gate = Gate::new(&vm, |_| Ok(()));
        let own = wire(&table, &[(10, ioapic(1))]);
        let anothers = wire(&table, &[(30, ioapic(1))]);
        let others = if moves_first {
            vec![own, anothers]
        } else {
            vec![anothers, own]
        };
        let results = behind(&gate, &table, &lease, 2 + u32::from(moves_first), others);
        let [first, second] = <[_; 2]>::try_from(results).unwrap();
        first.unwrap();
        expect_shared(second, 10, 30);
        vm.on_routes(|_| Ok(()));
    }
    drop(driven);
}

/// Before them nothing is driven, so each would be valid by itself.
#[test]
fn a_first_driver_and_a_wire_to_its_pin_are_told_apart() {
    for drives_first in [true, false] {
        let (vm, table) = pc();
        let lease = table.lease_msi(message(1)).unwrap();
        vm.take();
        let gate = Gate::new(&vm, |_| Ok(()));
        let (line, kept) = (table.line(10).unwrap(), Arc::new(Mutex::new(None)));
        let driven = Arc::clone(&kept);
        let drives: Commit = Box::new(move || {
            let line = line.drive().map_err(|rejected| rejected.error)?;
            *driven.lock().unwrap() = Some(line);
            Ok(())
        });
        let shares = wire(&table, &[(31, ioapic(10))]);
        let others = if drives_first {
            vec![drives, shares]
        } else {
            vec![shares, drives]
        };
        let results = behind(&gate, &table, &lease, 2, others);
        let [first, second] = <[_; 2]>::try_from(results).unwrap();
        first.unwrap();
        expect_shared(second, 10, 31);
        assert_eq!(kept.lock().unwrap().is_some(), drives_first);
    }
}

/// While a line is driven each request for pins has a round of its own, and messages join any
/// round. The request is validated against the committed routes alone.
#[test]
fn requests_for_pins_go_one_by_one_where_a_line_is_driven() {
    for (driven, tables) in [(false, 2), (true, 4)] {
        let (vm, table) = pc();
        let driven = driven.then(|| drive(&table, 10));
        let leases = [1, 2, 3].map(|data| table.lease_msi(message(data)).unwrap());
        vm.take();
        let gate = Gate::new(&vm, |_| Ok(()));
        let mut messages = leases.each_ref().map(|lease| {
            let mut transaction = table.transaction();
            transaction.route(lease, message(7));
            Box::new(move || Ok(transaction.commit()?)) as Commit
        });
        messages.reverse();
        let [first, two, one] = messages;
        let mut others: Vec<_> = [30, 31, 32]
            .map(|gsi| wire(&table, &[(gsi, ioapic(2))]))
            .into();
        others.insert(1, one);
        others.push(two);
        let (first, results) = gate.crowd(first, others, || {});
        first.unwrap().unwrap();
        results.into_iter().for_each(|result| result.unwrap());
        assert_eq!(vm.take().len(), tables);
        drop(driven);
    }
}

/// As many lines as a GIC has.
#[test]
fn driven_lines_are_rewired_all_at_once() {
    const LINES: u32 = 900;
    let builder = RoutingTable::builder(Arc::new(Recorder::default()));
    let table = builder.wiring(Wiring::gic(LINES).unwrap()).build().unwrap();
    let driven: Vec<_> = (0..LINES).map(|gsi| drive(&table, gsi)).collect();
    let spi = |number| Pins::from(pin(IrqChip::Gic, number % LINES));
    let mut wires: Vec<_> = (0..LINES).map(|gsi| (gsi, spi(gsi + 1))).collect();
    wire(&table, &wires)().unwrap();
    // The last one stays where the one before it goes.
    wires = (0..LINES).map(|gsi| (gsi, spi(gsi + 2))).collect();
    wires.pop();
    expect_shared(wire(&table, &wires)(), LINES - 2, LINES - 1);
    drop(driven);
}

/// A caller that wants to drive waits for a commit that is routing another GSI there.
#[test]
fn a_commit_under_way_is_waited_for() {
    for refused in [false, true] {
        let (vm, table) = pc();
        let gate = Gate::new(&vm, move |_| match refused {
            false => Ok(()),
            true => Err(std::io::Error::from_raw_os_error(12)),
        });
        let lead = wire(&table, &[(30, ioapic(10))]);
        let line = table.line(10).unwrap();
        let drive: Commit = Box::new(move || line.drive().map(drop).map_err(Error::from));
        let (led, driven) = gate.crowd(lead, vec![drive], || {});
        assert_eq!(led.unwrap().is_err(), refused);
        let [driven] = <[_; 1]>::try_from(driven).unwrap();
        match refused {
            false => expect_shared(driven, 10, 30),
            true => driven.unwrap(),
        }
    }
}

#[test]
fn a_snapshot_that_shares_pins_is_restored_and_has_no_driver_for_them() {
    let (_, table) = pc();
    let lease = table.lease().unwrap();
    lease.set_route(pin(IrqChip::IoApic, 10)).unwrap();
    let gsi = lease.gsi().number();
    let snapshot = table.snapshot();
    let vm = Arc::new(Recorder::default());
    let restored = RoutingTable::builder(vm)
        .wiring(Wiring::none(Platform::X86))
        .build()
        .unwrap();
    restored.restore(&snapshot).unwrap();
    expect_shared(
        restored.line(10).unwrap().drive().map_err(Error::from),
        10,
        gsi,
    );
    drop(drive(&restored, 11));
    drop(restored.claim(gsi).unwrap());
    drop(drive(&restored, 10));
}

#[test]
fn a_driven_line_in_quarantine_keeps_its_route() {
    let (_, table) = table();
    let lease = table.lease_msi(message(1)).unwrap();
    let gsi: Gsi = lease.gsi();
    let driven = lease.into_line().unwrap().drive().unwrap();
    driven.line().quarantine();
    drop(driven);
    assert_eq!(table.route(gsi), Some(Route::Msi(message(1))));
    assert!(matches!(
        table.lease_exact(gsi.number()),
        Err(Error::GsiInUse { .. })
    ));

    let (_, table) = pc();
    let driven = drive(&table, 10);
    driven.line().quarantine();
    drop(driven);
    let mut transaction = table.transaction();
    transaction.unwire(table.gsi(10).unwrap());
    assert!(matches!(
        transaction.commit().unwrap_err().error,
        Error::RouteHeld { .. }
    ));
    drop(drive(&table, 10));
}
