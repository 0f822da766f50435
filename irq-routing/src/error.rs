// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Why the table refuses something, where the kernel would return EINVAL or no error.

use std::io;
use std::sync::Arc;

use notify_core::Retired;

use crate::{Gsi, IrqChip, Pin, Platform, Rejected};

/// Why an operation on a routing table failed. Nothing has changed then, except after
/// [`Untranslated`](Self::Untranslated).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The VM did not report how many GSIs it has.
    #[error("cannot ask the VM for its number of GSIs")]
    Limit(#[source] io::Error),

    /// The VM has no routing table (KVM_CAP_IRQ_ROUTING is 0).
    #[error("the VM has no GSI routing table")]
    NoRoutingTable,

    /// KVM refuses such a GSI in a table, but takes an irqfd on it and loses every signal.
    #[error("GSI {gsi} is out of range: the machine has {limit}")]
    GsiOutOfRange {
        /// The number.
        gsi: u32,
        /// The VM's number of GSIs.
        limit: u32,
    },

    /// The GSI is leased already, wired, unclaimed after a restore, or in quarantine. For a wired
    /// GSI use [`RoutingTable::line`](crate::RoutingTable::line).
    #[error("GSI {gsi} is in use")]
    GsiInUse {
        /// The number.
        gsi: Gsi,
    },

    /// No GSI is left to be leased, or not so many in a row.
    #[error("{}: {leased} of {limit} are leased{}, the others reserved, wired, unclaimed, in quarantine or scattered",
        wanted_gsis(*.wanted), held_by(.holders))]
    Exhausted {
        /// How many were wanted.
        wanted: u32,
        /// How many leases are held.
        leased: usize,
        /// The VM's number of GSIs.
        limit: u32,
        /// The holders that gave a name ([`GsiLease::named`](crate::GsiLease::named)); most leases
        /// first.
        holders: Vec<Holder>,
    },

    /// No snapshot had a lease of this GSI, or its owner has already claimed it.
    #[error("GSI {gsi} waits for no owner")]
    NothingToClaim {
        /// The number.
        gsi: Gsi,
    },

    /// An edit was staged under a lease that is not (any more) a lease of this GSI in this table.
    #[error("cannot route GSI {gsi}: its lease was dropped or taken back, or is of another table")]
    NotLeased {
        /// The number.
        gsi: Gsi,
    },

    /// The GSI has no route; KVM would take its signals and lose them.
    #[error("GSI {gsi} has no route")]
    NoRoute {
        /// The number.
        gsi: Gsi,
    },

    /// The route cannot be removed: a [`Line`](crate::Line) has it, and what is armed there was not
    /// disarmed.
    #[error("the route of GSI {gsi} is in use")]
    RouteHeld {
        /// The number.
        gsi: Gsi,
    },

    /// Another [`DrivenLine`](crate::DrivenLine) has the level and the EOIs of the GSI.
    #[error("GSI {gsi} is driven already")]
    AlreadyDriven {
        /// The number.
        gsi: Gsi,
    },

    /// A GSI with a [`DrivenLine`](crate::DrivenLine) and another one would be routed to one pin.
    /// KVM reports the pin's EOIs only to the GSI that is last in its table.
    #[error(
        "GSI {gsi} is driven, and GSI {other} leads to {pin} too: only one of them would hear its EOIs"
    )]
    PinShared {
        /// The GSI that is driven, or is to be.
        gsi: Gsi,
        /// The other.
        other: Gsi,
        /// The pin of both.
        pin: Pin,
    },

    /// The chip has no such pin.
    #[error("{chip} has no pin {pin}: it has {}", chip.pins())]
    NoSuchPin {
        /// The chip.
        chip: IrqChip,
        /// The number.
        pin: u32,
    },

    /// A GSI is routed to at most one pin of a chip.
    #[error("two pins of the {chip} for one GSI")]
    TwoPinsOfOneChip {
        /// The chip.
        chip: IrqChip,
    },

    /// A GSI is routed to pins of one platform.
    #[error("pins of the {one} and the {other} for one GSI")]
    TwoPlatforms {
        /// One chip.
        one: IrqChip,
        /// A chip that is never in the same VM.
        other: IrqChip,
    },

    /// A set of pins without any.
    #[error("a route to no pin at all")]
    NoPins,

    /// The VM has no such chip in the kernel.
    #[error("GSI {gsi} cannot lead to the {chip}: the machine is of the kind {platform}")]
    NoSuchChip {
        /// The GSI.
        gsi: Gsi,
        /// The chip.
        chip: IrqChip,
        /// The VM's platform.
        platform: Platform,
    },

    /// The kernel takes no more routes than the VM has GSIs (a GSI may need several). Without the
    /// parked leases that the table could take back there would still be more.
    #[error("the table would have {entries} entries, and the kernel takes {limit}")]
    TableFull {
        /// How many it would have, without those of the parked leases.
        entries: usize,
        /// How many the kernel takes.
        limit: u32,
    },

    /// The VM has no interrupt controller in the kernel, or not yet.
    #[error(
        "cannot set GSI routes: the VM has no interrupt controller in the kernel; create it before \
         the first commit"
    )]
    NoIrqChip {
        /// The kernel's error, if it was asked.
        source: Option<io::Error>,
    },

    /// It is not known what the table starts with: on arm64, on riscv64, and with a port without
    /// [`Vm::platform`](notify_core::Vm::platform).
    #[error("{}; say what the table starts with (RoutingTableBuilder::wiring)", why_unknown(*.platform))]
    UnknownWiring {
        /// The VM's platform, if it is known: KVM does not tell how many pins such a VM has.
        platform: Option<Platform>,
    },

    /// The VM did not report which interrupt controllers it has.
    #[error("cannot ask the VM for its interrupt controllers")]
    Platform(#[source] io::Error),

    /// The table was built for other interrupt controllers than the VM has.
    #[error(
        "the table was built for another platform ({table}) than the VM's ({vm}); build it with the \
         wiring of the VM's (RoutingTableBuilder::wiring)"
    )]
    OtherPlatform {
        /// What the table's wiring is for.
        table: Platform,
        /// What the VM has.
        vm: Platform,
        /// What the kernel said.
        source: io::Error,
    },

    /// The VM has a routing table already. Each table would delete the routes of the other, since
    /// KVM replaces the routes of a VM all at once.
    #[error("the VM has a routing table already: share it, by a clone of RoutingTable")]
    SecondTable,

    /// The VM is being closed.
    #[error("cannot set GSI routes")]
    Retired(#[source] Retired),

    /// The kernel refused the new translations of some messages, or has no entry for them (ENOSPC).
    /// They are blocked; all others are in force.
    #[error("the kernel refused the translated messages of {} GSIs, the first of them {}", .blocked.len(),
        .blocked.first().copied().map_or(0, Gsi::number))]
    Untranslated {
        /// The GSIs whose messages are blocked.
        blocked: Vec<Gsi>,
        /// What the kernel said.
        source: io::Error,
    },

    /// The kernel refused a table in which no rule is known to be broken.
    #[error("the kernel refused the routing table with {}", describe(*.edits, *.first))]
    Refused {
        /// How many edits the transaction had.
        edits: usize,
        /// The GSI of the first one.
        first: Option<Gsi>,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Error {
    /// Whether the error is temporary, so that the same call may succeed later: the kernel was
    /// short of a resource (ENOMEM, EMFILE, ENFILE, ENOSPC), was interrupted, or is not ready yet
    /// (EAGAIN).
    #[must_use]
    pub fn is_transient(&self) -> bool {
        let (Self::Refused { source, .. } | Self::Limit(source) | Self::Platform(source)) = self
        else {
            return false;
        };
        matches!(
            source.raw_os_error(),
            Some(
                libc::ENOMEM
                    | libc::EAGAIN
                    | libc::EINTR
                    | libc::EMFILE
                    | libc::ENFILE
                    | libc::ENOSPC
            )
        )
    }
}

/// The name of a holder of leases, and how many it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The name that the holder gave.
    pub name: Arc<str>,
    /// How many leases it holds under this name.
    pub leases: usize,
}

