// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`RestoreError`]: why a saved state cannot be restored.

use std::fmt;

use crate::LevelError;
use crate::hex::Hex;

/// Why a saved state cannot be restored, or converted from or to registers.
///
/// The table, capability or line has not changed.
/// [`msix::Table::restore`](crate::msix::Table::restore),
/// [`msi::Capability::restore`](crate::msi::Capability::restore) and
/// [`LevelLine::restore`](crate::LevelLine::restore) return it, and the conversions of
/// [`msix::Snapshot`](crate::msix::Snapshot) and [`msi::Snapshot`](crate::msi::Snapshot). The saved
/// state may come from an untrusted place: each rule that it can break has a variant.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The snapshot was written by a version whose form is not known.
    #[error(
        "the snapshot is of version {found}, and only {known} is known; read it with another \
         release"
    )]
    #[non_exhaustive]
    Version {
        /// The snapshot's version.
        found: u32,
        /// The version that this release reads.
        known: u32,
    },

    /// MSI-X: the snapshot is of a table with another number of vectors.
    #[error(
        "the snapshot has {found} vectors, and the table {wanted}; build the table with as many"
    )]
    #[non_exhaustive]
    Vectors {
        /// The number of the snapshot's vectors, or the one in Message Control.
        found: usize,
        /// The number of the table's vectors.
        wanted: usize,
    },

    /// MSI: the snapshot has another number of vectors, or addresses of another width, or only one
    /// of the two has mask bits or Extended Message Data. Or no device has so many vectors.
    #[error(
        "the snapshot is of a capability of another form; build the capability as the saved one \
         was built"
    )]
    Form,

    /// MSI: the snapshot grants a number of vectors that cannot be granted.
    #[error("the snapshot grants {granted} vectors, which a capability of {vectors} cannot")]
    #[non_exhaustive]
    Granted {
        /// How many vectors it grants.
        granted: u32,
        /// How many vectors the device is capable of.
        vectors: u32,
    },

    /// An address has bits set that are always zero.
    #[error("{} has the address {address:#x}, with bits set that are always zero", Owner(*vector))]
    #[non_exhaustive]
    Address {
        /// The entry of an MSI-X table; `None` for an MSI capability, which has one address.
        vector: Option<usize>,
        /// The address.
        address: u64,
    },

    /// MSI: data is wider than 16 bits where Extended Message Data is missing, or what open vectors
    /// send is, where it is not enabled.
    #[error("the snapshot has the data {data:#x}, which is wider than 16 bits")]
    #[non_exhaustive]
    Data {
        /// The data.
        data: u32,
    },

    /// MSI: Extended Message Data is enabled, of which the device is not capable.
    #[error("the snapshot enables Extended Message Data, which the capability does not have")]
    ExtendedData,

    /// MSI: mask or pending bits of vectors that the device does not have, or mask bits where there
    /// are none.
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

    /// MSI-X: the pending bit array has a bit for a vector that the table does not have.
    #[error("the pending bit of vector {vector} is set, which the table does not have")]
    #[non_exhaustive]
    Pending {
        /// The vector's number.
        vector: usize,
    },

    /// MSI-X: the bytes of the table are not 1 to 2048 entries of 16 bytes.
    #[error("an MSI-X table has 1 to 2048 entries of 16 bytes, not {bytes} bytes")]
    #[non_exhaustive]
    Bytes {
        /// How many bytes there are.
        bytes: usize,
    },

    /// MSI: the capability has another number of bytes than its Message Control implies.
    #[error("the MSI capability has {found} bytes, and its Message Control implies {wanted}")]
    #[non_exhaustive]
    Length {
        /// How many bytes there are.
        found: usize,
        /// How many there should be; the fewest that are possible if Message Control is missing.
        wanted: usize,
    },

    /// MSI: the bytes are those of another capability.
    #[error("the capability has the ID {found:#04x}, and MSI has 0x05")]
    #[non_exhaustive]
    Id {
        /// The ID.
        found: u8,
    },

    /// MSI: a byte of the capability has bits set that are always zero, or a number of vectors that
    /// is not possible.
    #[error("the byte {found:#04x} at the offset {offset:#x} of the capability is not possible")]
    #[non_exhaustive]
    Reserved {
        /// Where the byte is, from the start of the capability.
        offset: usize,
        /// The byte.
        found: u8,
    },

    /// A line: the snapshot is of a line with another number of devices.
    #[error(
        "the snapshot is of a line with {found} devices, and this one has {wanted}; join as many"
    )]
    #[non_exhaustive]
    Devices {
        /// How many devices the snapshot's line had.
        found: usize,
        /// How many devices the line has.
        wanted: usize,
    },

    /// A line: only one of the snapshot and the line has a redirection entry.
    #[error(
        "the snapshot has a redirection entry: {found}; the line has one: {wanted}; build the line \
         as the saved one was built"
    )]
    #[non_exhaustive]
    Entry {
        /// Whether the snapshot has one.
        found: bool,
        /// Whether the line has one.
        wanted: bool,
    },

    /// A line: a device holds the line up in a way that is not possible on this line.
    ///
    /// Its trigger was taken by the VMM, and here the kernel takes triggers or the device has none.
    /// Or it asserts though it is exported (arm64).
    #[error(
        "device {device} of the snapshot holds the line up in a way that it cannot on this line; \
         join the devices in the same order and kinds"
    )]
    #[non_exhaustive]
    Level {
        /// Which device, in the order in which they joined.
        device: usize,
    },

    /// The line is not paused, and its new state cannot be sent.
    #[error("cannot send the restored state of a line that is not paused: {0}")]
    Line(LevelError),
}

