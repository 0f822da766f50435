// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The vectors of both devices and the eventfds, as the documents say that they behave: one pending
//! bit for each vector, counters as eventfd(2) has them, irqfds as KVM does.

use super::registers::{Msi, Msix, Wish};
use super::step::Kind;

/// As far as an eventfd counts.
pub(super) const FULL: u64 = u64::MAX - 1;
/// GSIs that can be leased.
pub(super) const GSIS: usize = 8;

pub(super) type Message = (u64, u32);

/// How far an exported vector that is open is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arm {
    /// Not at all, since it is masked or internal.
    Off,
    /// It waits for a round.
    Queued,
    /// In this step it is tried.
    Tried,
    Armed,
    Relayed,
    /// Whether the next round tries again.
    Dead {
        again: bool,
    },
}

#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) open: bool,
    pub(super) sends: Message,
    /// A trigger of an internal vector was kept.
    kept: bool,
    pub(super) notifier: Option<usize>,
    pub(super) arm: Arm,
    pub(super) has_gsi: bool,
    /// The kernel has refused the last message that was sent directly.
    pub(super) refused: bool,
    /// Whether its queue has an owner.
    pub(super) queue: bool,
}

#[derive(Debug, Clone, Copy)]
enum Bound {
    Line(usize),
    /// The kernel did not let go: whatever comes of it has this message.
    Stuck(Message),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Notifier {
    pub(super) count: u64,
    bound: Option<Bound>,
}

/// An interrupt that is to come in this step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sent {
    pub(super) by_irqfd: bool,
    pub(super) message: Message,
}

/// A request of this kind that fails: its number since the start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    pub(super) number: u64,
    pub(super) transient: bool,
}

#[derive(Debug)]
pub(super) struct Model {
    pub(super) msix: Msix,
    pub(super) msi: Msi,
    /// Those of the table, then those of the capability.
    pub(super) lines: Vec<Line>,
    pub(super) notifiers: Vec<Notifier>,
    /// GSIs of other devices.
    pub(super) held: usize,
    /// GSIs that are out of use.
    pub(super) lost: usize,
    pub(super) faults: Vec<Fault>,
    /// Whether the kernel refuses addresses with bits 32 to 39.
    pub(super) choosy: bool,
    /// Requests that take an irqfd off, since the start.
    pub(super) deassigns: u64,
    /// What irqfds inject in this step.
    pub(super) injected: Vec<Sent>,
    /// Vectors whose message is sent directly in this step.
    pub(super) direct: Vec<usize>,
}

/// What a snapshot holds of a vector.
#[derive(Debug, Clone)]
pub(super) struct Saved {
    pub(super) pending: bool,
    sends: Message,
}

impl Line {
    pub(super) fn new(queue: bool) -> Self {
        Self {
            open: false,
            sends: (0, 0),
            kept: false,
            notifier: None,
            arm: Arm::Off,
            has_gsi: false,
            refused: false,
            queue,
        }
    }
}

impl Model {
    pub(super) fn is_bad(&self, (address, _): Message) -> bool {
        self.choosy && address >> 32 & 0xff != 0
    }

    pub(super) fn table(&self) -> std::ops::Range<usize> {
        0..self.msix.vectors()
    }

    pub(super) fn capability(&self) -> std::ops::Range<usize> {
        self.msix.vectors()..self.lines.len()
    }

    pub(super) fn is_pending(&self, n: usize) -> bool {
        let line = &self.lines[n];
        match line.notifier {
            None => line.kept,
            Some(at) => line.arm != Arm::Armed && self.notifiers[at].count > 0,
        }
    }

    pub(super) fn pending(&self, range: std::ops::Range<usize>) -> Vec<bool> {
        range.map(|n| self.is_pending(n)).collect()
    }

    pub(super) fn add_notifier(&mut self) -> usize {
        let (count, bound) = (0, None);
        self.notifiers.push(Notifier { count, bound });
        self.notifiers.len() - 1
    }

