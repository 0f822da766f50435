// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Routing`]: a routing table whose `Debug` text has all of its state.

use std::fmt;
use std::ops::Deref;

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
        writeln!(f, "{table:?}, {leased} leased, {unclaimed:?} unclaimed")?;
        writeln!(f, "{:?}", table.snapshot())
    }
}
