// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`KernelTable`]: the table as the kernel has it, and the ioctl that replaces it.

mod entries;
mod refused;
mod retranslation;
mod shortage;

use fixedbitset::FixedBitSet;
use notify_core::Vm;

use self::entries::Entries;
use self::refused::why_refused;

use crate::commit::edit::Edit;
use crate::commit::failure::{Failure, discard, guarded};
use crate::commit::request::{Request, RequestKind};
use crate::{Committed, Error, Gsi, Pins, Platform, Route};

/// The table as the kernel has it. There is one; the thread that has it may issue the ioctl.
#[derive(Debug)]
pub(crate) struct KernelTable {
    pub(crate) entries: Entries,
    in_kernel: InKernel,
    /// Whether the kernel has ever taken a table of ours.
    pub(crate) was_committed: bool,
    pub(crate) limit: u32,
    /// GSIs without a route, for which the kernel may still have one.
    pub(crate) stale: FixedBitSet,
    /// GSIs whose entries were removed in this round so that others fit.
    pub(crate) taken_back: FixedBitSet,
    /// GSIs of the edits that are tried; empty in between.
    seen: FixedBitSet,
    /// How many ioctls this round has issued.
    pub(crate) ioctls: usize,
    /// How many of them the kernel has taken.
    taken: usize,
    /// Which interrupt controllers the table is for.
    pub(crate) platform: Platform,
    /// Whether the kernel is known to refuse messages with a low byte in the upper half of the
    /// address.
    pub(crate) has_32_bit_ids: bool,
}

/// What a round calls besides the kernel's table.
#[derive(Clone, Copy)]
pub(crate) struct Callbacks<'a> {
    pub(crate) vm: &'a dyn Vm,
    /// Disarms what is armed on a GSI, and returns whether nothing is armed any more.
    pub(crate) disarm: &'a dyn Fn(Gsi) -> bool,
    /// See [`State::make_room`](crate::table::state::State::make_room).
    pub(crate) make_room: MakeRoom<'a>,
}

/// How many entries too many there are, and how many a GSI has.
type MakeRoom<'a> = &'a dyn Fn(usize, &dyn Fn(Gsi) -> usize) -> Result<Vec<Gsi>, usize>;

/// What is known of the kernel's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InKernel {
    /// It is not ours: nothing was ever committed.
    NotOurs,
    /// It has exactly our entries.
    OurEntries,
    /// It is being given a table, or was when the VM panicked.
    Unknown,
}

impl KernelTable {
    pub(crate) fn new(limit: u32) -> Self {
        Self {
            platform: Platform::default(),
            entries: Entries::default(),
            in_kernel: InKernel::NotOurs,
            was_committed: false,
            limit,
            stale: FixedBitSet::with_capacity(limit as usize),
            taken_back: FixedBitSet::with_capacity(limit as usize),
            seen: FixedBitSet::with_capacity(limit as usize),
            ioctls: 0,
            taken: 0,
            has_32_bit_ids: false,
        }
    }

