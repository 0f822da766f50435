// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Engine`]: what the kernel has, and how it is given something else.

use std::io;

use fixedbitset::FixedBitSet;
use notify_core::{Retired, SysError, Vm};

use crate::entries::Entries;
use crate::request::{Demand, Edit, Failure, Request, discard, guarded};
use crate::{Committed, Error, Gsi, Pins, Platform, Route};

/// The table as the kernel has it. There is one, and whoever has it may call the kernel.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) entries: Entries,
    kernel: Kernel,
    /// Whether the kernel has ever taken a table of ours.
    pub(crate) was_committed: bool,
    pub(crate) limit: u32,
    /// GSIs without a route, for which the kernel may still have one.
    pub(crate) stale: FixedBitSet,
    /// GSIs whose entries went in this round so that others fit.
    pub(crate) gone: FixedBitSet,
    /// GSIs that the edits of an attempt have met; empty in between.
    met: FixedBitSet,
    /// Of this round.
    pub(crate) ioctls: usize,
    /// How many of them the kernel has taken.
    taken: usize,
    /// Which interrupt controllers the table is for.
    pub(crate) platform: Platform,
    /// Whether the kernel is known to refuse messages with a low byte in the upper half of the
    /// address.
    pub(crate) has_32_bit_ids: bool,
}

/// What a round calls outside of the engine.
#[derive(Clone, Copy)]
pub(crate) struct Outside<'a> {
    pub(crate) vm: &'a dyn Vm,
    /// Takes off what is armed on a GSI, and returns whether nothing is any more.
    pub(crate) disarm: &'a dyn Fn(Gsi) -> bool,
    /// See [`State::make_room`](crate::state::State::make_room).
    pub(crate) make_room: MakeRoom<'a>,
}

/// How many entries too many there are, and how many a GSI has.
type MakeRoom<'a> = &'a dyn Fn(usize, &dyn Fn(Gsi) -> usize) -> Result<Vec<Gsi>, usize>;

/// What is known of the kernel's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kernel {
    /// It is not ours: nothing was ever committed.
    Untouched,
    /// It has exactly our entries.
    HasEntries,
    /// It is being given a table, or was when the VM panicked.
    Unknown,
}

impl Engine {
    pub(crate) fn new(limit: u32) -> Self {
        Self {
            platform: Platform::default(),
            entries: Entries::default(),
            kernel: Kernel::Untouched,
            was_committed: false,
            limit,
            stale: FixedBitSet::with_capacity(limit as usize),
            gone: FixedBitSet::with_capacity(limit as usize),
            met: FixedBitSet::with_capacity(limit as usize),
            ioctls: 0,
            taken: 0,
            has_32_bit_ids: false,
        }
    }

    /// Enters what the first commit gives to the kernel in any case.
    pub(crate) fn start(&mut self, platform: Platform, lines: &[(Gsi, Pins)]) {
        self.platform = platform;
        for (gsi, pins) in lines {
            self.entries.set(*gsi, Some(&Route::Pins(*pins)));
        }
        self.entries.lay_out_pins();
        self.entries.accept();
    }

    /// Whether the kernel has an entry for this GSI, as far as is known.
    pub(crate) fn has_entry(&self, gsi: Gsi) -> bool {
        self.entries.has(gsi)
    }

    /// Whether it is known what the kernel has.
    pub(crate) fn is_known(&self) -> bool {
        self.kernel != Kernel::Unknown
    }

    /// What an observer is told of this round, if the kernel has taken a table in it.
    pub(crate) fn committed(&self, requests: &[Request]) -> Option<Committed> {
        let edits = requests.iter().flat_map(|request| request.effective());
        (self.taken > 0).then(|| Committed {
            entries: self.entries.buffer().len(),
            edits: edits.count(),
            ioctls: self.ioctls,
        })
    }

    /// Whether the kernel has exactly this table.
    pub(crate) fn is_committed(&self) -> bool {
        self.kernel == Kernel::HasEntries
    }

    /// Carries out the requests that have no outcome yet, all with one ioctl if the kernel takes
    /// them all. If not, the guilty are searched for, so that each fails alone.
    pub(crate) fn carry_out(&mut self, outside: &Outside<'_>, requests: &mut [Request]) {
        (self.ioctls, self.taken) = (0, 0);
        self.gone.clear();
        let pending = requests.iter().filter(|request| request.is_pending());
        if pending.clone().next().is_none() {
            return;
        }
        let attempted = self.attempt_all(outside, pending);
        let pending = requests.iter_mut().filter(|one| one.is_pending());
        let Err(failure) = attempted else {
            pending.for_each(succeed);
            return;
        };
        let mut pending: Vec<_> = pending.collect();
        let failure = match pending.len() {
            1 => Some(failure),
            _ => self.without_broken_rules(outside, &mut pending, failure),
        };
        if let Some(failure) = failure {
            self.halve(outside, &mut pending, failure);
        }
    }

