// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the guest, a device and the VMM do to a vector of the model.

use std::ops::Range;

use super::model::{Arm, Message, Model, has_one_target};
use super::registers::Wish;

impl Model {
    /// The registers say otherwise than before.
    pub(super) fn turn(&mut self, range: Range<usize>, wishes: Vec<Wish>) {
        for (n, (open, message)) in range.zip(wishes) {
            let line = &self.lines[n];
            match (line.open, open) {
                (true, false) => self.close(n),
                (false, true) => self.open(n, message),
                (true, true) if line.sends != message => self.retarget(n, message),
                _ => {}
            }
        }
    }

    /// One that is armed stays so if the kernel exchanges its message in one step.
    fn retarget(&mut self, n: usize, message: Message) {
        let line = &mut self.lines[n];
        let in_one_step = has_one_target(line.sends) && has_one_target(message);
        if line.is_armed() && !line.built_with_queue && in_one_step {
            (line.arm, line.sends) = (Arm::Moved, message);
            self.tried.push(n);
        } else {
            self.take_off(n, 2);
            self.open(n, message);
        }
    }

    fn close(&mut self, n: usize) {
        self.disarm(n, 2);
        self.lines[n].open = false;
    }

    fn open(&mut self, n: usize, message: Message) {
        let line = &mut self.lines[n];
        (line.open, line.sends) = (true, message);
        self.wake(n);
    }

    /// One that is open is told what it is now.
    fn wake(&mut self, n: usize) {
        if self.lines[n].notifier.is_some() {
            self.unpark(n);
        }
        let line = &mut self.lines[n];
        line.refused = false;
        if line.notifier.is_none() {
            if std::mem::take(&mut line.kept) {
                self.direct.push(n);
            }
        } else if line.queue {
            line.arm = Arm::Queued;
            self.enter(n);
        } else {
            line.arm = Arm::Tried;
            self.tried.push(n);
        }
    }

    /// It is in the queue, where it was if it is there already.
    pub(super) fn enter(&mut self, n: usize) {
        if !self.queue.contains(&Some(n)) {
            self.queue.push(Some(n));
        }
    }

    pub(super) fn trigger(&mut self, n: usize) {
        let line = &mut self.lines[n];
        match line.notifier {
            Some(at) => self.signal_anew(at),
            None if line.open => self.direct.push(n),
            None => line.kept = true,
        }
    }

    pub(super) fn clear(&mut self, n: usize) {
        let line = &mut self.lines[n];
        match line.notifier {
            None => line.kept = false,
            Some(_) if line.is_armed() => {}
            Some(at) => self.notifiers[at].count = 0,
        }
    }

    /// Nothing if it is exported already.
    pub(super) fn export(&mut self, n: usize, at: usize) {
        let line = &mut self.lines[n];
        line.notifier = Some(at);
        if std::mem::take(&mut line.kept) {
            self.signal_anew(at);
        }
        if self.lines[n].open {
            self.wake(n);
        }
    }

    pub(super) fn unexport(&mut self, n: usize) {
        let Some(at) = self.lines[n].notifier else {
            return;
        };
        self.disarm(n, 2);
        self.give_back(n);
        self.queue.retain(|entry| *entry != Some(n));
        let line = &mut self.lines[n];
        line.notifier = None;
        line.kept = std::mem::take(&mut self.notifiers[at].count) > 0;
        if line.open {
            self.wake(n);
        }
    }

    /// Another notifier takes the place of one that is not bound, with what that one has.
    pub(super) fn exchange(&mut self, n: usize, new: usize) {
        let old = self.lines[n]
            .notifier
            .replace(new)
            .expect("an exported one");
        if std::mem::take(&mut self.notifiers[old].count) > 0 {
            self.signal_anew(new);
        }
        if matches!(self.lines[n].arm, Arm::Dead { .. }) {
            self.wake(n);
        }
    }

    pub(super) fn reset(&mut self, range: Range<usize>) {
        for n in range {
            self.close(n);
            self.clear(n);
        }
    }

    /// The vectors are dropped.
    pub(super) fn remove(&mut self, range: Range<usize>) {
        for n in range {
            self.disarm(n, 1);
            self.give_back(n);
            self.lines[n].notifier = None;
            let entries = self.queue.iter_mut();
            entries
                .filter(|entry| **entry == Some(n))
                .for_each(|entry| *entry = None);
        }
    }

    /// After the registers are those of the snapshot, with what was pending.
    pub(super) fn restore(&mut self, first: usize, wishes: Vec<Wish>, pending: &[bool]) {
        self.reset(first..first + pending.len());
        for (n, (open, message)) in (first..).zip(wishes) {
            if open {
                self.open(n, message);
            }
        }
        let mut met = Vec::new();
        for (n, _) in (first..).zip(pending).filter(|(_, pending)| **pending) {
            // The simulated VM merges signals between two requests, of vectors that share a
            // notifier.
            let bound = self.lines[n].notifier.filter(|at| self.is_bound(*at));
            if bound.is_none() || !met.contains(&bound) {
                met.push(bound);
                self.trigger(n);
            }
        }
    }

    /// What waits is tried, unless it was masked since.
    pub(super) fn begin_round(&mut self) {
        for n in std::mem::take(&mut self.queue).into_iter().flatten() {
            if self.lines[n].open {
                self.lines[n].arm = Arm::Tried;
                self.tried.push(n);
            }
        }
    }
}
