// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Operations of the guest, a device and the VMM on a vector of the model.

use std::ops::Range;

use super::line::{Arm, Message, Outlet, has_one_target};
use super::model::Model;
use super::registers::Wish;

impl Model {
    /// The registers have changed.
    pub(super) fn turn(&mut self, range: Range<usize>, wishes: Vec<Wish>) {
        let devid = self.devid(&range);
        for (n, (open, (address, data))) in range.zip(wishes) {
            let message = (address, data, devid);
            let line = &self.lines[n];
            match (line.open, open) {
                (true, false) => self.close(n),
                (false, true) => self.open(n, message),
                (true, true) if line.sends != message => self.retarget(n, message),
                _ => {}
            }
        }
    }

    /// An armed vector stays armed if the kernel replaces its message in one step.
    pub(super) fn retarget(&mut self, n: usize, message: Message) {
        let line = &mut self.lines[n];
        let in_one_step = has_one_target(line.sends) && has_one_target(message);
        if line.paused {
            line.sends = message;
        } else if line.is_armed() && !line.built_with_queue && in_one_step {
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
        if line.paused && line.notifier().is_some() {
            self.unpark(n);
        }
        self.wake(n);
    }

    /// Updates a vector that may send.
    fn wake(&mut self, n: usize) {
        if self.start(n) {
            self.carry_out(n);
        }
    }

    /// As above, except for the caller's work. Returns whether there is such work.
    pub(super) fn start(&mut self, n: usize) -> bool {
        if !self.lines[n].is_active() {
            return false;
        }
        if self.lines[n].notifier().is_some() {
            self.unpark(n);
        }
        let line = &mut self.lines[n];
        (line.refused, line.arm) = (false, Arm::Off);
        match line.outlet {
            Outlet::Message => true,
            Outlet::Nothing => {
                self.park(n);
                false
            }
            Outlet::Own(_) | Outlet::Shared(_) if line.queue => {
                line.arm = Arm::Queued;
                self.enter(n);
                false
            }
            Outlet::Own(_) | Outlet::Shared(_) => true,
        }
    }

    pub(super) fn carry_out(&mut self, n: usize) {
        let line = &mut self.lines[n];
        if line.outlet == Outlet::Message {
            line.arm = Arm::Off;
            if std::mem::take(&mut line.kept) {
                self.direct.push(n);
            }
        } else {
            line.arm = Arm::Tried;
            self.tried.push(n);
        }
    }

    /// Adds it to the queue; if it is there already, it keeps its position.
    pub(super) fn enter(&mut self, n: usize) {
        if !self.queue.contains(&Some(n)) {
            self.queue.push(Some(n));
        }
    }

    pub(super) fn trigger(&mut self, n: usize) {
        let line = &mut self.lines[n];
        match line.outlet {
            _ if !line.lets_through() => line.kept = true,
            Outlet::Own(at) | Outlet::Shared(at) => self.signal_anew(at),
            Outlet::Message | Outlet::Nothing => self.direct.push(n),
        }
    }

    pub(super) fn clear(&mut self, n: usize) {
        let line = &mut self.lines[n];
        match line.shared() {
            Some(at) if !line.is_armed() => self.notifiers[at].count = 0,
            _ => {}
        }
        self.lines[n].kept = false;
    }

    /// Gives a notifier to a vector that has none, or hands out the one that it has.
    pub(super) fn export(&mut self, n: usize, at: usize) {
        let line = &mut self.lines[n];
        let had_none = line.notifier().is_none();
        line.outlet = Outlet::Shared(at);
        if line.kept {
            // The counter is cleared, and its signal is kept.
            line.kept = std::mem::take(&mut self.notifiers[at].count) > 0;
            self.signal_anew(at);
        }
        if had_none {
            self.wake(n);
        }
    }

    /// Takes away the notifier that was handed out, if there is one.
    pub(super) fn take_notifier(&mut self, n: usize) {
        let Some(at) = self.lines[n].shared() else {
            return;
        };
        self.take_off(n, 2);
        self.park_unless_paused(n);
        self.queue.retain(|entry| *entry != Some(n));
        let line = &mut self.lines[n];
        line.outlet = Outlet::Nothing;
        line.kept |= std::mem::take(&mut self.notifiers[at].count) > 0;
    }

    pub(super) fn unexport(&mut self, n: usize) {
        self.take_notifier(n);
        if self.lines[n].outlet != Outlet::Nothing {
            return;
        }
        // A trigger that was kept while it had no notifier.
        self.park_unless_paused(n);
        self.lines[n].outlet = match self.lines[n].private {
            true => Outlet::Own(self.add_notifier()),
            false => Outlet::Message,
        };
        if !self.lines[n].private {
            self.give_back(n);
        }
        self.wake(n);
    }

    /// Replaces a notifier that is not bound; a kept trigger stays.
    pub(super) fn exchange(&mut self, n: usize, new: usize) {
        let line = &mut self.lines[n];
        let old = line.shared();
        let in_old = old.is_some_and(|old| std::mem::take(&mut self.notifiers[old].count) > 0);
        let has_signal = std::mem::take(&mut line.kept) || in_old;
        line.outlet = Outlet::Shared(new);
        if has_signal {
            // The counter is cleared, and its signal is kept.
            line.kept = std::mem::take(&mut self.notifiers[new].count) > 0;
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
            self.lines[n].outlet = Outlet::Nothing;
            let entries = self.queue.iter_mut();
            entries
                .filter(|entry| **entry == Some(n))
                .for_each(|entry| *entry = None);
        }
    }

    /// Resets these vectors, opens them by the restored registers, and restores the pending bits.
    pub(super) fn restore(&mut self, first: usize, wishes: Vec<Wish>, pending: &[bool]) {
        let range = first..first + pending.len();
        let devid = self.devid(&range);
        self.reset(range);
        for (n, (open, (address, data))) in (first..).zip(wishes) {
            if open {
                self.open(n, (address, data, devid));
            }
        }
        let mut met = Vec::new();
        for (n, _) in (first..).zip(pending).filter(|(_, pending)| **pending) {
            // The simulated VM merges signals between two requests, of vectors that share a
            // notifier.
            let bound = self.lines[n].shared().filter(|at| self.is_bound(*at));
            if bound.is_none() || !met.contains(&bound) {
                met.push(bound);
                self.trigger(n);
            }
        }
    }

    /// Tries waiting vectors, unless they were masked or paused since.
    pub(super) fn begin_round(&mut self) {
        for n in std::mem::take(&mut self.queue).into_iter().flatten() {
            if self.lines[n].is_active() {
                self.lines[n].arm = Arm::Tried;
                self.tried.push(n);
            }
        }
    }
}
