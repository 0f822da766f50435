// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Routing`], a routing table whose `Debug` text has all of its state, and [`Counted`].

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use irq_routing::RoutingTable;

pub(crate) struct Routing(pub(crate) RoutingTable);

impl Deref for Routing {
    type Target = RoutingTable;

    fn deref(&self) -> &RoutingTable {
        &self.0
    }
}

impl fmt::Debug for Routing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(table) = self;
        let (leased, unclaimed) = (table.leased(), table.unclaimed());
        // Which one is free shows whether another one is in quarantine.
        let free = table.lease_if_free().map(|lease| lease.gsi());
        writeln!(
            f,
            "{table:?}, {leased} leased, {unclaimed:?} unclaimed, {free:?} free"
        )?;
        let snapshot = format!("{:?}", table.snapshot());
        // The route of a message whose lease is gone may stay until the next commit.
        let has_lease = |line: &&str| {
            let message = line
                .split_once(" type=2")
                .and_then(|(gsi, _)| gsi.strip_prefix("gsi="));
            message.is_none_or(|gsi| snapshot.contains(&format!("gsi: {gsi},")))
        };
        let dump = table.dump().to_string();
        dump.lines()
            .filter(has_lease)
            .try_for_each(|line| writeln!(f, "{line}"))?;
        writeln!(f, "{snapshot}")
    }
}

/// Its `Debug` text has the number of its owners.
pub(crate) struct Counted<T>(pub(crate) Arc<T>);

impl<T> Deref for Counted<T> {
    type Target = Arc<T>;

    fn deref(&self) -> &Arc<T> {
        &self.0
    }
}

impl<T: fmt::Debug> fmt::Debug for Counted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let owners = Arc::strong_count(&self.0);
        write!(f, "{:?} with {owners} owners", self.0)
    }
}
