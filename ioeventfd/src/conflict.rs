// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Conflict`]: why two things cannot be side by side on KVM's bus.

use crate::place::Place;
use crate::{Datamatch, IoAddress, Window};

/// What stands in the way of a doorbell. All of it is found before the machine is asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Conflict {
    /// Another doorbell takes the very same writes. KVM says EEXIST.
    #[error("another doorbell takes the same writes")]
    Taken,

    /// At this address another doorbell takes some of the same writes: one of the two takes every
    /// value, or every width. KVM says EEXIST.
    #[error("a doorbell for {datamatch} at the same address takes some of these writes")]
    Wildcard {
        /// What the other one takes.
        datamatch: Datamatch,
    },

    /// Another doorbell starts at another address and shares bytes with this one. KVM takes both, and
    /// its bus then finds the one or the other or none, depending on what else is registered.
    #[error("it overlaps the doorbell at {address} for {datamatch}, and one may hide the other")]
    Overlap {
        /// Where the other one starts.
        address: IoAddress,
        /// Which writes it takes.
        datamatch: Datamatch,
    },

    /// One of the two takes any write and begins where the other one ends. KVM takes both, and its bus
    /// then misses one of them, depending on the order in which they were registered.
    #[error(
        "it adjoins the doorbell at {address} for {datamatch}, and one of them takes any write; give it a width"
    )]
    Adjacent {
        /// Where the other one starts.
        address: IoAddress,
        /// Which writes it takes.
        datamatch: Datamatch,
    },

    /// A device in the kernel answers there. KVM takes the doorbell; it then steals the device's
    /// writes, or never rings.
    #[error("it lies in {0}")]
    Device(Window),
}

impl Conflict {
    /// Between a place that is wanted and one that is there, if they are in conflict.
    pub(crate) fn between(wanted: Place, there: Place) -> Option<Self> {
        if wanted == there {
            Some(Self::Taken)
        } else if wanted.collides(there) {
            Some(Self::Wildcard {
                datamatch: there.datamatch,
            })
        } else if wanted.overlaps(there) {
            Some(Self::Overlap {
                address: there.address,
                datamatch: there.datamatch,
            })
        } else if wanted.interferes(there) {
            Some(Self::Adjacent {
                address: there.address,
                datamatch: there.datamatch,
            })
        } else {
            None
        }
    }
}
