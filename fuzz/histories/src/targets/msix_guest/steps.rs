// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What devices and the VMM do, on both sides.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::sync::Arc;

use irqfd::{Error, Triggered, msix};
use notify_core::EventNotifier;

use super::model::{Arm, FULL};
use super::registers::Msix;
use super::step::{Device, Rare, Step, Vmm, Whole};
use super::world::{World, gsi};

/// Notifiers that one VM is given at most.
const NOTIFIERS: usize = 40;

impl World {
    pub(super) fn step(&mut self, step: &Step) {
        match step {
            Step::Table(step) => self.table_step(step),
            Step::Msi(step) => self.msi_step(step),
            Step::Device(step) => self.device_step(step),
            Step::Vmm(step) => self.vmm_step(step),
            Step::Run => self.run(),
            Step::Rare(step) => self.rare_step(step),
        }
        self.compare();
    }

    fn device_step(&mut self, step: &Device) {
        match *step {
            Device::Trigger(n) => self.trigger(self.line(n)),
            Device::Twice(n) => {
                self.trigger(self.line(n));
                self.compare();
                self.trigger(self.line(n));
            }
            Device::Queue(n) => {
                let queue = usize::from(n % 2);
                match self.queues[queue].number() {
                    msix::NO_VECTOR => assert_eq!(self.queues[queue].trigger().unwrap(), None),
                    n => self.triggered(n.into(), |world| {
                        Ok(world.queues[queue].trigger()?.expect("it is bound"))
                    }),
                }
            }
            Device::Signal(n) => {
                if let Some(at) = self.notifier(n) {
                    self.notifiers[at].notify().unwrap();
                    self.model.signal(at);
                }
            }
            Device::Drain(n) => {
                if let Some(at) = self.notifier(n) {
                    let count = self.notifiers[at].consume().unwrap().map_or(0, u64::from);
                    let expected = std::mem::take(&mut self.model.notifiers[at].count);
                    assert_eq!(count, expected, "a counter");
                }
            }
            Device::Fill(n) => {
                if let Some(at) = self.notifier(n) {
                    self.notifiers[at].consume().unwrap();
                    let file = self.notifiers[at].as_fd().try_clone_to_owned().unwrap();
                    File::from(file).write_all(&FULL.to_ne_bytes()).unwrap();
                    self.model.fill(at);
                }
            }
        }
    }

    fn trigger(&mut self, n: usize) {
        self.triggered(n, |world| world.vector(n).trigger());
    }

    fn triggered(&mut self, n: usize, trigger: impl FnOnce(&Self) -> Result<Triggered, Error>) {
        let line = &self.model.lines[n];
        let dead = line.notifier.is_some() && matches!(line.arm, Arm::Dead { .. });
        let disabled = !self.model.is_enabled(n);
        let result = trigger(self);
        self.model.trigger(n);
        let line = &self.model.lines[n];
        let direct = self.model.direct.contains(&n);
        self.outcome = result.as_ref().ok().copied();
        match result {
            Ok(Triggered::Dead) => assert!(dead, "it is not dead"),
            Ok(Triggered::Disabled) => assert!(disabled && !dead && !direct),
            Ok(Triggered::Kept) => assert!(line.notifier.is_none() && !direct && !disabled),
            Ok(Triggered::Signalled) => assert!(line.notifier.is_some() && !dead && !disabled),
            Ok(_) => assert!(direct, "sent while masked"),
            Err(Error::Signal { .. }) => {
                assert!(direct && self.is_refused(n), "{result:?}");
            }
            Err(error) => panic!("{error}"),
        }
        if direct && result.is_ok() {
            assert!(!self.is_refused(n), "a success is no refusal");
        }
    }

