// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Pausing devices and resuming them, alone or in a batch.

use std::ops::Range;

use super::line::Arm;
use super::model::Model;
use super::step::{Pause, ResumeBatch};
use super::world::World;

impl Model {
    pub(super) fn pause(&mut self, range: Range<usize>) {
        for n in range {
            if self.lines[n].is_active() {
                // It keeps its GSI if the kernel unbinds its irqfd.
                self.take_off(n, 2);
            }
            self.lines[n].paused = true;
        }
    }

    /// Vectors that wait for a caller wait for the batch.
    fn join(&mut self, range: Range<usize>, batch: ResumeBatch) {
        for n in range {
            if std::mem::take(&mut self.lines[n].paused) && self.start(n) {
                self.lines[n].arm = Arm::Batched;
                // Earlier entries do not count any more.
                for batch in &mut self.joined {
                    batch.retain(|joined| *joined != n);
                }
                self.joined[batch as usize].push(n);
            }
        }
    }

    fn run_batch(&mut self, batch: ResumeBatch) {
        for n in std::mem::take(&mut self.joined[batch as usize]) {
            if self.lines[n].arm == Arm::Batched {
                self.carry_out(n);
            }
        }
    }

    fn resume(&mut self, range: Range<usize>) {
        for n in range {
            if std::mem::take(&mut self.lines[n].paused) && self.start(n) {
                self.carry_out(n);
            }
        }
    }
}

impl World {
    pub(super) fn range(&self, table: bool) -> Range<usize> {
        match table {
            true => self.model.table(),
            false => self.model.check_extension(),
        }
    }

    pub(super) fn pause_step(&mut self, step: &Pause) {
        match *step {
            Pause::Pause(table) => self.pause(table),
            Pause::Save(table) => {
                self.pause(table);
                self.compare();
                self.save(table);
            }
            Pause::Resume(table) => {
                let dead = match table {
                    true => self.table.resume(),
                    false => self.msi.resume(),
                };
                self.access(dead);
                self.model.resume(self.range(table));
            }
            Pause::Join(table, batch) => self.join(table, batch),
            Pause::Both(first, batch) => {
                self.join(first, batch);
                self.join(!first, batch);
                self.run_batch(batch, true);
            }
            Pause::Run(batch, returns) => self.run_batch(batch, returns),
        }
    }

    pub(super) fn pause(&mut self, table: bool) {
        match table {
            true => self.table.pause(),
            false => self.msi.pause(),
        }
        self.model.pause(self.range(table));
    }

    fn join(&mut self, table: bool, batch: ResumeBatch) {
        let joined = &mut self.batches[batch as usize];
        match table {
            true => self.table.resume_in(joined),
            false => self.msi.resume_in(joined),
        }
        self.model.join(self.range(table), batch);
    }

    /// A batch is run, or dropped, which has the same effect.
    fn run_batch(&mut self, batch: ResumeBatch, returns: bool) {
        let taken = std::mem::take(&mut self.batches[batch as usize]);
        match returns {
            true => {
                let dead = taken.run();
                self.access(dead);
            }
            false => drop(taken),
        }
        self.model.run_batch(batch);
    }

    /// Runs batches before devices are dropped, because a batch holds them.
    pub(super) fn run_batches(&mut self) {
        for batch in [ResumeBatch::One, ResumeBatch::Other] {
            self.run_batch(batch, true);
            self.compare();
        }
    }
}
