// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The vectors of both devices and the eventfds, as the documents say that they behave: one pending
//! bit for each vector, counters as eventfd(2) has them, irqfds as KVM does.

use std::ops::Range;

use super::registers::{Msi, Msix};
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
    pub(super) kept: bool,
    pub(super) notifier: Option<usize>,
    pub(super) arm: Arm,
    pub(super) has_gsi: bool,
    /// The kernel has refused the last message that was sent directly.
    pub(super) refused: bool,
    /// Whether its queue has an owner.
    pub(super) queue: bool,
    /// Whether it was relayed when the last round began.
    pub(super) relayed: bool,
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
    /// Whether the table may believe that such a kernel is choosy, since a request was made to
    /// fail.
    pub(super) deceived: bool,
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
    pub(super) sends: Message,
}

/// Whether some kernels refuse it.
pub(super) fn is_high((address, _): Message) -> bool {
    address >> 32 & 0xff != 0
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
            relayed: false,
        }
    }
}

impl Model {
    pub(super) fn is_bad(&self, message: Message) -> bool {
        self.choosy && is_high(message)
    }

    pub(super) fn table(&self) -> Range<usize> {
        0..self.msix.vectors()
    }

    pub(super) fn capability(&self) -> Range<usize> {
        self.msix.vectors()..self.lines.len()
    }

    /// Whether the guest has enabled the interrupts of the vector's device.
    pub(super) fn is_enabled(&self, n: usize) -> bool {
        match self.table().contains(&n) {
            true => self.msix.enabled,
            false => self.msi.is_enabled(),
        }
    }

    pub(super) fn is_pending(&self, n: usize) -> bool {
        let line = &self.lines[n];
        match line.notifier {
            None => line.kept,
            Some(at) => line.arm != Arm::Armed && self.notifiers[at].count > 0,
        }
    }

    pub(super) fn pending(&self, range: Range<usize>) -> Vec<bool> {
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

    pub(super) fn deassign_fails(&mut self) -> bool {
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
    pub(super) fn signal_anew(&mut self, at: usize) {
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

    pub(super) fn unbind(&mut self, n: usize) {
        let at = self.lines[n].notifier.expect("an exported one");
        // KVM drains it.
        let (count, bound) = (0, None);
        self.notifiers[at] = Notifier { count, bound };
        self.lines[n].arm = Arm::Off;
    }

    /// The irqfd is taken off, or stays for ever.
    pub(super) fn disarm(&mut self, n: usize, tries: u32) {
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
