// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Error`]: why the table refuses something, where the kernel would return EINVAL or no error.

mod cause;
mod text;

use std::sync::Arc;

use notify_core::{Retired, SysError};

use self::cause::is_temporary;
use self::text::{
    after_colon, describe, held_by, pins_elsewhere, wanted_gsis, why_unknown, wiring_for,
};
use crate::{Gsi, IrqChip, Pin, Platform, Rejected};

/// Why an operation on a routing table failed.
///
/// Nothing has changed then, except after [`Untranslated`](Self::Untranslated) and
/// [`RouteHeld`](Self::RouteHeld) of
/// [`RoutingTable::retranslate`](crate::RoutingTable::retranslate).
///
/// The text is complete: where the kernel or the VM has refused something, it ends with the errno.
/// So [`source`](std::error::Error::source) is `None`; [`raw_os_error`](Self::raw_os_error) returns
/// the errno.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The VM did not report how many GSIs it has.
    #[error("cannot ask the VM for its number of GSIs (KVM_CAP_IRQ_ROUTING): {cause}")]
    #[non_exhaustive]
    Limit {
        /// What the VM returned.
        cause: SysError,
    },

    /// The VM has no routing table (KVM_CAP_IRQ_ROUTING is 0).
    #[error("the VM has no GSI routing table: the kernel does not report KVM_CAP_IRQ_ROUTING")]
    NoRoutingTable,

    /// The VM has no such GSI. KVM refuses a table with it, but accepts an irqfd on it and loses
    /// every signal.
    #[error("GSI {gsi} is out of range: the VM has {limit}, numbered from 0")]
    #[non_exhaustive]
    GsiOutOfRange {
        /// The number.
        gsi: u32,
        /// The VM's number of GSIs.
        limit: u32,
    },

    /// The GSI is leased already, wired, unclaimed after a restore, or in quarantine. For a wired
    /// GSI use [`RoutingTable::line`](crate::RoutingTable::line).
    #[error(
        "GSI {gsi} is in use: it is leased, wired, unclaimed or in quarantine; of a wired one take \
         a line (RoutingTable::line)"
    )]
    #[non_exhaustive]
    GsiInUse {
        /// The number.
        gsi: Gsi,
    },

    /// No GSI is free, or not enough consecutive ones.
    #[error(
        "{}: {leased} of {limit} are leased{}, the others reserved, wired, unclaimed, in \
         quarantine or scattered; drop or park leases",
        wanted_gsis(*.wanted),
        held_by(.holders)
    )]
    #[non_exhaustive]
    Exhausted {
        /// The number of GSIs that were wanted.
        wanted: u32,
        /// The number of leases that are held.
        leased: usize,
        /// The VM's number of GSIs.
        limit: u32,
        /// The holders with a name ([`GsiLease::named`](crate::GsiLease::named)), most leases
        /// first. Empty after [`RoutingTable::lease_if_free`](crate::RoutingTable::lease_if_free).
        holders: Vec<Holder>,
    },

    /// No snapshot had a lease of this GSI, or its owner has already claimed it.
    #[error(
        "GSI {gsi} has no lease to claim: no restored snapshot had one, or it is claimed already"
    )]
    #[non_exhaustive]
    NothingToClaim {
        /// The number.
        gsi: Gsi,
    },

    /// The lease of an edit was dropped or taken back, or is of another table.
    #[error(
        "cannot route GSI {gsi}: its lease was dropped or taken back, or is of another table; \
         lease one of this table"
    )]
    #[non_exhaustive]
    NotLeased {
        /// The number.
        gsi: Gsi,
    },

    /// The GSI has no route. KVM would accept its signals and lose them.
    #[error(
        "GSI {gsi} has no route: route its lease first, or wire it (RoutingTableBuilder::wiring, \
         Transaction::wire)"
    )]
    #[non_exhaustive]
    NoRoute {
        /// The number.
        gsi: Gsi,
    },

    /// The route cannot be removed: a [`Line`](crate::Line) has it, and what is armed there was not
    /// disarmed.
    #[error(
        "cannot remove the route of GSI {gsi}: it has a Line, or what is armed on it was not \
         disarmed; disarm it and drop its lines first"
    )]
    #[non_exhaustive]
    RouteHeld {
        /// The number.
        gsi: Gsi,
    },

    /// Another [`DrivenLine`](crate::DrivenLine) has the level and the EOIs of the GSI.
    #[error("GSI {gsi} is driven already: drop its other DrivenLine first")]
    #[non_exhaustive]
    AlreadyDriven {
        /// The number.
        gsi: Gsi,
    },

    /// A GSI with a [`DrivenLine`](crate::DrivenLine) and another one would be routed to one pin.
    /// KVM reports the pin's EOIs only to the GSI that is last in its table.
    #[error(
        "GSI {gsi} is driven, and GSI {other} would be routed to {pin} too, whose EOIs KVM reports \
         to only one of them: route GSI {other} to another pin"
    )]
    #[non_exhaustive]
    PinShared {
        /// The GSI that is driven, or was to be.
        gsi: Gsi,
        /// The other.
        other: Gsi,
        /// The pin of both.
        pin: Pin,
    },

    /// The chip has no such pin.
    #[error("the {chip} has no pin {pin}: it has {}, numbered from 0", chip.pins())]
    #[non_exhaustive]
    NoSuchPin {
        /// The chip.
        chip: IrqChip,
        /// The number.
        pin: u32,
    },

    /// A GSI is routed to at most one pin of a chip.
    #[error("one GSI cannot be routed to two pins of the {chip}: use a GSI for each pin")]
    #[non_exhaustive]
    TwoPinsOfOneChip {
        /// The chip.
        chip: IrqChip,
    },

    /// A GSI is routed to pins of one platform.
    #[error("one GSI cannot be routed to pins of the {one} and of the {other}: no VM has both")]
    #[non_exhaustive]
    TwoPlatforms {
        /// One chip.
        one: IrqChip,
        /// A chip that is never in the same VM.
        other: IrqChip,
    },

    /// A set of pins has no pin.
    #[error("no pin is given: to remove a route, use Transaction::unroute or Transaction::unwire")]
    NoPins,

    /// The VM has no such chip in the kernel.
    #[error(
        "GSI {gsi} cannot be routed to the {chip}: the kernel has none for the VM ({platform}){}",
        pins_elsewhere(*.platform)
    )]
    #[non_exhaustive]
    NoSuchChip {
        /// The GSI.
        gsi: Gsi,
        /// The chip.
        chip: IrqChip,
        /// The VM's platform.
        platform: Platform,
    },

    /// The kernel takes no more entries than the VM has GSIs, and a GSI may need several. There
    /// would be too many even if the table took back all parked leases.
    #[error(
        "the table would have {entries} entries, and the kernel takes {limit}: drop or park leases"
    )]
    #[non_exhaustive]
    TableFull {
        /// The number of entries that the table would have, without those of parked leases.
        entries: usize,
        /// The number of entries that the kernel takes.
        limit: u32,
    },

    /// The VM has no interrupt controller in the kernel, or not yet.
    #[error(
        "cannot set GSI routes: the VM has no interrupt controller in the kernel; create it before \
         the first commit{}",
        after_colon(.cause.as_ref())
    )]
    #[non_exhaustive]
    NoIrqChip {
        /// What the kernel returned, if it was given a table.
        cause: Option<SysError>,
    },

    /// It is not known what the table starts with: on arm64, on riscv64, and with a port without
    /// [`Vm::platform`](notify_core::Vm::platform).
    #[error(
        "{}; set what the table starts with (RoutingTableBuilder::wiring)",
        why_unknown(*.platform)
    )]
    #[non_exhaustive]
    UnknownWiring {
        /// The VM's platform, if it is known. KVM does not report how many pins such a VM has.
        platform: Option<Platform>,
    },

    /// The VM did not report which interrupt controllers it has.
    #[error("cannot ask the VM for its interrupt controllers: {cause}")]
    #[non_exhaustive]
    Platform {
        /// What the VM returned.
        cause: SysError,
    },

    /// The table was built for other interrupt controllers than the VM has.
    #[error(
        "the table has pins of another platform ({table}) than the VM's ({vm}): build it with {} \
         (RoutingTableBuilder::wiring): {cause}",
        wiring_for(*.vm)
    )]
    #[non_exhaustive]
    OtherPlatform {
        /// What the table's wiring is for.
        table: Platform,
        /// What the VM has.
        vm: Platform,
        /// What the kernel returned.
        cause: SysError,
    },

    /// The VM has a routing table already. Each table would delete the routes of the other, because
    /// KVM replaces all routes of a VM at once.
    #[error("the VM has a routing table already: use a clone of that RoutingTable")]
    SecondTable,

    /// The VM is being closed ([`Vm::retire`](notify_core::Vm::retire)).
    #[error("cannot set GSI routes: {Retired}")]
    Retired,

    /// The kernel refused the new translations of some messages, or has no entries for them
    /// (ENOSPC). They are blocked; all others are in force.
    #[error(
        "the kernel refused the translated messages of {} GSIs, the first of them {}; they are \
         blocked until the translation changes: {cause}",
        .blocked.len(),
        .blocked.first().copied().map_or(0, Gsi::number)
    )]
    #[non_exhaustive]
    Untranslated {
        /// The GSIs whose messages are blocked.
        blocked: Vec<Gsi>,
        /// What the kernel returned.
        cause: SysError,
    },

    /// The kernel refused a table in which no rule is known to be broken.
    #[error(
        "the kernel refused the routing table with {}; {}: {cause}",
        describe(*.edits, *.first),
        if is_temporary(.cause) { "try again later" } else { "check messages and pins" }
    )]
    #[non_exhaustive]
    Refused {
        /// The number of edits.
        edits: usize,
        /// The GSI of the first one.
        first: Option<Gsi>,
        /// What the kernel returned.
        cause: SysError,
    },
}

/// The name of a holder of leases, and how many it holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Holder {
    /// The name that the holder gave.
    pub name: Arc<str>,
    /// The number of leases that it holds under this name.
    pub leases: usize,
}

impl<T> From<Rejected<T>> for Error {
    fn from(rejected: Rejected<T>) -> Self {
        rejected.error
    }
}
