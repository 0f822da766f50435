// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`LevelError`]: why an operation on a line, or on a device's share of it, fails;
//! [`NoResample`]: why no EOI of a line would be reported.

use std::io;

use irq_routing::Gsi;
use notify_core::{Rejected, Retired, SysError};

use crate::IrqFdError;

/// Why an operation on a level-triggered line, or on a device on it, failed. Unless the operation's
/// documentation says otherwise nothing has changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LevelError {
    /// No EOI of the line would be reported, and a device waits for EOIs.
    #[error("no EOI of GSI {gsi} is reported: {reason}")]
    #[non_exhaustive]
    NoResample {
        /// The GSI.
        gsi: Gsi,
        /// Why.
        reason: NoResample,
    },

    /// The GSI is driven already, or shares a pin with another one.
    #[error("cannot take control of GSI {gsi}: {cause}")]
    #[non_exhaustive]
    Taken {
        /// The GSI.
        gsi: Gsi,
        /// Why.
        cause: Box<irq_routing::Error>,
    },

    /// The GSI has one level for all its devices (arm64, riscv64).
    ///
    /// The interrupt controller keeps the level that was set last. Devices of the VMM, which set
    /// it, and exported ones, which trigger, would overwrite each other's level. An EOI would
    /// overwrite the level of a device of the VMM that waits for EOIs.
    #[error(
        "GSI {gsi} has one level for all its devices; let all of them be exported, or all be the \
         VMM's and not notified of EOIs"
    )]
    #[non_exhaustive]
    OneSource {
        /// The GSI.
        gsi: Gsi,
    },

    /// The [`EoiExits`](crate::EoiExits) have lines of another VM.
    #[error("the EoiExits are of another VM than GSI {gsi}; create one for each VM")]
    #[non_exhaustive]
    OtherVm {
        /// The GSI.
        gsi: Gsi,
    },

    /// KVM, the port or the VMM's own controller refused the level of a line.
    #[error("cannot set the level of line {line}: {cause}")]
    #[non_exhaustive]
    LevelRefused {
        /// The GSI, or the pin of the VMM's own controller.
        line: u32,
        /// What it returned.
        cause: SysError,
    },

    /// The VM is being closed ([`Vm::retire`](notify_core::Vm::retire)).
    #[error("cannot set the level of line {line}: {}", Retired)]
    #[non_exhaustive]
    Retired {
        /// The GSI, or the pin of the VMM's own controller.
        line: u32,
    },

    /// The GSI is routed to a pin in the kernel, and the port cannot set its level: its
    /// [`Vm::irq_line_status`](notify_core::Vm::irq_line_status) returns `Unsupported`. An irqfd
    /// cannot take its place: it makes edges, and a resampling one raises the pin until the next
    /// EOI.
    ///
    /// Three ways are left:
    ///
    /// - an [exported](crate::LevelLine::join_exported) device, where the port takes resampling
    ///   irqfds;
    /// - an IOAPIC in user space, whose GSIs have messages;
    /// - a [`Controller`](crate::Controller) of the VMM's own, if the hypervisor has a call to set
    ///   the pin that the port does not forward.
    #[error(
        "the port cannot set the level of GSI {gsi}, which is routed to a pin; implement \
         `Vm::irq_line_status`, export the device, or route the GSI to a message: {cause}"
    )]
    #[non_exhaustive]
    NoIrqLine {
        /// The GSI.
        gsi: Gsi,
        /// What the port returned.
        cause: SysError,
    },

    /// On arm64 and riscv64 only pins have a level, and the GSI was routed to a message since.
    #[error("cannot set the level of GSI {gsi}: it is not routed to a pin; route it to one")]
    #[non_exhaustive]
    NoPin {
        /// The GSI.
        gsi: Gsi,
    },

    /// A notifier of a device on the line cannot be created, read or signalled.
    #[error("a notifier of line {line}: {cause}")]
    #[non_exhaustive]
    Notifier {
        /// The GSI, or the pin of the VMM's own controller.
        line: u32,
        /// Why.
        cause: notify_core::Error,
    },

    /// The trigger is a semaphore; see
    /// [`IrqFdError::Semaphore`](crate::IrqFdError::Semaphore).
    #[error(
        "cannot trigger line {line} by a notifier in semaphore mode; create it without \
         EFD_SEMAPHORE"
    )]
    #[non_exhaustive]
    Semaphore {
        /// The GSI, or the pin of the VMM's own controller.
        line: u32,
    },

    /// One notifier is to be both: every EOI would raise the line again, for ever.
    #[error(
        "the trigger of a device on line {line} is its resample notifier too; use two notifiers"
    )]
    #[non_exhaustive]
    TriggersItself {
        /// The GSI, or the pin of the VMM's own controller.
        line: u32,
    },

    /// Only the line of a GSI with a message has a redirection entry in user space.
    #[error("line {line} has no message, so it has no redirection entry that could be written")]
    #[non_exhaustive]
    NoMessage {
        /// The GSI, or the pin of the VMM's own controller.
        line: u32,
    },

    /// The message of a redirection entry cannot be committed.
    #[error("cannot redirect GSI {gsi}: {cause}")]
    #[non_exhaustive]
    Route {
        /// The GSI.
        gsi: Gsi,
        /// Why.
        cause: Box<irq_routing::Error>,
    },

    /// An irqfd of the line cannot be armed, or not disarmed.
    #[error("{0}")]
    Arm(IrqFdError),

    /// A snapshot of a line that is not paused. KVM may be about to inject an interrupt that would
    /// be in neither the snapshot nor the interrupt controllers.
    #[error("the line is not paused; call `pause` before `snapshot`")]
    NotPaused,
}

