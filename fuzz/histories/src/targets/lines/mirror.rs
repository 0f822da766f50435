// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Mirror`]: the interrupt controllers as they must be. It is a second VM, to which the model
//! sends bare requests, and whose guest does the same.

use std::os::fd::AsFd;
use std::sync::Arc;

use notify_core::{EventNotifier, IrqFdRequest, MsiMessage, MsiOutcome, Vm};
use notify_sim::SimVm;

use super::chip::State;
use super::machine::{LINES, gsi, line_number, sim};
use super::step::Kind;

pub(super) struct Mirror {
    pub(super) vm: Arc<SimVm>,
    kind: Kind,
    ears: [Option<Ear>; LINES],
    /// The VMM's own controllers.
    pub(super) chips: [State; LINES],
}

/// A resampling irqfd that stands for all of its GSI.
struct Ear {
    trigger: EventNotifier,
    resample: EventNotifier,
}

impl Mirror {
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            vm: sim(kind),
            kind,
            ears: Default::default(),
            chips: Default::default(),
        }
    }

    /// The level of the VMM's devices.
    pub(super) fn set_level(&self, at: usize, level: bool) {
        let line = line_number(self.kind, at);
        self.vm.irq_line(line, level).expect("a line of the VM");
    }

    /// Whether a resampling irqfd is bound.
    pub(super) fn listen(&mut self, at: usize, listens: bool) {
        let gsi = gsi(self.kind, at);
        let ear = &mut self.ears[at];
        match ear.take() {
            None if listens => {
                let new = || EventNotifier::new().expect("a descriptor");
                let (trigger, resample) = (new(), new());
                let bind = IrqFdRequest::assign_resample(trigger.as_fd(), gsi, resample.as_fd());
                self.vm.irqfd(&bind).expect("a line of the VM");
                *ear = Some(Ear { trigger, resample });
            }
            Some(old) if !listens => {
                let unbind = IrqFdRequest::deassign(old.trigger.as_fd(), gsi);
                self.vm.irqfd(&unbind).expect("it is bound");
            }
            same => *ear = same,
        }
    }

    /// An exported device was signalled, whose irqfd is bound.
    pub(super) fn trigger(&self, at: usize) {
        let ear = self.ears[at].as_ref().expect("one is bound");
        ear.trigger.notify().expect("it is not full");
        drop(self.vm.deliver());
    }

    /// How many EOIs of the line there were.
    pub(super) fn heard(&self, at: usize) -> u64 {
        let heard = self.ears[at].as_ref().map(|ear| ear.resample.consume());
        let heard = heard.map(|heard| heard.expect("it can be read"));
        heard.flatten().map_or(0, u64::from)
    }

    /// Sends a message. Returns whether a local APIC took it.
    pub(super) fn send(&self, message: &MsiMessage) -> bool {
        let outcome = self.vm.signal_msi(message).expect("a valid message");
        matches!(outcome, MsiOutcome::Delivered(_))
    }
}