    /// Sets what the table starts with, which the first commit gives to the kernel.
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
        self.in_kernel != InKernel::Unknown
    }

    /// What the observer gets for this round, if the kernel has taken a table in it.
    pub(crate) fn committed(&self, requests: &[Request]) -> Option<Committed> {
        let edits = requests.iter().flat_map(|request| request.edits_in_force());
        (self.taken > 0).then(|| Committed {
            entries: self.entries.buffer().len(),
            edits: edits.count(),
            ioctls: self.ioctls,
        })
    }

    /// Whether the kernel has exactly this table.
    pub(crate) fn is_committed(&self) -> bool {
        self.in_kernel == InKernel::OurEntries
    }

    /// Carries out the requests that have no outcome yet, with one ioctl if the kernel takes them
    /// all. Otherwise searches for those that it refuses, so that each fails alone.
    pub(crate) fn commit_requests(&mut self, callbacks: &Callbacks<'_>, requests: &mut [Request]) {
        (self.ioctls, self.taken) = (0, 0);
        self.taken_back.clear();
        let pending = requests.iter().filter(|request| request.is_pending());
        if pending.clone().next().is_none() {
            return;
        }
        let attempted = self.try_requests(callbacks, pending);
        let pending = requests.iter_mut().filter(|one| one.is_pending());
        let Err(failure) = attempted else {
            pending.for_each(succeed);
            return;
        };
        let mut pending: Vec<_> = pending.collect();
        let failure = match pending.len() {
            1 => Some(failure),
            _ => self.try_without_broken_rules(callbacks, &mut pending, failure),
        };
        if let Some(failure) = failure {
            self.try_halves(callbacks, &mut pending, failure);
        }
    }

    fn try_requests<'a>(
        &mut self,
        callbacks: &Callbacks<'_>,
        requests: impl Iterator<Item = &'a Request> + Clone,
    ) -> Result<(), Failure> {
        let kinds = requests.clone().map(|request| request.kind);
        let edits = requests.flat_map(|request| request.open_edits());
        self.try_edits(callbacks, kinds, edits)
    }

    /// These requests have failed together: tries each half by itself. Among many requests, one
    /// that is refused or makes the VM panic costs about two ioctls for each doubling, and the
    /// others succeed.
    fn try_halves(
        &mut self,
        callbacks: &Callbacks<'_>,
        requests: &mut [&mut Request],
        failure: Failure,
    ) {
        if let [request] = requests {
            return self.fail_request(callbacks, request, failure);
        }
        discard(failure);
        let (first, second) = requests.split_at_mut(requests.len() / 2);
        for half in [first, second] {
            match self.try_requests(callbacks, half.iter().map(|request| &**request)) {
                Ok(()) => half.iter_mut().for_each(|request| succeed(request)),
                Err(failure) => self.try_halves(callbacks, half, failure),
            }
        }
    }

    /// This request has failed alone.
    fn fail_request(&mut self, callbacks: &Callbacks<'_>, request: &mut Request, failure: Failure) {
        request.outcome = Some(match (request.kind, failure) {
            // The search drops errors of the VM, which may panic.
            (RequestKind::Retranslate, failure) => {
                let edits = &mut request.edits;
                guarded(|| self.translate_all_but_refused(callbacks, edits, failure))
                    .and_then(|found| found)
            }
            (RequestKind::Each, failure) => {
                if let Some(failure) =
                    self.try_without_broken_rules(callbacks, &mut [request], failure)
                {
                    self.search_refused_edits(callbacks, request, failure);
                }
                Ok(())
            }
            // A VM that is being closed delivers nothing by routes that were left behind.
            (RequestKind::Flush | RequestKind::Drive(_), Failure::Error(Error::Retired)) => Ok(()),
            (_, failure) => Err(failure),
        });
    }

    /// One ioctl at most, and nothing has changed if it fails.
    pub(crate) fn try_edits<'a>(
        &mut self,
        callbacks: &Callbacks<'_>,
        mut kinds: impl Iterator<Item = RequestKind>,
        edits: impl Iterator<Item = &'a Edit> + Clone,
    ) -> Result<(), Failure> {
        self.entries.reserve(edits.clone().map(|edit| edit.gsi));
        for edit in edits.clone() {
            if self.is_taken_back(edit) {
                continue;
            }
            self.entries.set(edit.gsi, edit.translated.as_ref());
            self.seen.insert(edit.gsi.index());
        }
        let edited = self.entries.edits() > 0;
        let cleaned = self.remove_stale();
        self.seen.clear();
        let needed = kinds.any(|kind| match kind {
            RequestKind::Transaction | RequestKind::Each => edited || !self.is_committed(),
            RequestKind::Flush | RequestKind::Drive(_) => {
                cleaned || self.in_kernel == InKernel::Unknown
            }
            RequestKind::Retranslate => edited || self.in_kernel == InKernel::Unknown,
            RequestKind::Recommit => true,
        });
        let result = if needed {
            self.give_to_kernel(callbacks, edits.clone())
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
            // An edit may want the very route that a dropped lease had left.
            let taken_back = &self.taken_back;
            let edits = edits.filter(|edit| !taken_back.contains(edit.gsi.index()));
            edits.for_each(|edit| self.stale.remove(edit.gsi.index()));
        }
        result
    }

    /// Whether the entry of a retranslated message was removed in this round, because its lease was
    /// taken back. No other edit is of such a GSI.
    pub(crate) fn is_taken_back(&self, edit: &Edit) -> bool {
        self.taken_back.contains(edit.gsi.index())
    }

    /// Removes the routes of dropped leases, except of GSIs that are edited in this round. Returns
    /// whether there were any.
    fn remove_stale(&mut self) -> bool {
        let before = self.entries.edits();
        for index in self.stale.difference(&self.seen) {
            let number = u32::try_from(index).ok();
            if let Some(gsi) = number.and_then(|number| Gsi::below(self.limit, number)) {
                self.entries.set(gsi, None);
            }
        }
        self.entries.edits() > before
    }

    /// The platform of the table's pins, if it has any.
    fn platform_of_pins(&self) -> Option<Platform> {
        self.entries.has_pins().then_some(self.platform)
    }

    fn give_to_kernel<'a>(
        &mut self,
        callbacks: &Callbacks<'_>,
        edits: impl Iterator<Item = &'a Edit> + Clone,
    ) -> Result<(), Failure> {
        let vm = callbacks.vm;
        self.entries.lay_out_pins();
        self.make_room(callbacks)?;
        let before = std::mem::replace(&mut self.in_kernel, InKernel::Unknown);
        self.ioctls += 1;
        let issued = guarded(|| vm.set_gsi_routing(self.entries.buffer()))?;
        self.in_kernel = match issued {
            Ok(()) => InKernel::OurEntries,
            Err(_) => before,
        };
        let Err(error) = issued else {
            self.taken += 1;
            return Ok(());
        };
        Err(Failure::Error(guarded(|| {
            why_refused(vm, self.platform_of_pins(), edits, error)
        })?))
    }
}

fn succeed(request: &mut Request) {
    request.outcome = Some(Ok(()));
    if request.kind == RequestKind::Each {
        request.finish_open_edits(Ok(()));
    }
}
