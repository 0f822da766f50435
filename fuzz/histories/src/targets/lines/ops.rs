// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the VMM does with a line.

use irqfd::LevelError;

use super::line::Paused;
use super::machine::Way;
use super::redirection::Redirection;
use super::step::{Kind, Op, Request};
use super::world::World;

impl World {
    pub(super) fn line(&mut self, at: usize, op: &Op) {
        match op {
            Op::Redirect(entry) => self.redirect(at, Redirection::from(*entry)),
            Op::Pause => self.pause(at),
            Op::Resume => self.resume(at),
            Op::Resync => self.resync(at),
            Op::Reassert => self.reassert(at),
            Op::OnEoi => self.on_eoi(at),
            Op::Save => self.save(at),
            Op::Restore => self.restore(at),
        }
    }

    pub(super) fn redirect(&mut self, at: usize, new: Redirection) {
        let real = self.lines[at].real();
        let result = self.call(at, |_| real.redirect(new.message(), new.masked));
        if self.way() != Way::Message {
            let refused = matches!(result, Err(LevelError::NoMessage { .. }));
            return assert!(refused, "the line has no entry");
        }
        let done = self.check_result(result, false).is_some();
        let line = &self.lines[at];
        let is_open = !new.masked && line.paused.is_none();
        if !done {
            let may_be_sent = is_open && !self.has_failed(Request::Routing);
            let sent = may_be_sent && self.deliver_kept(at, false, new);
            self.forget_sender(at, is_open);
            if may_be_sent && self.lines[at].has_exported() {
                self.notified_or_not(at, sent);
            }
            return;
        }
        let old = line.entry;
        let same = old.is_level() == new.is_level() && (old.is_edge() || new.ends(old.vector));
        let may_wait = line.in_service || line.has_exported() && (old.is_level() || line.had_edges);
        let line = &mut self.lines[at];
        if !same && may_wait {
            line.notify_all();
            line.in_service = false;
        }
        self.set_entry(at, new);
        if self.lines[at].is_open() {
            self.deliver_kept(at, true, new);
        }
        self.send_level(at, false);
    }

    /// The entry has changed, or is in use again.
    pub(super) fn set_entry(&mut self, at: usize, new: Redirection) {
        let line = &mut self.lines[at];
        line.entry = new;
        line.had_edges = new.is_edge() && (line.had_edges || line.is_open());
        line.has_sender &= line.is_open();
    }

    /// The message of a level that is high. Without EOIs it may be sent once too often.
    pub(super) fn send_level(&mut self, at: usize, has_risen: bool) {
        let line = &self.lines[at];
        let rises = match line.entry.is_level() {
            true => line.is_high(),
            false => has_risen,
        };
        self.send_if_due(at, rises);
    }

    /// The line's own irqfd was unbound before the request that failed, or is that request.
    pub(super) fn forget_sender(&mut self, at: usize, is_open: bool) {
        let first = self.failed == Some((Request::Deassign, 1));
        self.lines[at].has_sender &= is_open || first;
    }

    pub(super) fn pause(&mut self, at: usize) {
        let real = self.lines[at].real();
        let result = self.call(at, |_| real.pause());
        let done = self.check_result(result, false).is_some();
        let way = self.way();
        let line = &mut self.lines[at];
        if !done {
            return self.forget_sender(at, false);
        }
        line.paused.get_or_insert(Paused {
            resamples: way == Way::Pins && line.devices.iter().any(|device| device.resampled),
            ..Paused::default()
        });
        line.has_sender = false;
        self.listen(at);
    }

    pub(super) fn resume(&mut self, at: usize) {
        if self.kind == Kind::PinsWithoutIrqLine && self.lines[at].is_high() {
            // The port refuses the level already, and nothing fails while that is undone.
            self.fault = None;
        }
        let real = self.lines[at].real();
        let result = self.call(at, |_| real.resume());
        let Some(paused) = self.lines[at].paused else {
            self.check_result(result, false);
            return;
        };
        match self.way() {
            Way::Pins => self.resume_pins(at, result, paused),
            Way::Message => self.resume_message(at, result, paused),
            Way::Controller => {
                let line = &self.lines[at];
                let level = line.is_high();
                let due = paused.send_again || line.owes || line.sent != level;
                if self.check_result(result, false).is_some() {
                    self.lines[at].paused = None;
                    if due {
                        self.set_level(at, level);
                    }
                }
            }
        }
    }

