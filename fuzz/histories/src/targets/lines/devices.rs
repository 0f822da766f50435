// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Devices join, assert, signal, and leave.

use std::sync::Arc;

use irqfd::{LevelError, LevelIrq};
use notify_core::EventNotifier;

use super::line::{Device as Model, Line};
use super::machine::Way;
use super::step::{Device, Kind, Request, Sharer};
use super::world::World;

const MOST: usize = 6;

fn notifier() -> Arc<EventNotifier> {
    Arc::new(EventNotifier::new().expect("a descriptor"))
}

fn join(line: &Line, sharer: Sharer) -> Result<LevelIrq, LevelError> {
    let line = line.real();
    match sharer {
        Sharer::Own => line.join(),
        Sharer::Resampled => Ok(line.join_resampled(notifier())?),
        Sharer::Exported => Ok(line.join_exported(None, notifier())?),
        Sharer::Signalled => {
            let trigger = notifier();
            trigger.notify().expect("it is empty");
            Ok(line.join_exported(Some(trigger), notifier())?)
        }
    }
}

impl World {
    pub(super) fn device(&mut self, at: usize, step: &Device) {
        if let Device::Join(sharer) = step {
            return self.join(at, *sharer);
        }
        let (Device::Leave(n, _)
        | Device::Assert(n)
        | Device::Deassert(n)
        | Device::Signal(n)
        | Device::Trigger(n)) = step
        else {
            return;
        };
        let Some(n) = usize::from(*n).checked_rem(self.lines[at].devices.len()) else {
            return;
        };
        match step {
            Device::Leave(_, true) => self.drop_device(at, n),
            Device::Leave(_, false) => self.leave(at, n),
            Device::Assert(_) => self.set(at, n, true),
            Device::Deassert(_) => self.set(at, n, false),
            Device::Signal(_) => self.signal(at, n),
            Device::Trigger(_) => {
                self.signal(at, n);
                self.take_trigger(at, n);
            }
            Device::Join(_) => {}
        }
    }

    pub(super) fn join(&mut self, at: usize, sharer: Sharer) {
        if self.lines[at].devices.len() == MOST {
            return;
        }
        let result = self.call(at, |world| join(&world.lines[at], sharer));
        let exported = matches!(sharer, Sharer::Exported | Sharer::Signalled);
        let resampled = sharer != Sharer::Own;
        let line = &self.lines[at];
        if resampled && !self.kind.resamples() {
            let refused = matches!(result, Err(LevelError::NoResample { .. }));
            return assert!(refused, "there are no EOIs");
        }
        let others = line
            .devices
            .iter()
            .any(|device| device.exported != exported);
        if self.kind.has_one_level() && (resampled && !exported || others) {
            let refused = matches!(result, Err(LevelError::OneSource { .. }));
            return assert!(refused, "the devices would overwrite each other's level");
        }
        let Some(irq) = self.check_result(result, false) else {
            return;
        };
        let signalled = sharer == Sharer::Signalled;
        let line = &mut self.lines[at];
        line.devices.push(Model {
            irq: Some(irq),
            exported,
            resampled,
            asserted: false,
            triggered: false,
            kept: signalled,
            waits: signalled,
            has_reason: signalled,
            late: line.paused.is_some(),
            eois: 0,
        });
        let is_bound = match self.kind.way() {
            Way::Pins => line.paused.is_none(),
            Way::Message => line.is_open(),
            Way::Controller => false,
        };
        self.listen(at);
        if is_bound {
            let entry = self.lines[at].entry;
            self.deliver_kept(at, true, entry);
        }
    }

    pub(super) fn set(&mut self, at: usize, n: usize, asserted: bool) {
        let result = self.call(at, |world| {
            let irq = world.lines[at].devices[n].irq();
            match asserted {
                true => irq.assert(),
                false => irq.deassert(),
            }
        });
        let line = &mut self.lines[at];
        let was = line.is_high();
        let device = &mut line.devices[n];
        let changes = device.asserted != asserted;
        if changes && asserted && device.exported && self.kind.has_one_level() {
            let refused = matches!(result, Err(LevelError::OneSource { .. }));
            return assert!(refused, "it would overwrite its own trigger");
        }
        let sends = asserted && changes && line.paused.is_none() && !line.sent;
        if self.check_result(result, sends).is_none() {
            return;
        }
        let without_eois = self.kind == Kind::SplitWithoutEois;
        self.lines[at].devices[n].asserted = asserted;
        if changes || asserted && without_eois {
            self.follow(at, was, asserted);
        }
    }

    pub(super) fn signal(&mut self, at: usize, n: usize) {
        let line = &mut self.lines[at];
        if !line.devices[n].exported {
            return;
        }
        let is_bound = match self.kind.way() {
            Way::Pins => line.paused.is_none(),
            Way::Message => line.is_open(),
            Way::Controller => false,
        };
        let device = &mut line.devices[n];
        device.signal();
        device.kept = !is_bound;
        drop(self.machine.vm.deliver());
        if is_bound {
            let entry = line.entry;
            self.trigger(at, n, entry);
        }
    }

    pub(super) fn take_trigger(&mut self, at: usize, n: usize) {
        let result = self.call(at, |world| world.lines[at].devices[n].irq().take_trigger());
        let Some(taken) = self.check_result(result, false) else {
            return;
        };
        let line = &mut self.lines[at];
        let was = line.is_high();
        let device = &mut line.devices[n];
        let expected = self.kind.way() == Way::Controller && device.kept;
        assert_eq!(
            taken, expected,
            "the VMM takes triggers of its own controller"
        );
        if taken {
            device.kept = false;
            if !std::mem::replace(&mut device.triggered, true) {
                self.follow(at, was, true);
            }
        }
    }

    fn leave(&mut self, at: usize, n: usize) {
        let irq = self.lines[at].devices[n].irq.take();
        let result = self.call(at, |_| irq.expect("it is on its line").leave());
        let (result, rejected) = match result {
            Ok(()) => (Ok(()), None),
            Err(rejected) => (Err(rejected.error), Some(rejected.value)),
        };
        let has_left = self.check_result(result, false).is_some();
        let was = self.lines[at].is_high();
        let device = &mut self.lines[at].devices[n];
        let levels = (device.asserted, device.triggered);
        (device.asserted, device.triggered) = (false, false);
        self.follow_leaving(at, was);
        if has_left {
            drop(self.lines[at].devices.remove(n));
            return self.listen(at);
        }
        let device = &mut self.lines[at].devices[n];
        (device.asserted, device.triggered) = levels;
        device.irq = rejected;
        // The level falls before the irqfd is unbound, and rises again.
        if self.way() == Way::Pins {
            self.follow(at, was, false);
        }
    }

    /// What fails cannot be returned.
    pub(super) fn drop_device(&mut self, at: usize, n: usize) {
        let was = self.lines[at].is_high();
        let device = self.lines[at].devices.remove(n);
        self.call(at, |_| drop(device.irq));
        self.follow_leaving(at, was);
        self.lines[at].stuck += u64::from(self.has_failed(Request::Deassign));
        self.listen(at);
    }

    /// The level without a device, unless that was refused.
    fn follow_leaving(&mut self, at: usize, was: bool) {
        if !self.has_failed(Request::Level) && !self.has_failed(Request::Assign) {
            self.follow(at, was, false);
        }
    }
}
