// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Error`]: why an operation on doorbells failed.

use std::fmt;

use notify_core::{Retired, SysError};

use crate::{Conflict, Datamatch, IoAddress, Rejected};

/// Why an operation on doorbells failed. Unless the variant's documentation differs, nothing has
/// changed.
///
/// The text is complete: it names the doorbell, ends with the cause and its errno, and
/// [`source`](std::error::Error::source) is `None`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The builder had no notifier, and creating one failed.
    #[error("cannot create the notifier of the doorbell at {address}: {cause}")]
    #[non_exhaustive]
    NoNotifier {
        /// Where the doorbell was to lie.
        address: IoAddress,
        /// Why no eventfd was created.
        cause: notify_core::Error,
    },

    /// No write has this length and value; see [`Datamatch::new`].
    #[error(
        "no doorbell can match a write of {length} bytes{}: use a length of 1, 2, 4 or 8 and a \
         value that fits, or a length of 0 without a value for every write",
        Value(value)
    )]
    #[non_exhaustive]
    InvalidDatamatch {
        /// The length, in bytes.
        length: u32,
        /// The value, if one was given.
        value: Option<u64>,
    },

    /// No guest can make such a write. KVM refuses some of these, accepts the others, and never
    /// signals them.
    #[error(
        "the doorbell at {address} for {datamatch} can never ring, since no guest can make such a \
         write: use another address or width"
    )]
    #[non_exhaustive]
    NoSuchWrite {
        /// Where the doorbell was to lie.
        address: IoAddress,
        /// Which writes it was to match.
        datamatch: Datamatch,
    },

    /// The VM cannot match writes of any width (KVM_CAP_IOEVENTFD_ANY_LENGTH).
    #[error(
        "the VM cannot match writes of any width, as the doorbell at {address} wants: give it a \
         width"
    )]
    #[non_exhaustive]
    NoAnyWrite {
        /// Where the doorbell was to lie.
        address: IoAddress,
    },

    /// A doorbell outside the registry takes some of these writes: an
    /// [`IoEventFd`](crate::IoEventFd), a set of another registry, or a KVM_IOEVENTFD of the VMM's
    /// own.
    #[error(
        "the doorbell at {address} for {datamatch} is taken by something outside its registry, \
         which must be deregistered first: {cause}"
    )]
    #[non_exhaustive]
    Taken {
        /// Where the doorbell was to lie.
        address: IoAddress,
        /// Which writes it was to match.
        datamatch: Datamatch,
        /// What the VM returned: EEXIST.
        cause: SysError,
    },

    /// The VM is being closed.
    #[error("cannot register the doorbell at {address}: {Retired}")]
    #[non_exhaustive]
    Retired {
        /// Where the doorbell was to lie.
        address: IoAddress,
    },

    /// The VM refused the doorbell. ENOSPC: its bus has 1000 devices that are not doorbells.
    #[error("the VM refused the doorbell at {address} for {datamatch}: {cause}")]
    #[non_exhaustive]
    Refused {
        /// Where the doorbell was to lie.
        address: IoAddress,
        /// Which writes it was to match.
        datamatch: Datamatch,
        /// What the VM returned.
        cause: SysError,
    },

    /// The doorbell conflicts with another one or with a device. Found before any request to the
    /// VM.
    #[error("the doorbell at {address} for {datamatch} cannot be there: {cause}")]
    #[non_exhaustive]
    Conflict {
        /// Where the doorbell was to lie.
        address: IoAddress,
        /// Which writes it was to match.
        datamatch: Datamatch,
        /// What it conflicts with.
        cause: Box<Conflict>,
    },

    /// The set has changed since the plan was made.
    #[error("the set of doorbells has changed since this was planned: plan again")]
    StalePlan,

    /// The plan or the epoch is of another set, perhaps of another VM.
    #[error("a plan or an epoch of another set of doorbells: give it to the set that it came from")]
    OtherSet,

    /// A doorbell of the BAR that moves would leave its address space.
    #[error(
        "the doorbell at {address} cannot follow a BAR from {from} to {to}, which would take it \
         out of its address space"
    )]
    #[non_exhaustive]
    NotMovable {
        /// Where the doorbell lies.
        address: IoAddress,
        /// The BAR's old base.
        from: IoAddress,
        /// The BAR's new base.
        to: IoAddress,
    },

    /// A change failed, and so did part of its undo. The next plan repairs that.
    #[error(
        "a change failed and could not be undone for {}, so plan and apply again: {cause}",
        List(unrestored)
    )]
    #[non_exhaustive]
    NotUndone {
        /// Why the change failed.
        cause: Box<Error>,
        /// What is not as it was before.
        unrestored: Vec<Unrestored>,
    },

    /// A notifier could not be signalled.
    #[error("cannot signal the notifier of key {key}: {cause}")]
    #[non_exhaustive]
    Signal {
        /// The doorbell's key.
        key: u64,
        /// Why.
        cause: notify_core::Error,
    },

    /// A notifier could not be read. All notifiers have their kicks.
    #[error("cannot take the kicks of key {key} from its notifier: {cause}")]
    #[non_exhaustive]
    Drain {
        /// The doorbell's key.
        key: u64,
        /// Why.
        cause: notify_core::Error,
    },

    /// The VM did not deregister the doorbell. ENOENT is no error: then the doorbell is gone, and a
    /// warning is logged.
    #[error("the doorbell at {address} for {datamatch} stays registered: {cause}")]
    #[non_exhaustive]
    StaysRegistered {
        /// Where the doorbell lies.
        address: IoAddress,
        /// Which writes it matches.
        datamatch: Datamatch,
        /// What the VM returned.
        cause: SysError,
    },
}

impl Error {
    /// Returns the errno of the request that failed, if a request failed. For
    /// [`NotUndone`](Self::NotUndone) it is that of the change, not of the undo.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::Taken { cause, .. }
            | Self::Refused { cause, .. }
            | Self::StaysRegistered { cause, .. } => cause.raw_os_error(),
            Self::NoNotifier { cause, .. }
            | Self::Signal { cause, .. }
            | Self::Drain { cause, .. } => cause.raw_os_error(),
            Self::NotUndone { cause, .. } => cause.raw_os_error(),
            Self::InvalidDatamatch { .. }
            | Self::NoSuchWrite { .. }
            | Self::NoAnyWrite { .. }
            | Self::Retired { .. }
            | Self::Conflict { .. }
            | Self::StalePlan
            | Self::OtherSet
            | Self::NotMovable { .. } => None,
        }
    }
}

impl<T> From<Rejected<T>> for Error {
    fn from(rejected: Rejected<T>) -> Self {
        rejected.error
    }
}

/// A doorbell that a failed undo did not restore.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unrestored {
    /// Its key.
    pub key: u64,
    /// Where it lies.
    pub address: IoAddress,
    /// Which writes it matches.
    pub datamatch: Datamatch,
    /// `true`: it is registered, and was not before the change. `false`: it was registered, and is
    /// not.
    pub registered: bool,
    /// Why it could not be restored.
    pub cause: Error,
}

struct Value<'a>(&'a Option<u64>);

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(value) => write!(f, " with the value {value:#x}"),
            None => Ok(()),
        }
    }
}

/// The first few doorbells, and how many more there are.
struct List<'a>(&'a [Unrestored]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 4;
        for (index, one) in self.0.iter().take(MOST).enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(
                f,
                "{separator}the doorbell at {} for {}",
                one.address, one.datamatch
            )?;
        }
        match self.0.len().saturating_sub(MOST) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}
