// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What must hold after each step, and in the end.

use super::machine::{LINES, VCPUS, Way, gsi, write_pics};
use super::redirection::{Redirection, VECTORS};
use super::step::Kind;
use super::world::World;

/// More interrupts than this have no reason.
const MOST: usize = 100;

impl World {
    #[track_caller]
    pub(super) fn check(&mut self) {
        self.compare_controllers();
        let takes_triggers = self.way() == Way::Controller;
        for line in &mut self.lines {
            let Some(real) = &line.real else { continue };
            let is_paused = line.paused.is_some();
            let is_bound = !is_paused && !takes_triggers && !line.entry.masked
                || !is_paused && self.kind.way() == Way::Pins;
            let mut level = false;
            for device in &mut line.devices {
                level |= device.asserted || device.triggered;
                assert_eq!(device.irq().is_asserted(), device.asserted, "a device");
                let resample = device.irq().resample_notifier();
                let eois = resample.and_then(|it| it.consume().expect("it can be read"));
                let expected = std::mem::take(&mut device.eois);
                assert_eq!(eois.map_or(0, u64::from), expected, "the EOIs of a device");
                if device.exported && !is_bound {
                    assert_eq!(device.is_signalled(), device.kept, "a signal in a trigger");
                }
            }
            assert_eq!(real.is_asserted(), level, "the line");
        }
        let bound: u64 = self.lines.iter().map(|line| line.bound(self.way())).sum();
        assert_eq!(self.machine.bound(), bound, "the irqfds of the lines");
        self.check_interrupts_to_come();
    }

    fn compare_controllers(&self) {
        let (real, mirror) = (&self.machine.vm, &self.mirror.vm);
        if self.kind.has_local_apics() {
            for vcpu in 0..VCPUS {
                let pending = real.pending_vectors(vcpu);
                assert_eq!(
                    pending,
                    mirror.pending_vectors(vcpu),
                    "the vectors of vCPU {vcpu}"
                );
            }
        }
        if self.kind.is_pc() {
            assert_eq!(real.ioapic(), mirror.ioapic(), "the IOAPIC");
            assert_eq!(real.pic(), mirror.pic(), "the PICs");
        }
        for at in 0..LINES {
            let pin = gsi(self.kind, at);
            if self.kind.has_one_level() {
                assert_eq!(
                    real.is_pin_pending(pin),
                    mirror.is_pin_pending(pin),
                    "pin {pin}"
                );
            }
            let chip = self.machine.chips[at].state();
            assert_eq!(chip, self.mirror.chips[at], "the VMM's controller {at}");
        }
    }

    /// On a split irqchip no line waits for an EOI that cannot come.
    fn check_interrupts_to_come(&self) {
        if self.way() != Way::Message || self.kind.lacks_irq_line() {
            return;
        }
        for line in &self.lines {
            let waits = line.in_service || line.devices.iter().any(|device| device.waits);
            if line.is_open() && line.entry.is_level() && waits {
                let vector = line.entry.vector;
                let comes = |vcpu: usize| {
                    let pending = self.machine.vm.pending_vectors(vcpu);
                    pending.contains(&vector) || self.serving[vcpu].contains(&vector)
                };
                assert!((0..VCPUS).any(comes), "a line is stuck");
            }
        }
    }

    /// The guest serves what is asserted, one device at each interrupt. Every device is served, and
    /// then there are no more interrupts. The devices leave, and the pins are low.
    pub(super) fn end_of_all(mut self) {
        self.failed = None;
        self.fault = None;
        for at in 0..LINES {
            self.lower_what_cannot_be_set(at);
            self.resume(at);
        }
        self.check();
        self.reboot();
        self.check();
        if self.kind != Kind::Aplic {
            self.serve_all();
        }
        for at in 0..LINES {
            self.end_line(at);
            self.check();
            let is_pending = self.machine.vm.is_pin_pending(gsi(self.kind, at));
            let irr = self.machine.vm.ioapic().map_or(0, |ioapic| ioapic.irr);
            let pin = irr & 1 << gsi(self.kind, at) != 0;
            let chip = self.machine.chips[at].state().level;
            let high = chip || pin || self.kind == Kind::Gic && is_pending;
            assert!(
                !high || self.lines[at].stuck > 0,
                "the line is high for ever"
            );
        }
    }

