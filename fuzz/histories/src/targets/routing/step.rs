// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The steps of a history. Each number is taken modulo the size of what it selects from.

use arbitrary::Arbitrary;

use super::armed::Manner;
use super::kernel::Fault;

/// One operation. Its first number selects one of two tables.
#[derive(Debug, Clone, Arbitrary)]
pub enum Step {
    /// An operation without ioctls.
    Act(bool, Act),
    /// Takes leases until so many are held; most histories need some.
    Fill(bool, u8),
    /// Takes a lease, routes it to a message, makes it a line and registers something on it.
    Arm(bool, u8, Manner),
    /// Parks the leases of these bits.
    ParkSome(bool, u16),
    /// Drops a lease, takes its GSI again, and restores its route.
    Again(bool, u8),
    /// Stages edits, for a later commit.
    Stage(bool, Vec<Edit>),
    /// Stages an independent edit, for later commits.
    StageEach(bool, Item),
    /// Sets the translation of a class of messages.
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
    /// Sends a message without a route.
    Send(u8),
}

/// A request, and what arrives while its first table is in the kernel.
#[derive(Debug, Clone, Arbitrary)]
pub struct Crowd {
    /// The request; if `None` a recommit, which always issues an ioctl.
    pub first: Option<Ask>,
    /// An operation that waits for this request. Then there are no other requests.
    pub wait: Option<Wait>,
    /// Others.
    pub others: (Ask, Ask),
    /// More of them.
    pub more: Vec<Ask>,
    /// The table before which these operations are carried out.
    pub at: u8,
    /// Operations without ioctls.
    pub acts: Vec<Act>,
    /// Faults, and their tables.
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
    /// Returns everything that was not claimed.
    DropUnclaimed,
    /// Compares everything.
    Look,
    /// Keeps a snapshot.
    Snapshot,
    /// Parks a lease.
    Park(u8),
    /// Reclaims a parked lease, if it still exists.
    Unpark(u8),
    /// Drops a parked lease.
    DropParked(u8),
}

/// An operation that waits for the result of a table that is in the kernel.
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
    /// Edits that were staged or rejected before.
    Staged(u8),
    /// See `RoutingTable::commit_each`.
    Each(Vec<Item>),
    /// As above, with an edit for each lease. The bits of the first number select the messages that
    /// the kernel refuses; the second number selects the other messages and the number of owners.
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

/// An independent edit.
#[derive(Debug, Clone, Arbitrary)]
pub enum Item {
    /// Lease, message and owner.
    New(u8, u8, u8),
    /// An edit that was staged before, perhaps not the newest of its lease, perhaps committed
    /// already.
    Kept(u8),
}

/// One edit. Its lease is rarely one of the other table.
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

/// How a class of messages is translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Arbitrary)]
pub enum Rule {
    /// Unchanged.
    Pass,
    /// Another vector.
    Change,
    /// A third vector.
    Other,
    /// Blocked.
    Block,
    /// A message that the kernel refuses.
    Bad,
    /// A panic.
    Panic,
}
