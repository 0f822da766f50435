// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Why`]: a failure in the model.

use irq_routing::{Error, Gsi, RestoreError};

/// Why a call failed. GSIs are numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Why {
    NotLeased(u32),
    InUse(u32),
    Held(u32),
    NoRoute(u32),
    NothingToClaim(u32),
    OutOfRange(u32),
    NoChip(u32),
    Full(usize),
    Exhausted {
        wanted: u32,
        leased: usize,
        holders: Vec<(String, usize)>,
    },
    NotEmpty,
    NoIrqChip,
    Retired,
    Untranslated(Vec<u32>),
    Refused {
        edits: usize,
        first: Option<u32>,
        errno: i32,
    },
    AlreadyDriven(u32),
    PinShared,
    Panic,
    Other(String),
}

impl From<&Error> for Why {
    fn from(error: &Error) -> Self {
        match error {
            Error::NotLeased { gsi, .. } => Self::NotLeased(gsi.number()),
            Error::GsiInUse { gsi, .. } => Self::InUse(gsi.number()),
            Error::RouteHeld { gsi, .. } => Self::Held(gsi.number()),
            Error::NoRoute { gsi, .. } => Self::NoRoute(gsi.number()),
            Error::NothingToClaim { gsi, .. } => Self::NothingToClaim(gsi.number()),
            Error::GsiOutOfRange { gsi, .. } => Self::OutOfRange(*gsi),
            Error::NoSuchChip { gsi, .. } => Self::NoChip(gsi.number()),
            Error::TableFull { entries, .. } => Self::Full(*entries),
            Error::AlreadyDriven { gsi, .. } => Self::AlreadyDriven(gsi.number()),
            Error::PinShared { .. } => Self::PinShared,
            Error::Exhausted {
                wanted,
                leased,
                holders,
                ..
            } => Self::Exhausted {
                wanted: *wanted,
                leased: *leased,
                holders: holders
                    .iter()
                    .map(|holder| (holder.name.to_string(), holder.leases))
                    .collect(),
            },
            Error::NoIrqChip { .. } => Self::NoIrqChip,
            Error::Retired => Self::Retired,
            Error::Untranslated { blocked, .. } => {
                Self::Untranslated(blocked.iter().copied().map(Gsi::number).collect())
            }
            Error::Refused {
                edits,
                first,
                cause,
                ..
            } => Self::Refused {
                edits: *edits,
                first: first.map(Gsi::number),
                errno: cause.raw_os_error().unwrap_or(0),
            },
            other => Self::Other(other.to_string()),
        }
    }
}

impl From<&RestoreError> for Why {
    fn from(error: &RestoreError) -> Self {
        match error {
            RestoreError::NotEmpty => Self::NotEmpty,
            RestoreError::Refused { cause: error, .. } => error.into(),
            other => Self::Other(other.to_string()),
        }
    }
}
