// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What a history consists of.

use irq_routing::{IrqChip, MsiMessage, Pin, Pins, Route};

/// An edit of the transaction that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edit {
    /// Of the lease with this index among all that were taken.
    Route(usize, Target),
    Unroute(usize),
    /// Of this GSI.
    Wire(u32),
    Unwire(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Message(u32),
    /// Two pins, which have two entries.
    Pins,
}

impl Target {
    pub(crate) fn route(self) -> Route {
        match self {
            Self::Message(data) => Route::Msi(MsiMessage::new(0xfee0_0000, data)),
            Self::Pins => {
                let chips = [IrqChip::PicMaster, IrqChip::IoApic];
                let pins = chips.map(|chip| Pin::new(chip, 5).unwrap());
                Route::Pins(Pins::new(pins).unwrap())
            }
        }
    }
}

/// When the transaction is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Commit {
    /// Not yet: with a later edit, or at the end.
    Later,
    /// At once, and the kernel takes the table.
    Taken,
    /// At once, and the kernel refuses the table (EINVAL). The transaction is kept.
    RefusedAndKept,
    /// The same (ENOMEM), and the transaction is dropped.
    RefusedAndDropped,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Stage(Edit, Commit),
    Lease,
    LeaseExact(u32),
    /// Drops the lease with this index, parked or not.
    Release(usize),
    Park(usize),
    Unpark(usize),
    /// Whether the kernel refuses the table.
    Flush(bool),
    Recommit(bool),
}

/// The result of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    Refused,
    NotLeased,
    GsiInUse,
    TableFull,
    Exhausted,
    /// A parked lease was taken back.
    TakenBack,
}
