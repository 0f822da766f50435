// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`RestoreError`]: what a snapshot, or registers, cannot be.

use super::snapshot::VERSION;

/// Why a snapshot was not restored, or why [`Registers`](super::Registers) are no snapshot. The
/// capability is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// It was written by a version whose form is not known.
    #[error(
        "the snapshot is of version {found}, and only {VERSION} is known; read it with another \
            release"
    )]
    #[non_exhaustive]
    Version {
        /// The snapshot's version.
        found: u32,
    },

    /// It is of another number of vectors, of addresses of another width, or only one of the two
    /// has mask bits or Extended Message Data. Or no device has so many vectors.
    #[error(
        "the snapshot is of a capability of another form; build the capability as the saved one \
            was built"
    )]
    Form,

    /// It grants a number of vectors that cannot be granted.
    #[error("the snapshot grants {granted} vectors, which a capability of {vectors} cannot")]
    #[non_exhaustive]
    Granted {
        /// How many it grants.
        granted: u32,
        /// How many the device is capable of.
        vectors: u32,
    },

    /// An address has bits set that are always zero.
    #[error("the snapshot has the address {address:#x}, with bits set that are always zero")]
    #[non_exhaustive]
    Address {
        /// The address.
        address: u64,
    },

    /// Data is wider than 16 bits where Extended Message Data is missing, or what open vectors send
    /// is, where it is not enabled.
    #[error("the snapshot has the data {data:#x}, which is wider than 16 bits")]
    #[non_exhaustive]
    Data {
        /// The data.
        data: u32,
    },

    /// Extended Message Data is enabled, of which the device is not capable.
    #[error("the snapshot enables Extended Message Data, which the capability does not have")]
    ExtendedData,

    /// Mask or pending bits of vectors that the device does not have, or mask bits where there are
    /// none.
    #[error(
        "the snapshot has the mask bits {masked:#x} and the pending bits {pending:#x}, some of \
            which the capability does not have"
    )]
    #[non_exhaustive]
    Bits {
        /// The mask bits.
        masked: u32,
        /// The pending bits.
        pending: u32,
    },

    /// The bytes of a capability are not as many as its Message Control says.
    #[error("the MSI capability has {found} bytes, and its Message Control says {wanted}")]
    #[non_exhaustive]
    Length {
        /// How many bytes there are.
        found: usize,
        /// How many there should be; the fewest that are possible if Message Control is missing.
        wanted: usize,
    },

    /// The bytes are those of another capability.
    #[error("the capability has the ID {found:#04x}, and MSI has 0x05")]
    #[non_exhaustive]
    Id {
        /// The ID.
        found: u8,
    },

    /// A byte of a capability has bits set that are always zero, or a number of vectors that is
    /// not possible.
    #[error("the byte {found:#04x} at the offset {offset:#x} of the capability is not possible")]
    #[non_exhaustive]
    Reserved {
        /// Where the byte is, from the start of the capability.
        offset: usize,
        /// The byte.
        found: u8,
    },
}
