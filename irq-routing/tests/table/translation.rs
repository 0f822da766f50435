// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The translation between a device's message and the kernel.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

use irq_routing::{
    Error, GsiLease, IrqChip, KernelRoute, MsiMessage, Platform, Route, RoutingTable, Wiring,
};
use kvm_test::{Call, Recorder};
use notify_core::{Extension, RouteEntry, RouteTarget};

use crate::crowd::Gate;
use crate::{message, pin};

/// Adds this number to the data of every message, and blocks data of 1000 and more.
fn adding(offset: &Arc<AtomicU32>) -> (Arc<Recorder>, RoutingTable) {
    let vm = Arc::new(Recorder::default());
    vm.has(Platform::X86);
    let offset = Arc::clone(offset);
    let translate = move |mut message: MsiMessage| {
        message.data += offset.load(Ordering::Relaxed);
        (message.data < 1000).then_some(message)
    };
    let table = RoutingTable::builder(vm.clone()).wiring(Wiring::none(Platform::X86));
    let table = table.translate(translate).build().unwrap();
    (vm, table)
}

/// GSI and data of each message that the kernel got, call by call; pins have no data.
fn given(vm: &Recorder) -> Vec<Vec<(u32, Option<u32>)>> {
    let data = |target| match target {
        RouteTarget::Msi(MsiMessage { data, .. }) => Some(data),
        _ => None,
    };
    let entries = |call| match call {
        Call::Routes(entries) => entries
            .iter()
            .map(|entry| (entry.gsi, data(entry.target)))
            .collect(),
        other => panic!("{other:?}"),
    };
    vm.take().into_iter().map(entries).collect()
}

#[test]
fn the_kernel_sees_the_translation_and_the_table_the_message() {
    let offset = Arc::new(AtomicU32::new(100));
    let (vm, table) = adding(&offset);
    let lease = table.lease_msi(message(1)).unwrap();
    assert_eq!(given(&vm), [vec![(24, Some(101))]]);
    assert_eq!(lease.route(), Some(Route::Msi(message(1))));
    lease.set_route(message(1)).unwrap();
    assert!(vm.take().is_empty(), "nothing has changed");
    offset.store(200, Ordering::Relaxed);
    lease.set_route(message(1)).unwrap();
    assert_eq!(given(&vm), [vec![(24, Some(201))]], "its translation has");
}

#[test]
fn all_are_translated_anew_in_one_ioctl() {
    let offset = Arc::new(AtomicU32::new(100));
    let (vm, table) = adding(&offset);
    table.retranslate().unwrap();
    assert!(vm.take().is_empty(), "the kernel's default is left alone");
    let mut transaction = table.transaction();
    transaction.wire(table.gsi(4).unwrap(), pin(IrqChip::IoApic, 4));
    transaction.commit().unwrap();
    let leases = [1, 2].map(|data| table.lease_msi(message(data)).unwrap());
    let quarantined = table.lease_msi(message(3)).unwrap().into_line().unwrap();
    quarantined.quarantine();
    vm.take();
    table.retranslate().unwrap();
    assert!(vm.take().is_empty(), "nothing has changed");

    offset.store(200, Ordering::Relaxed);
    table.retranslate().unwrap();
    let all = [(4, None), (24, Some(201)), (25, Some(202)), (26, Some(203))];
    assert_eq!(given(&vm), [all.to_vec()]);
    offset.store(300, Ordering::Relaxed);
    vm.fail_after(0, 12);
    table.retranslate().unwrap_err();
    vm.take();
    offset.store(200, Ordering::Relaxed);
    table.retranslate().unwrap();
    assert!(vm.take().is_empty(), "the old one is in force");
    assert_eq!(leases[0].route(), Some(Route::Msi(message(1))));
}

