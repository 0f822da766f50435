// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`ParkedLease`]: a lease that the table may take back.

use crate::table::slots::{LeaseId, Slot, Slots};
use crate::table::state::State;
use crate::{Gsi, GsiLease, Route};

/// A [`GsiLease`] that its holder does not need now, and that the table may take back.
///
/// For example the lease of a vector that the guest has masked; see [`GsiLease::park`].
///
/// While there is no shortage it keeps its GSI, its route and its name, and
/// [`unpark`](Self::unpark) returns the same lease. The table takes parked leases back, the longest
/// parked first:
///
/// - when a GSI is wanted and none is free ([`RoutingTable::lease`](crate::RoutingTable::lease) and
///   the like);
/// - when a commit needs more entries than the kernel's table has.
///
/// It takes back no more than it needs, and never a lease that is not parked. A parked lease whose
/// GSI is being changed by a commit is not taken back before that commit has ended.
///
/// Dropping it frees the GSI, unless the table has taken it back already. No ioctl.
///
/// ```
/// # use std::sync::Arc;
/// # use irq_routing::{MsiMessage, RoutingTable};
/// # use notify_sim::{CallKind, SimVm};
/// # let vm = Arc::new(SimVm::builder().build());
/// # let table = RoutingTable::new(vm.clone())?;
/// let lease = table.lease_msi(MsiMessage::new(0xfee0_0000, 0x40))?;
/// let route = lease.route();
/// let parked = lease.park();
/// assert_eq!(table.leased(), 0);
///
/// // There was no shortage: the route is still committed.
/// let lease = parked.unpark().expect("it was not taken back");
/// assert_eq!(lease.route(), route);
/// assert_eq!(vm.calls(CallKind::SetGsiRouting), 1);
///
/// // Another holder asks for exactly this GSI.
/// let (gsi, parked) = (lease.gsi(), lease.park());
/// let other = table.lease_exact(gsi.number())?;
/// assert!(parked.unpark().is_none());
/// # drop(other);
/// # Ok::<(), irq_routing::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping a parked lease gives the GSI back"]
pub struct ParkedLease(GsiLease);

impl ParkedLease {
    /// Returns the lease with its route and name, or `None` if the table has taken it back. No
    /// ioctl.
    ///
    /// Edits that were staged before the lease was parked are still edits of this lease, and older
    /// than those that are staged after this call.
    #[must_use]
    pub fn unpark(self) -> Option<GsiLease> {
        let Self(lease) = self;
        let is_parked = lease.table().lock().unpark(lease.gsi(), lease.id());
        is_parked.then_some(lease)
    }
}

impl GsiLease {
    /// Parks the lease: the table may take the GSI back when it runs short. No ioctl.
    ///
    /// The route stays as it is, in the table and in the kernel.
    ///
    /// A parked lease does not count as held: [`RoutingTable::leased`](crate::RoutingTable::leased)
    /// does not count it, [`Error::Exhausted`](crate::Error::Exhausted) does not list its holder,
    /// and a snapshot leaves it out. Its GSI can have no [`Line`](crate::Line), and cannot be
    /// wired.
    pub fn park(self) -> ParkedLease {
        self.table().lock().park(self.gsi(), self.id());
        ParkedLease(self)
    }
}

impl Slots {
    fn park(&mut self, gsi: Gsi, id: LeaseId, (route, edit): (Option<Route>, u64)) {
        self.forget_ended_parkings();
        self.parkings.last += 1;
        let since = self.parkings.last;
        self.parkings.queue.push_back((since, gsi));
        self.put(
            gsi,
            Slot::Parked {
                id,
                route,
                edit,
                since,
            },
        );
    }

    /// Keeps the queue about as long as the number of parked leases, since a search passes over
    /// ended parkings.
    fn forget_ended_parkings(&mut self) {
        if self.parkings.queue.len() > 2 * self.parkings.count + 16 {
            let mut queue = std::mem::take(&mut self.parkings.queue);
            queue.retain(|parking| self.is_in_force(*parking));
            self.parkings.queue = queue; // with its memory
        }
    }