impl RestoreError {
    /// Returns the errno, if the cause is a system call.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::Line(error) => error.raw_os_error(),
            _ => None,
        }
    }
}

impl From<LevelError> for RestoreError {
    fn from(error: LevelError) -> Self {
        Self::Line(error)
    }
}

/// What has an address: one of many vectors, or the one of a capability.
struct Owner(Option<usize>);

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(vector) => write!(f, "vector {vector}"),
            None => f.write_str("the snapshot"),
        }
    }
}

/// As if derived, with registers and addresses in hex.
impl fmt::Debug for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut variant = |name, fields: &[(&str, &dyn fmt::Debug)]| {
            let mut debug = f.debug_struct(name);
            for (name, value) in fields {
                debug.field(name, value);
            }
            debug.finish()
        };
        match self {
            Self::Version { found, known } => {
                variant("Version", &[("found", found), ("known", known)])
            }
            Self::Vectors { found, wanted } => {
                variant("Vectors", &[("found", found), ("wanted", wanted)])
            }
            Self::Form => variant("Form", &[]),
            Self::Granted { granted, vectors } => {
                variant("Granted", &[("granted", granted), ("vectors", vectors)])
            }
            Self::Address { vector, address } => {
                let address = Hex(*address);
                variant("Address", &[("vector", vector), ("address", &address)])
            }
            Self::Data { data } => variant("Data", &[("data", &Hex(*data))]),
            Self::ExtendedData => variant("ExtendedData", &[]),
            Self::Bits { masked, pending } => {
                let (masked, pending) = (Hex(*masked), Hex(*pending));
                variant("Bits", &[("masked", &masked), ("pending", &pending)])
            }
            Self::Pending { vector } => variant("Pending", &[("vector", vector)]),
            Self::Bytes { bytes } => variant("Bytes", &[("bytes", bytes)]),
            Self::Length { found, wanted } => {
                variant("Length", &[("found", found), ("wanted", wanted)])
            }
            Self::Id { found } => variant("Id", &[("found", &Hex(*found))]),
            Self::Reserved { offset, found } => {
                let (offset, found) = (Hex(*offset), Hex(*found));
                variant("Reserved", &[("offset", &offset), ("found", &found)])
            }
            Self::Devices { found, wanted } => {
                variant("Devices", &[("found", found), ("wanted", wanted)])
            }
            Self::Entry { found, wanted } => {
                variant("Entry", &[("found", found), ("wanted", wanted)])
            }
            Self::Level { device } => variant("Level", &[("device", device)]),
            Self::Line(error) => f.debug_tuple("Line").field(error).finish(),
        }
    }
}
