// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Model`]: a table as the state of each GSI, and two maps of routes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use irq_routing::{MsiMessage, Route};

use super::armed::{Manner, Registered};
use super::kernel::{Event, UNKNOWN_RULE, planned_panic};
use super::step::Rule;
use super::why::Why;

/// GSI and route.
pub(super) type Routes = BTreeMap<u32, Route>;

/// The state of a GSI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Use {
    #[default]
    Free,
    /// Held by the lease of this key.
    Leased(u64),
    Wired,
    Quarantined,
    Unclaimed,
    /// The lease of this key was parked.
    Parked(u64),
}

impl Use {
    /// Whether the lease of this key has the GSI, parked or not.
    pub(super) fn is_lease(self, key: u64) -> bool {
        [Self::Leased(key), Self::Parked(key)].contains(&self)
    }
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Slot {
    pub(super) of: Use,
    pub(super) route: Option<Route>,
    pub(super) lines: u32,
    pub(super) name: Option<&'static str>,
}

/// What is known of the kernel's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// Nothing was ever committed.
    Untouched,
    Yes,
    /// Unknown: the VM panicked during a request.
    Lost,
}

/// An operation without ioctls, with everything that it concerns.
#[derive(Debug, Clone, Copy)]
pub(super) enum Action {
    Lease {
        key: u64,
    },
    Exact {
        gsi: u32,
        key: u64,
    },
    Block {
        count: u32,
        key: u64,
    },
    Claim {
        gsi: u32,
        key: u64,
    },
    Name {
        gsi: u32,
        name: &'static str,
    },
    Drop {
        gsi: u32,
    },
    /// Also one of a share of the wiring; the lease of any other goes with it.
    DropLine {
        gsi: u32,
    },
    DropDriven {
        gsi: u32,
    },
    Undrive {
        gsi: u32,
    },
    IntoLine {
        gsi: u32,
    },
    Share {
        gsi: u32,
    },
    IntoLease {
        gsi: u32,
    },
    Quarantine {
        gsi: u32,
    },
    Register {
        gsi: u32,
        manner: Manner,
    },
    DropUnclaimed,
    Look,
    Snapshot,
    Park {
        gsi: u32,
    },
    /// Another lease may have the GSI by now.
    Unpark {
        gsi: u32,
        key: u64,
    },
    DropParked {
        gsi: u32,
        key: u64,
    },
}

/// The required result of an operation.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expected {
    Leases(Result<Vec<u32>, Why>),
    Line(Result<u32, Why>),
    Lease(Result<u32, u32>),
    /// With whether its message is blocked.
    Registered(u32, bool),
    Nothing,
    Seen(Seen),
    Snapshot(Saved),
    Unparked(bool),
}

/// Everything visible of a table.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Seen {
    pub(super) routes: Vec<(u32, Route)>,
    pub(super) leased: usize,
    pub(super) unclaimed: Vec<u32>,
}

