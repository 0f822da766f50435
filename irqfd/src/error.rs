// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Why an interrupt cannot be bound.

use std::io;

use irq_routing::Gsi;
use notify_core::Retired;

use crate::Rejected;

/// Why an operation on an irqfd failed. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No notifier was given, and none could be created.
    #[error("cannot create the notifier of GSI {gsi}")]
    Notifier {
        /// The GSI.
        gsi: Gsi,
        /// Why.
        source: notify_core::Error,
    },

    /// The GSI leads nowhere; KVM would take the signals and lose them.
    #[error("cannot bind a notifier to GSI {gsi}")]
    Route {
        /// The GSI.
        gsi: Gsi,
        /// Why.
        source: irq_routing::Error,
    },

    /// The notifier is a semaphore; KVM would wake once for each write, whatever its value, and
    /// leave the rest in the counter.
    #[error("cannot bind a notifier in semaphore mode to GSI {gsi}")]
    Semaphore {
        /// The GSI.
        gsi: Gsi,
    },

    /// The notifier, or a duplicate of it, is bound to a GSI already: of this machine, or from Linux
    /// 6.17 on of any. (Earlier kernels take one eventfd in two machines, and only one of them gets
    /// the signals.)
    #[error("cannot bind a notifier to GSI {gsi}: it is bound already")]
    AlreadyBound {
        /// The GSI.
        gsi: Gsi,
        /// What the kernel said.
        source: io::Error,
    },

    /// The machine has no interrupt controller in the kernel, or not yet.
    #[error(
        "cannot bind a notifier to GSI {gsi}: the machine has no interrupt controller in the kernel"
    )]
    NoIrqChip {
        /// The GSI.
        gsi: Gsi,
        /// What the kernel said.
        source: io::Error,
    },

    /// The machine is being closed.
    #[error("cannot bind a notifier to GSI {gsi}")]
    Retired {
        /// The GSI.
        gsi: Gsi,
        /// Why.
        source: Retired,
    },

    /// The machine refused the irqfd.
    #[error("cannot bind a notifier to GSI {gsi}")]
    Assign {
        /// The GSI.
        gsi: Gsi,
        /// What the kernel said.
        source: io::Error,
    },

    /// The machine did not let go of the irqfd.
    #[error("cannot take the notifier off GSI {gsi}")]
    Deassign {
        /// The GSI.
        gsi: Gsi,
        /// What the kernel said.
        source: io::Error,
    },
}

impl<T> From<Rejected<T>> for Error {
    fn from(rejected: Rejected<T>) -> Self {
        rejected.error
    }
}