    /// Whether the request of this kind and number is one that fails.
    fn meets_fault(&mut self, kind: Kind, number: u64) -> bool {
        let before = self.faults.len();
        self.faults
            .retain(|fault| fault.kind != kind || fault.number != number);
        self.faults.len() < before
    }

    fn deassign_fails(&mut self) -> bool {
        self.deassigns += 1;
        self.meets_fault(Kind::Deassign, self.deassigns)
    }
}

/// Notifiers.
impl Model {
    /// One is added to the counter.
    pub(super) fn signal(&mut self, at: usize) {
        if self.notifiers[at].count == FULL {
            // The write is refused, and KVM does not hear of it.
            return;
        }
        let message = match self.notifiers[at].bound {
            None => {
                self.notifiers[at].count += 1;
                return;
            }
            Some(Bound::Line(n)) => self.lines[n].sends,
            Some(Bound::Stuck(message)) => message,
        };
        self.notifiers[at].count = 0;
        self.inject(message);
    }

    /// As a device does: one that is full is emptied first.
    fn signal_anew(&mut self, at: usize) {
        if self.notifiers[at].count == FULL {
            self.notifiers[at].count = 0;
        }
        self.signal(at);
    }

    /// A peer reads the counter, then fills it.
    pub(super) fn fill(&mut self, at: usize) {
        self.notifiers[at].count = 0;
        self.signal(at);
        if self.notifiers[at].count > 0 {
            self.notifiers[at].count = FULL;
        }
    }

    pub(super) fn is_bound(&self, at: usize) -> bool {
        self.notifiers[at].bound.is_some()
    }

    fn inject(&mut self, message: Message) {
        let by_irqfd = true;
        self.injected.push(Sent { by_irqfd, message });
    }

    /// KVM_IRQFD has taken the notifier. What is in the counter is delivered, and stays there.
    pub(super) fn bind(&mut self, n: usize) {
        let line = &mut self.lines[n];
        (line.arm, line.has_gsi) = (Arm::Armed, true);
        let (at, message) = (line.notifier.expect("an exported one"), line.sends);
        let notifier = &mut self.notifiers[at];
        assert!(notifier.bound.is_none(), "one notifier is bound twice");
        notifier.bound = Some(Bound::Line(n));
        if notifier.count > 0 {
            self.inject(message);
        }
    }

    fn unbind(&mut self, n: usize) {
        let at = self.lines[n].notifier.expect("an exported one");
        // KVM drains it.
        let (count, bound) = (0, None);
        self.notifiers[at] = Notifier { count, bound };
        self.lines[n].arm = Arm::Off;
    }

    /// The irqfd is taken off, or stays for ever.
    fn disarm(&mut self, n: usize, tries: u32) {
        if self.lines[n].arm == Arm::Armed {
            let fails = (0..tries).take_while(|_| self.deassign_fails()).count();
            let at = self.lines[n].notifier.expect("an exported one");
            if fails > 0 {
                self.lines[n].has_gsi = false;
            }
            if fails == tries as usize {
                self.lost += 1;
                self.notifiers[at].bound = Some(Bound::Stuck(self.lines[n].sends));
            } else {
                self.unbind(n);
            }
        }
        self.lines[n].arm = Arm::Off;
    }
}

/// Vectors.
impl Model {
    /// The registers say otherwise than before.
    pub(super) fn turn(&mut self, range: std::ops::Range<usize>, wishes: Vec<Wish>, follows: bool) {
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

    /// The irqfd of an armed vector was taken off, for another notifier. `false` if the kernel did not
    /// let go.
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

    pub(super) fn reset(&mut self, range: std::ops::Range<usize>) {
        for n in range {
            self.close(n);
            self.clear(n);
        }
    }

    /// The vectors are dropped.
    pub(super) fn remove(&mut self, range: std::ops::Range<usize>) {
        for n in range {
            self.disarm(n, 1);
            (self.lines[n].has_gsi, self.lines[n].notifier) = (false, None);
        }
    }

    pub(super) fn save(&self, range: std::ops::Range<usize>) -> Vec<Saved> {
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
            // The simulated VM merges signals between two requests, of vectors that share a notifier.
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
