// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`World`]: a VM with two lines, and the controllers as they must be.

use irqfd::LevelError;

use super::line::{Device, Line};
use super::machine::{LINES, Machine, VCPUS, Way};
use super::mirror::Mirror;
use super::redirection::Redirection;
use super::step::{Kind, Rare, Request, Sharer, Step};

pub(super) struct World {
    // Lines end before their VM.
    pub(super) lines: [Line; LINES],
    pub(super) machine: Machine,
    pub(super) mirror: Mirror,
    pub(super) kind: Kind,
    /// The vectors that each vCPU has taken without an EOI; the last is the innermost.
    pub(super) serving: [Vec<u8>; VCPUS],
    /// What fails in the next operation.
    pub(super) fault: Option<(Request, u8)>,
    /// What has failed in this operation.
    pub(super) failed: Option<(Request, u8)>,
    /// A pin is high for ever, because nothing could lower it when its line ended.
    pub(super) stays_high: [bool; LINES],
    /// Which local APICs are enabled.
    pub(super) lapics: [bool; VCPUS],
    /// Which lines the guest has made edge-triggered in the kernel, and whether it ever did.
    pub(super) edges: [bool; LINES],
    pub(super) has_had_edges: bool,
}

impl World {
    pub(super) fn new(kind: Kind) -> Self {
        let machine = Machine::new(kind);
        let line = |at| Line::new(machine.build(at).expect("a free GSI"));
        Self {
            lines: std::array::from_fn(line),
            machine,
            mirror: Mirror::new(kind),
            kind,
            serving: Default::default(),
            fault: None,
            failed: None,
            stays_high: [false; LINES],
            lapics: [true; VCPUS],
            edges: [false; LINES],
            has_had_edges: false,
        }
    }

    /// The same, with devices on both lines, which the guest uses.
    pub(super) fn with_devices(kind: Kind) -> Self {
        let mut world = Self::new(kind);
        let sharers = match kind {
            Kind::Gic => [&[Sharer::Own; 2], &[Sharer::Exported; 2]],
            Kind::Aplic | Kind::SplitWithoutEois => [&[Sharer::Own; 2]; 2],
            _ => [
                &[Sharer::Resampled, Sharer::Exported],
                &[Sharer::Own, Sharer::Exported],
            ],
        };
        for (at, sharers) in sharers.into_iter().enumerate() {
            sharers.iter().for_each(|sharer| world.join(at, *sharer));
            world.redirect(at, Redirection::first(at));
        }
        world
    }

    pub(super) fn step(&mut self, step: &Step) {
        match step {
            Step::Device(at, device) => self.device(usize::from(*at) % LINES, device),
            Step::Line(at, op) => self.line(usize::from(*at) % LINES, op),
            Step::Guest(guest) => self.guest(guest),
            Step::Fail(request, nth) => {
                let request = match (self.way(), request) {
                    (Way::Controller, _) => Request::Level,
                    (Way::Pins, Request::Routing) => Request::Deassign,
                    _ => *request,
                };
                self.fault = Some((request, 1 + nth % 8 / 3));
            }
            Step::Rare(rare) => match rare {
                Rare::Rebuild(at) => self.rebuild(usize::from(*at)),
                Rare::Second(at) => self.second(usize::from(*at)),
                Rare::Move(paused) => self.move_all(*paused),
                Rare::Stay => self.stay(),
                Rare::Use(_) => {}
            },
        }
        self.failed = None;
    }

    pub(super) fn way(&self) -> Way {
        self.kind.way()
    }

    /// Calls the code. A fault that was ordered comes in this call, or never.
    pub(super) fn call<R>(&mut self, at: usize, call: impl FnOnce(&mut Self) -> R) -> R {
        let fault = self.fault.take();
        fault.iter().for_each(|fault| self.machine.fail(at, *fault));
        let result = call(self);
        let came = |fault: &(Request, u8)| self.machine.failed(at, *fault);
        self.failed = fault.filter(came);
        result
    }

    pub(super) fn has_failed(&self, request: Request) -> bool {
        self.failed.is_some_and(|(failed, _)| failed == request)
    }

    /// Checks that an operation has failed exactly if a request of it did, or if the port cannot
    /// set the level that the operation sends.
    #[track_caller]
    pub(super) fn check_result<T>(
        &self,
        result: Result<T, LevelError>,
        sends_high: bool,
    ) -> Option<T> {
        let cannot = sends_high && self.way() == Way::Pins && self.kind.lacks_irq_line();
        match result {
            Ok(value) => {
                assert!(
                    self.failed.is_none() && !cannot,
                    "a failure is not returned"
                );
                Some(value)
            }
            Err(LevelError::NoIrqLine { .. }) if cannot => None,
            Err(error) => {
                assert!(self.failed.is_some(), "refused without reason: {error}");
                None
            }
        }
    }

