// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Model`]: a map from GSI to owner and route, in which the threads' actions are replayed.

use std::collections::BTreeMap;

use irq_routing::Route;

/// An action that took effect, and its GSI.
#[derive(Debug, Clone, Copy)]
pub(super) struct Event {
    pub(super) sequence: u64,
    pub(super) gsi: u32,
    pub(super) what: What,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum What {
    Leased,
    Routed(Option<Route>),
    Dropped,
    Quarantined,
    Wired(Option<Route>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Lease,
    Quarantine,
    Wiring,
}

#[derive(Debug, Default)]
pub(super) struct Model(BTreeMap<u32, (Owner, Option<Route>)>);

impl Model {
    pub(super) fn replay(&mut self, events: impl Iterator<Item = Event>) {
        let mut events: Vec<_> = events.collect();
        events.sort_by_key(|event| event.sequence);
        for event in events {
            self.happen(event);
        }
    }

    fn happen(&mut self, event: Event) {
        let Event { gsi, what, .. } = event;
        let before = self.0.get(&gsi).copied();
        let after = match (what, before) {
            (What::Leased, None) => Some((Owner::Lease, None)),
            (What::Routed(route), Some((owner @ (Owner::Lease | Owner::Quarantine), _))) => {
                Some((owner, route))
            }
            (What::Dropped, Some((Owner::Lease, _))) => None,
            (What::Quarantined, Some((Owner::Lease, route))) => Some((Owner::Quarantine, route)),
            (What::Wired(route), None | Some((Owner::Wiring, _))) => {
                route.map(|route| (Owner::Wiring, Some(route)))
            }
            _ => panic!("{event:?} after {before:?}"),
        };
        match after {
            Some(after) => self.0.insert(gsi, after),
            None => self.0.remove(&gsi),
        };
    }

    pub(super) fn route(&self, gsi: u32) -> Option<Route> {
        self.0.get(&gsi).and_then(|(_, route)| *route)
    }

    pub(super) fn routes(&self) -> impl Iterator<Item = (u32, Route)> + '_ {
        self.0
            .iter()
            .filter_map(|(gsi, (_, route))| Some((*gsi, (*route)?)))
    }

    pub(super) fn leased(&self) -> usize {
        let owners = self.0.values().map(|(owner, _)| *owner);
        owners.filter(|owner| *owner == Owner::Lease).count()
    }
}