    fn is_in_force(&self, (number, gsi): (u64, Gsi)) -> bool {
        matches!(self.get(gsi), Slot::Parked { since, .. } if since == number)
    }

    /// The GSIs of parked leases, the one that was parked longest first.
    fn parked(&self) -> impl Iterator<Item = Gsi> + '_ {
        let all = self.parkings.queue.iter();
        let parked = all.filter(|parking| self.is_in_force(**parking));
        parked.map(|(_, gsi)| *gsi).take(self.parkings.count)
    }

    /// The GSIs of parked leases that no commit under way changes.
    pub(crate) fn settled_parked(&self) -> impl Iterator<Item = Gsi> + '_ {
        self.parked().filter(|gsi| !self.is_unsettled(*gsi))
    }

    /// Whether a parked lease could be taken back if it were not for a commit under way.
    pub(crate) fn may_be_taken_back(&self) -> bool {
        let is_kept = |gsi: Gsi| self.is_unsettled(gsi) && gsi.number() >= self.reserved();
        self.parkings.count > 0 && self.parked().any(is_kept)
    }
}

/// Taking parked leases back. The holder finds out when it unparks the lease: the table takes no
/// lock of a holder and calls none.
impl State {
    fn park(&mut self, gsi: Gsi, lease: LeaseId) {
        match self.slots.get(gsi) {
            Slot::Leased {
                id, route, edit, ..
            } if id == lease => self.slots.park(gsi, id, (route, edit)),
            // It is quarantined, and cannot be unparked.
            _ => {}
        }
    }

    /// Returns whether the lease was still parked.
    fn unpark(&mut self, gsi: Gsi, lease: LeaseId) -> bool {
        match self.slots.get(gsi) {
            Slot::Parked {
                id, route, edit, ..
            } if id == lease => {
                let lines = 0;
                let slot = Slot::Leased {
                    id,
                    route,
                    lines,
                    edit,
                };
                self.slots.put(gsi, slot);
                self.slots.forget_ended_parkings();
                true
            }
            _ => false,
        }
    }

    /// Frees the GSI of a parked lease, as if the lease had been dropped.
    pub(crate) fn take_back(&mut self, gsi: Gsi) {
        if let Slot::Parked { id, .. } = self.slots.get(gsi) {
            self.release(gsi, id);
        }
        let slots = &mut self.slots;
        while let Some(parking) = slots.parkings.queue.front().copied()
            && !slots.is_in_force(parking)
        {
            slots.parkings.queue.pop_front();
        }
    }

    /// Finds GSIs whose entries in the kernel's table may be removed, so that it has `excess` fewer
    /// entries. These are GSIs that were freed since the round began, then those of parked leases,
    /// the longest parked first, which are taken back. `entries` counts the entries of a GSI.
    ///
    /// If there are not enough entries, nothing is taken back, and the error is the number that
    /// there are.
    pub(crate) fn make_room(
        &mut self,
        excess: usize,
        entries: &dyn Fn(Gsi) -> usize,
    ) -> Result<Vec<Gsi>, usize> {
        let slots = &self.slots;
        let given_back = self.stale.ones().filter_map(|index| slots.gsi(index));
        let given_back = given_back.filter(|gsi| !slots.is_unsettled(*gsi));
        let parked = slots.settled_parked();
        let parked = parked.filter(|gsi| slots.get(*gsi).route().is_some());
        let (mut going, mut freed) = (Vec::new(), 0);
        for gsi in given_back.chain(parked) {
            let count = entries(gsi);
            if count > 0 {
                going.push(gsi);
                freed += count;
            }
            if freed >= excess {
                break;
            }
        }
        if freed < excess {
            return Err(freed);
        }
        for gsi in &going {
            self.take_back(*gsi);
            // The caller removes its entry.
            self.stale.remove(gsi.index());
        }
        Ok(going)
    }
}
