// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`InjectError`]: why an interrupt was not injected.

use irq_routing::{Gsi, MsiMessage};
use notify_core::SysError;

/// Why an interrupt was not injected. Nothing has changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InjectError {
    /// The VM has no interrupt controller in the kernel that could take messages or lines. The VMM
    /// has its own interrupt controllers then, and injects with [`inject::vcpu`](super::vcpu()).
    #[error(
        "cannot inject: the VM has no interrupt controller in the kernel; create it, or inject \
         vectors with `inject::vcpu`: {cause}"
    )]
    #[non_exhaustive]
    NoIrqChip {
        /// What KVM returned.
        cause: SysError,
    },

    /// KVM or the port refuses the message, or the VM is being closed.
    #[error("cannot send {message}: {cause}")]
    #[non_exhaustive]
    MessageRefused {
        /// The message.
        message: MsiMessage,
        /// What it returned.
        cause: SysError,
    },

    /// KVM or the port refuses the level of the line, or the VM is being closed.
    #[error("cannot set the level of GSI {gsi}: {cause}")]
    #[non_exhaustive]
    LevelRefused {
        /// The GSI.
        gsi: Gsi,
        /// What it returned.
        cause: SysError,
    },

    /// The GSI is routed to a pin in the kernel, and the port cannot set its level; see
    /// [`LevelError::NoIrqLine`](crate::LevelError::NoIrqLine).
    #[error(
        "the port cannot set the level of GSI {gsi}, which is routed to a pin; implement \
         `Vm::irq_line_status`, or route the GSI to a message: {cause}"
    )]
    #[non_exhaustive]
    NoIrqLine {
        /// The GSI.
        gsi: Gsi,
        /// What the port returned.
        cause: SysError,
    },

    /// On arm64 and riscv64 only pins have a level. A message is sent with
    /// [`inject::message`](super::message()).
    #[error(
        "cannot set the level of GSI {gsi}: it is not routed to a pin; send a message with \
         `inject::message`"
    )]
    #[non_exhaustive]
    NoPin {
        /// The GSI.
        gsi: Gsi,
    },

    /// The PICs are in the kernel, and inject by themselves.
    #[error(
        "cannot inject vector {vector:#04x} into a vCPU: the PICs are in the kernel; set a line \
         with `inject::line`: {cause}"
    )]
    #[non_exhaustive]
    PicInKernel {
        /// The vector.
        vector: u8,
        /// What KVM returned.
        cause: SysError,
    },

    /// KVM or the port takes no vector for the vCPU.
    #[error("cannot inject vector {vector:#04x} into a vCPU: {cause}")]
    #[non_exhaustive]
    VectorRefused {
        /// The vector.
        vector: u8,
        /// What it returned.
        cause: SysError,
    },
}

impl InjectError {
    /// Returns the errno, if the cause is a system call.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::NoIrqChip { cause }
            | Self::MessageRefused { cause, .. }
            | Self::LevelRefused { cause, .. }
            | Self::NoIrqLine { cause, .. }
            | Self::PicInKernel { cause, .. }
            | Self::VectorRefused { cause, .. } => cause.raw_os_error(),
            Self::NoPin { .. } => None,
        }
    }
}
