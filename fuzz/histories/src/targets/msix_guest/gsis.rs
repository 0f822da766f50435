// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The few GSIs of the VM: the holder of each, its route, and its entry in the kernel's table. The
//! irqfds of vectors.

use super::line::{Arm, Message, Outlet};
use super::model::Model;
use super::step::Kind;

/// GSIs that can be leased.
pub(super) const GSIS: usize = 8;

/// The holder of a GSI.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Holder {
    #[default]
    Free,
    /// Another device.
    Other,
    /// A vector.
    Line(usize),
    /// Not used any more: the kernel did not unbind something that is bound to it.
    Lost,
}

#[derive(Debug, Clone, Copy, Default)]
struct Gsi {
    holder: Holder,
    /// The message to which its holder has routed it.
    route: Option<Message>,
    /// The message in the kernel's table. That of the last holder stays until the table changes.
    entry: Option<Message>,
    /// The kernel may have got another table without that entry.
    is_doubtful: bool,
}

/// All GSIs.
#[derive(Debug, Default)]
pub(super) struct Gsis {
    all: [Gsi; GSIS],
    /// GSIs that vectors have parked, the longest parked first.
    parked: Vec<usize>,
}

impl Gsis {
    /// The message of a GSI with something bound to it.
    pub(super) fn route(&self, gsi: usize) -> Message {
        self.all[gsi].route.expect("nothing is bound without one")
    }

    /// Whether the vector that has it may use it.
    pub(super) fn is_usable(&self, gsi: usize) -> bool {
        self.all[gsi].holder != Holder::Lost
    }

    fn count(&self, is: impl Fn(Holder) -> bool) -> usize {
        self.all.iter().filter(|gsi| is(gsi.holder)).count()
    }

    pub(super) fn lost(&self) -> usize {
        self.count(|holder| holder == Holder::Lost)
    }

    /// How many are held.
    pub(super) fn held(&self) -> usize {
        let held = |holder| matches!(holder, Holder::Other | Holder::Line(_));
        self.count(held) - self.parked.len()
    }

    fn give_back(&mut self, gsi: usize) {
        let Gsi { holder, route, .. } = &mut self.all[gsi];
        if *holder != Holder::Lost {
            (*holder, *route) = (Holder::Free, None);
        }
        self.parked.retain(|parked| *parked != gsi);
    }

    /// The kernel's table has this message for it now.
    pub(super) fn commit(&mut self, gsi: usize, message: Message) {
        let (route, entry) = (Some(message), Some(message));
        (self.all[gsi].route, self.all[gsi].entry) = (route, entry);
        self.all[gsi].is_doubtful = false;
    }

    /// The kernel has got another table.
    pub(super) fn committed(&mut self) {
        for gsi in &mut self.all {
            (gsi.entry, gsi.is_doubtful) = (gsi.route, false);
        }
    }

    /// The kernel may have got another table.
    pub(super) fn doubt(&mut self) {
        for gsi in &mut self.all {
            gsi.is_doubtful = gsi.entry != gsi.route;
        }
    }

    /// Whether the kernel's table has a message different from this, if known.
    pub(super) fn differs(&self, gsi: usize, message: Message) -> Option<bool> {
        let Gsi {
            entry, is_doubtful, ..
        } = self.all[gsi];
        match entry == Some(message) {
            true if is_doubtful => None,
            same => Some(!same),
        }
    }
}

impl Model {
    /// Takes the lowest free one, or else the longest parked.
    fn take_gsi(&mut self, holder: Holder) -> Option<usize> {
        let all = self.gsis.all.iter();
        let free = all
            .enumerate()
            .find(|(_, gsi)| gsi.holder == Holder::Free)
            .map(|(gsi, _)| gsi);
        let gsi = free.or(self.gsis.parked.first().copied())?;
        if let Holder::Line(n) = self.gsis.all[gsi].holder {
            self.give_back(n);
        }
        self.gsis.all[gsi].holder = holder;
        Some(gsi)
    }

    /// Another device takes one.
    pub(super) fn hold(&mut self) -> Option<usize> {
        self.take_gsi(Holder::Other)
    }

    /// Another device returns one.
    pub(super) fn release(&mut self, gsi: usize) {
        self.gsis.give_back(gsi);
    }

    /// Takes all parked ones and returns them.
    pub(super) fn forget_parked(&mut self) {
        while let Some(gsi) = self.gsis.parked.first().copied() {
            if let Holder::Line(n) = self.gsis.all[gsi].holder {
                self.give_back(n);
            }
        }
    }

    /// The vector loses its GSI.
    pub(super) fn give_back(&mut self, n: usize) {
        if let Some(gsi) = self.lines[n].gsi.take() {
            self.gsis.give_back(gsi);
        }
    }

