// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`State`]: everything behind the table's lock, and how a commit goes.

use std::io;

use fixedbitset::FixedBitSet;
use notify_core::{Retired, Vm};

use crate::entries::Entries;
use crate::slots::{LeaseId, Slot, Slots};
use crate::{Error, Gsi, Pins, Platform, Route};

/// One staged edit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Edit {
    pub(crate) gsi: Gsi,
    pub(crate) change: Change,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Change {
    /// The holder of this lease leads it somewhere, or nowhere.
    Lease(LeaseId, Option<Route>),
    /// The machine's wiring changes.
    Wiring(Option<Pins>),
}

impl Change {
    fn route(&self) -> Option<Route> {
        match *self {
            Self::Lease(_, route) => route,
            Self::Wiring(pins) => pins.map(Route::Pins),
        }
    }
}

/// What is known of the kernel's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kernel {
    /// It is not ours: nothing was ever committed.
    Untouched,
    /// It has exactly our entries.
    HasEntries,
    /// A commit ended in a panic.
    Unknown,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) slots: Slots,
    platform: Platform,
    entries: Entries,
    kernel: Kernel,
    /// GSIs that were given back while the kernel still had their route.
    stale: FixedBitSet,
    /// GSIs that a commit has met; empty between commits.
    met: FixedBitSet,
    /// The memory of the last transaction, for the next.
    pub(crate) spare: Vec<Edit>,
}

impl State {
    pub(crate) fn new(slots: Slots, platform: Platform) -> Self {
        let limit = slots.limit() as usize;
        Self {
            slots,
            platform,
            entries: Entries::default(),
            kernel: Kernel::Untouched,
            stale: FixedBitSet::with_capacity(limit),
            met: FixedBitSet::with_capacity(limit),
            spare: Vec::new(),
        }
    }

    /// Gives a lease's GSI back. Its route stays in the kernel until the next commit: nothing is
    /// armed on it any more, and nobody can arm something before it is routed anew.
    pub(crate) fn release(&mut self, gsi: Gsi) {
        // Not if it is in quarantine.
        if let Slot::Leased { route, .. } = self.slots.get(gsi) {
            self.slots.put(gsi, Slot::Free);
            if route.is_some() {
                self.stale.insert(gsi.index());
            }
        }
    }

    /// Keeps a lease's GSI out of use, and its route where it is.
    pub(crate) fn quarantine(&mut self, gsi: Gsi) {
        if let Slot::Leased { route, .. } = self.slots.get(gsi) {
            self.slots.put(gsi, Slot::Quarantined(route));
        }
    }

    /// Validates the edits, gives the kernel the table that results, and takes it over.
    pub(crate) fn commit(&mut self, vm: &dyn Vm, edits: &mut Vec<Edit>) -> Result<(), Error> {
        self.keep_last_of_each_gsi(edits)?;
        edits.iter().try_for_each(|edit| self.validate(edit))?;
        let there_already = |edit: &Edit| {
            let route = edit.change.route();
            self.entries.has(edit.gsi, route.as_ref())
        };
        if self.kernel != Kernel::HasEntries || !edits.iter().all(there_already) {
            self.remove_stale();
            for edit in &*edits {
                self.entries.set(edit.gsi, edit.change.route().as_ref());
            }
            self.issue(vm, edits)?;
        }
        edits.iter().for_each(|edit| self.take_over(edit));
        Ok(())
    }

    /// Removes what stale leases left in the kernel. A machine that is being closed needs it no more.
    pub(crate) fn flush(&mut self, vm: &dyn Vm) -> Result<(), Error> {
        self.remove_stale();
        if !self.entries.is_edited() && self.kernel != Kernel::Unknown {
            return Ok(());
        }
        match self.issue(vm, &[]) {
            Err(Error::Retired(_)) => Ok(()),
            result => result,
        }
    }

    /// Gives the kernel the whole table, whatever it has.
    pub(crate) fn recommit(&mut self, vm: &dyn Vm) -> Result<(), Error> {
        self.remove_stale();
        self.issue(vm, &[])
    }

    /// Puts the table in order after a panic in the middle of a commit, for instance one of a [`Vm`].
    pub(crate) fn recover(&mut self) {
        self.entries.rollback();
        self.kernel = Kernel::Unknown;
        self.met.clear();
    }

