// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Each operation, on both sides.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::sync::Arc;

use irqfd::{Error, Triggered, msix};
use notify_core::EventNotifier;

use super::model::{Arm, FULL};
use super::registers::read;
use super::step::{Device, Msi, Rare, Step, Table, Vmm, Whole, likely};
use super::world::World;

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

    /// What a driver does first, if there is one.
    pub(super) fn set_up(&mut self) {
        if !self.shape.driven {
            return;
        }
        self.control(0x8000);
        for n in 0..self.model.msix.vectors() as u64 {
            for (at, word) in [(0, 0xfee0_0000), (8, 0x50 + n), (12, 0)] {
                self.write_table(16 * n + at, &(word as u32).to_le_bytes());
            }
        }
        let data_at = self.model.msi.data_at() as u64;
        self.write_msi(4, &0xfee0_0000_u32.to_le_bytes());
        self.write_msi(data_at, &[0x80, 0]);
        self.write_msi(2, &[0x71, 0]);
        self.compare();
    }

    fn table_step(&mut self, step: &Table) {
        let entry = |entry: u8| 16 * (u64::from(entry) % self.model.msix.vectors() as u64);
        let word = |word: u8| 4 * u64::from(word % 4);
        let len = self.table.table_len();
        match step {
            Table::Unmask(n) => self.write_table(entry(*n) + 12, &[0; 4]),
            Table::Mask(n) => self.write_table(entry(*n) + 12, &[1, 0, 0, 0]),
            Table::Program(n, data) => {
                let at = entry(*n);
                let high = u32::from(data % 16 == 15);
                let data = u32::from(0x40 + data % 16);
                for (at, word) in [(at, 0xfee0_0000), (at + 4, high), (at + 8, data)] {
                    self.write_table(at, &word.to_le_bytes());
                }
            }
            Table::Word(n, at, value) => {
                self.write_table(entry(*n) + word(*at), &likely(*value).to_le_bytes());
            }
            Table::Pair(n, at, low, high) => {
                let words = [likely(*low).to_le_bytes(), likely(*high).to_le_bytes()];
                self.write_table(entry(*n) + word(*at), &words.concat());
            }
            Table::Write(at, bytes) => self.write_table(at.offset(len), &bytes.to_vec()),
            Table::Read(at, len_read) => {
                let (offset, mut bytes) = (at.offset(len), vec![0x5a; usize::from(len_read % 12)]);
                self.table.read(offset, &mut bytes);
                assert_eq!(bytes, read(&self.model.msix.bytes, offset, bytes.len()));
            }
            Table::Pba(at, len_read) => {
                let offset = at.offset(self.table.pba_len());
                let mut bytes = vec![0x5a; usize::from(len_read % 12)];
                self.table.pba_read(offset, &mut bytes);
                let pending = self.model.pending(self.model.table());
                let pba = self.model.msix.pba(&pending);
                assert_eq!(bytes, read(&pba, offset, bytes.len()), "pending bits");
            }
            Table::Enable => self.control(0x8000),
            Table::Control(control) => self.control(*control),
            Table::Set(enabled, masked) => {
                self.table.set_control(*enabled, *masked);
                (self.model.msix.enabled, self.model.msix.masked) = (*enabled, *masked);
                self.table_turned();
            }
            Table::Config(at, bytes) => {
                let (offset, bytes) = (at.offset(12), bytes.to_vec());
                self.table.config_write(offset, &bytes);
                self.model.msix.config(offset, &bytes);
                self.table_turned();
            }
        }
    }

    fn write_table(&mut self, offset: u64, bytes: &[u8]) {
        self.table.write(offset, bytes);
        self.model.msix.write(offset, bytes);
        self.table_turned();
    }

    fn control(&mut self, control: u16) {
        self.table.write_message_control(control);
        self.model.msix.write_control(control);
        self.table_turned();
    }

    fn table_turned(&mut self) {
        let wishes = self.model.msix.wishes();
        self.model.turn(self.model.table(), wishes, false);
    }

    fn msi_step(&mut self, step: &Msi) {
        let data_at = self.model.msi.data_at() as u64;
        let len = self.msi.len() as u64;
        match step {
            Msi::Control(enabled, granted) => {
                let control = u16::from(*enabled) | u16::from(granted % 8) << 4;
                self.write_msi(2, &control.to_le_bytes());
            }
            Msi::Address(value) => self.write_msi(4, &likely(*value).to_le_bytes()),
            Msi::High(set) if data_at > 8 => self.write_msi(8, &u32::from(*set).to_le_bytes()),
            Msi::High(_) => {}
            Msi::Data(value) => self.write_msi(data_at, &(0x40 + u16::from(*value)).to_le_bytes()),
            Msi::Mask(bits) => self.write_msi(data_at + 4, &[*bits]),
            Msi::Write(at, bytes) => self.write_msi(at.offset(len), &bytes.to_vec()),
            Msi::Read(at, len_read) => self.read_msi(at.offset(len), usize::from(len_read % 32)),
        }
    }

    fn write_msi(&mut self, offset: u64, bytes: &[u8]) {
        let granted = self.model.msi.granted();
        self.msi.write(offset, bytes);
        self.model.msi.write(offset, bytes);
        let (range, wishes) = (self.model.capability(), self.model.msi.wishes());
        self.model.turn(range.clone(), wishes, true);
        if self.model.msi.granted() != granted {
            let not_granted = range.skip(self.model.msi.granted());
            not_granted.for_each(|n| self.model.clear(n));
        }
    }

    pub(super) fn read_msi(&self, offset: u64, len: usize) {
        let mut bytes = vec![0x5a; len];
        self.msi.read(offset, &mut bytes);
        let pending = self.model.pending(self.model.capability());
        assert_eq!(
            bytes,
            self.model.msi.read(offset, len, &pending),
            "at {offset:#x}"
        );
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
        let result = trigger(self);
        self.model.trigger(n);
        let line = &self.model.lines[n];
        let direct = self.model.direct.contains(&n);
        self.outcome = result.as_ref().ok().copied();
        match result {
            Ok(Triggered::Kept) => assert!(line.notifier.is_none() && !direct),
            Ok(Triggered::Signalled) => assert!(line.notifier.is_some()),
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
            Vmm::Hold => self.held.extend(self.routing.lease()),
            Vmm::HoldAll => {
                while let Ok(lease) = self.routing.lease() {
                    self.held.push(lease);
                }
            }
            Vmm::Release => drop(self.held.pop()),
            Vmm::Clear(n) => {
                let n = self.line(n);
                self.vector(n).clear_pending();
                self.model.clear(n);
            }
        }
        self.model.held = self.held.len();
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
            self.replace_armed(n, new, result.is_ok());
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

    fn run(&mut self) {
        if self.owner.is_some() {
            self.round();
        }
    }

    fn rare_step(&mut self, step: &Rare) {
        match *step {
            Rare::Reset(true) => {
                self.table.reset();
                let vectors = self.model.msix.vectors();
                self.model.msix = super::registers::Msix::new(vectors);
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
