// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Plan`]: the difference between what a set has and what it shall have.

use std::sync::Arc;

use super::doorbell::{Bell, Doorbell};
use super::{DoorbellSet, State};
use crate::bus::Place;
use crate::registry::{Checked, SetId};
use crate::{Error, IoEventFd};

/// A change of a [`DoorbellSet`] without conflicts, for [`DoorbellSet::apply`].
///
/// It reserves nothing and has no effect until it is applied.
#[derive(Debug)]
#[must_use = "a plan changes nothing until it is applied"]
pub struct Plan {
    pub(super) set: SetId,
    pub(super) generation: u64,
    /// New ones, in order of their places.
    pub(super) additions: Vec<Bell>,
    /// Indices of doorbells that the set has and that are not wanted, in order.
    pub(super) removals: Vec<usize>,
    /// Indices of doorbells that are wanted, and not registered since an undo failed.
    pub(super) repairs: Vec<usize>,
    /// Present if nothing is stuck or in quarantine: `apply` need not check for conflicts again.
    pub(super) checked: Option<Checked>,
}

impl Plan {
    /// Returns how many doorbells it adds.
    #[must_use]
    pub fn additions(&self) -> usize {
        self.additions.len()
    }

    /// Returns how many doorbells it removes.
    #[must_use]
    pub fn removals(&self) -> usize {
        self.removals.len()
    }

    /// Whether applying it changes nothing, without a request to the VM.
    pub(super) fn is_empty(&self) -> bool {
        self.additions.is_empty() && self.removals.is_empty() && self.repairs.is_empty()
    }
}

impl DoorbellSet {
    /// Returns the change after which the set has exactly these doorbells.
    ///
    /// It makes no request to the VM and reserves nothing. A doorbell that the set has already, the
    /// same in all four parts, stays as it is.
    ///
    /// A doorbell in the registry's [quarantine](crate::DoorbellRegistry#quarantine) is no conflict
    /// yet: [`apply`](Self::apply) tries to deregister it first.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchWrite`]; [`Error::Conflict`] with another one of these doorbells, a doorbell
    /// of this registry, or a [`Window`](crate::Window).
    pub fn plan(&self, wanted: impl IntoIterator<Item = Doorbell>) -> Result<Plan, Error> {
        self.compare(&self.lock(), wanted.into_iter().collect())
    }

    /// As `plan`, with the state locked.
    pub(super) fn compare(&self, state: &State, mut wanted: Vec<Doorbell>) -> Result<Plan, Error> {
        wanted.sort_by_key(Doorbell::place);
        let mut plan = Plan {
            set: self.id,
            generation: state.generation,
            additions: Vec::new(),
            removals: Vec::new(),
            repairs: Vec::new(),
            checked: None,
        };
        let mut there = state.bells.iter().enumerate().peekable();
        for doorbell in wanted {
            let place = doorbell.place();
            // Doorbells at lower places are not wanted.
            while let Some((index, _)) = there.next_if(|(_, bell)| bell.place() < place) {
                plan.removals.push(index);
            }
            match there.next_if(|(_, bell)| bell.place() == place) {
                Some((index, bell)) if bell.is(&doorbell) => {
                    if state.started && !bell.fd.is_registered() {
                        plan.repairs.push(index);
                    }
                }
                Some((index, _)) => {
                    plan.removals.push(index);
                    plan.additions.push(self.bell(doorbell));
                }
                None => plan.additions.push(self.bell(doorbell)),
            }
        }
        plan.removals.extend(there.map(|(index, _)| index));
        let checked = self.check(state, &plan)?;
        plan.checked = checked.filter(|_| state.stuck.is_empty());
        Ok(plan)
    }

    fn bell(&self, doorbell: Doorbell) -> Bell {
        let (vm, notifier) = (self.registry.vm(), doorbell.notifier);
        let (address, datamatch) = (doorbell.address, doorbell.datamatch);
        Bell {
            key: doorbell.key,
            fd: IoEventFd::unregistered(Arc::clone(vm), address, datamatch, notifier),
        }
    }

    fn check(&self, state: &State, plan: &Plan) -> Result<Option<Checked>, Error> {
        for bell in &plan.additions {
            let (address, datamatch) = (bell.fd.address(), bell.fd.datamatch());
            if !address.takes(datamatch.bytes()) {
                return Err(Error::NoSuchWrite { address, datamatch });
            }
        }
        let mut given_up = plan.given_up(&state.bells);
        // `apply` deregisters these first, or fails. A doorbell in the same place may stay.
        let stuck = state.stuck.iter().map(Bell::place);
        let is_free = |place: &Place| {
            let there = state.bells.binary_search_by(|bell| bell.place().cmp(place));
            there.is_err()
        };
        given_up.extend(stuck.filter(is_free));
        given_up.sort_unstable();
        let wanted = plan.additions.iter().map(Bell::place);
        self.registry
            .claims(|claims| claims.check(self.id, wanted, &given_up))
    }
}

impl Plan {
    /// The places that the set gives up, in order.
    pub(super) fn given_up(&self, bells: &[Bell]) -> Vec<Place> {
        let removed = self.removals.iter().filter_map(|index| bells.get(*index));
        removed.map(Bell::place).collect()
    }
}