    fn resume_pins(&mut self, at: usize, result: Result<(), LevelError>, mut paused: Paused) {
        let line = &self.lines[at];
        let (level, before) = (line.is_high(), line.sent);
        let due = (paused.send_again && !self.is_driven_by_devices(at)) || level != before;
        let done = self.check_result(result, due && level).is_some();
        let needs_another = !paused.resamples && self.lines[at].has_resampled();
        if needs_another && self.failed == Some((Request::Assign, 1)) {
            return;
        }
        // From now on an irqfd stands for those of the devices.
        paused.resamples |= self.lines[at].has_resampled();
        self.lines[at].paused = Some(paused);
        self.listen(at);
        let entry = self.lines[at].entry;
        self.deliver_kept(at, done, entry);
        if due && (done || self.has_failed(Request::Deassign)) {
            self.set_level(at, level);
            if !done && level != before {
                self.set_level(at, before);
            }
        }
        if !done {
            return;
        }
        let line = &mut self.lines[at];
        line.paused = None;
        for device in &mut line.devices {
            device.late = false;
            if paused.missed && device.exported {
                device.eois += 1;
                device.waits = false;
            }
        }
        self.listen(at);
    }

    fn resume_message(&mut self, at: usize, result: Result<(), LevelError>, paused: Paused) {
        let done = self.check_result(result, false).is_some();
        let entry = self.lines[at].entry;
        if !done {
            let commits = self.has_failed(Request::Routing);
            if !entry.masked && !commits {
                self.deliver_kept(at, false, entry);
                // What the irqfds have sent meanwhile is not known.
                let line = &mut self.lines[at];
                line.had_edges |= entry.is_edge() && line.has_exported();
            }
            return;
        }
        let line = &mut self.lines[at];
        line.paused = None;
        line.devices
            .iter_mut()
            .for_each(|device| device.late = false);
        self.set_entry(at, entry);
        if !entry.masked {
            self.deliver_kept(at, true, entry);
        }
        self.send_level(at, paused.has_risen);
    }

    /// The level is due even if it has not changed.
    fn send_again(&mut self, at: usize) {
        let line = &mut self.lines[at];
        let level = line.is_high();
        match &mut line.paused {
            Some(paused) => paused.send_again = true,
            None => self.set_level(at, level),
        }
    }

    fn resync(&mut self, at: usize) {
        if self.way() != Way::Pins {
            return self.end_by(at, true);
        }
        let real = self.lines[at].real();
        let result = self.call(at, |_| real.resync());
        let line = &self.lines[at];
        let sends = line.paused.is_none() && line.is_high();
        if self.check_result(result, sends).is_some() && !self.is_driven_by_devices(at) {
            self.send_again(at);
        }
        self.lines[at].notify_all();
    }

    fn on_eoi(&mut self, at: usize) {
        match self.way() {
            Way::Pins => {
                let real = self.lines[at].real();
                let result = self.call(at, |_| real.on_eoi());
                self.check_result(result, false);
            }
            _ => self.end_by(at, false),
        }
    }

    /// Ends a service by a call of the line: `resync`, or else `on_eoi`.
    fn end_by(&mut self, at: usize, resync: bool) {
        let real = self.lines[at].real();
        let result = self.call(at, |_| match resync {
            true => real.resync(),
            false => real.on_eoi(),
        });
        let done = self.check_result(result, false).is_some();
        let calls = match (self.way(), self.failed) {
            (Way::Controller, Some((_, nth))) => nth - 1,
            _ => u8::from(done),
        };
        self.end_service(at, calls > 0);
        if resync && done && self.way() == Way::Controller {
            self.send_again(at);
        }
    }

    /// The interrupt has ended; the line cannot interrupt again if that was refused.
    pub(super) fn end_service(&mut self, at: usize, done: bool) {
        let way = self.way();
        let line = &mut self.lines[at];
        line.in_service = false;
        line.devices
            .iter_mut()
            .for_each(|device| device.triggered = false);
        let level = line.is_high();
        line.owes = way == Way::Controller && (line.sent || level);
        match way {
            Way::Message if done => self.send_level(at, false),
            Way::Controller if level && done => self.send_again(at),
            Way::Controller if done => self.follow(at, true, false),
            _ => {}
        }
        self.lines[at].notify_all();
    }

    fn reassert(&mut self, at: usize) {
        let real = self.lines[at].real();
        let result = self.call(at, |_| real.reassert());
        let line = &self.lines[at];
        let level = line.is_high();
        let sends = level && line.paused.is_none();
        if self.check_result(result, sends).is_none() || !level {
            return;
        }
        match self.way() {
            Way::Pins => self.send_again(at),
            Way::Message if !self.kind.resamples() => self.send_level(at, false),
            _ => {}
        }
    }
}