#[test]
fn a_blocked_message_leads_nowhere_until_it_is_let_through() {
    let offset = Arc::new(AtomicU32::new(0));
    let (vm, table) = adding(&offset);
    let [blocked, free] = [900, 1].map(|data| table.lease_msi(message(data)).unwrap());
    vm.take();
    offset.store(100, Ordering::Relaxed);
    table.retranslate().unwrap();
    assert_eq!(given(&vm), [vec![(25, Some(101))]]);
    assert_eq!(
        blocked.route(),
        Some(Route::Msi(message(900))),
        "as the device has it"
    );
    let lost = "lost: the translation blocks the message, so the kernel has no route";
    assert_eq!(table.explain(blocked.gsi()).to_string(), lost);
    let seen = table.explain(free.gsi()).to_string();
    assert!(seen.contains("vector 0x65"), "{seen}");
    let line = blocked.into_line().unwrap();
    offset.store(50, Ordering::Relaxed);
    table.retranslate().unwrap();
    assert_eq!(given(&vm), [vec![(25, Some(51)), (24, Some(950))]]);
    let held = line.lease().unwrap().set_route(message(960)).unwrap_err();
    assert!(matches!(held, Error::RouteHeld { gsi, .. } if gsi == line.gsi()));
    assert!(vm.take().is_empty(), "something may be armed on the line");
    let blocked = line.into_lease().unwrap();
    blocked.set_route(message(960)).unwrap();
    assert_eq!(given(&vm), [vec![(25, Some(51))]], "blocked by a commit");
    drop((blocked, free));
    table.flush().unwrap();
    assert_eq!(given(&vm), [vec![]]);
}

#[test]
fn a_new_translation_follows_the_commits_that_came_before_it() {
    let offset = Arc::new(AtomicU32::new(0));
    let (vm, table) = adding(&offset);
    let leases = [1, 2, 3].map(|data| table.lease_msi(message(data)).unwrap());
    vm.take();
    let gate = Gate::new(&vm, |_| Ok(()));
    let commit = |place: usize, data| -> Box<dyn FnOnce() + Send> {
        let mut transaction = table.transaction();
        transaction.route(&leases[place], message(data));
        Box::new(move || transaction.commit().unwrap())
    };
    let others = vec![
        commit(1, 12),
        Box::new(|| table.retranslate().unwrap()),
        commit(2, 13),
    ];
    let (first, _) = gate.crowd(commit(0, 11), others, || {
        offset.store(100, Ordering::Relaxed);
    });
    first.unwrap();
    let last: Vec<_> = given(&vm).pop().unwrap();
    assert_eq!(last, [(24, Some(111)), (25, Some(112)), (26, Some(113))]);
}

#[test]
fn a_translation_may_look_at_the_table_and_may_panic() {
    let table: Arc<OnceLock<RoutingTable>> = Arc::default();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (looked_at, record) = (Arc::clone(&table), Arc::clone(&seen));
    let translate = move |message: MsiMessage| {
        assert_ne!(message.data, 13, "a bug of the translation");
        let table = looked_at.get().unwrap();
        record.lock().unwrap().push(table.routes().len());
        drop(table.lease().unwrap());
        Some(message)
    };
    let vm = Arc::new(Recorder::default());
    let builder = RoutingTable::builder(vm.clone()).translate(translate);
    let table = table.get_or_init(|| builder.build().unwrap());
    let lease = table.lease_msi(message(1)).unwrap();
    let panicking = catch_unwind(AssertUnwindSafe(|| lease.set_route(message(13))));
    assert!(panicking.is_err());
    assert_eq!(lease.route(), Some(Route::Msi(message(1))));
    lease.set_route(message(2)).unwrap();
    assert_eq!(*seen.lock().unwrap(), [0, 1]);
    assert_eq!(given(&vm).len(), 2);
}