fn why_unknown(platform: Option<Platform>) -> String {
    match platform {
        Some(platform) => format!("KVM does not tell how many pins the VM has ({platform})"),
        None => "the VM does not tell which interrupt controllers it has".to_owned(),
    }
}

fn wanted_gsis(wanted: u32) -> String {
    match wanted {
        1 => "no GSI is free".to_owned(),
        _ => format!("no {wanted} GSIs in a row are free"),
    }
}

/// The holders of most leases; all of them could be thousands.
fn held_by(holders: &[Holder]) -> String {
    const NAMED: usize = 4;
    if holders.is_empty() {
        return String::new();
    }
    let name = |holder: &Holder| format!("{} by {}", holder.leases, holder.name);
    let mut parts: Vec<String> = holders.iter().take(NAMED).map(name).collect();
    let rest = holders.iter().skip(NAMED).map(|holder| holder.leases);
    match rest.sum::<usize>() {
        0 => {}
        rest => parts.push(format!("{rest} by others with a name")),
    }
    format!(" ({})", parts.join(", "))
}

fn describe(edits: usize, first: Option<Gsi>) -> String {
    match (edits, first) {
        (1, Some(gsi)) => format!("a new route of GSI {gsi}"),
        (_, Some(gsi)) => format!("{edits} new routes, the first of GSI {gsi}"),
        (_, None) => "nothing new in it".to_owned(),
    }
}

impl<T> From<Rejected<T>> for Error {
    fn from(rejected: Rejected<T>) -> Self {
        rejected.error
    }
}
