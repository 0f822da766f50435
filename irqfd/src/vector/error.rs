// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`VectorError`]: why an operation on vectors fails, or why a vector cannot deliver.

use std::sync::Arc;

use irq_routing::MsiMessage;
use notify_core::{Rejected, SysError};

use crate::IrqFdError;

/// Why an operation on vectors or on their queue failed, or why a vector cannot deliver.
///
/// Nothing has changed then, unless the operation's documentation says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VectorError {
    /// No notifier could be created, or the vector's notifier, which another process shares, takes
    /// no signal.
    #[error("the notifier of a vector: {cause}")]
    #[non_exhaustive]
    Notifier {
        /// Why.
        cause: notify_core::Error,
    },

    /// The notifier that was to be exported is a semaphore; see
    /// [`IrqFdError::Semaphore`](crate::IrqFdError::Semaphore).
    #[error("cannot export a notifier in semaphore mode; create it without EFD_SEMAPHORE")]
    Semaphore,

    /// The queue or the lease is of another routing table than the vector.
    #[error(
        "the queue or the lease is of another routing table than the vector; use the same table \
         for all of a VM"
    )]
    OtherTable,

    /// The device has no vector of this number.
    #[error("the device has no vector {number}")]
    #[non_exhaustive]
    NoVector {
        /// The number.
        number: u16,
    },

    /// An MSI-X table has 1 to 2048 vectors (PCI Local Bus 3.0, 6.8.2.3).
    #[error("an MSI-X table cannot have {vectors} vectors; it has 1 to 2048")]
    #[non_exhaustive]
    TableSize {
        /// How many it was to have.
        vectors: usize,
    },

    /// An MSI capability has 1, 2, 4, 8, 16 or 32 vectors (PCI Local Bus 3.0, 6.8.1.3).
    #[error("an MSI capability cannot have {vectors} vectors; it has 1, 2, 4, 8, 16 or 32")]
    #[non_exhaustive]
    CapabilitySize {
        /// How many it was to have.
        vectors: usize,
    },

    /// A snapshot of a device that is not paused. KVM may be about to inject an interrupt that
    /// would be in neither the snapshot nor the local APIC.
    #[error("the device is not paused; call `pause` before `snapshot`")]
    NotPaused,

    /// The vector is armed on its GSI, is about to be armed, or is in a
    /// [`ResumeBatch`](crate::ResumeBatch).
    #[error("the vector is armed; mask or pause it before it is given another GSI")]
    InUse,

    /// KVM refuses the message that the guest has set.
    #[error("cannot send {message}: {cause}")]
    #[non_exhaustive]
    MessageRefused {
        /// The message.
        message: MsiMessage,
        /// What KVM returned.
        cause: SysError,
    },

    /// No GSI is free for the vector.
    #[error("no GSI for a vector: {cause}")]
    #[non_exhaustive]
    NoGsi {
        /// How many there are, and how many are leased.
        cause: Box<irq_routing::Error>,
    },

    /// The vector's route cannot be committed.
    #[error("cannot route a vector: {cause}")]
    #[non_exhaustive]
    Route {
        /// Why. It is shared by the vectors whose commit failed.
        cause: Arc<irq_routing::Error>,
    },

    /// The vector's irqfd cannot be armed, or cannot be exchanged for that of another notifier.
    #[error("{0}")]
    Arm(IrqFdError),

    /// The VM or the table's translation panicked while the vector was armed or opened.
    #[error("the VM or the translation panicked while a vector was armed; unmask it again")]
    Panicked,

    /// The descriptors of an [`ArmQueue`](crate::ArmQueue) cannot be created.
    #[error("cannot create the descriptors of a queue of vectors: {cause}")]
    #[non_exhaustive]
    Descriptors {
        /// What the kernel returned.
        cause: SysError,
    },
}

impl VectorError {
    /// Returns the errno, if the cause is a system call.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::Notifier { cause } => cause.raw_os_error(),
            Self::MessageRefused { cause, .. } | Self::Descriptors { cause } => {
                cause.raw_os_error()
            }
            Self::Route { cause } => cause.raw_os_error(),
            Self::Arm(error) => error.raw_os_error(),
            _ => None,
        }
    }

    /// Whether the same may succeed later, though nothing is changed.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            // The table is full of routes that others need, as `NoGsi` is of GSIs.
            Self::Route { cause } => {
                let full = matches!(**cause, irq_routing::Error::TableFull { .. });
                full || cause.is_transient()
            }
            Self::Arm(error) => error.is_transient(),
            Self::NoGsi { .. } | Self::Panicked => true,
            _ => false,
        }
    }
}

impl From<IrqFdError> for VectorError {
    fn from(error: IrqFdError) -> Self {
        Self::Arm(error)
    }
}

impl<T> From<Rejected<T, VectorError>> for VectorError {
    fn from(rejected: Rejected<T, VectorError>) -> Self {
        rejected.error
    }
}