impl LevelError {
    /// Returns the errno, if the cause is a system call.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::NoResample { reason, .. } => reason.raw_os_error(),
            Self::Taken { cause, .. } | Self::Route { cause, .. } => cause.raw_os_error(),
            Self::LevelRefused { cause, .. } | Self::NoIrqLine { cause, .. } => {
                cause.raw_os_error()
            }
            Self::Notifier { cause, .. } => cause.raw_os_error(),
            Self::Arm(error) => error.raw_os_error(),
            _ => None,
        }
    }

    /// What KVM, the port or the VMM's own controller returned for a level.
    pub(super) fn level_refused(line: u32, error: io::Error) -> Self {
        if Retired::caused(&error) {
            return Self::Retired { line };
        }
        let cause = SysError::from(error);
        Self::LevelRefused { line, cause }
    }

    /// Whether the VM is being closed.
    pub(super) fn is_retired(&self) -> bool {
        matches!(
            self,
            Self::Retired { .. } | Self::Arm(IrqFdError::Retired { .. })
        )
    }
}

impl From<IrqFdError> for LevelError {
    fn from(error: IrqFdError) -> Self {
        Self::Arm(error)
    }
}

impl<T> From<Rejected<T, LevelError>> for LevelError {
    fn from(rejected: Rejected<T, LevelError>) -> Self {
        rejected.error
    }
}

/// Why the EOIs of a line cannot be reported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoResample {
    /// A split irqchip. Its EOIs come as exits, for which the line needs
    /// [`EoiExits`](crate::EoiExits), or never
    /// ([`without_eois`](crate::LevelLineBuilder::without_eois)).
    #[error(
        "KVM refuses to resample (a split irqchip does); give the line `EoiExits`, or build it \
         `without_eois` if none are reported: {cause}"
    )]
    #[non_exhaustive]
    Refused {
        /// What KVM returned.
        cause: SysError,
    },

    /// The line was built [`without_eois`](crate::LevelLineBuilder::without_eois), and the device
    /// waits for them.
    #[error("the line was built `without_eois`; join it with a device that does not wait for them")]
    WithoutEois,

    /// The port has no resampling irqfd. The GSI is routed to a pin in the kernel, so the VMM sees
    /// no EOI either.
    #[error(
        "the port has no resampling irqfd; join the line with a device that asserts by itself: \
         {cause}"
    )]
    #[non_exhaustive]
    Unsupported {
        /// What the port returned.
        cause: SysError,
    },

    /// The kernel has interrupt controllers, and the GSI is routed to none of their pins.
    #[error("it is routed to no pin, and only EOIs of pins are reported; route it to a pin")]
    NoPin,

    /// A split irqchip reports the EOIs of its first GSIs alone, as many as it was created with.
    #[error(
        "only those of the first {reserved} GSIs come as exits; lease one of them \
         (RoutingTable::lease_exact)"
    )]
    #[non_exhaustive]
    NotReserved {
        /// How many the table takes it for; see
        /// [`RoutingTableBuilder::reserved_gsis`](irq_routing::RoutingTableBuilder::reserved_gsis).
        reserved: u32,
    },

    /// riscv64: the kernel takes a resampling irqfd, and never signals it.
    #[error(
        "KVM does not notice them on riscv64; join the line with a device that asserts by itself"
    )]
    NeverReported,

    /// The kernel lacks KVM_CAP_IRQFD_RESAMPLE.
    #[error(
        "the kernel has no resampling irqfds (KVM_CAP_IRQFD_RESAMPLE); join the line with a device \
         that asserts by itself"
    )]
    NoExtension,
}

impl NoResample {
    fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::Refused { cause } | Self::Unsupported { cause } => cause.raw_os_error(),
            _ => None,
        }
    }
}