    fn keep_last_of_each_gsi(&mut self, edits: &mut Vec<Edit>) -> Result<(), Error> {
        let limit = self.slots.limit();
        // One that is out of range comes from the table of a larger machine.
        if let Some(edit) = edits.iter().find(|edit| edit.gsi.number() >= limit) {
            let gsi = edit.gsi.number();
            return Err(Error::GsiOutOfRange { gsi, limit });
        }
        edits.reverse();
        edits.retain(|edit| !self.met.put(edit.gsi.index()));
        edits.reverse();
        self.met.clear();
        Ok(())
    }

    fn validate(&self, edit: &Edit) -> Result<(), Error> {
        let gsi = edit.gsi;
        let slot = self.slots.get(gsi);
        match (edit.change, slot) {
            (Change::Lease(id, _), Slot::Leased { id: holder, .. }) if id == holder => {}
            (Change::Lease(..), _) => return Err(Error::NotLeased { gsi }),
            (Change::Wiring(_), Slot::Free | Slot::Wired { .. }) => {}
            (Change::Wiring(_), _) => return Err(Error::GsiInUse { gsi }),
        }
        match edit.change.route() {
            None if slot.lines() > 0 => Err(Error::RouteHeld { gsi }),
            Some(Route::Pins(pins)) => self.validate_pins(gsi, pins),
            _ => Ok(()),
        }
    }

    fn validate_pins(&self, gsi: Gsi, pins: Pins) -> Result<(), Error> {
        let platform = self.platform;
        let mut chips = pins.iter().map(|pin| pin.chip());
        match chips.find(|chip| !chip.is_in(platform)) {
            Some(chip) => Err(Error::NoSuchChip {
                gsi,
                chip,
                platform,
            }),
            None => Ok(()),
        }
    }

    /// One ioctl with the table as edited; takes the edits back if it fails.
    fn issue(&mut self, vm: &dyn Vm, edits: &[Edit]) -> Result<(), Error> {
        self.entries.lay_out_pins();
        let (entries, limit) = (self.entries.buffer().len(), self.slots.limit());
        if entries > limit as usize {
            self.entries.rollback();
            return Err(Error::TableFull { entries, limit });
        }
        match vm.set_gsi_routing(self.entries.buffer()) {
            Ok(()) => {
                self.entries.accept();
                self.stale.clear();
                self.kernel = Kernel::HasEntries;
                Ok(())
            }
            Err(source) => {
                self.entries.rollback();
                Err(explain(vm, edits, source))
            }
        }
    }

    /// To be called before edits are applied, since one may route a stale GSI anew.
    fn remove_stale(&mut self) {
        for index in self.stale.ones() {
            let number = u32::try_from(index).ok();
            let gsi = number.and_then(|number| Gsi::below(self.slots.limit(), number));
            if let Some(gsi) = gsi.filter(|gsi| self.slots.get(*gsi).route().is_none()) {
                self.entries.set(gsi, None);
            }
        }
    }

    fn take_over(&mut self, edit: &Edit) {
        let lines = self.slots.get(edit.gsi).lines();
        let slot = match edit.change {
            Change::Lease(id, route) => Slot::Leased { id, route, lines },
            Change::Wiring(Some(pins)) => Slot::Wired { pins, lines },
            Change::Wiring(None) => Slot::Free,
        };
        self.slots.put(edit.gsi, slot);
    }
}

/// Turns a refusal of the kernel into an error that says as much as can be found out.
fn explain(vm: &dyn Vm, edits: &[Edit], source: io::Error) -> Error {
    if Retired::caused(&source) {
        return Error::Retired(Retired);
    }
    // EINVAL is what KVM answers without a controller, and what it answers to most else.
    let may_lack = source.kind() == io::ErrorKind::InvalidInput;
    if may_lack && matches!(vm.has_irqchip(), Ok(false)) {
        return Error::NoIrqChip { source };
    }
    Error::Refused {
        edits: edits.len(),
        first: edits.first().map(|edit| edit.gsi),
        source,
    }
}

/// For diagnosis.
impl State {
    /// Whether the kernel is known to have our table.
    pub(crate) fn is_committed(&self) -> bool {
        self.kernel == Kernel::HasEntries
    }

    /// Whether the kernel may still have the route of a lease that is gone.
    pub(crate) fn is_stale(&self, gsi: Gsi) -> bool {
        self.stale.contains(gsi.index())
    }
}
