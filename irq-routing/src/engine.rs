// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Engine`]: what the kernel has, and how it is given something else.

use std::io;

use fixedbitset::FixedBitSet;
use notify_core::{Retired, Vm};

use crate::entries::Entries;
use crate::request::{Demand, Edit, Failure, Fate, Request, discard, guarded};
use crate::{Error, Gsi, Platform};

/// The table as the kernel has it. There is one, and whoever has it may call the kernel.
#[derive(Debug)]
pub(crate) struct Engine {
    entries: Entries,
    kernel: Kernel,
    limit: u32,
    /// GSIs without a route, for which the kernel may still have one.
    pub(crate) stale: FixedBitSet,
    /// GSIs that the edits of an attempt have met; empty in between.
    met: FixedBitSet,
    /// Of this round.
    pub(crate) ioctls: usize,
    /// Whether it is a machine whose kernel may have 32-bit APIC ids.
    pub(crate) is_x86: bool,
    /// Whether the kernel is known to refuse messages with a low byte in the upper half of the
    /// address.
    pub(crate) has_32_bit_ids: bool,
}

/// Takes off what is armed on a GSI, and returns whether nothing is any more.
pub(crate) type Disarm<'a> = &'a dyn Fn(Gsi) -> bool;

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
    pub(crate) fn new(limit: u32, platform: Platform) -> Self {
        Self {
            is_x86: matches!(platform, Platform::X86 | Platform::X86Split),
            entries: Entries::default(),
            kernel: Kernel::Untouched,
            limit,
            stale: FixedBitSet::with_capacity(limit as usize),
            met: FixedBitSet::with_capacity(limit as usize),
            ioctls: 0,
            has_32_bit_ids: false,
        }
    }

    /// Whether the kernel has an entry for this GSI, as far as is known.
    pub(crate) fn has_entry(&self, gsi: Gsi) -> bool {
        self.entries.has(gsi)
    }

    /// Whether it is known what the kernel has.
    pub(crate) fn is_known(&self) -> bool {
        self.kernel != Kernel::Unknown
    }

    /// Whether the kernel has exactly this table.
    pub(crate) fn is_committed(&self) -> bool {
        self.kernel == Kernel::HasEntries
    }

    /// Carries out the requests that have no outcome yet, all with one ioctl if the kernel takes
    /// them all. If not, the guilty are searched for, so that each fails alone.
    pub(crate) fn carry_out(&mut self, vm: &dyn Vm, requests: &mut [Request], disarm: Disarm<'_>) {
        self.ioctls = 0;
        let pending = requests.iter().filter(|request| request.is_pending());
        if pending.clone().next().is_none() {
            return;
        }
        let attempted = self.attempt_all(vm, pending);
        let pending = requests.iter_mut().filter(|one| one.is_pending());
        let Err(failure) = attempted else {
            pending.for_each(succeed);
            return;
        };
        let mut pending: Vec<_> = pending.collect();
        let failure = match pending.len() {
            1 => Some(failure),
            _ => self.without_broken_rules(vm, &mut pending, failure),
        };
        if let Some(failure) = failure {
            self.halve(vm, &mut pending, failure, disarm);
        }
    }

    fn attempt_all<'a>(
        &mut self,
        vm: &dyn Vm,
        requests: impl Iterator<Item = &'a Request> + Clone,
    ) -> Result<(), Failure> {
        let demands = requests.clone().map(|request| request.demand);
        let edits = requests.flat_map(|request| request.open_edits());
        self.attempt(vm, demands, edits)
    }

    /// These requests have failed together: tries each half by itself. Of many requests one that is
    /// refused, or at which the VM panics, costs about two ioctls for each doubling, and spoils no
    /// other.
    fn halve(
        &mut self,
        vm: &dyn Vm,
        requests: &mut [&mut Request],
        failure: Failure,
        disarm: Disarm<'_>,
    ) {
        if let [request] = requests {
            return self.fail(vm, request, failure, disarm);
        }
        discard(failure);
        let (first, second) = requests.split_at_mut(requests.len() / 2);
        for half in [first, second] {
            match self.attempt_all(vm, half.iter().map(|request| &**request)) {
                Ok(()) => half.iter_mut().for_each(|request| succeed(request)),
                Err(failure) => self.halve(vm, half, failure, disarm),
            }
        }
    }

    /// This request has failed, for itself alone.
    fn fail(&mut self, vm: &dyn Vm, request: &mut Request, failure: Failure, disarm: Disarm<'_>) {
        request.outcome = Some(match (request.demand, failure) {
            // The search drops errors of the VM, which may panic.
            (Demand::Retranslate, failure) => {
                let edits = &mut request.edits;
                guarded(|| self.translate_in_part(vm, edits, failure, disarm))
                    .and_then(|found| found)
            }
            (Demand::Each, failure) => {
                if let Some(failure) = self.without_broken_rules(vm, &mut [request], failure) {
                    self.search(vm, request, failure);
                }
                Ok(())
            }
            // A VM that is being closed delivers nothing by the routes that were left behind.
            (Demand::Flush | Demand::Drive(_), Failure::Error(Error::Retired(_))) => Ok(()),
            (_, failure) => Err(failure),
        });
    }

    /// After a failure of them all, gives the kernel all new translations but those that it
    /// refuses, and blocks these: the old ones must not stay in force.
    fn translate_in_part(
        &mut self,
        vm: &dyn Vm,
        edits: &mut [Edit],
        failure: Failure,
        disarm: Disarm<'_>,
    ) -> Result<(), Failure> {
        let mut blocked = Vec::new();
        let source = self.translate_halves(vm, edits, failure, disarm, &mut blocked)?;
        match blocked.is_empty() {
            // The kernel has taken both halves of what it had refused as a whole.
            true => Ok(()),
            false => Err(Failure::Error(Error::Untranslated { blocked, source })),
        }
    }

    /// Returns why the edits as a whole were refused.
    fn translate_halves(
        &mut self,
        vm: &dyn Vm,
        edits: &mut [Edit],
        failure: Failure,
        disarm: Disarm<'_>,
        blocked: &mut Vec<Gsi>,
    ) -> Result<io::Error, Failure> {
        // Any other failure has nothing to do with the messages, and without one there is none to
        // block.
        let source = match failure {
            Failure::Error(Error::Refused { source, .. })
                if source.kind() == io::ErrorKind::InvalidInput && !edits.is_empty() =>
            {
                source
            }
            failure => return Err(failure),
        };
        let demand = || std::iter::once(Demand::Retranslate);
        if let [edit] = edits {
            if !self.has_entry(edit.gsi) || disarm(edit.gsi) {
                edit.given = None;
                blocked.push(edit.gsi);
                self.attempt(vm, demand(), std::iter::once(&*edit))?;
            } else {
                edit.fate = Fate::Held;
            }
            return Ok(source);
        }
        let (first, second) = edits.split_at_mut(edits.len() / 2);
        for half in [first, second] {
            let open = half.iter().filter(|edit| edit.is_open());
            if let Err(failure) = self.attempt(vm, demand(), open) {
                self.translate_halves(vm, half, failure, disarm, blocked)?;
            }
        }
        Ok(source)
    }

    /// One ioctl at most, and nothing has changed if it fails.
    pub(crate) fn attempt<'a>(
        &mut self,
        vm: &dyn Vm,
        mut demands: impl Iterator<Item = Demand>,
        edits: impl Iterator<Item = &'a Edit> + Clone,
    ) -> Result<(), Failure> {
        self.entries.reserve(edits.clone().map(|edit| edit.gsi));
        for edit in edits.clone() {
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
            self.issue(vm, edits.clone())
        } else {
            Ok(())
        };
        if needed && result.is_ok() {
            self.entries.accept();
            self.stale.clear();
        } else {
            self.entries.rollback();
        }
        if result.is_ok() {
            // One may have found the route that it wanted where a dropped lease had left it.
            edits.for_each(|edit| self.stale.remove(edit.gsi.index()));
        }
        result
    }

    /// Removes the routes of dropped leases, but for those of GSIs that were met since. Answers
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

    fn issue<'a>(
        &mut self,
        vm: &dyn Vm,
        edits: impl Iterator<Item = &'a Edit> + Clone,
    ) -> Result<(), Failure> {
        self.entries.lay_out_pins();
        let (entries, limit) = (self.entries.buffer().len(), self.limit);
        if entries > limit as usize {
            return Err(Failure::Error(Error::TableFull { entries, limit }));
        }
        let before = std::mem::replace(&mut self.kernel, Kernel::Unknown);
        self.ioctls += 1;
        let issued = guarded(|| vm.set_gsi_routing(self.entries.buffer()))?;
        self.kernel = match issued {
            Ok(()) => Kernel::HasEntries,
            Err(_) => before,
        };
        let Err(source) = issued else {
            return Ok(());
        };
        Err(Failure::Error(guarded(|| explain(vm, edits, source))?))
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
    mut edits: impl Iterator<Item = &'a Edit> + Clone,
    source: io::Error,
) -> Error {
    if Retired::caused(&source) {
        return Error::Retired(Retired);
    }
    // EINVAL is what KVM answers without a controller, and what it answers to most else.
    let may_lack = source.kind() == io::ErrorKind::InvalidInput;
    if may_lack && matches!(vm.has_irqchip(), Ok(false)) {
        return Error::NoIrqChip { source };
    }
    Error::Refused {
        edits: edits.clone().count(),
        first: edits.next().map(|edit| edit.gsi),
        source,
    }
}