    fn vmm_step(&mut self, step: &Vmm) {
        match *step {
            Vmm::Export(n) => self.export(self.line(n)),
            Vmm::ExportAll(table) => {
                let lines = match table {
                    true => self.model.table(),
                    false => self.model.capability(),
                };
                for n in lines {
                    self.export(n);
                    self.compare();
                }
            }
            Vmm::Unexport(n) => {
                let n = self.line(n);
                let result = self.vector(n).unexport();
                self.model.unexport(n);
                let sent = self.model.direct.contains(&n);
                assert!(result.is_ok() || sent && self.is_refused(n), "{result:?}");
            }
            Vmm::Replace(n) => {
                if self.notifiers.len() < NOTIFIERS {
                    self.notifiers.push(Arc::new(EventNotifier::new().unwrap()));
                    let new = self.model.add_notifier();
                    self.replace(self.line(n), new);
                }
            }
            Vmm::Share(n, with) => {
                if let Some(new) = self.notifier(with) {
                    self.replace(self.line(n), new);
                }
            }
            Vmm::Semaphore(n) => {
                let semaphore = EventNotifier::builder().semaphore(true).build().unwrap();
                let result = self
                    .vector(self.line(n))
                    .replace_notifier(Arc::new(semaphore));
                assert!(result.is_err(), "a semaphore was taken");
            }
            Vmm::Bind(queue, number) => {
                let vectors = self.model.msix.vectors() as u16;
                let number = if number % 8 == 7 {
                    number
                } else {
                    number % (vectors + 2)
                };
                let expected = if number < vectors {
                    number
                } else {
                    msix::NO_VECTOR
                };
                let queue = &self.queues[usize::from(queue % 2)];
                assert_eq!(queue.bind(number), expected);
                assert_eq!(queue.number(), expected);
            }
            Vmm::Hold => drop(self.hold()),
            Vmm::HoldAll => while self.hold() {},
            Vmm::Release => {
                if let Some(lease) = self.held.pop() {
                    self.model.release(gsi(lease.gsi()));
                }
            }
            Vmm::Clear(n) => {
                let n = self.line(n);
                self.vector(n).clear_pending();
                self.model.clear(n);
            }
        }
    }

    /// Another device takes a GSI, if there is one.
    fn hold(&mut self) -> bool {
        let lease = self.routing.lease().ok();
        let found = lease.as_ref().map(|lease| gsi(lease.gsi()));
        assert_eq!(found, self.model.hold(), "the GSI of another device");
        self.held.extend(lease);
        found.is_some()
    }

    fn export(&mut self, n: usize) {
        if self.model.lines[n].notifier.is_none() && self.notifiers.len() >= NOTIFIERS {
            return;
        }
        let notifier = self.vector(n).export().unwrap();
        match self.model.lines[n].notifier {
            Some(at) => assert!(Arc::ptr_eq(&notifier, &self.notifiers[at])),
            None => {
                self.notifiers.push(notifier);
                let at = self.model.add_notifier();
                self.model.export(n, at);
            }
        }
    }

    fn replace(&mut self, n: usize, new: usize) {
        let result = self
            .vector(n)
            .replace_notifier(Arc::clone(&self.notifiers[new]));
        let Some(old) = self.model.lines[n].notifier else {
            assert!(matches!(result, Ok(None)), "{result:?}");
            return self.model.export(n, new);
        };
        if old != new && self.model.lines[n].arm == Arm::Armed {
            assert_eq!(result.is_ok(), self.model.swap(n, new), "{result:?}");
        } else {
            assert!(result.is_ok(), "{result:?}");
            if old != new {
                self.model.exchange(n, new);
            }
        }
        match result {
            Ok(before) => assert!(Arc::ptr_eq(&before.unwrap(), &self.notifiers[old])),
            Err(rejected) => assert!(Arc::ptr_eq(&rejected.value, &self.notifiers[new])),
        }
    }

    pub(super) fn run(&mut self) {
        if self.owner.is_some() {
            self.round();
        }
    }

    fn rare_step(&mut self, step: &Rare) {
        match *step {
            Rare::Reset(true) => {
                self.table.reset();
                let vectors = self.model.msix.vectors();
                self.model.msix = Msix::new(vectors);
                self.model.reset(self.model.table());
            }
            Rare::Reset(false) => {
                self.msi.reset();
                self.model.msi = self.model.msi.after_reset();
                self.model.reset(self.model.capability());
            }
            Rare::Snapshot(table) => self.save(table),
            Rare::Restore(table, into) => self.restore(table, into),
            Rare::Fail(kind, ahead, more, transient) => {
                for more in 0..=u64::from(more % 3) {
                    self.fail(kind, 1 + u64::from(ahead % 3) + more, transient);
                }
            }
            Rare::Whole(Whole::DropQueue) => self.drop_queue(),
            Rare::Whole(Whole::Rebuild(shape)) => {
                self.rebuild(shape);
                self.set_up();
            }
            Rare::Whole(Whole::Start(choosy, shape)) => {
                std::mem::replace(self, Self::new(choosy, shape)).end();
                self.set_up();
            }
        }
    }
}
