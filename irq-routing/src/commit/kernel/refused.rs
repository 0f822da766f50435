// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Why the kernel refuses a table, and which edits it refuses.

use std::io;
use std::ops::Range;

use notify_core::{Retired, SysError, Vm};

use crate::commit::edit::{Edit, EditProgress};
use crate::commit::failure::{Failure, discard};
use crate::commit::kernel::{Callbacks, KernelTable};
use crate::commit::request::{Request, RequestKind};
use crate::{Error, Platform, Route};

/// How many ioctls a round may take once the kernel has refused edits by a rule that is not known.
const MOST_IOCTLS: usize = 16;

impl KernelTable {
    /// Requests have failed together. Tries them without the edits that break a rule of the kernel;
    /// this always issues an ioctl, as proof. If the kernel takes the others, the rule is known to
    /// be in force from then on, and the edits that break it have failed. Otherwise returns why it
    /// failed.
    pub(crate) fn try_without_broken_rules(
        &mut self,
        callbacks: &Callbacks<'_>,
        requests: &mut [&mut Request],
        failure: Failure,
    ) -> Option<Failure> {
        let errno = match &failure {
            Failure::Error(Error::Refused { cause, .. }) => cause.raw_os_error(),
            _ => None,
        };
        let breaks = |request: &&mut Request| {
            request.kind == RequestKind::Each && request.open_edits().any(breaks_32_bit_ids)
        };
        let is_x86 = matches!(self.platform, Platform::X86 | Platform::X86Split);
        if !is_x86 || errno != Some(libc::EINVAL) || !requests.iter().any(breaks) {
            return Some(failure);
        }
        let kinds = requests.iter().map(|request| request.kind);
        let kinds = kinds.chain(std::iter::once(RequestKind::Recommit));
        let edits = requests.iter().flat_map(|request| {
            let stands_for_itself = request.kind == RequestKind::Each;
            let open = request.open_edits();
            open.filter(move |edit| !(stands_for_itself && breaks_32_bit_ids(edit)))
        });
        if let Err(other) = self.try_edits(callbacks, kinds, edits) {
            discard(failure);
            return Some(other);
        }
        discard(failure);
        self.has_32_bit_ids = true;
        for request in requests {
            if request.kind == RequestKind::Each {
                request.refuse_broken_rules();
                request.finish_open_edits(Ok(()));
            }
            request.outcome = Some(Ok(()));
        }
        None
    }

    /// The open edits of a request have failed together: halves them until each refused one is
    /// alone. It separates owners first, so that edits of innocent owners are committed in the
    /// first round. Then it finishes one part before it begins the next, so that each round finds
    /// some of the refused edits. If the kernel's table has too few entries, those edits that fit
    /// are tried first, and the others fail when no entry is left.
    pub(crate) fn search_refused_edits(
        &mut self,
        callbacks: &Callbacks<'_>,
        request: &mut Request,
        failure: Failure,
    ) {
        let mut failed = vec![(0..request.edits.len(), failure)];
        while let Some((range, failure)) = next(request, &mut failed) {
            if request.count_open(&range) <= 1 || !failure.is_of_one() {
                request.fail_part(&range, failure);
                continue;
            }
            let Some([first, second]) = self.divide(request, &range, &failure) else {
                self.fail_excess(request, &range, failure);
                if request.count_open(&range) > 0 {
                    failed.extend(self.try_part(callbacks, request, range));
                }
                continue;
            };
            match (request.count_open(&first), request.count_open(&second)) {
                // This is what has failed.
                (0, _) => failed.push((second, failure)),
                (_, 0) => failed.push((first, failure)),
                _ => {
                    discard(failure);
                    let parts = [first, second].map(|part| self.try_part(callbacks, request, part));
                    failed.extend(parts.into_iter().rev().flatten());
                }
            }
        }
    }

    /// Divides edits that have failed together; see [`fitting`](Self::fitting) for `None`.
    fn divide(
        &self,
        request: &Request,
        part: &Range<usize>,
        failure: &Failure,
    ) -> Option<[Range<usize>; 2]> {
        let &Failure::Error(Error::TableFull { entries, limit }) = failure else {
            return Some(request.halves(part));
        };
        let excess = entries.saturating_sub(limit as usize);
        let fitting = self.fitting(request, part, excess)?;
        Some([part.start..fitting, fitting..part.end])
    }

