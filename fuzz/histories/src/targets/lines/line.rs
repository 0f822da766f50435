// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Line`]: a line, its devices and its model. The model is the wire, and the level that the
//! interrupt controllers were given last.

use irqfd::{LevelIrq, LevelLine, LevelSnapshot};

use super::machine::Way;
use super::redirection::Redirection;

pub(super) struct Line {
    // Devices leave before their line.
    pub(super) devices: Vec<Device>,
    /// Until it ends.
    pub(super) real: Option<LevelLine>,
    /// The level that KVM or the VMM's controller was given last.
    pub(super) sent: bool,
    /// The controller has had an EOI and no level since. The next change of any kind gives it one.
    pub(super) owes: bool,
    /// How many irqfds could not be unbound.
    pub(super) stuck: u64,
    pub(super) entry: Redirection,
    /// A local APIC has taken a message, whose EOI has not come.
    pub(super) in_service: bool,
    /// Exported devices may have sent edges, of which no EOI is reported.
    pub(super) had_edges: bool,
    /// The line's own irqfd is bound.
    pub(super) has_sender: bool,
    pub(super) paused: Option<Paused>,
    pub(super) saved: Option<Saved>,
}

#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Paused {
    /// A resampling irqfd stands for those of exported devices.
    pub(super) resamples: bool,
    /// It has missed an EOI.
    pub(super) missed: bool,
    /// The level is due, though it may not have changed.
    pub(super) send_again: bool,
    /// An edge-triggered entry has a message to send.
    pub(super) has_risen: bool,
}

/// A snapshot, and what it says.
#[derive(Clone)]
pub(super) struct Saved {
    pub(super) snapshot: LevelSnapshot,
    /// Which devices assert, and which have triggered.
    pub(super) levels: Vec<(bool, bool)>,
    pub(super) sent: bool,
    /// An edge is due, perhaps of a device that has fallen again.
    pub(super) has_risen: bool,
    pub(super) entry: Redirection,
}

pub(super) struct Device {
    /// Until it leaves.
    pub(super) irq: Option<LevelIrq>,
    pub(super) exported: bool,
    pub(super) resampled: bool,
    pub(super) asserted: bool,
    /// Its signal was taken by the VMM.
    pub(super) triggered: bool,
    /// The signal is in its trigger.
    pub(super) kept: bool,
    /// It has signalled, and awaits the EOI.
    pub(super) waits: bool,
    /// The guest has not served what it signalled for.
    pub(super) has_reason: bool,
    /// It has joined while the line was paused.
    pub(super) late: bool,
    /// EOIs since the last look.
    pub(super) eois: u64,
}

impl Line {
    pub(super) fn new(real: LevelLine) -> Self {
        Self {
            devices: Vec::new(),
            real: Some(real),
            sent: false,
            owes: false,
            stuck: 0,
            entry: Redirection::RESET,
            in_service: false,
            had_edges: false,
            has_sender: false,
            paused: None,
            saved: None,
        }
    }

    pub(super) fn real(&self) -> LevelLine {
        self.real.clone().expect("it has not ended")
    }

    /// Whether a device holds it up, as far as the VMM knows.
    pub(super) fn is_high(&self) -> bool {
        let mut devices = self.devices.iter();
        devices.any(|device| device.asserted || device.triggered)
    }

    pub(super) fn has_exported(&self) -> bool {
        self.devices.iter().any(|device| device.exported)
    }

    pub(super) fn has_resampled(&self) -> bool {
        self.devices.iter().any(|device| device.resampled)
    }

    /// Whether a message can be sent.
    pub(super) fn is_open(&self) -> bool {
        !self.entry.masked && self.paused.is_none()
    }

    /// How many irqfds it has.
    pub(super) fn bound(&self, way: Way) -> u64 {
        let is_bound = |device: &&Device| match (way, self.paused) {
            (Way::Pins, None) => device.resampled,
            (Way::Pins, Some(_)) => device.resampled && !device.exported && !device.late,
            (Way::Message, _) => device.exported && self.is_open(),
            (Way::Controller, _) => false,
        };
        let own = self.has_sender || self.paused.is_some_and(|paused| paused.resamples);
        self.devices.iter().filter(is_bound).count() as u64 + u64::from(own) + self.stuck
    }

    /// Every device that asked for EOIs is notified.
    pub(super) fn notify_all(&mut self) {
        for device in self.devices.iter_mut().filter(|device| device.resampled) {
            device.eois += 1;
            device.waits = device.kept;
        }
    }

    /// The kernel has notified so often. While the line is paused it has only the irqfds of the
    /// VMM's own devices, and one that stands for the others.
    pub(super) fn notify_bound(&mut self, eois: u64) {
        if let Some(paused) = &mut self.paused {
            paused.missed |= paused.resamples && eois > 0;
        }
        let is_paused = self.paused.is_some();
        let bound = |device: &&mut Device| {
            device.resampled && !(is_paused && (device.exported || device.late))
        };
        for device in self.devices.iter_mut().filter(bound).filter(|_| eois > 0) {
            device.eois += eois;
            device.waits = false;
        }
    }
}

impl Device {
    pub(super) fn irq(&self) -> &LevelIrq {
        self.irq.as_ref().expect("it is on its line")
    }

    /// Signals its trigger.
    pub(super) fn signal(&mut self) {
        let trigger = self.irq().trigger_notifier().expect("it is exported");
        trigger.notify().expect("it is not full");
        (self.waits, self.has_reason) = (true, true);
    }

    pub(super) fn is_signalled(&self) -> bool {
        let trigger = self.irq().trigger_notifier();
        trigger.is_some_and(|trigger| trigger.is_signalled().expect("it can be read"))
    }
}