/// A snapshot: by GSI whether it is wired, its route and its name.
pub(super) type Saved = BTreeMap<u32, (bool, Option<Route>, Option<&'static str>)>;

#[derive(Debug)]
pub(super) struct Model {
    pub(super) limit: u32,
    pub(super) reserved: u32,
    pub(super) slots: Vec<Slot>,
    pub(super) rules: [Rule; 4],
    /// What the kernel should have: the translations of all routes at their last commits.
    pub(super) wanted: Routes,
    /// The table that the kernel was given last.
    pub(super) kernel: Routes,
    pub(super) known: Known,
    /// GSIs that were returned with a route, which each table since still has.
    pub(super) left: BTreeSet<u32>,
    /// As above, from before this round.
    pub(super) left_before: BTreeSet<u32>,
    /// The GSIs of parked leases, in the order of their parking.
    pub(super) parked: Vec<u32>,
    /// Parked GSIs whose entries made room for others in this round.
    pub(super) gone: BTreeSet<u32>,
    /// GSIs that are driven exclusively.
    pub(super) driven: BTreeSet<u32>,
    /// What is registered on lines, by GSI.
    pub(super) registered: BTreeMap<u32, Registered>,
    /// GSIs whose message is blocked: their route is not in the kernel, or is about to be removed.
    pub(super) blocked: BTreeSet<u32>,
    /// By key of a lease: the highest number of its edits in any round.
    pub(super) newest: BTreeMap<u64, u64>,
    /// Whether it is known that the kernel has 32-bit APIC ids.
    pub(super) has_learned: bool,
    /// Tables of this round.
    pub(super) tables: usize,
    /// What requests in progress change.
    pub(super) unsettled: BTreeSet<u32>,
    /// Whether a search for refused messages ended early since the last one that did not.
    pub(super) vague: bool,
    pub(super) log: VecDeque<Event>,
    pub(super) meanwhile: Vec<Action>,
    pub(super) expected: Vec<Expected>,
    /// An operation that may have to wait, and its result.
    pub(super) waiter: Option<Action>,
    pub(super) waited: Option<Expected>,
    pub(super) joined: bool,
}

/// The translation of a message; a panic is an error.
pub(super) fn translated(
    rules: &[Rule; 4],
    message: MsiMessage,
) -> Result<Option<MsiMessage>, Why> {
    let data = message.data;
    let vector = |data| Some(MsiMessage { data, ..message });
    match rules[data as usize % 4] {
        Rule::Pass => Ok(Some(message)),
        Rule::Change => Ok(vector(data + 0x20)),
        Rule::Other => Ok(vector(data + 0x40)),
        Rule::Block => Ok(None),
        Rule::Bad => Ok(Some(MsiMessage {
            address: message.address | 1 << 32,
            ..message
        })),
        Rule::Panic => Err(Why::Panic),
    }
}

/// The same as a translation.
pub(super) fn translate(rules: &[Rule; 4], message: MsiMessage) -> Option<MsiMessage> {
    translated(rules, message).unwrap_or_else(|_| planned_panic())
}

/// Whether the kernel refuses it by a rule that tables know.
pub(super) fn breaks_rule(route: &Route) -> bool {
    matches!(route, Route::Msi(message) if message.address >> 32 & 0xff != 0)
}

/// Whether the kernel refuses it.
pub(super) fn is_bad(route: &Route) -> bool {
    let unknown = matches!(route, Route::Msi(message) if message.data & UNKNOWN_RULE != 0);
    unknown || breaks_rule(route)
}

impl Model {
    pub(super) fn new(limit: u32, reserved: u32) -> Self {
        Self {
            limit,
            reserved,
            slots: vec![Slot::default(); limit as usize],
            rules: [Rule::Pass; 4],
            wanted: Routes::new(),
            kernel: Routes::new(),
            known: Known::Untouched,
            left: BTreeSet::new(),
            left_before: BTreeSet::new(),
            parked: Vec::new(),
            gone: BTreeSet::new(),
            driven: BTreeSet::new(),
            registered: BTreeMap::new(),
            blocked: BTreeSet::new(),
            newest: BTreeMap::new(),
            has_learned: false,
            tables: 0,
            unsettled: BTreeSet::new(),
            vague: false,
            log: VecDeque::new(),
            meanwhile: Vec::new(),
            expected: Vec::new(),
            waiter: None,
            waited: None,
            joined: false,
        }
    }

    pub(super) fn slot(&self, gsi: u32) -> Slot {
        self.slots[gsi as usize]
    }

    pub(super) fn slot_mut(&mut self, gsi: u32) -> &mut Slot {
        &mut self.slots[gsi as usize]
    }

    /// Returns a GSI.
    pub(super) fn give_back(&mut self, gsi: u32) {
        self.parked.retain(|parked| *parked != gsi);
        let slot = std::mem::take(self.slot_mut(gsi));
        if slot.route.is_some() {
            self.left.insert(gsi);
        }
    }

    /// The free GSIs that are not reserved.
    pub(super) fn free(&self) -> impl Iterator<Item = u32> + '_ {
        (self.reserved..self.limit).filter(|gsi| self.slot(*gsi).of == Use::Free)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.iter().all(|slot| slot.of == Use::Free)
    }

    fn of_use(&self, test: impl Fn(Use) -> bool) -> impl Iterator<Item = (u32, &Slot)> {
        let all = (0..).zip(&self.slots);
        all.filter(move |(_, slot)| test(slot.of))
    }

    pub(super) fn leased(&self) -> impl Iterator<Item = (u32, &Slot)> {
        self.of_use(|of| matches!(of, Use::Leased(_)))
    }

    pub(super) fn seen(&self) -> Seen {
        let routed = |(gsi, slot): (u32, &Slot)| Some((gsi, slot.route?));
        let unclaimed = self.of_use(|of| of == Use::Unclaimed);
        Seen {
            routes: self.of_use(|_| true).filter_map(routed).collect(),
            leased: self.leased().count(),
            unclaimed: unclaimed.map(|(gsi, _)| gsi).collect(),
        }
    }

    pub(super) fn saved(&self) -> Saved {
        let kept = self.of_use(|of| !matches!(of, Use::Free | Use::Quarantined | Use::Parked(_)));
        let save = |(gsi, slot): (u32, &Slot)| {
            let name = slot.name.filter(|name| !name.contains('\n'));
            (gsi, (slot.of == Use::Wired, slot.route, name))
        };
        kept.map(save).collect()
    }
}
