// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Commits of a lease that is dropped: during them, or before.

use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::thread;

use irq_routing::Error;

use super::faults::{Faults, caught};
use super::held::Hold;
use super::model::What;
use super::staged::Staged;
use super::worker::Worker;
use super::{Doomed, World};

const MOST_QUARANTINED: u64 = 40;

impl Worker {
    /// Another thread drops the lease, or puts it in quarantine, while this one commits a route of
    /// it.
    pub(super) fn race(&mut self, world: &World, doomed: &Sender<Doomed>) {
        let Some(held) = self.take_one() else {
            return;
        };
        let gsi = held.hold.lease().gsi();
        let mut staged = Staged::new(&world.table);
        let edit = held.edit(Some(self.message().into()));
        staged.lead(held.hold.lease(), edit);
        for _ in 0..self.random.below(3) {
            if let Some(index) = self.random.index(self.held.len()) {
                let other = &self.held[index];
                let edit = other.edit(Some(self.message().into()));
                staged.lead(other.hold.lease(), edit);
            }
        }
        let fate = match held.hold {
            Hold::Line(line) if self.counts.quarantined < MOST_QUARANTINED => {
                self.counts.quarantined += 1;
                self.log(world, gsi, What::Quarantined);
                Doomed::Quarantined(line)
            }
            hold => {
                self.log(world, gsi, What::Dropped);
                world.doomed.store(gsi.number(), Ordering::Relaxed);
                // Another thread may have it by now.
                staged.edits.0.remove(&gsi);
                Doomed::Dropped(hold)
            }
        };
        doomed.send(fate).unwrap();
        (0..self.random.below(3)).for_each(|_| thread::yield_now());
        let Staged { transaction, edits } = staged;
        let took = match caught(|| transaction.commit()) {
            Some(Ok(())) => {
                self.counts.commits += 1;
                true
            }
            Some(Err(rejected)) => {
                match rejected.error {
                    Error::NotLeased { gsi: gone, .. } => assert_eq!(gone, gsi),
                    Error::Refused { .. } => assert_eq!(world.vm.faults(), Faults::Chance),
                    ref other => panic!("{other:?}"),
                }
                self.counts.count(&rejected.error);
                false
            }
            None => edits.have_taken_effect(&world.table),
        };
        if took {
            self.take_over(world, &edits);
        }
    }

    /// The lease has gone before its edit is committed.
    pub(super) fn change_too_late(&mut self, world: &World) {
        let mut staged = self.stage(world);
        let Some(held) = self.take_one() else {
            return;
        };
        let gsi = held.hold.lease().gsi();
        let edit = held.edit(Some(self.message().into()));
        staged.lead(held.hold.lease(), edit);
        self.log(world, gsi, What::Dropped);
        drop(held);
        match caught(|| staged.transaction.commit()) {
            Some(Err(rejected)) => {
                match rejected.error {
                    Error::NotLeased { gsi: gone, .. } => assert_eq!(gone, gsi),
                    // The first one that applies.
                    Error::RouteHeld { .. } => {}
                    ref other => panic!("{other:?}"),
                }
                self.counts.count(&rejected.error);
            }
            Some(Ok(())) => panic!("GSI {gsi} has no owner"),
            None => {}
        }
    }
}