    /// Returns the part, and why it was refused, if it was.
    fn try_part(
        &mut self,
        callbacks: &Callbacks<'_>,
        request: &mut Request,
        part: Range<usize>,
    ) -> Option<(Range<usize>, Failure)> {
        if self.ioctls >= MOST_IOCTLS {
            request.mark_part(&part, EditProgress::NotTried);
            return None;
        }
        let edits = request.edits.get(part.clone()).unwrap_or_default();
        let edits = edits.iter().filter(|edit| edit.is_open());
        match self.try_edits(callbacks, std::iter::once(RequestKind::Each), edits) {
            Ok(()) => {
                request.mark_part(&part, EditProgress::Committed);
                None
            }
            Err(failure) => Some((part, failure)),
        }
    }
}

/// The part to be halved next: one with several owners, or else the last that was refused.
fn next(
    request: &Request,
    failed: &mut Vec<(Range<usize>, Failure)>,
) -> Option<(Range<usize>, Failure)> {
    let of_owners = failed
        .iter()
        .rposition(|(part, _)| request.has_owners(part));
    match of_owners {
        Some(place) => Some(failed.remove(place)),
        None => failed.pop(),
    }
}

/// Whether the kernel refuses the message once 32-bit APIC ids are enabled (KVM_CAP_X2APIC_API):
/// the low byte of the address's upper half must be zero (kernel source: `kvm_set_routing_entry`,
/// `kvm_msi_route_invalid`).
pub(crate) fn breaks_32_bit_ids(edit: &Edit) -> bool {
    matches!(edit.translated, Some(Route::Msi(message)) if message.address >> 32 & 0xff != 0)
}

impl Request {
    /// Fails the open edits that break a known rule, without an ioctl.
    pub(crate) fn refuse_broken_rules(&mut self) {
        let broken = |edit: &Edit| edit.is_open() && breaks_32_bit_ids(edit);
        if !self.edits.iter().any(broken) {
            return;
        }
        let mut edits = std::mem::take(&mut self.edits);
        for edit in edits.iter_mut().filter(|edit| broken(edit)) {
            edit.progress = self.record_failure(Failure::Error(Error::Refused {
                edits: 1,
                first: Some(edit.gsi),
                cause: io::Error::from_raw_os_error(libc::EINVAL).into(),
            }));
        }
        self.edits = edits;
    }

    /// How many edits of a range are open.
    fn count_open(&self, range: &Range<usize>) -> usize {
        let edits = self.edits.get(range.clone()).unwrap_or_default();
        edits.iter().filter(|edit| edit.is_open()).count()
    }

    /// Two halves of a range, divided between two owners if there are several.
    fn halves(&self, range: &Range<usize>) -> [Range<usize>; 2] {
        let middle = range.start + range.len() / 2;
        let owner = |index: usize| self.edits.get(index).map(|edit| edit.owner);
        let is_border = |index: &usize| owner(*index) != owner(index.wrapping_sub(1));
        let borders = (range.start + 1..range.end).filter(is_border);
        let border = borders.min_by_key(|border| border.abs_diff(middle));
        let border = border.unwrap_or(middle);
        [range.start..border, border..range.end]
    }

    fn has_owners(&self, range: &Range<usize>) -> bool {
        let edits = self.edits.get(range.clone()).unwrap_or_default();
        edits
            .windows(2)
            .any(|pair| matches!(pair, [one, other] if one.owner != other.owner))
    }

    fn fail_part(&mut self, range: &Range<usize>, failure: Failure) {
        let progress = self.record_failure(failure);
        self.mark_part(range, progress);
    }

    fn mark_part(&mut self, range: &Range<usize>, progress: EditProgress) {
        let edits = self.edits.get_mut(range.clone()).unwrap_or_default();
        let open = edits.iter_mut().filter(|edit| edit.is_open());
        open.for_each(|edit| edit.progress = progress);
    }
}

/// Turns a refusal of the kernel into the most precise error that can be found out.
pub(super) fn why_refused<'a>(
    vm: &dyn Vm,
    pins: Option<Platform>,
    mut edits: impl Iterator<Item = &'a Edit> + Clone,
    error: io::Error,
) -> Error {
    if Retired::caused(&error) {
        return Error::Retired;
    }
    // EINVAL is what KVM returns without a controller, and what it returns for most else.
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
