// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The leases and wiring of a worker, with the routes that they must have.

use irq_routing::{Gsi, GsiLease, Line, Route};

use super::staged::Edit;

/// A leased GSI.
pub(super) struct Held {
    pub(super) hold: Hold,
    pub(super) route: Option<Route>,
}

pub(super) enum Hold {
    Lease(GsiLease),
    Line(Line),
}

impl Hold {
    pub(super) fn lease(&self) -> &GsiLease {
        match self {
            Self::Lease(lease) => lease,
            Self::Line(line) => line.lease().unwrap(),
        }
    }
}

impl Held {
    pub(super) fn edit(&self, new: Option<Route>) -> Edit {
        Edit {
            old: self.route,
            new,
            held: matches!(self.hold, Hold::Line(_)),
            bad: false,
        }
    }
}

/// A GSI of the VM's wiring, which only one worker routes.
pub(super) struct Wired {
    pub(super) gsi: Gsi,
    pub(super) route: Option<Route>,
    pub(super) share: Option<Line>,
}

impl Wired {
    pub(super) fn edit(&self, new: Option<Route>) -> Edit {
        Edit {
            old: self.route,
            new,
            held: self.share.is_some(),
            bad: false,
        }
    }
}
