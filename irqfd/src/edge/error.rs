// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`IrqFdError`]: why a notifier is not bound to a GSI, or not unbound.

use std::io;

use irq_routing::Gsi;
use notify_core::{Rejected, Retired, SysError, Vm};

/// Why a notifier was not bound to a GSI, or not unbound. Nothing has changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IrqFdError {
    /// No notifier was given, and none could be created.
    #[error("cannot create the notifier of GSI {gsi}: {cause}")]
    #[non_exhaustive]
    Notifier {
        /// The GSI.
        gsi: Gsi,
        /// Why.
        cause: notify_core::Error,
    },

    /// The GSI has no route. KVM would take the signals and lose them.
    #[error("cannot bind a notifier to GSI {gsi}: {cause}")]
    #[non_exhaustive]
    Route {
        /// The GSI.
        gsi: Gsi,
        /// Why.
        cause: Box<irq_routing::Error>,
    },

    /// The notifier is a semaphore. KVM would wake once for each write, whatever its value, and
    /// leave the rest in the counter.
    #[error(
        "cannot bind a notifier to GSI {gsi}: it is in semaphore mode; create it without \
         EFD_SEMAPHORE"
    )]
    #[non_exhaustive]
    Semaphore {
        /// The GSI.
        gsi: Gsi,
    },

    /// The notifier, or a duplicate of it, is bound to a GSI already: of this VM, or from Linux
    /// 6.17 on of any. (Earlier kernels take one eventfd in two VMs, and only one of them gets the
    /// signals.)
    #[error(
        "cannot bind a notifier to GSI {gsi}: the notifier is bound to a GSI already; deassign it \
         there first: {cause}"
    )]
    #[non_exhaustive]
    AlreadyBound {
        /// The GSI.
        gsi: Gsi,
        /// What KVM returned.
        cause: SysError,
    },

    /// The VM has no interrupt controller in the kernel.
    #[error(
        "cannot bind a notifier to GSI {gsi}: the VM has no interrupt controller in the kernel; \
         create it first: {cause}"
    )]
    #[non_exhaustive]
    NoIrqChip {
        /// The GSI.
        gsi: Gsi,
        /// What KVM returned.
        cause: SysError,
    },

    /// The interrupt controller was created and is not initialised yet (arm64). The same succeeds
    /// later.
    #[error(
        "cannot bind a notifier to GSI {gsi}: the interrupt controller is not initialised yet; \
         initialise it and try again: {cause}"
    )]
    #[non_exhaustive]
    NotReady {
        /// The GSI.
        gsi: Gsi,
        /// What KVM returned.
        cause: SysError,
    },

    /// The VM is being closed ([`Vm::retire`](notify_core::Vm::retire)).
    #[error("cannot change the irqfd of GSI {gsi}: {}", Retired)]
    #[non_exhaustive]
    Retired {
        /// The GSI.
        gsi: Gsi,
    },

    /// KVM or the port refused the irqfd for another reason.
    #[error("cannot bind a notifier to GSI {gsi}: {cause}")]
    #[non_exhaustive]
    Refused {
        /// The GSI.
        gsi: Gsi,
        /// What it returned.
        cause: SysError,
    },

    /// KVM or the port refused to unbind the notifier, which is still bound, as far as is known.
    #[error("cannot unbind a notifier from GSI {gsi}: {cause}")]
    #[non_exhaustive]
    Deassign {
        /// The GSI.
        gsi: Gsi,
        /// What it returned.
        cause: SysError,
    },

    /// The VM panicked while the table's translation let a message through again.
    #[error("the VM panicked while a notifier was bound to GSI {gsi}")]
    #[non_exhaustive]
    Panicked {
        /// The GSI.
        gsi: Gsi,
    },
}

impl IrqFdError {
    /// Returns the errno, if the cause is a system call.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::Notifier { cause, .. } => cause.raw_os_error(),
            Self::Route { cause, .. } => cause.raw_os_error(),
            Self::AlreadyBound { cause, .. }
            | Self::NoIrqChip { cause, .. }
            | Self::NotReady { cause, .. }
            | Self::Refused { cause, .. }
            | Self::Deassign { cause, .. } => cause.raw_os_error(),
            Self::Semaphore { .. } | Self::Retired { .. } | Self::Panicked { .. } => None,
        }
    }

    /// Whether the same may succeed later, though nothing is changed.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Refused { cause, .. } => is_shortage(cause),
            Self::NotReady { .. } | Self::Panicked { .. } => true,
            _ => false,
        }
    }

    /// What KVM returned for a binding, with as much of the cause as can be found out.
    pub(crate) fn refused(vm: &dyn Vm, gsi: Gsi, error: io::Error) -> Self {
        if Retired::caused(&error) {
            return Self::Retired { gsi };
        }
        let kind = error.kind();
        let cause = SysError::from(error);
        match kind {
            // EBUSY. KVM returns no other error of this kind.
            io::ErrorKind::ResourceBusy => Self::AlreadyBound { gsi, cause },
            // arm64, between the creation of the controller and its initialisation.
            io::ErrorKind::WouldBlock => Self::NotReady { gsi, cause },
            io::ErrorKind::InvalidInput if matches!(vm.platform(), Ok(None)) => {
                Self::NoIrqChip { gsi, cause }
            }
            _ => Self::Refused { gsi, cause },
        }
    }

    /// What KVM returned for an unbinding.
    pub(crate) fn not_unbound(gsi: Gsi, error: io::Error) -> Self {
        if Retired::caused(&error) {
            return Self::Retired { gsi };
        }
        let cause = SysError::from(error);
        Self::Deassign { gsi, cause }
    }
}

/// Whether the kernel was short of a resource, or was interrupted.
fn is_shortage(cause: &SysError) -> bool {
    matches!(
        cause.raw_os_error(),
        Some(
            libc::ENOMEM | libc::EAGAIN | libc::EINTR | libc::EMFILE | libc::ENFILE | libc::ENOSPC
        )
    )
}

impl<T> From<Rejected<T, IrqFdError>> for IrqFdError {
    fn from(rejected: Rejected<T, IrqFdError>) -> Self {
        rejected.error
    }
}
