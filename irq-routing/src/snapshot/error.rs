// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`RestoreError`]: why a snapshot cannot be restored.

use crate::{Error, Gsi, Platform};

/// Why a snapshot was not restored. The table has not changed.
///
/// As for [`Error`], the text is complete, and [`source`](std::error::Error::source) is `None`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The snapshot has a version that this one cannot read.
    #[error(
        "the snapshot is of version {found}, and only version {} can be restored",
        super::VERSION
    )]
    #[non_exhaustive]
    Version {
        /// The snapshot's version.
        found: u32,
    },

    /// The snapshot is of another platform.
    #[error("the snapshot is of a VM with {found}, and cannot be restored to one with {wanted}")]
    #[non_exhaustive]
    Platform {
        /// The snapshot's platform.
        found: Platform,
        /// The table's platform.
        wanted: Platform,
    },

    /// A GSI occurs twice.
    #[error("the snapshot is damaged: GSI {gsi} occurs twice")]
    #[non_exhaustive]
    Duplicate {
        /// The GSI.
        gsi: Gsi,
    },

    /// A route that cannot exist: a pin that no chip has, two pins of one chip, no pin at all.
    #[error("the snapshot is damaged: GSI {gsi} has a route that cannot be: {cause}")]
    #[non_exhaustive]
    Route {
        /// The GSI.
        gsi: Gsi,
        /// What is wrong with the route.
        cause: Error,
    },

    /// A name that is too long for an error message, or has control characters in it.
    #[error(
        "the snapshot is damaged: the name of the holder of GSI {gsi} is longer than {} bytes, or \
         has control characters",
        super::LONGEST_NAME
    )]
    #[non_exhaustive]
    Name {
        /// The GSI.
        gsi: Gsi,
    },

    /// A GSI of the VM's wiring is not routed to pins.
    #[error("the snapshot is damaged: GSI {gsi} is wired, and not routed to pins")]
    #[non_exhaustive]
    NotPins {
        /// The GSI.
        gsi: Gsi,
    },

    /// The table is in use, or something was committed to it already.
    #[error("the table has leases or routes already: restore a snapshot before the first commit")]
    NotEmpty,

    /// The table refuses what the snapshot has: a GSI is out of range, the VM has no such chip, or
    /// the kernel refuses the routes.
    #[error("the table refuses the snapshot: {cause}")]
    #[non_exhaustive]
    Refused {
        /// Why.
        cause: Error,
    },
}

impl RestoreError {
    /// Returns the errno with which the kernel or the VM has refused the table, if it did.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::Route { cause, .. } | Self::Refused { cause } => cause.raw_os_error(),
            _ => None,
        }
    }
}

impl From<Error> for RestoreError {
    fn from(cause: Error) -> Self {
        Self::Refused { cause }
    }
}
