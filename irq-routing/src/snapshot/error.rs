// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Why a snapshot cannot be restored.

use crate::{Error, Gsi, Platform};

/// Why a snapshot was not restored. The table is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// It was written by a version whose form is not known.
    #[error("a snapshot of version {found}, where {} is known", super::VERSION)]
    Version {
        /// The snapshot's version.
        found: u32,
    },

    /// It is of another kind of machine.
    #[error("a snapshot of the kind {found} for a machine of the kind {wanted}")]
    Platform {
        /// The snapshot's kind.
        found: Platform,
        /// The table's kind.
        wanted: Platform,
    },

    /// A GSI occurs twice.
    #[error("GSI {gsi} occurs twice in the snapshot")]
    Duplicate {
        /// The number.
        gsi: Gsi,
    },

    /// A route that cannot be: a pin that no chip has, two pins of one chip, no pin at all.
    #[error("the snapshot leads GSI {gsi} to what cannot be")]
    Route {
        /// The number.
        gsi: Gsi,
        /// What is wrong.
        source: Error,
    },

    /// A name that is too long for an error message, or has control characters in it.
    #[error("the snapshot has an unfit name for the holder of GSI {gsi}")]
    Name {
        /// The number.
        gsi: Gsi,
    },

    /// A GSI of the machine's wiring leads to something else than pins.
    #[error("the snapshot leads GSI {gsi}, which is wired, to no pins")]
    NotPins {
        /// The number.
        gsi: Gsi,
    },

    /// The table is in use, or something was committed to it already.
    #[error("the table has leases or routes already; restore a snapshot before the first commit")]
    NotEmpty,

    /// A GSI is out of range, a chip is none of this machine's, or the kernel refuses the table.
    #[error("the table refuses the snapshot")]
    Refused(#[from] Error),
}
