// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`LayoutError`]: which rule a device's doorbells break.

use crate::IoAddress;

/// Why a device cannot have doorbells where its registers place them.
///
/// A layout is checked without a system call, so there is no errno.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// The BAR or the device is not aligned to the size of a kick.
    #[error("a device or BAR at {base} is not aligned to the {bytes} bytes of a kick")]
    #[non_exhaustive]
    MisalignedBase {
        /// Where it begins.
        base: IoAddress,
        /// How many bytes a kick has.
        bytes: u32,
    },

    /// The offset of the notify capability is not aligned to the size of a kick.
    #[error("cap.offset is {offset:#x}, which is not aligned to the {bytes} bytes of a kick")]
    #[non_exhaustive]
    MisalignedOffset {
        /// The capability's offset, in bytes.
        offset: u32,
        /// How many bytes a kick has.
        bytes: u32,
    },

    /// The multiplier is neither 0 nor a power of two of at least the size of a kick.
    #[error(
        "notify_off_multiplier is {multiplier}: it must be 0, or a power of two that is at least \
         {bytes}"
    )]
    #[non_exhaustive]
    Multiplier {
        /// The capability's multiplier.
        multiplier: u32,
        /// How many bytes a kick has.
        bytes: u32,
    },

    /// The notify capability is too short for one kick.
    #[error("cap.length is {length}: it must be at least {bytes}, which a kick has")]
    #[non_exhaustive]
    TooShort {
        /// The capability's length, in bytes.
        length: u32,
        /// How many bytes a kick has.
        bytes: u32,
    },

    /// The notify capability extends beyond its BAR.
    #[error(
        "cap.offset {offset:#x} and cap.length {length:#x} extend beyond a BAR of {bar_size:#x} \
         bytes"
    )]
    #[non_exhaustive]
    OutsideBar {
        /// The capability's offset, in bytes.
        offset: u32,
        /// The capability's length, in bytes.
        length: u32,
        /// The size of the BAR, in bytes.
        bar_size: u64,
    },

    /// A queue's doorbell lies outside the notify region.
    #[error(
        "queue {queue} has its doorbell {offset:#x} bytes into a notify region of {length:#x} bytes"
    )]
    #[non_exhaustive]
    OutsideRegion {
        /// The queue's index.
        queue: u16,
        /// `queue_notify_off` * `notify_off_multiplier`, in bytes.
        offset: u64,
        /// The capability's length, in bytes.
        length: u32,
    },

    /// The caller names a queue twice.
    #[error("queue {queue} is named twice")]
    #[non_exhaustive]
    NamedTwice {
        /// The queue's index.
        queue: u16,
    },

    /// Two queues have the same address and the same value.
    #[error("queues {queue} and {other} are kicked at one address by one value")]
    #[non_exhaustive]
    Overlap {
        /// The index of the later one.
        queue: u16,
        /// The index of the earlier one.
        other: u16,
    },

    /// Several queues share an address, and their values cannot be known in advance.
    #[error(
        "with VIRTIO_F_NOTIFICATION_DATA KVM cannot distinguish several queues at one address: \
         give each its own, do not offer the feature, or handle the exits"
    )]
    Indistinct,

    /// The device or BAR extends beyond its address space.
    #[error("a device or BAR at {base} extends beyond the guest's address space")]
    #[non_exhaustive]
    AddressSpace {
        /// Where it begins.
        base: IoAddress,
    },
}