#[test]
fn extended_destinations_go_where_kvm_looks_for_them() {
    let translated = |address| {
        MsiMessage::new(address, 0)
            .with_extended_destination()
            .address
    };
    assert_eq!(translated(0xfee0_1000), 0xfee0_1000);
    assert_eq!(
        translated(0xfeef_ffec),
        0x7f00_feef_f00c,
        "bits 11:5 are bits 14:8"
    );
    assert_eq!(
        translated(0xfee0_0ff0),
        0xfee0_0ff0,
        "the remappable format"
    );
    assert_eq!(translated(0x1_fee0_0fe0), 0x1_fee0_0fe0, "already extended");
}

#[test]
fn a_translation_that_the_kernel_refuses_is_blocked_and_no_other() {
    let offset = Arc::new(AtomicU32::new(0));
    let (vm, table) = adding(&offset);
    let leases: Vec<_> = (1..=8)
        .map(|data| table.lease_msi(message(data)).unwrap())
        .collect();
    vm.on_routes(|entries| {
        let bad = |entry: &RouteEntry| {
            matches!(
                entry.target,
                RouteTarget::Msi(MsiMessage {
                    data: 103 | 108,
                    ..
                })
            )
        };
        match entries.iter().any(bad) {
            true => Err(std::io::Error::from_raw_os_error(22)),
            false => Ok(()),
        }
    });
    vm.take();
    offset.store(100, Ordering::Relaxed);
    let error = table.retranslate().unwrap_err();
    let said = "the kernel refused the translated messages of 2 GSIs, the first of them 26; they \
        are \
         blocked until the translation changes: Invalid argument (os error 22)";
    assert_eq!(error.to_string(), said);
    assert!(matches!(
        error,
        Error::Untranslated { blocked, .. } if blocked == [leases[2].gsi(), leases[7].gsi()]
    ));
    let tables = given(&vm);
    let mut last = tables.last().unwrap().clone();
    last.sort();
    let rest = [24, 25, 27, 28, 29, 30].map(|gsi| (gsi, Some(gsi + 77)));
    assert_eq!(last, rest, "the old translations are gone, too");
    let kernel_route = |lease: &GsiLease| table.kernel_route(lease.gsi());
    assert_eq!(kernel_route(&leases[2]), KernelRoute::Blocked);
    assert!(matches!(kernel_route(&leases[1]), KernelRoute::Routed(_)));
    leases[1].set_route(message(50)).unwrap();

    offset.store(200, Ordering::Relaxed);
    table.retranslate().unwrap();
    assert_eq!(given(&vm).pop().unwrap().len(), 8);
}

#[test]
fn a_refusal_that_passes_blocks_nothing() {
    let offset = Arc::new(AtomicU32::new(0));
    let (vm, table) = adding(&offset);
    let leases = [1, 2].map(|data| table.lease_msi(message(data)).unwrap());
    vm.take();
    offset.store(100, Ordering::Relaxed);
    vm.fail_after(0, 22);
    table.retranslate().unwrap();
    assert_eq!(
        given(&vm).pop().unwrap(),
        [(24, Some(101)), (25, Some(102))]
    );
    drop(leases);
}

/// Only EINVAL is about a message.
#[test]
fn a_lack_of_memory_in_the_search_for_a_refused_message_blocks_nothing() {
    let offset = Arc::new(AtomicU32::new(0));
    let (vm, table) = adding(&offset);
    let leases = [1, 2, 3, 4].map(|data| table.lease_msi(message(data)).unwrap());
    let before = given(&vm).pop();
    offset.store(100, Ordering::Relaxed);
    let errors = Mutex::new(vec![12, 22]);
    vm.on_routes(move |_| match errors.lock().unwrap().pop() {
        Some(errno) => Err(std::io::Error::from_raw_os_error(errno)),
        None => Ok(()),
    });
    let error = table.retranslate().unwrap_err();
    assert!(
        matches!(&error, Error::Refused { cause, .. } if cause.raw_os_error() == Some(12)),
        "{error:?}"
    );
    table.recommit().unwrap();
    assert_eq!(given(&vm).pop(), before, "the old translations");
    drop(leases);
}

