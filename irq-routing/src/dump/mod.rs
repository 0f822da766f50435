// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Dump`]: a routing table as text, for bug reports.

mod entry;
mod matrix;
mod parse;
mod print;
mod problem;

use std::collections::BTreeMap;

pub use entry::DumpEntry;
use matrix::ChipMatrix;
pub use parse::ParseError;
pub use problem::Problem;

use crate::explain::{self, Explanation, loss::Loss};
use crate::route::kernel_entries::DumpTarget;
use crate::{Platform, Route, RoutingTable, Wiring};

/// What Linux has: KVM_MAX_IRQ_ROUTES.
const USUAL_LIMIT: u32 = 4096;

/// A routing table as a plain value and as text, for bug reports.
///
/// # Format
///
/// One entry a line, in the table's order: `gsi=`, `type=` (KVM's `KVM_IRQ_ROUTING_*`), and the
/// target.
///
/// ```text
/// gsi=4 type=1 2 4                                 a pin: chip and pin, as KVM numbers them
/// gsi=24 type=2 address=0xfee00000 data=0x41       a message, perhaps with devid=0x8
/// gsi=25 type=2                                    a message that was not printed
/// gsi=26 type=3                                    an adapter (s390)
/// gsi=27 type=4 vcpu=0 sint=2                      a synthetic interrupt source (Hyper-V)
/// gsi=28 type=5 port=7 vcpu=0 priority=0           an event channel (Xen)
/// ```
///
/// Then `chip:` and the kernel's reverse map may follow, a row for each chip: the GSI that gets the
/// EOIs of each pin, -1 for none. Of two GSIs on one pin it is the last in the table; the other
/// gets none. The pins of the second PIC start at column 8: KVM counts those of both PICs together.
/// An x86 row has KVM's 24 columns; on other platforms a row ends behind the last pin that is
/// routed. Kernel source: `setup_routing_entry` in `virt/kvm/irqchip.c`.
///
/// A dump has a line like `platform=arm64-gic` if the VM is not x86, and one like `gsis=1024` if
/// its number of GSIs is not 4096.
///
/// The parser accepts lines in any order, numbers in decimal or after `0x`, spaces, empty lines,
/// and comments after `#`. It accepts tables that KVM would refuse; [`problems`](Self::problems)
/// lists why. It fails with [`ParseError`] for more than 65536 entries, 16 rows, or 1024 pins in a
/// row, because the text may come from an untrusted source.
///
/// ```
/// use irq_routing::Dump;
///
/// let dump: Dump = "
///     gsi=0 type=1 2 2
///     gsi=24 type=2 address=0xfee03000 data=0x41
///     gsi=24 type=1 2 5
/// ".parse()?;
/// let problems: Vec<_> = dump.problems().iter().map(ToString::to_string).collect();
/// assert_eq!(
///     problems,
///     ["GSI 24 is routed to a message and to something else, and KVM refuses the table"]
/// );
///
/// assert_eq!(dump.explain(9).to_string(), "lost: the GSI has no route");
/// # Ok::<(), irq_routing::ParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Dump {
    platform: Platform,
    limit: u32,
    entries: Vec<DumpEntry>,
    matrix: Option<ChipMatrix>,
}

impl Dump {
    /// Creates a dump with the reverse map that the kernel computes, for a VM with `limit` GSIs.
    fn new(platform: Platform, limit: u32, entries: Vec<DumpEntry>) -> Self {
        let matrix = Some(ChipMatrix::of(platform, &entries));
        Self {
            platform,
            limit,
            entries,
            matrix,
        }
    }

    /// Returns the interrupt controllers that the table is for.
    #[must_use]
    pub fn platform(&self) -> Platform {
        self.platform
    }

    /// Returns the VM's number of GSIs.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// Returns the entries, in the table's order.
    #[must_use]
    pub fn entries(&self) -> &[DumpEntry] {
        &self.entries
    }

    /// The reverse map that the kernel computes from the entries.
    fn reverse_map(&self) -> ChipMatrix {
        ChipMatrix::of(self.platform, &self.entries)
    }

    /// Returns what is wrong or unusual: refused entries, shared pins, a contradicting reverse map.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        problem::all(self)
    }

    /// Returns how a signal of a GSI reaches the guest, or why it is lost.
    #[must_use]
    pub fn explain(&self, gsi: u32) -> Explanation {
        let limit = self.limit;
        if gsi >= limit {
            return Explanation::lost(Loss::OutOfRange { limit });
        }
        let entries = self.entries.iter().filter(|entry| entry.gsi == gsi);
        let targets: Vec<_> = entries.map(|entry| entry.target).collect();
        explain::targets(self.platform, &targets)
    }

    /// The entries of each GSI.
    fn groups(&self) -> BTreeMap<u32, Vec<DumpTarget>> {
        let mut groups = BTreeMap::<u32, Vec<_>>::new();
        for entry in &self.entries {
            groups.entry(entry.gsi).or_default().push(entry.target);
        }
        groups
    }
}

impl RoutingTable {
    /// Returns the table as committed, for a bug report. No ioctl.
    ///
    /// Pins come first, by chip and then by GSI, as the kernel is given them; then the others, by
    /// GSI.
    ///
    /// If nothing was committed yet, it has what the table starts with. Routes that dropped leases
    /// have left in the kernel until the next commit are not in it.
    #[must_use]
    pub fn dump(&self) -> Dump {
        let mut entries = Vec::new();
        for (gsi, route) in self.routes() {
            entries.extend(DumpEntry::of_route(gsi.number(), &route));
        }
        entries.sort_by_key(DumpEntry::order);
        Dump::new(self.platform(), self.limit(), entries)
    }
}

impl From<&Wiring> for Dump {
    fn from(wiring: &Wiring) -> Self {
        let lines = wiring.iter();
        let mut entries: Vec<_> = lines
            .flat_map(|(gsi, pins)| DumpEntry::of_route(gsi, &Route::Pins(pins)))
            .collect();
        entries.sort_by_key(DumpEntry::order);
        Self::new(wiring.platform(), USUAL_LIMIT, entries)
    }
}
