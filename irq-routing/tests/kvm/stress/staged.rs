// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Staged`]: a transaction, and its expected result.

use std::collections::BTreeMap;

use irq_routing::{Error, Gsi, GsiLease, Route, RoutingTable, Transaction};

use super::faults::Faults;

pub(super) struct Staged {
    pub(super) transaction: Transaction,
    pub(super) edits: Edits,
}

/// By GSI: the edit that takes effect.
#[derive(Debug, Clone, Default)]
pub(super) struct Edits(pub(super) BTreeMap<Gsi, Edit>);

#[derive(Debug, Clone, Copy)]
pub(super) struct Edit {
    pub(super) old: Option<Route>,
    pub(super) new: Option<Route>,
    /// Whether a guard keeps the route in place.
    pub(super) held: bool,
    /// Whether the new message will be refused.
    pub(super) bad: bool,
}

impl Staged {
    pub(super) fn new(table: &RoutingTable) -> Self {
        Self {
            transaction: table.transaction(),
            edits: Edits::default(),
        }
    }

    pub(super) fn lead(&mut self, lease: &GsiLease, edit: Edit) {
        match edit.new {
            Some(route) => self.transaction.route(lease, route),
            None => self.transaction.unroute(lease),
        };
        self.edits.0.insert(lease.gsi(), edit);
    }

    pub(super) fn wire(&mut self, gsi: Gsi, edit: Edit) {
        match edit.new {
            Some(Route::Pins(pins)) => self.transaction.wire(gsi, pins),
            _ => self.transaction.unwire(gsi),
        };
        self.edits.0.insert(gsi, edit);
    }
}

impl Edits {
    fn unrouted_though_held(&self) -> impl Iterator<Item = Gsi> + '_ {
        let held = |edit: &Edit| edit.held && edit.new.is_none();
        self.0
            .iter()
            .filter(move |(_, edit)| held(edit))
            .map(|(gsi, _)| *gsi)
    }

    fn guilty(&self) -> bool {
        self.0.values().any(|edit| edit.bad)
    }

    /// The edits took effect.
    #[track_caller]
    pub(super) fn expect_success(&self) {
        assert!(
            !self.guilty() && self.unrouted_though_held().count() == 0,
            "{self:?}"
        );
    }

    /// The edits did not take effect, and rightly so.
    #[track_caller]
    pub(super) fn expect_failure(&self, error: &Error, faults: Faults) {
        match error {
            Error::RouteHeld { gsi, .. } => {
                assert!(
                    self.unrouted_though_held().any(|held| held == *gsi),
                    "{self:?}"
                );
            }
            Error::Refused { edits, first, .. } => {
                assert_eq!(self.unrouted_though_held().count(), 0, "{self:?}");
                assert!(
                    self.guilty() || faults == Faults::Chance,
                    "for another's reason: {self:?}"
                );
                assert_eq!(*edits, self.0.len());
                assert!(
                    first.is_none_or(|gsi| self.0.contains_key(&gsi)),
                    "{error:?}"
                );
                assert_eq!(first.is_none(), self.0.is_empty());
            }
            other => panic!("{other:?} of {self:?}"),
        }
    }

    /// Whether the edits took effect, after a panic that does not show it: all of them or none.
    #[track_caller]
    pub(super) fn have_taken_effect(&self, table: &RoutingTable) -> bool {
        let new = self
            .0
            .iter()
            .all(|(gsi, edit)| table.route(*gsi) == edit.new);
        let old = self
            .0
            .iter()
            .all(|(gsi, edit)| table.route(*gsi) == edit.old);
        assert!(new || old, "{self:?}");
        if new && !old {
            self.expect_success();
        }
        new
    }
}
