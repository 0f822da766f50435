// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The search for the guilty among edits that stand for themselves.

use std::io;
use std::ops::Range;

use crate::engine::{Engine, Outside};
use crate::request::{Demand, Edit, Failure, Fate, Request, discard};
use crate::{Error, Route};

/// How many ioctls a round may take once the kernel has refused edits by a rule that is not known.
const MOST_IOCTLS: usize = 16;

impl Engine {
    /// Requests have failed together. Tries them without the edits that break a rule of the kernel,
    /// by an ioctl in any case, as proof. If it takes the others, these have failed, and the rule
    /// is known to be in force from then on. Otherwise returns why.
    pub(crate) fn without_broken_rules(
        &mut self,
        outside: &Outside<'_>,
        requests: &mut [&mut Request],
        failure: Failure,
    ) -> Option<Failure> {
        let errno = match &failure {
            Failure::Error(Error::Refused { cause, .. }) => cause.raw_os_error(),
            _ => None,
        };
        let breaks = |request: &&mut Request| {
            request.demand == Demand::Each && request.open_edits().any(breaks_32_bit_ids)
        };
        if !self.platform.is_x86() || errno != Some(libc::EINVAL) || !requests.iter().any(breaks) {
            return Some(failure);
        }
        let demands = requests.iter().map(|request| request.demand);
        let demands = demands.chain(std::iter::once(Demand::Recommit));
        let edits = requests.iter().flat_map(|request| {
            let stands_for_itself = request.demand == Demand::Each;
            let open = request.open_edits();
            open.filter(move |edit| !(stands_for_itself && breaks_32_bit_ids(edit)))
        });
        if let Err(other) = self.attempt(outside, demands, edits) {
            discard(failure);
            return Some(other);
        }
        discard(failure);
        self.has_32_bit_ids = true;
        for request in requests {
            if request.demand == Demand::Each {
                request.refuse_broken_rules();
                request.end_open(Ok(()));
            }
            request.outcome = Some(Ok(()));
        }
        None
    }

    /// The open edits of a request have failed together: halves them until each guilty one stands
    /// alone. Owners are told apart first, so that the innocent ones are found in the first round.
    /// Then the search goes to the end of each part before it begins the next, so that each round
    /// finds some of the guilty. If the kernel's table has too few entries, those edits that fit
    /// are tried first, and the others fail when no entry is left.
    pub(crate) fn search(
        &mut self,
        outside: &Outside<'_>,
        request: &mut Request,
        failure: Failure,
    ) {
        let mut failed = vec![(0..request.edits.len(), failure)];
        while let Some((range, failure)) = next(request, &mut failed) {
            if request.open(&range) <= 1 || !failure.is_of_one() {
                request.end(&range, failure);
                continue;
            }
            let Some([first, second]) = self.divide(request, &range, &failure) else {
                self.fail_excess(request, &range, failure);
                if request.open(&range) > 0 {
                    failed.extend(self.try_part(outside, request, range));
                }
                continue;
            };
            match (request.open(&first), request.open(&second)) {
                // This is what has failed.
                (0, _) => failed.push((second, failure)),
                (_, 0) => failed.push((first, failure)),
                _ => {
                    discard(failure);
                    let parts = [first, second].map(|part| self.try_part(outside, request, part));
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
        outside: &Outside<'_>,
        request: &mut Request,
        part: Range<usize>,
    ) -> Option<(Range<usize>, Failure)> {
        if self.ioctls >= MOST_IOCTLS {
            request.end_with(&part, Fate::NotTried);
            return None;
        }
        let edits = request.edits.get(part.clone()).unwrap_or_default();
        let edits = edits.iter().filter(|edit| edit.is_open());
        match self.attempt(outside, std::iter::once(Demand::Each), edits) {
            Ok(()) => {
                request.end_with(&part, Fate::Done);
                None
            }
            Err(failure) => Some((part, failure)),
        }
    }
}

/// The part to be halved next: one of several owners, or else the last one that was refused.
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
    matches!(edit.given, Some(Route::Msi(message)) if message.address >> 32 & 0xff != 0)
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
            edit.fate = self.fate_of(Failure::Error(Error::Refused {
                edits: 1,
                first: Some(edit.gsi),
                cause: io::Error::from_raw_os_error(libc::EINVAL).into(),
            }));
        }
        self.edits = edits;
    }

    /// How many edits of a range are open.
    fn open(&self, range: &Range<usize>) -> usize {
        let edits = self.edits.get(range.clone()).unwrap_or_default();
        edits.iter().filter(|edit| edit.is_open()).count()
    }

    /// Two halves of a range, where one owner ends and another begins if there is such a place.
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

    fn end(&mut self, range: &Range<usize>, failure: Failure) {
        let fate = self.fate_of(failure);
        self.end_with(range, fate);
    }

    fn end_with(&mut self, range: &Range<usize>, fate: Fate) {
        let edits = self.edits.get_mut(range.clone()).unwrap_or_default();
        let open = edits.iter_mut().filter(|edit| edit.is_open());
        open.for_each(|edit| edit.fate = fate);
    }
}
