// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Why a doorbell cannot be.

use std::io;

use notify_core::Retired;

use crate::{Datamatch, IoAddress, Rejected};

/// Why an operation on a doorbell failed. Nothing has changed then.
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

    /// The machine did not let go of the doorbell. ENOENT: somebody else has deregistered it.
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

impl<T> From<Rejected<T>> for Error {
    fn from(rejected: Rejected<T>) -> Self {
        rejected.error
    }
}
