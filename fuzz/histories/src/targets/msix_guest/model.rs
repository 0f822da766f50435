// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The vectors of both devices and the eventfds, by their specifications: one pending bit for each
//! vector, counters as in eventfd(2), irqfds as in KVM.

use std::ops::Range;

use super::gsis::Gsis;
use super::line::{Line, Message, Outlet, is_high};
use super::registers::{Msi, Msix};
use super::step::Kind;

/// The highest count of an eventfd.
pub(super) const FULL: u64 = u64::MAX - 1;

#[derive(Debug, Clone, Copy)]
pub(super) struct Notifier {
    pub(super) count: u64,
    /// The GSI that it is bound to.
    bound: Option<usize>,
}

/// An interrupt that must arrive in this step.
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
    pub(super) gsis: Gsis,
    /// The device ids of the table and of the capability.
    pub(super) devids: [Option<u32>; 2],
    /// Resumed vectors that wait for each of two batches, in order. Some may not wait any more.
    pub(super) joined: [Vec<usize>; 2],
    /// The queue, in order: vectors, or `None` for those that were dropped.
    pub(super) queue: Vec<Option<usize>>,
    /// Vectors that are tried in this step, in this order.
    pub(super) tried: Vec<usize>,
    pub(super) faults: Vec<Fault>,
    /// Whether the kernel refuses addresses with bits 32 to 39.
    pub(super) choosy: bool,
    /// Whether the table may assume that the kernel does so, because of an injected failure.
    pub(super) deceived: bool,
    /// The numbers of requests that bind and unbind an irqfd, since the start.
    pub(super) assigns: u64,
    pub(super) deassigns: u64,
    /// The interrupts that irqfds inject in this step.
    pub(super) injected: Vec<Sent>,
    /// Vectors whose message is sent directly in this step.
    pub(super) direct: Vec<usize>,
}

impl Model {
    pub(super) fn is_bad(&self, message: Message) -> bool {
        self.choosy && is_high(message)
    }

    pub(super) fn table(&self) -> Range<usize> {
        0..self.msix.vectors()
    }

    pub(super) fn check_extension(&self) -> Range<usize> {
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
        match line.shared() {
            None => line.kept,
            Some(at) => line.kept || !line.is_armed() && self.notifiers[at].count > 0,
        }
    }

    /// As above; the vector reads its notifier for that and keeps the signal.
    pub(super) fn look(&mut self, n: usize) -> bool {
        let is_pending = self.is_pending(n);
        if let (true, Some(at)) = (is_pending, self.lines[n].shared())
            && !self.lines[n].kept
        {
            self.lines[n].kept = true;
            self.notifiers[at].count = 0;
        }
        is_pending
    }

    pub(super) fn pending(&self, range: Range<usize>) -> Vec<bool> {
        range.map(|n| self.is_pending(n)).collect()
    }

    /// The device id of the vectors of a device.
    pub(super) fn devid(&self, range: &Range<usize>) -> Option<u32> {
        self.devids[usize::from(*range != self.table())]
    }

    /// Whether a device is paused: all of its vectors, or none.
    pub(super) fn is_paused(&self, range: Range<usize>) -> bool {
        self.lines[range.start].paused
    }

    /// A new vector.
    pub(super) fn new_line(&mut self, queue: bool, private: bool) -> Line {
        let outlet = match private {
            true => Outlet::Own(self.add_notifier()),
            false => Outlet::Message,
        };
        Line::new(queue, outlet)
    }

    pub(super) fn add_notifier(&mut self) -> usize {
        let (count, bound) = (0, None);
        self.notifiers.push(Notifier { count, bound });
        self.notifiers.len() - 1
    }

    /// Whether the request of this kind and number is one that fails.
    pub(super) fn meets_fault(&mut self, kind: Kind, number: u64) -> bool {
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
            // The write is refused, and KVM is not woken.
            return;
        }
        let gsi = match self.notifiers[at].bound {
            None => {
                self.notifiers[at].count += 1;
                return;
            }
            Some(gsi) => gsi,
        };
        self.notifiers[at].count = 0;
        self.inject(gsi);
    }

    /// Signals as a device does: a full counter is emptied first.
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

    fn inject(&mut self, gsi: usize) {
        let (by_irqfd, message) = (true, self.gsis.route(gsi));
        self.injected.push(Sent { by_irqfd, message });
    }

    /// KVM_IRQFD has bound a notifier. A pending signal is delivered, and the count stays.
    pub(super) fn bind(&mut self, at: usize, gsi: usize) {
        let notifier = &mut self.notifiers[at];
        assert!(notifier.bound.is_none(), "one notifier is bound twice");
        notifier.bound = Some(gsi);
        if notifier.count > 0 {
            self.inject(gsi);
        }
    }

    /// KVM_IRQFD has unbound it and cleared its counter.
    pub(super) fn unbind(&mut self, at: usize) {
        let (count, bound) = (0, None);
        self.notifiers[at] = Notifier { count, bound };
    }
}
