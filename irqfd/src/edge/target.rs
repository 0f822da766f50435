// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`IrqTarget`]: the GSI that an irqfd raises.

use irq_routing::{Gsi, GsiLease, Line};

/// The GSI that an irqfd raises: leased to it, or a line that others may share.
#[derive(Debug)]
#[non_exhaustive]
pub enum IrqTarget {
    /// A lease, which must have a route by the time that the irqfd is assigned.
    Lease(GsiLease),
    /// A line: its route is there and stays.
    Line(Line),
}

impl IrqTarget {
    pub(super) fn gsi(&self) -> Gsi {
        match self {
            Self::Lease(lease) => lease.gsi(),
            Self::Line(line) => line.gsi(),
        }
    }

    /// Releases the route, if it was a lease's.
    pub(super) fn from_lease_of(line: Line) -> Self {
        line.into_lease().map_or_else(Self::Line, Self::Lease)
    }
}

impl From<GsiLease> for IrqTarget {
    fn from(lease: GsiLease) -> Self {
        Self::Lease(lease)
    }
}

impl From<Line> for IrqTarget {
    fn from(line: Line) -> Self {
        Self::Line(line)
    }
}
