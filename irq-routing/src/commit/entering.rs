// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! After a round: updates the table with what the kernel has taken.

use std::sync::Arc;

use super::edit::{Change, Edit};
use super::kernel::KernelTable;
use super::request::{Request, RequestKind};
use crate::table::slots::Slot;
use crate::table::state::State;
use crate::{Armed, Gsi};

impl State {
    /// Marks a GSI as blocked before its entry is removed, so that nothing is armed on it from now
    /// on. Returns whether the entry may be removed, and what has to be disarmed first. The caller
    /// drops the returned list without the lock.
    pub(crate) fn mark_blocked(&mut self, gsi: Gsi) -> (bool, Vec<Arc<dyn Armed>>) {
        let slot = self.slots.get(gsi);
        let (armed, all) = self.registered.armed(gsi, slot.lease());
        let known = all && u32::try_from(armed.len()).is_ok_and(|count| count >= slot.lines());
        let may_go = !matches!(slot, Slot::Quarantined(_)) && (slot.lines() == 0 || known);
        if may_go {
            self.blocked.insert(gsi.index());
        }
        (may_go, armed)
    }

    /// Updates the table with what was carried out. Returns what is to be armed again.
    pub(crate) fn enter_committed_edits(
        &mut self,
        kernel: &KernelTable,
        requests: &[Request],
    ) -> Vec<Arc<dyn Armed>> {
        for request in requests {
            for edit in request.edits_in_force() {
                self.enter_edit(edit);
                if edit.is_blocked() {
                    self.blocked.insert(edit.gsi.index());
                }
            }
            if let (RequestKind::Drive(gsi), Some(Ok(()))) = (request.kind, &request.outcome) {
                self.driven.insert(gsi);
            }
        }
        self.slots.settle();
        self.unmark_blocked(kernel)
    }

    /// Removes the marks of GSIs that are no longer blocked. Returns what is registered for those
    /// that have a route. After a panic of the VM the marks stay until the kernel's table is known
    /// again.
    fn unmark_blocked(&mut self, kernel: &KernelTable) -> Vec<Arc<dyn Armed>> {
        let mut unblocked = Vec::new();
        if !kernel.is_known() {
            return unblocked;
        }
        for index in self.blocked.ones() {
            let gsi = self.slots.gsi(index);
            let routed = gsi.filter(|gsi| self.slots.get(*gsi).route().is_some());
            if routed.is_some_and(|gsi| !kernel.has_entry(gsi)) {
                continue;
            }
            self.seen.insert(index);
            unblocked.extend(
                routed
                    .into_iter()
                    .flat_map(|gsi| self.registered.armed(gsi, self.slots.get(gsi).lease()).0),
            );
        }
        self.blocked.difference_with(&self.seen);
        self.seen.clear();
        unblocked
    }

    /// Updates the table with what the kernel has taken. Meanwhile a lease may have been dropped,
    /// parked or quarantined; its GSI has no other holder yet.
    fn enter_edit(&mut self, edit: &Edit) {
        let (gsi, route) = (edit.gsi, edit.route());
        let lines = self.slots.get(gsi).lines();
        let slot = match (edit.change, self.slots.get(gsi)) {
            (Change::Translation(_), _) => return,
            (Change::Wiring(Some(pins)), _) => Slot::Wired { pins, lines },
            (Change::Wiring(None), _) => Slot::Free,
            (
                Change::Lease(id, _) | Change::Message(id, ..),
                Slot::Leased {
                    edit: newest,
                    id: holder,
                    ..
                },
            ) if id == holder => Slot::Leased {
                id,
                route,
                lines,
                edit: newest,
            },
            (
                Change::Lease(id, _) | Change::Message(id, ..),
                Slot::Parked {
                    id: holder,
                    edit,
                    since,
                    ..
                },
            ) if id == holder => Slot::Parked {
                id,
                route,
                edit,
                since,
            },
            (Change::Lease(..) | Change::Message(..), Slot::Quarantined(_)) => {
                Slot::Quarantined(route)
            }
            (Change::Lease(..) | Change::Message(..), _) => {
                self.stale.insert(gsi.index());
                return;
            }
        };
        self.slots.put(gsi, slot);
    }
}
