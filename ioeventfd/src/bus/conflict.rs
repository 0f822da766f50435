// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Conflict`]: why two things cannot be side by side on KVM's bus.

use super::{Datamatch, IoAddress, Place, Window};

/// What is in the way of a doorbell: found by the [registry](crate::DoorbellRegistry), before the
/// VM is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Conflict {
    /// Another doorbell of this registry takes the very same writes. KVM would return EEXIST.
    #[error("another doorbell of this registry takes the same writes; remove that one first")]
    Taken,

    /// At this address another doorbell takes some of the same writes: one of the two takes every
    /// value, or every width. KVM would return EEXIST.
    #[error("a doorbell for {datamatch} at the same address takes some of these writes")]
    #[non_exhaustive]
    Wildcard {
        /// What the other one takes.
        datamatch: Datamatch,
    },

    /// Another doorbell starts at another address and shares bytes with this one. KVM takes both,
    /// and its bus then finds the one or the other or none, depending on what else is registered.
    #[error("it overlaps the doorbell at {address} for {datamatch}, and one may hide the other")]
    #[non_exhaustive]
    Overlap {
        /// Where the other one starts.
        address: IoAddress,
        /// Which writes it takes.
        datamatch: Datamatch,
    },

    /// One of the two takes any write and begins where the other one ends. KVM takes both, and its
    /// bus then misses one of them, depending on the order in which they were registered.
    #[error(
        "it adjoins the doorbell at {address} for {datamatch}, and one of the two takes any write: \
         give that one a width"
    )]
    #[non_exhaustive]
    Adjacent {
        /// Where the other one starts.
        address: IoAddress,
        /// Which writes it takes.
        datamatch: Datamatch,
    },

    /// A device in the kernel has its registers there. KVM registers the doorbell; it then takes
    /// the device's writes, or never rings.
    #[error("it lies in the registers of {0}")]
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
