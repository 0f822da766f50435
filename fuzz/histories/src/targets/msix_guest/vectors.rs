// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the guest, a device and the VMM do to a vector of the model.

use std::ops::Range;

use super::model::{Arm, Message, Model, Saved};
use super::registers::Wish;

impl Model {
    /// The registers say otherwise than before.
    pub(super) fn turn(&mut self, range: Range<usize>, wishes: Vec<Wish>, follows: bool) {
        for (n, (open, message)) in range.zip(wishes) {
            let line = &self.lines[n];
            let moves = follows && open && line.sends != message;
            if line.open && (!open || moves) {
                self.close(n);
            }
            if open && !self.lines[n].open {
                self.open(n, message);
            }
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
        let line = &mut self.lines[n];
        line.refused = false;
        if line.notifier.is_none() {
            if std::mem::take(&mut line.kept) {
                self.direct.push(n);
            }
        } else if line.queue {
            line.arm = Arm::Queued;
        } else {
            line.arm = Arm::Tried;
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
            Some(_) if line.arm == Arm::Armed => {}
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
        let line = &mut self.lines[n];
        (line.notifier, line.has_gsi) = (None, false);
        line.kept = std::mem::take(&mut self.notifiers[at].count) > 0;
        if line.open {
            self.wake(n);
        }
    }

    /// The irqfd of an armed vector was taken off, for another notifier. `false` if the kernel did
    /// not let go.
    pub(super) fn release(&mut self, n: usize) -> bool {
        if self.deassign_fails() {
            return false;
        }
        self.unbind(n);
        true
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
        if matches!(self.lines[n].arm, Arm::Relayed | Arm::Dead { .. }) {
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
            (self.lines[n].has_gsi, self.lines[n].notifier) = (false, None);
        }
    }

    pub(super) fn save(&self, range: Range<usize>) -> Vec<Saved> {
        let save = |n: usize| Saved {
            pending: self.is_pending(n),
            sends: self.lines[n].sends,
        };
        range.map(save).collect()
    }

    /// After the registers are those of the snapshot.
    pub(super) fn restore(&mut self, first: usize, wishes: Vec<Wish>, saved: &[Saved]) {
        self.reset(first..first + saved.len());
        for ((n, (open, _)), saved) in (first..).zip(wishes).zip(saved) {
            if open {
                self.open(n, saved.sends);
            }
        }
        let mut met = Vec::new();
        for (n, _) in (first..).zip(saved).filter(|(_, saved)| saved.pending) {
            // The simulated VM merges signals between two requests, of vectors that share a
            // notifier.
            let bound = self.lines[n].notifier.filter(|at| self.is_bound(*at));
            if bound.is_none() || !met.contains(&bound) {
                met.push(bound);
                self.trigger(n);
            }
        }
    }

    /// What was relayed is sent, what waits is tried.
    pub(super) fn begin_round(&mut self) {
        for n in 0..self.lines.len() {
            let line = &self.lines[n];
            if let (Arm::Relayed, Some(at), true) = (line.arm, line.notifier, line.queue)
                && std::mem::take(&mut self.notifiers[at].count) > 0
            {
                self.direct.push(n);
            }
            let line = &mut self.lines[n];
            line.relayed = line.arm == Arm::Relayed;
            let tried = matches!(
                line.arm,
                Arm::Queued | Arm::Relayed | Arm::Dead { again: true }
            );
            if line.queue && tried {
                line.arm = Arm::Tried;
            }
        }
    }
}
