// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Why a doorbell cannot be.

use std::io;

use notify_core::Retired;

use crate::{Conflict, Datamatch, IoAddress, Rejected};

/// Why an operation on doorbells failed. Nothing has changed then, unless the variant says so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No notifier was given, and none could be created.
    #[error("cannot create the notifier of the doorbell at {address}")]
    Notifier {
        /// Where.
        address: IoAddress,
        /// Why.
        source: notify_core::Error,
    },

    /// No guest can make such a write; KVM refuses most of these, takes the rest, and never signals.
    #[error("the doorbell at {address} for {datamatch} can never ring: no such write exists")]
    NoSuchWrite {
        /// Where.
        address: IoAddress,
        /// Which writes.
        datamatch: Datamatch,
    },

    /// The machine cannot match writes of any width (KVM_CAP_IOEVENTFD_ANY_LENGTH).
    #[error("the machine cannot match writes of any width, as the doorbell at {address} wants")]
    NoAnyWrite {
        /// Where.
        address: IoAddress,
    },

    /// Another doorbell of this machine takes these writes, or some of them.
    #[error("the doorbell at {address} for {datamatch} is taken")]
    Taken {
        /// Where.
        address: IoAddress,
        /// Which writes.
        datamatch: Datamatch,
        /// What the kernel said.
        source: io::Error,
    },

    /// The machine is being closed.
    #[error("cannot register the doorbell at {address}")]
    Retired {
        /// Where.
        address: IoAddress,
        /// Why.
        source: Retired,
    },

    /// The machine refused the doorbell. ENOSPC: its bus is full of other devices.
    #[error("cannot register the doorbell at {address} for {datamatch}")]
    Assign {
        /// Where.
        address: IoAddress,
        /// Which writes.
        datamatch: Datamatch,
        /// What the kernel said.
        source: io::Error,
    },

    /// Something is there that a doorbell cannot be beside. Found before the machine is asked.
    #[error("the doorbell at {address} for {datamatch} cannot be there")]
    Conflict {
        /// Where.
        address: IoAddress,
        /// Which writes.
        datamatch: Datamatch,
        /// What is in the way.
        source: Box<Conflict>,
    },

    /// The set has changed since the plan was made, or it is the plan of another set.
    #[error("the plan is not of the doorbells that are there now")]
    StalePlan,

    /// A doorbell of the BAR that moves would not be in its address space any more.
    #[error("the doorbell at {address} cannot move as a BAR from {from} to {to}")]
    NotMovable {
        /// Where it lies.
        address: IoAddress,
        /// The BAR's old base.
        from: IoAddress,
        /// The BAR's new base.
        to: IoAddress,
    },

    /// A change failed, and the machine did not let all of it be taken back.
    #[error("{cause}; and {} could not be made what it was", list(unrestored))]
    NotUndone {
        /// Why the change failed.
        #[source]
        cause: Box<Error>,
        /// What is not as it was before.
        unrestored: Vec<Unrestored>,
    },

    /// A notifier could not be signalled.
    #[error("cannot kick {key}")]
    Signal {
        /// The doorbell's key.
        key: u64,
        /// Why.
        source: notify_core::Error,
    },

    /// A notifier could not be read. Nothing was taken from any.
    #[error("cannot take the kicks of {key}")]
    Drain {
        /// The doorbell's key.
        key: u64,
        /// Why.
        source: notify_core::Error,
    },

    /// The kernel did not deregister the doorbell. (If it does not have the doorbell, ENOENT, that is
    /// no error: the doorbell is gone, and a warning is logged.)
    #[error("cannot deregister the doorbell at {address} for {datamatch}")]
    Deassign {
        /// Where.
        address: IoAddress,
        /// Which writes.
        datamatch: Datamatch,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A doorbell that a failed undo left otherwise than it was.
#[derive(Debug)]
#[non_exhaustive]
pub struct Unrestored {
    /// Its key.
    pub key: u64,
    /// Where it lies.
    pub address: IoAddress,
    /// Which writes ring it.
    pub datamatch: Datamatch,
    /// Whether it is registered now, though it was not before; else it was, and is not.
    pub registered: bool,
    /// Why.
    pub error: Error,
}

fn list(unrestored: &[Unrestored]) -> String {
    let mut list = String::new();
    for one in unrestored {
        let separator = if list.is_empty() { "" } else { ", " };
        list.push_str(&format!(
            "{separator}the doorbell at {} for {}",
            one.address, one.datamatch
        ));
    }
    list
}

impl<T> From<Rejected<T>> for Error {
    fn from(rejected: Rejected<T>) -> Self {
        rejected.error
    }
}
