// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Lines are saved and restored.

use irqfd::{LevelError, RestoreError};

use super::line::{Device, Saved};
use super::machine::Way;
use super::step::Request;
use super::world::World;

impl World {
    pub(super) fn save(&mut self, at: usize) {
        let line = &mut self.lines[at];
        let snapshot = line.real().snapshot();
        let Some(paused) = line.paused else {
            let refused = matches!(snapshot, Err(LevelError::NotPaused));
            return assert!(refused, "a line that runs is saved");
        };
        let levels = line.devices.iter();
        let levels = levels.map(|device| (device.asserted, device.triggered));
        let sent = match self.kind.way() {
            Way::Message => false,
            Way::Pins => line.sent || paused.resamples && !line.has_resampled(),
            Way::Controller => line.sent,
        };
        line.saved = Some(Saved {
            snapshot: snapshot.expect("it is paused"),
            levels: levels.collect(),
            sent,
            has_risen: paused.has_risen,
            entry: line.entry,
        });
    }

    pub(super) fn restore(&mut self, at: usize) {
        let line = &self.lines[at];
        let Some(saved) = line.saved.clone() else {
            return;
        };
        let real = line.real();
        let result = self.call(at, |_| real.restore(&saved.snapshot));
        if let Some(refusal) = self.refusal(at, &saved) {
            return assert_eq!(result, Err(refusal), "it does not fit");
        }
        let result = result.map_err(|error| match error {
            RestoreError::Line(error) => error,
            other => panic!("refused without reason: {other}"),
        });
        let level = saved
            .levels
            .iter()
            .any(|(asserts, taken)| *asserts || *taken);
        let line = &self.lines[at];
        let runs = line.paused.is_none();
        if self
            .check_result(result, runs && (level || saved.has_risen))
            .is_none()
        {
            if self.way() == Way::Message && !self.has_failed(Request::Routing) && runs {
                let sent = !saved.entry.masked && self.deliver_kept(at, false, saved.entry);
                self.notified_or_not(at, sent);
                self.forget_sender(at, !saved.entry.masked);
            }
            return;
        }
        self.set_restored(at, &saved, level);
    }

    fn set_restored(&mut self, at: usize, saved: &Saved, level: bool) {
        let line = &mut self.lines[at];
        for (device, (asserted, triggered)) in line.devices.iter_mut().zip(&saved.levels) {
            (device.asserted, device.triggered) = (*asserted, *triggered);
        }
        match (self.kind.way(), &mut line.paused) {
            (Way::Controller, Some(paused)) => paused.send_again = true,
            (Way::Controller, None) => self.set_level(at, level),
            (Way::Pins, Some(paused)) => {
                line.sent |= saved.sent;
                paused.send_again |= line.sent;
            }
            (Way::Pins, None) if saved.sent || level || line.sent => self.set_level(at, level),
            (Way::Pins, None) => {}
            (Way::Message, paused) => {
                let waits = saved.entry.is_edge() && !saved.entry.masked;
                let has_risen = saved.has_risen && waits;
                if let Some(paused) = paused {
                    paused.has_risen = has_risen;
                }
                (line.in_service, line.had_edges) = (false, false);
                self.set_entry(at, saved.entry);
                if self.lines[at].is_open() {
                    self.deliver_kept(at, true, saved.entry);
                }
                self.send_level(at, has_risen);
            }
        }
        self.lines[at].notify_all();
    }

    /// Why a snapshot does not fit.
    fn refusal(&self, at: usize, saved: &Saved) -> Option<RestoreError> {
        let devices = &self.lines[at].devices;
        if devices.len() != saved.levels.len() {
            let text = "the snapshot is of a line with";
            let error = self.lines[at].real().restore(&saved.snapshot).unwrap_err();
            assert!(error.to_string().starts_with(text), "{error}");
            return Some(error);
        }
        let controller = self.way() == Way::Controller;
        let fits = |((asserted, triggered), device): (&(bool, bool), &Device)| {
            let may_assert = !(self.kind.has_one_level() && device.exported);
            (!asserted || may_assert) && (!triggered || controller && device.exported)
        };
        if saved.levels.iter().zip(devices).all(fits) {
            return None;
        }
        let error = self.lines[at].real().restore(&saved.snapshot).unwrap_err();
        assert!(matches!(error, RestoreError::Level { .. }), "{error}");
        Some(error)
    }
}