/// The panic leaves the kernel's table unknown, so the whole table is committed again.
#[test]
fn a_table_that_is_refused_for_its_pins_keeps_them() {
    let offset = Arc::new(AtomicU32::new(0));
    let (vm, table) = adding(&offset);
    let mut transaction = table.transaction();
    transaction.wire(table.gsi(4).unwrap(), pin(IrqChip::IoApic, 4));
    transaction.commit().unwrap();
    let lease = table.lease_msi(message(1)).unwrap();
    let before = given(&vm).pop();
    offset.store(100, Ordering::Relaxed);
    vm.on_routes(|_| panic!("a bug of the VM"));
    assert!(catch_unwind(AssertUnwindSafe(|| table.recommit())).is_err());
    vm.on_routes(|entries| {
        let is_pin = |entry: &RouteEntry| matches!(entry.target, RouteTarget::Pin { .. });
        match entries.iter().any(is_pin) {
            true => Err(std::io::Error::from_raw_os_error(22)),
            false => Ok(()),
        }
    });
    let error = table.retranslate().unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    vm.on_routes(|_| Ok(()));
    table.recommit().unwrap();
    assert_eq!(given(&vm).pop(), before);
    drop(lease);
}

/// More messages are let through than the kernel has entries for. A message whose translation has
/// changed must not stay in place for their sake.
#[test]
fn messages_that_do_not_fit_are_blocked_and_hold_up_no_other() {
    let vm = Arc::new(Recorder::default());
    vm.has(Platform::X86);
    vm.answer(Extension::IrqRouting, 44);
    let later = Arc::new(AtomicBool::new(false));
    let is_later = Arc::clone(&later);
    let translate = move |mut message: MsiMessage| {
        let later = is_later.load(Ordering::Relaxed);
        message.data += u32::from(later);
        (later || message.data < 0x80).then_some(message)
    };
    let table = RoutingTable::builder(vm.clone())
        .wiring(Wiring::pc())
        .translate(translate)
        .build()
        .unwrap();
    // 38 entries.
    let data = (0x80..0x84).chain([0x40]).chain(0x84..0x88);
    let leases: Vec<_> = data
        .map(|data| table.lease_msi(message(data)).unwrap())
        .collect();
    vm.take();
    later.store(true, Ordering::Relaxed);
    let Err(Error::Untranslated { blocked, cause, .. }) = table.retranslate() else {
        panic!("there are six entries for nine messages");
    };
    assert_eq!(blocked.len(), 3);
    assert_eq!(cause.raw_os_error(), Some(libc::ENOSPC));
    let mut entries = given(&vm).pop().unwrap();
    assert_eq!(entries.len(), 44);
    entries.retain(|(gsi, _)| *gsi >= 24);
    assert!(entries.contains(&(leases[4].gsi().number(), Some(0x41))));
    let named = |gsi: &u32| blocked.iter().any(|blocked| blocked.number() == *gsi);
    assert!(entries.iter().all(|(gsi, _)| !named(gsi)));
}

/// There is no message that could be blocked instead.
#[test]
fn a_table_without_messages_that_is_refused_is_an_error() {
    let (vm, table) = adding(&Arc::new(AtomicU32::new(100)));
    // After it the kernel's table is unknown, so the next commit gives it one.
    vm.on_routes(|_| panic!("a bug of the VM"));
    let mut transaction = table.transaction();
    transaction.wire(table.gsi(4).unwrap(), pin(IrqChip::IoApic, 4));
    assert!(catch_unwind(AssertUnwindSafe(|| transaction.commit())).is_err());
    vm.take();
    vm.on_routes(|_| Err(std::io::Error::from_raw_os_error(crate::EINVAL)));
    let error = table.retranslate().unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    assert_eq!(vm.take().len(), 1);
}
