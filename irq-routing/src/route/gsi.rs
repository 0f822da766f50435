// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Gsi`]: the number of a global system interrupt.

use std::fmt;

/// A global system interrupt: a number below the number of GSIs of its VM.
///
/// [`RoutingTable::gsi`](crate::RoutingTable::gsi) creates one, and checks the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gsi(u32);

impl Gsi {
    /// Returns the GSI if the VM has it.
    pub(crate) fn below(limit: u32, number: u32) -> Option<Self> {
        (number < limit).then_some(Self(number))
    }

    /// Returns the number, as KVM takes it.
    #[inline]
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }

    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for Gsi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<Gsi> for u32 {
    fn from(gsi: Gsi) -> Self {
        gsi.0
    }
}