    /// Without KVM_IRQ_LINE a device that asserts keeps its line from running.
    pub(super) fn lower_what_cannot_be_set(&mut self, at: usize) {
        if self.kind == Kind::PinsWithoutIrqLine {
            let count = self.lines[at].devices.len();
            (0..count).for_each(|n| self.set(at, n, false));
        }
    }

    /// The guest ends what it serves, and uses each line level-triggered, with a vector of its own.
    fn reboot(&mut self) {
        for vcpu in 0..VCPUS {
            self.set_lapic(vcpu, true);
            while !self.serving[vcpu].is_empty() {
                self.end(vcpu);
            }
        }
        for at in 0..LINES {
            if self.has_had_edges {
                self.set_edge(at, false);
            }
            match self.way() {
                Way::Message => self.redirect(at, Redirection::last(at)),
                Way::Controller => self.end(at),
                Way::Pins if self.kind.is_pc() => {
                    self.write_entry(at, Redirection::RESET);
                    if self.kind != Kind::Pic {
                        self.write_entry(at, Redirection::last(at));
                    }
                }
                Way::Pins => {}
            }
            self.hear();
            // A device whose drop has failed may have left the line high, until its next change.
            let line = &self.lines[at];
            let is_left_high = line.sent && !line.is_high() && self.way() != Way::Message;
            if self.has_had_edges || self.stays_high[at] || is_left_high {
                self.line(at, &super::step::Op::Resync);
            }
        }
        if self.kind == Kind::Pic {
            self.both(write_pics);
            (0..16).for_each(|_| self.command_pics(0));
        }
    }

    fn serve_all(&mut self) {
        let mut interrupts = 0;
        loop {
            let mut has_acted = false;
            for at in 0..LINES {
                has_acted |= self.signal_again(at);
                // After the pins were unmasked, and without EOIs at each sign of service.
                let forgets = self.kind == Kind::IoApic && interrupts == 0;
                if forgets || self.kind == Kind::SplitWithoutEois {
                    self.line(at, &super::step::Op::Reassert);
                }
            }
            for at in 0..LINES {
                let Some(of) = self.take_any(at) else {
                    continue;
                };
                interrupts += 1;
                assert!(interrupts < MOST, "interrupts without a reason");
                of.into_iter().for_each(|line| self.serve_one(line));
                match self.kind {
                    Kind::Pic => self.command_pics(0),
                    _ => self.end(at),
                }
                self.check();
                has_acted = true;
            }
            if !has_acted {
                break;
            }
        }
        for device in self.lines.iter().flat_map(|line| &line.devices) {
            assert!(
                !device.asserted && !device.has_reason,
                "a device was not served"
            );
        }
    }

    /// Exported devices that were notified, and have a reason still, signal again.
    fn signal_again(&mut self, at: usize) -> bool {
        let mut has_acted = false;
        for n in 0..self.lines[at].devices.len() {
            let device = &self.lines[at].devices[n];
            if device.has_reason && !device.waits && !device.triggered {
                self.signal(at, n);
                has_acted = true;
            }
            if self.way() == Way::Controller && self.lines[at].devices[n].kept {
                self.take_trigger(at, n);
                has_acted = true;
            }
        }
        has_acted
    }

    /// Takes an interrupt. Returns the line whose it is, if it is of one.
    fn take_any(&mut self, at: usize) -> Option<Option<usize>> {
        match self.kind {
            Kind::Pic => {
                let vector = self.take_pic()?;
                let first = VECTORS[0] + 2;
                Some((0..LINES).find(|line| first + *line as u8 == vector))
            }
            Kind::Own | Kind::Gic => self.take(at).map(|_| Some(at)),
            _ => {
                let vector = self.take(at)?;
                Some((0..LINES).find(|line| Redirection::last(*line).vector == vector))
            }
        }
    }

    fn serve_one(&mut self, at: usize) {
        let devices = &mut self.lines[at].devices;
        let Some(n) = devices
            .iter()
            .position(|device| device.asserted || device.has_reason)
        else {
            return;
        };
        devices[n].has_reason = false;
        self.set(at, n, false);
    }
}
