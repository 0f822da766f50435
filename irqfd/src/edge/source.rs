// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`IrqSource`]: the GSI that an irqfd raises.

use irq_routing::{Gsi, GsiLease, Line};

/// The GSI that an irqfd is to raise: leased to it, or a line that others may share.
#[derive(Debug)]
pub enum IrqSource {
    /// A lease, which must have a route by the time that the irqfd is assigned.
    Lease(GsiLease),
    /// A line: its route is there and stays.
    Line(Line),
}

impl IrqSource {
    /// The GSI.
    #[must_use]
    pub fn gsi(&self) -> Gsi {
        match self {
            Self::Lease(lease) => lease.gsi(),
            Self::Line(line) => line.gsi(),
        }
    }

    /// Lets go of the route, where it was a lease's.
    pub(crate) fn from_lease_of(line: Line) -> Self {
        line.into_lease().map_or_else(Self::Line, Self::Lease)
    }
}

impl From<GsiLease> for IrqSource {
    fn from(lease: GsiLease) -> Self {
        Self::Lease(lease)
    }
}

impl From<Line> for IrqSource {
    fn from(line: Line) -> Self {
        Self::Line(line)
    }
}