    /// Whether the pin has another driver than KVM_IRQ_LINE, which would be overwritten.
    pub(super) fn is_driven_by_devices(&self, at: usize) -> bool {
        self.kind.has_one_level() && self.lines[at].has_exported()
    }

    /// Binds the mirror's irqfd if the kernel has one of the line, or unbinds it.
    pub(super) fn listen(&mut self, at: usize) {
        let line = &self.lines[at];
        let listens = match line.paused {
            Some(paused) => paused.resamples,
            None => line.has_resampled(),
        };
        let listens = self.way() == Way::Pins && (listens || line.stuck > 0);
        self.mirror.listen(at, listens);
    }

    /// The level of the line may have changed: `was` it high, and does a device assert now?
    pub(super) fn follow(&mut self, at: usize, was: bool, asserts: bool) {
        let line = &mut self.lines[at];
        let level = line.is_high();
        if self.kind.way() == Way::Message {
            let without_eois = self.kind == Kind::SplitWithoutEois;
            let rises = level && (!was || asserts && without_eois);
            if let Some(paused) = &mut line.paused {
                paused.has_risen |= rises && !line.entry.masked && line.entry.is_edge();
            }
            return self.send_if_due(at, rises);
        }
        if line.paused.is_none() && (line.sent != level || line.owes) {
            self.set_level(at, level);
        }
    }

    /// The interrupt controller is given the level.
    pub(super) fn set_level(&mut self, at: usize, level: bool) {
        let line = &mut self.lines[at];
        (line.sent, line.owes) = (level, false);
        match self.kind.way() {
            Way::Controller => self.mirror.chips[at].set(level),
            // It is low, and not sent.
            _ if self.kind.lacks_irq_line() => {}
            _ => self.mirror.set_level(at, level),
        }
    }

    /// The IOAPIC in user space looks at its pin.
    pub(super) fn send_if_due(&mut self, at: usize, rises: bool) {
        let line = &self.lines[at];
        if !line.is_open() {
            return;
        }
        let without_eois = self.kind == Kind::SplitWithoutEois;
        let due = match line.entry.is_level() {
            true if without_eois => rises,
            true => line.is_high() && !line.in_service,
            false => rises,
        };
        if due {
            self.send(at);
        }
    }

    /// It sends the message of the entry.
    pub(super) fn send(&mut self, at: usize) {
        let line = &mut self.lines[at];
        let taken = self.mirror.send(&line.entry.message());
        // What became of a signal of an irqfd is not known.
        let taken = taken || self.kind.lacks_irq_line();
        line.has_sender = self.kind.lacks_irq_line();
        let has_eois = self.kind != Kind::SplitWithoutEois;
        line.in_service = taken && has_eois && line.entry.is_level();
    }

    /// An exported device was signalled, whose irqfd is bound.
    pub(super) fn trigger(&mut self, at: usize, n: usize, entry: Redirection) {
        let device: &mut Device = &mut self.lines[at].devices[n];
        match self.kind.way() {
            Way::Message => device.waits = self.mirror.send(&entry.message()),
            _ => self.mirror.trigger(at),
        }
    }

    /// The irqfds of exported devices were bound, with this entry: all of them, or some that are
    /// unbound again. Returns whether that has delivered a signal.
    pub(super) fn deliver_kept(&mut self, at: usize, all: bool, entry: Redirection) -> bool {
        let mut delivered = false;
        for n in 0..self.lines[at].devices.len() {
            let device = &mut self.lines[at].devices[n];
            if device.kept && (all || !device.is_signalled()) {
                device.kept = false;
                delivered = true;
                self.trigger(at, n, entry);
            }
        }
        delivered
    }

    /// An operation has failed half way. All devices were notified, or none. They must be if a
    /// signal was sent whose EOI will not be reported.
    #[track_caller]
    pub(super) fn notified_or_not(&mut self, at: usize, must_be: bool) {
        let line = &mut self.lines[at];
        let signalled = |device: &Device| {
            let resample = device.irq().resample_notifier();
            resample.is_some_and(|it| it.is_signalled().expect("it can be read"))
        };
        let were = line.devices.iter().any(signalled);
        assert!(
            were || !must_be,
            "a signal was sent, and no EOI of it comes"
        );
        if were {
            line.notify_all();
        }
    }
}
