// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Why an interrupt cannot be bound or injected.

use std::io;
use std::sync::Arc;

use irq_routing::{Gsi, MsiMessage};
use notify_core::Retired;

use crate::{NoResample, Rejected};

/// Why an operation on an interrupt failed. Unless the operation says otherwise nothing has changed
/// then.
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

    /// The notifier, or a duplicate of it, is bound to a GSI already: of this machine, or from
    /// Linux 6.17 on of any. (Earlier kernels take one eventfd in two machines, and only one of
    /// them gets the signals.)
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

    /// The interrupt controller was created and is not initialised yet (arm64): the same succeeds
    /// later.
    #[error("cannot bind a notifier to GSI {gsi}: the interrupt controller is not initialised yet")]
    IrqChipNotReady {
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

    /// Nobody would tell of the ends of a line's interrupts (EOI), which a device waits for.
    #[error("nobody tells of the EOIs of GSI {gsi}")]
    NoResample {
        /// The GSI.
        gsi: Gsi,
        /// Why.
        #[source]
        reason: NoResample,
    },

    /// The GSI has a driver already, or shares a pin with another one.
    #[error("cannot drive GSI {gsi}")]
    Drive {
        /// The GSI.
        gsi: Gsi,
        /// Why.
        source: irq_routing::Error,
    },

    /// The interrupt controllers of arm64 and riscv64 keep one level for a line, the one that was
    /// set last: devices of the VMM, which set it, and exported ones, which trigger, would take
    /// each other's away; and so would an EOI from a device of the VMM that wants to be told of it.
    #[error(
        "GSI {gsi} has one level for all: its devices are all exported, or all the VMM's and not told of EOIs"
    )]
    OneSource {
        /// The GSI.
        gsi: Gsi,
    },

    /// The level of a line cannot be changed.
    #[error("cannot set the level of line {line}")]
    SetLevel {
        /// The GSI, or the pin of the VMM's own controller.
        line: u32,
        /// What the kernel said, or the controller.
        source: io::Error,
    },

    /// The GSI is routed to a pin in the kernel, and the port cannot set its level: its
    /// [`Vm::irq_line_status`](notify_core::Vm::irq_line_status) returns `Unsupported`. An irqfd cannot
    /// take its place: it makes edges, and a resampling one raises the pin until the next EOI.
    ///
    /// Three ways are left: an [exported](crate::LevelIrqBuilder::exported) device, where the port
    /// takes resampling irqfds; an IOAPIC in user space, whose GSIs have messages; and a
    /// [`Controller`](crate::Controller) of the VMM's own, if the hypervisor has a call to set the
    /// pin that the port does not forward.
    #[error(
        "the port cannot set the level of GSI {gsi}, which is routed to a pin: implement \
         `Vm::irq_line_status`, export the device, or route the GSI to a message"
    )]
    NoLevel {
        /// The GSI.
        gsi: Gsi,
        /// What the port returned.
        source: io::Error,
    },

    /// A notifier of a device on a line cannot be created, or used.
    #[error("a notifier of line {line} fails")]
    LineNotifier {
        /// The GSI, or the pin of the VMM's own controller.
        line: u32,
        /// Why.
        source: notify_core::Error,
    },

    /// The trigger is a semaphore; see [`Semaphore`](Self::Semaphore).
    #[error("cannot trigger line {line} by a notifier in semaphore mode")]
    LineSemaphore {
        /// The GSI, or the pin of the VMM's own controller.
        line: u32,
    },

    /// One notifier is to be both: every EOI would raise the line again, for ever.
    #[error("a device on line {line} whose trigger is its resample notifier")]
    TriggersItself {
        /// The GSI, or the pin of the VMM's own controller.
        line: u32,
    },

    /// Only the line of a GSI with a message has a redirection entry in user space.
    #[error("line {line} has no message that could be redirected")]
    NoMessage {
        /// The GSI, or the pin of the VMM's own controller.
        line: u32,
    },

    /// The message of a redirection entry cannot be committed.
    #[error("cannot redirect GSI {gsi}")]
    Redirect {
        /// The GSI.
        gsi: Gsi,
        /// Why.
        source: irq_routing::Error,
    },

    /// The notifier that was to be exported cannot be created.
    #[error("cannot create the notifier of a vector")]
    Export {
        /// Why.
        source: notify_core::Error,
    },

    /// The notifier that was to be exported is a semaphore; see [`Semaphore`](Self::Semaphore).
    #[error("cannot export a notifier in semaphore mode")]
    ExportSemaphore,

    /// A queue or a lease is of another routing table than the vector.
    #[error("the queue or the lease is of another routing table than the vector")]
    OtherTable,

    /// The device has no vector of this number.
    #[error("the device has no vector {number}")]
    NoVector {
        /// The number.
        number: u16,
    },

    /// A snapshot of what is not paused. KVM may be about to inject an interrupt that would be in
    /// neither the snapshot nor the local APIC.
    #[error("the device or line is not paused: call `pause` before `snapshot`")]
    NotPaused,

    /// The vector is armed on its GSI, or about to be.
    #[error("the vector is armed: mask or pause it before it is given another GSI")]
    InUse,

    /// The notifier of an exported vector takes no signal.
    #[error("cannot signal the notifier of a vector")]
    Notify {
        /// Why.
        source: notify_core::Error,
    },

    /// The kernel refuses the message.
    #[error("cannot send {message}")]
    Signal {
        /// The message.
        message: MsiMessage,
        /// What the kernel said.
        source: io::Error,
    },

    /// Nothing is in the kernel that could take messages or lines. The VMM has its own interrupt
    /// controllers then, and injects with [`inject::vcpu`](crate::inject::vcpu()).
    #[error("cannot inject: the machine has no interrupt controller in the kernel")]
    NoController {
        /// What the kernel said.
        source: io::Error,
    },

    /// The kernel does not let the line be driven.
    #[error("cannot drive the line of GSI {gsi}")]
    Line {
        /// The GSI.
        gsi: Gsi,
        /// What the kernel said.
        source: io::Error,
    },

    /// On arm64 and riscv64 only pins have a level; a message is sent with
    /// [`inject::message`](crate::inject::message()).
    #[error("cannot drive the line of GSI {gsi}: it leads to no pin")]
    NoPin {
        /// The GSI.
        gsi: Gsi,
    },

    /// The PICs are in the kernel, and inject by themselves.
    #[error("cannot inject vector {vector:#04x} into a vCPU: the PICs are in the kernel")]
    PicInKernel {
        /// The vector.
        vector: u8,
        /// What the kernel said.
        source: io::Error,
    },

    /// The kernel does not take a vector for the vCPU.
    #[error("cannot inject vector {vector:#04x} into a vCPU")]
    Interrupt {
        /// The vector.
        vector: u8,
        /// What the kernel said.
        source: io::Error,
    },

    /// No GSI is free for the vector.
    #[error("no GSI for a vector")]
    Lease {
        /// Why.
        source: irq_routing::Error,
    },

    /// The vector has no GSI to be armed on; unmasking it takes one.
    #[error("the vector has no GSI")]
    NoLease,

    /// The vector's route cannot be committed.
    #[error("cannot route a vector")]
    Commit {
        /// Why. It is shared by the vectors that one commit failed for.
        source: Arc<irq_routing::Error>,
    },

    /// The vector is dead, for this reason.
    #[error("the vector cannot be armed")]
    Dead(#[source] Arc<Error>),

    /// A table of vectors has 1 to 2048 entries (PCI Local Bus 3.0, 6.8.2.3).
    #[error("an MSI-X table of {vectors} vectors")]
    TableSize {
        /// How many it was to have.
        vectors: usize,
    },

    /// MSI has 1, 2, 4, 8, 16 or 32 vectors (PCI Local Bus 3.0, 6.8.1.3).
    #[error("an MSI capability of {vectors} vectors")]
    MsiVectors {
        /// How many it was to have.
        vectors: usize,
    },

    /// The machine or the table's translation panicked while the vector's route was committed.
    #[error("arming a vector was interrupted")]
    Abandoned,

    /// The queue's file descriptors cannot be created.
    #[error("cannot create a queue of vectors")]
    Queue {
        /// Why.
        source: io::Error,
    },
}

impl Error {
    /// Whether the same may succeed later, though nothing is changed.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            // The table is full of routes that others need, as `Lease` is of GSIs.
            Self::Commit { source } => {
                let full = matches!(**source, irq_routing::Error::TableFull { .. });
                full || source.is_transient()
            }
            Self::Assign { source, .. } => is_transient(source),
            Self::IrqChipNotReady { .. } | Self::Lease { .. } | Self::Abandoned => true,
            _ => false,
        }
    }
}

/// The kernel was short of something, or was interrupted.
fn is_transient(source: &io::Error) -> bool {
    matches!(
        source.raw_os_error(),
        Some(
            libc::ENOMEM | libc::EAGAIN | libc::EINTR | libc::EMFILE | libc::ENFILE | libc::ENOSPC
        )
    )
}

impl<T> From<Rejected<T>> for Error {
    fn from(rejected: Rejected<T>) -> Self {
        rejected.error
    }
}
