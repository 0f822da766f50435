// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Counts`]: how often each kind of event happened.

use std::fmt;

use irq_routing::Error;

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) leases: u64,
    pub(super) quarantined: u64,
    pub(super) commits: u64,
    pub(super) refused: u64,
    pub(super) not_leased: u64,
    pub(super) route_held: u64,
}

impl Counts {
    pub(super) fn count(&mut self, error: &Error) {
        match error {
            Error::Refused { .. } => self.refused += 1,
            Error::NotLeased { .. } => self.not_leased += 1,
            Error::RouteHeld { .. } => self.route_held += 1,
            _ => {}
        }
    }

    /// Whether each kind of failure has happened.
    pub(super) fn has_all(&self) -> bool {
        self.refused > 0 && self.not_leased > 0 && self.route_held > 0
    }

    pub(super) fn sum<'a>(counts: impl Iterator<Item = &'a Self>) -> Self {
        counts.fold(Self::default(), |sum, one| Self {
            leases: sum.leases + one.leases,
            quarantined: sum.quarantined + one.quarantined,
            commits: sum.commits + one.commits,
            refused: sum.refused + one.refused,
            not_leased: sum.not_leased + one.not_leased,
            route_held: sum.route_held + one.route_held,
        })
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} leases, {} commits; {} refused, {} too late, {} of held routes",
            self.leases, self.commits, self.refused, self.not_leased, self.route_held
        )
    }
}
