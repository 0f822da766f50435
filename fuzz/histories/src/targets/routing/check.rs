// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Compares everything visible of a [`World`] with the models.

use std::collections::BTreeSet;
use std::sync::Arc;

use irq_routing::{Explanation, Platform, Route, RoutingTable, Snapshot, Wiring};

use super::model::{Known, Model, Saved, Seen, translated};
use super::offer::expect_table;
use super::world::World;

impl World {
    /// Compares everything visible.
    pub(super) fn check(&mut self) {
        for number in [0, 1] {
            let (table, model) = (&self.tables[number], &self.models[number]);
            assert_eq!(seen(table), model.seen(), "the table of VM {number}");
            // An explanation calls the translation.
            for gsi in (0..model.limit).filter(|gsi| !panics(model, *gsi)) {
                check_explanation(gsi, &table.explain(gsi), model);
            }
            if model.known == Known::Yes {
                expect_table(&self.kernels[number].in_force(), &model.kernel);
            }
            let routed = model.wanted.iter();
            let mut routed = routed.filter(|(gsi, _)| model.slot(**gsi).route.is_some());
            assert!(
                routed.all(|(gsi, route)| model.kernel.get(gsi) == Some(route)),
                "a route that the kernel lacks"
            );
        }
        self.check_armed();
        let leases = self.leases.iter().map(|held| (&held.lease, held.table));
        let of_lines = self.lines.iter();
        let of_lines = of_lines.filter_map(|held| Some((held.line.lease()?, held.table)));
        let driven = self.driven.iter();
        let driven = driven.filter_map(|held| Some((held.line.line().lease()?, held.table)));
        let mut holders = BTreeSet::new();
        for (lease, table) in leases.chain(of_lines).chain(driven) {
            let gsi = lease.gsi().number();
            assert!(holders.insert((table, gsi)), "GSI {gsi} has two holders");
            let slot = self.models[table].slot(gsi);
            assert_eq!(lease.route(), slot.route);
            assert_eq!(lease.name().as_deref(), slot.name, "the name of GSI {gsi}");
        }
    }
}

pub(super) fn seen(table: &RoutingTable) -> Seen {
    let routes = table.routes().into_iter();
    let unclaimed = table.unclaimed().into_iter();
    Seen {
        routes: routes.map(|(gsi, route)| (gsi.number(), route)).collect(),
        leased: table.leased(),
        unclaimed: unclaimed.map(|gsi| gsi.number()).collect(),
    }
}

/// Restores a snapshot on a VM that accepts every table.
pub(super) fn check_snapshot(snapshot: &Snapshot, saved: &Saved) {
    let builder =
        RoutingTable::builder(Arc::new(kvm_test::Nothing)).wiring(Wiring::none(Platform::X86));
    let table = builder.build().expect("a table");
    table.restore(snapshot).expect("it is empty");
    let restored = table.routes().into_iter();
    let mut restored: Saved = restored
        .map(|(gsi, route)| (gsi.number(), (true, Some(route), None)))
        .collect();
    for gsi in table.unclaimed() {
        let lease = table.claim(gsi.number()).expect("nothing has claimed it");
        let name = lease.name();
        let named = saved.get(&gsi.number()).and_then(|(.., name)| *name);
        assert_eq!(name.as_deref(), named, "the name of GSI {gsi}");
        restored.insert(gsi.number(), (false, lease.route(), named));
    }
    assert_eq!(&restored, saved, "what a snapshot has");
}

fn panics(model: &Model, gsi: u32) -> bool {
    match model.slot(gsi).route {
        Some(Route::Msi(message)) => translated(&model.rules, message).is_err(),
        _ => false,
    }
}

fn check_explanation(gsi: u32, explanation: &Explanation, model: &Model) {
    let words = explanation.to_string();
    if model.known != Known::Yes {
        assert!(words.starts_with("unknown: "), "GSI {gsi}: {words}");
        return;
    }
    let routed = model.slot(gsi).route.is_some();
    if routed && !model.vague {
        let blocked = !model.wanted.contains_key(&gsi);
        let is_blocked = words.starts_with("lost: the translation blocks the message");
        assert_eq!(is_blocked, blocked, "GSI {gsi}: {words}");
    }
    let is_stale = words.starts_with("lost: its lease was dropped");
    let is_left = model.left.contains(&gsi) || model.left_before.contains(&gsi);
    assert!(!is_stale || is_left, "GSI {gsi}: {words}");
    if !routed && model.kernel.contains_key(&gsi) {
        assert!(is_stale, "GSI {gsi}: {words}");
    }
}
