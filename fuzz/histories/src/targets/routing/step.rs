// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What a history is made of. Each number is taken modulo what there is.

use arbitrary::Arbitrary;

use super::armed::Manner;
use super::kernel::Fault;

/// One operation. Of two tables it concerns the one of its first number.
#[derive(Debug, Clone, Arbitrary)]
pub enum Step {
    /// Something that issues no ioctl.
    Act(bool, Act),
    /// Takes leases until so many are held: most histories need some.
    Fill(bool, u8),
    /// Takes a lease, routes it to a message, makes a line of it and registers what is armed there.
    Arm(bool, u8, Manner),
    /// Parks the leases of these bits.
    ParkSome(bool, u16),
    /// Drops a lease, takes its GSI again, and gives it the route that it had.
    Again(bool, u8),
    /// Stages edits, for a later commit.
    Stage(bool, Vec<Edit>),
    /// Stages an edit that stands for itself, for later commits.
    StageEach(bool, Item),
    /// What messages of a class are translated to from now on.
    Translate(u8, Rule),
    /// A request by itself, or the first of several.
    Round(bool, Ask, Vec<(u8, Fault)>),
    /// Edits in a transaction of their own, without a fault.
    Commit(bool, Edit, Vec<Edit>),
    /// Several callers.
    Crowd(bool, Crowd),
    /// Restores a snapshot.
    Restore(bool, u8, Vec<(u8, Fault)>),
    /// Signals a GSI: by an irqfd, or by its level.
    Signal(bool, u8, bool),
    /// Sends a message that is no route.
    Send(u8),
}

/// A request, and what comes while its first table is with the kernel.
#[derive(Debug, Clone, Arbitrary)]
pub struct Crowd {
    /// The request; a recommit, which always issues, if it is left out.
    pub first: Option<Ask>,
    /// One that waits for something else than its own request. Then there are no others.
    pub wait: Option<Wait>,
    /// Others.
    pub others: (Ask, Ask),
    /// More of them.
    pub more: Vec<Ask>,
    /// Before which table there are these acts.
    pub at: u8,
    /// What issues no ioctl.
    pub acts: Vec<Act>,
    /// What goes wrong at which table.
    pub faults: Vec<(u8, Fault)>,
}

/// Something that issues no ioctl.
#[derive(Debug, Clone, Arbitrary)]
pub enum Act {
    /// Takes any GSI.
    Lease,
    /// Takes this one.
    Exact(u8),
    /// Takes so many in a row.
    Block(u8),
    /// Takes one that a snapshot had.
    Claim(u8),
    /// Gives a lease a name.
    Name(u8, u8),
    /// Drops a lease.
    Drop(u8),
    /// Makes a line of a lease.
    IntoLine(u8),
    /// Takes a share of a GSI of the wiring.
    Share(u8),
    /// Drops a line.
    DropLine(u8),
    /// Drops a line that is driven.
    DropDriven(u8),
    /// Makes a line of one that is driven.
    Undrive(u8),
    /// Makes a lease of a line.
    IntoLease(u8),
    /// Keeps a line in place for ever.
    Quarantine(u8),
    /// Registers what is armed on a line.
    Register(u8, Manner),
    /// Gives back all that was not claimed.
    DropUnclaimed,
    /// Looks at everything.
    Look,
    /// Keeps a snapshot.
    Snapshot,
    /// Parks a lease.
    Park(u8),
    /// Takes a lease that was parked, if it is still there.
    Unpark(u8),
    /// Drops a parked lease.
    DropParked(u8),
}

/// Who waits, while a table is with the kernel, to learn how that ends.
#[derive(Debug, Clone, Arbitrary)]
pub enum Wait {
    /// Takes any GSI.
    Lease,
    /// Takes one that is about to be changed.
    Exact(u8),
    /// Takes so many in a row.
    Block(u8),
    /// Makes a line of a lease that is about to be changed.
    IntoLine(u8),
    /// Takes a share of a GSI that is about to be changed.
    Share(u8),
}

/// A request.
#[derive(Debug, Clone, Arbitrary)]
pub enum Ask {
    /// Edits.
    Commit(Edit, Vec<Edit>),
    /// Edits that were staged, or that were rejected before.
    Staged(u8),
    /// See `RoutingTable::commit_each`.
    Each(Vec<Item>),
    /// The same with an edit for each lease. The bits of the first number say which of the messages
    /// the kernel refuses, the second which other messages there are and how many owners.
    Flood(u16, u8),
    /// See `Line::drive`.
    Drive(u8),
    /// See `RoutingTable::flush`.
    Flush,
    /// See `RoutingTable::recommit`.
    Recommit,
    /// See `RoutingTable::retranslate`.
    Retranslate,
}

/// An edit that stands for itself.
#[derive(Debug, Clone, Arbitrary)]
pub enum Item {
    /// Lease, message and owner.
    New(u8, u8, u8),
    /// One of those that were staged before, be it the newest of its lease or not. It may have been
    /// committed already.
    Kept(u8),
}

/// One edit. A lease is one of the table, seldom one of the other table.
#[derive(Debug, Clone, Arbitrary)]
pub enum Edit {
    /// Lease and message.
    Msi(u8, u8),
    /// Lease and message; messages are most of the routes.
    MsiToo(u8, u8),
    /// Lease and pins.
    Pins(u8, u8),
    /// Lease.
    Unroute(u8),
    /// GSI and pins.
    Wire(u8, u8),
    /// GSI.
    Unwire(u8),
}

/// What the translation does to a class of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Arbitrary)]
pub enum Rule {
    /// It stays.
    Pass,
    /// Another vector.
    Change,
    /// A third vector.
    Other,
    /// Nothing gets through.
    Block,
    /// What the kernel refuses.
    Bad,
    /// A panic.
    Panic,
}