    /// The vector takes its parked GSI, or another one. Returns whether it has one.
    pub(super) fn take(&mut self, n: usize) -> bool {
        self.unpark(n);
        if self.lines[n].gsi.is_none() {
            self.lines[n].gsi = self.take_gsi(Holder::Line(n));
        }
        self.lines[n].gsi.is_some()
    }

    /// The VMM gives the vector a GSI of another device. Returns whether the vector takes it.
    pub(super) fn give(&mut self, n: usize, gsi: usize) -> bool {
        let line = &self.lines[n];
        if line.is_armed() || line.arm == Arm::Batched {
            return false;
        }
        let is_in_queue = matches!(line.arm, Arm::Queued | Arm::Dead { again: true });
        let (is_active, has_notifier) = (line.is_active(), line.notifier().is_some());
        self.give_back(n);
        self.gsis.all[gsi].holder = Holder::Line(n);
        self.lines[n].gsi = Some(gsi);
        match has_notifier {
            false => self.park(n),
            true if is_in_queue && is_active => {}
            true => self.park_unless_paused(n),
        }
        true
    }

    /// The vector unparks its GSI, if it still has one.
    pub(super) fn unpark(&mut self, n: usize) {
        if let Some(gsi) = self.lines[n].gsi {
            self.gsis.parked.retain(|parked| *parked != gsi);
        }
    }

    /// The vector parks its GSI: others may take it.
    pub(super) fn park(&mut self, n: usize) {
        match self.lines[n].gsi {
            Some(gsi) if !self.gsis.is_usable(gsi) => self.lines[n].gsi = None,
            Some(gsi) if !self.gsis.parked.contains(&gsi) => self.gsis.parked.push(gsi),
            _ => {}
        }
    }

    /// As above, except for a vector that would be open if it were not paused.
    pub(super) fn park_unless_paused(&mut self, n: usize) {
        let line = &self.lines[n];
        if !(line.open && line.paused) {
            self.park(n);
        }
    }

    /// Whether the GSI of a vector cannot be routed any more.
    pub(super) fn has_lost_gsi(&self, n: usize) -> bool {
        let gsi = self.lines[n].gsi;
        gsi.is_some_and(|gsi| !self.gsis.is_usable(gsi))
    }

    /// The GSI of a vector that is armed, or that is about to be.
    pub(super) fn gsi_in_use(&self, n: usize) -> Option<usize> {
        let gsi = self.lines[n].gsi;
        gsi.filter(|gsi| !self.gsis.parked.contains(gsi))
    }

    /// KVM_IRQFD has taken the vector's notifier.
    pub(super) fn arm(&mut self, n: usize) {
        let line = &mut self.lines[n];
        line.arm = Arm::Armed;
        let (at, gsi) = (line.notifier(), line.gsi);
        let at = at.expect("one with a notifier");
        let kept = std::mem::take(&mut line.kept);
        if kept {
            // One interrupt for both.
            self.notifiers[at].count = 0;
        }
        self.bind(at, gsi.expect("one with a route"));
        if kept {
            self.signal(at);
        }
    }

    /// Disarms the vector. Others may take the GSI.
    pub(super) fn disarm(&mut self, n: usize, tries: u32) {
        self.take_off(n, tries);
        self.park(n);
    }

    /// Unbinds the irqfd; if that fails, it stays for ever.
    pub(super) fn take_off(&mut self, n: usize, tries: u32) {
        let line = self.lines[n].clone();
        self.lines[n].arm = Arm::Off;
        if line.is_armed() {
            let fails = (0..tries).take_while(|_| self.deassign_fails()).count();
            let (at, gsi) = (line.notifier(), line.gsi.expect("one that is armed"));
            match fails == tries as usize {
                true => self.gsis.all[gsi].holder = Holder::Lost,
                false => self.unbind(at.expect("one with a notifier")),
            }
            if fails > 0 {
                self.give_back(n);
            }
        }
    }

    /// Replaces the notifier of an armed vector: binds the new one, then unbinds the old one.
    /// Returns whether that succeeded; if the old one stays, the new one is unbound.
    pub(super) fn swap(&mut self, n: usize, new: usize) -> bool {
        let line = &self.lines[n];
        let (old, gsi) = (line.notifier(), line.gsi.expect("one that is armed"));
        self.assigns += 1;
        if self.meets_fault(Kind::Assign, self.assigns) || self.is_bound(new) {
            return false;
        }
        self.bind(new, gsi);
        if !self.deassign_fails() {
            self.unbind(old.expect("one with a notifier"));
            self.lines[n].outlet = Outlet::Shared(new);
            return true;
        }
        match self.deassign_fails() {
            true => self.gsis.all[gsi].holder = Holder::Lost,
            false => self.unbind(new),
        }
        false
    }
}