    fn attempt_all<'a>(
        &mut self,
        outside: &Outside<'_>,
        requests: impl Iterator<Item = &'a Request> + Clone,
    ) -> Result<(), Failure> {
        let demands = requests.clone().map(|request| request.demand);
        let edits = requests.flat_map(|request| request.open_edits());
        self.attempt(outside, demands, edits)
    }

    /// These requests have failed together: tries each half by itself. Of many requests one that is
    /// refused, or at which the VM panics, costs about two ioctls for each doubling, and spoils no
    /// other.
    fn halve(&mut self, outside: &Outside<'_>, requests: &mut [&mut Request], failure: Failure) {
        if let [request] = requests {
            return self.fail(outside, request, failure);
        }
        discard(failure);
        let (first, second) = requests.split_at_mut(requests.len() / 2);
        for half in [first, second] {
            match self.attempt_all(outside, half.iter().map(|request| &**request)) {
                Ok(()) => half.iter_mut().for_each(|request| succeed(request)),
                Err(failure) => self.halve(outside, half, failure),
            }
        }
    }

    /// This request has failed, for itself alone.
    fn fail(&mut self, outside: &Outside<'_>, request: &mut Request, failure: Failure) {
        request.outcome = Some(match (request.demand, failure) {
            // The search drops errors of the VM, which may panic.
            (Demand::Retranslate, failure) => {
                let edits = &mut request.edits;
                guarded(|| self.translate_in_part(outside, edits, failure)).and_then(|found| found)
            }
            (Demand::Each, failure) => {
                if let Some(failure) = self.without_broken_rules(outside, &mut [request], failure) {
                    self.search(outside, request, failure);
                }
                Ok(())
            }
            // A VM that is being closed delivers nothing by the routes that were left behind.
            (Demand::Flush | Demand::Drive(_), Failure::Error(Error::Retired)) => Ok(()),
            (_, failure) => Err(failure),
        });
    }

    /// One ioctl at most, and nothing has changed if it fails.
    pub(crate) fn attempt<'a>(
        &mut self,
        outside: &Outside<'_>,
        mut demands: impl Iterator<Item = Demand>,
        edits: impl Iterator<Item = &'a Edit> + Clone,
    ) -> Result<(), Failure> {
        self.entries.reserve(edits.clone().map(|edit| edit.gsi));
        for edit in edits.clone() {
            if self.is_gone(edit) {
                continue;
            }
            self.entries.set(edit.gsi, edit.given.as_ref());
            self.met.insert(edit.gsi.index());
        }
        let edited = self.entries.edits() > 0;
        let cleaned = self.remove_stale();
        self.met.clear();
        let needed = demands.any(|demand| match demand {
            Demand::Edits | Demand::Each => edited || !self.is_committed(),
            Demand::Flush | Demand::Drive(_) => cleaned || self.kernel == Kernel::Unknown,
            Demand::Retranslate => edited || self.kernel == Kernel::Unknown,
            Demand::Recommit => true,
        });
        let result = if needed {
            self.issue(outside, edits.clone())
        } else {
            Ok(())
        };
        if needed && result.is_ok() {
            self.entries.accept();
            self.was_committed = true;
            self.stale.clear();
        } else {
            self.entries.rollback();
        }
        if result.is_ok() {
            // One may have found the route that it wanted where a dropped lease had left it.
            let gone = &self.gone;
            let edits = edits.filter(|edit| !gone.contains(edit.gsi.index()));
            edits.for_each(|edit| self.stale.remove(edit.gsi.index()));
        }
        result
    }

    /// Whether the entry that an edit translates went in this round, because its lease was taken
    /// back. No other edit is of such a GSI.
    pub(crate) fn is_gone(&self, edit: &Edit) -> bool {
        self.gone.contains(edit.gsi.index())
    }

    /// Removes the routes of dropped leases, but for those of GSIs that were met since. Returns
    /// whether there were any.
    fn remove_stale(&mut self) -> bool {
        let before = self.entries.edits();
        for index in self.stale.difference(&self.met) {
            let number = u32::try_from(index).ok();
            if let Some(gsi) = number.and_then(|number| Gsi::below(self.limit, number)) {
                self.entries.set(gsi, None);
            }
        }
        self.entries.edits() > before
    }

    /// Of which platform the pins of the table are, if there are any.
    fn platform_of_pins(&self) -> Option<Platform> {
        self.entries.has_pins().then_some(self.platform)
    }

    fn issue<'a>(
        &mut self,
        outside: &Outside<'_>,
        edits: impl Iterator<Item = &'a Edit> + Clone,
    ) -> Result<(), Failure> {
        let vm = outside.vm;
        self.entries.lay_out_pins();
        self.make_room(outside)?;
        let before = std::mem::replace(&mut self.kernel, Kernel::Unknown);
        self.ioctls += 1;
        let issued = guarded(|| vm.set_gsi_routing(self.entries.buffer()))?;
        self.kernel = match issued {
            Ok(()) => Kernel::HasEntries,
            Err(_) => before,
        };
        let Err(error) = issued else {
            self.taken += 1;
            return Ok(());
        };
        Err(Failure::Error(guarded(|| {
            explain(vm, self.platform_of_pins(), edits, error)
        })?))
    }
}

fn succeed(request: &mut Request) {
    request.outcome = Some(Ok(()));
    if request.demand == Demand::Each {
        request.end_open(Ok(()));
    }
}

/// Turns a refusal of the kernel into an error that says as much as can be found out.
fn explain<'a>(
    vm: &dyn Vm,
    pins: Option<Platform>,
    mut edits: impl Iterator<Item = &'a Edit> + Clone,
    error: io::Error,
) -> Error {
    if Retired::caused(&error) {
        return Error::Retired;
    }
    // EINVAL is what KVM answers without a controller, and what it answers to most else.
    let may_lack = error.kind() == io::ErrorKind::InvalidInput;
    let cause = SysError::from(error);
    match may_lack.then(|| vm.platform()) {
        Some(Ok(None)) => {
            return Error::NoIrqChip { cause: Some(cause) };
        }
        Some(Ok(Some(vm))) => match pins {
            Some(table) if table != vm => return Error::OtherPlatform { table, vm, cause },
            _ => {}
        },
        _ => {}
    }
    Error::Refused {
        edits: edits.clone().count(),
        first: edits.next().map(|edit| edit.gsi),
        cause,
    }
}
