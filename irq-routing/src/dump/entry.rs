// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`DumpEntry`]: one entry of a table, valid or not.

use notify_core::RouteTarget;

use crate::Route;
use crate::route::kernel_entries::{DumpTarget, of_route};

/// One entry of a [`Dump`](crate::Dump), valid or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct DumpEntry {
    /// The GSI.
    pub gsi: u32,
    /// What the GSI is routed to.
    pub target: DumpTarget,
}

impl DumpEntry {
    /// The entries that the kernel is given for a route.
    pub(super) fn of_route(gsi: u32, route: &Route) -> impl Iterator<Item = Self> + use<> {
        let targets = of_route(route).map(DumpTarget::from);
        targets.map(move |target| Self { gsi, target })
    }

    /// Pins first, by chip and then by GSI.
    pub(super) fn order(&self) -> (bool, u32, u32) {
        match self.target {
            DumpTarget::Entry(RouteTarget::Pin { chip, .. }) => (false, chip, self.gsi),
            _ => (true, 0, self.gsi),
        }
    }
}
