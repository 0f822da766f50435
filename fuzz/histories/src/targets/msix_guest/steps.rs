// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Operations of devices, and rare operations, on code and model.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;

use irqfd::{Triggered, VectorError, msix};

use super::line::Arm;
use super::model::FULL;
use super::registers::Msix;
use super::step::{Device, Rare, Step, Whole};
use super::world::World;

impl World {
    pub(super) fn step(&mut self, step: &Step) {
        match step {
            Step::Table(step) => self.table_step(step),
            Step::Msi(step) => self.msi_step(step),
            Step::Device(step) => self.device_step(step),
            Step::Vmm(step) => self.vmm_step(step),
            Step::Pause(step) => self.pause_step(step),
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
                    self.notifiers[&at].notify().unwrap();
                    self.model.signal(at);
                }
            }
            Device::Drain(n) => {
                if let Some(at) = self.notifier(n) {
                    let count = self.notifiers[&at].consume().unwrap().map_or(0, u64::from);
                    let expected = std::mem::take(&mut self.model.notifiers[at].count);
                    assert_eq!(count, expected, "a counter");
                }
            }
            Device::Fill(n) => {
                if let Some(at) = self.notifier(n) {
                    self.notifiers[&at].consume().unwrap();
                    let file = self.notifiers[&at].as_fd().try_clone_to_owned().unwrap();
                    File::from(file).write_all(&FULL.to_ne_bytes()).unwrap();
                    self.model.fill(at);
                }
            }
        }
    }

    fn trigger(&mut self, n: usize) {
        self.triggered(n, |world| world.vector(n).trigger());
    }

    fn triggered(
        &mut self,
        n: usize,
        trigger: impl FnOnce(&Self) -> Result<Triggered, VectorError>,
    ) {
        let line = &self.model.lines[n];
        let dead = line.notifier().is_some() && matches!(line.arm, Arm::Dead { .. });
        let disabled = !self.model.is_enabled(n);
        let result = trigger(self);
        self.model.trigger(n);
        let line = &self.model.lines[n];
        let direct = self.model.direct.contains(&n);
        self.outcome = result.as_ref().ok().copied();
        match result {
            Ok(Triggered::Dead) => assert!(dead, "it is not dead"),
            Ok(Triggered::Disabled) => assert!(disabled && !dead && !direct),
            Ok(Triggered::Kept) => assert!(!line.lets_through() && !dead && !disabled),
            Ok(Triggered::Signalled) => {
                assert!(line.lets_through() && !direct && !dead && !disabled);
            }
            Ok(_) => assert!(direct, "sent while masked"),
            Err(VectorError::MessageRefused { .. }) => {
                assert!(direct && self.is_refused(n), "{result:?}");
            }
            Err(error) => panic!("{error}"),
        }
        if direct && result.is_ok() {
            assert!(!self.is_refused(n), "a success is no refusal");
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
                self.model.reset(self.model.check_extension());
            }
            Rare::Snapshot(table) => self.save(table),
            Rare::Restore(table, into) => self.restore(table, into),
            Rare::Import(ref damage) => self.import(damage),
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
