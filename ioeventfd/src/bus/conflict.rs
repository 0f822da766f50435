// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Conflict`]: why a doorbell cannot be on KVM's bus together with something else.

use super::{Datamatch, IoAddress, Place, Window};

/// What a doorbell conflicts with.
///
/// The [registry](crate::DoorbellRegistry) finds it before any request to the VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Conflict {
    /// Another doorbell of this registry takes the same writes. KVM would return EEXIST.
    #[error("another doorbell of this registry takes the same writes; remove that one first")]
    Taken,

    /// Another doorbell at this address takes some of the same writes, because one of the two takes
    /// every value, or every width. KVM would return EEXIST.
    #[error("a doorbell for {datamatch} at the same address takes some of these writes")]
    #[non_exhaustive]
    Wildcard {
        /// What the other one takes.
        datamatch: Datamatch,
    },

    /// Another doorbell starts at another address and shares bytes with this one. KVM accepts both.
    /// If one lies within the other, its bus finds one of the two or neither, depending on what
    /// else is registered.
    #[error("it overlaps the doorbell at {address} for {datamatch}, and one may hide the other")]
    #[non_exhaustive]
    Overlap {
        /// Where the other one starts.
        address: IoAddress,
        /// Which writes it takes.
        datamatch: Datamatch,
    },

    /// One of the two takes any write and begins where the other one ends. KVM accepts both. Its
    /// bus then misses one of them, depending on the order of registration.
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

    /// A device in the kernel has its registers there. KVM would accept the doorbell. It would then
    /// take the device's writes, or never ring.
    #[error("it lies in the registers of {0}")]
    Device(Window),
}

impl Conflict {
    /// The conflict of a place that is wanted with one that is there, if any.
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
