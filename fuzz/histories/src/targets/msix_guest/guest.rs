// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The guest's register accesses, on code and model.

use super::access::likely;
use super::registers::read;
use super::step::{Msi, Table};
use super::world::World;

impl World {
    /// The setup by a driver, if there is one.
    pub(super) fn set_up(&mut self) {
        if !self.shape.driven {
            return;
        }
        self.control(0x8000);
        for n in 0..self.model.msix.vectors() as u64 {
            for (at, word) in [(0, 0xfee0_0000), (8, 0x50 + n), (12, 0)] {
                self.write_table(16 * n + at, &(word as u32).to_le_bytes());
            }
            self.compare();
        }
        let data_at = self.model.msi.data_at() as u64;
        self.write_msi(4, &0xfee0_0000_u32.to_le_bytes());
        self.write_msi(data_at, &[0x80, 0]);
        self.write_msi(2, &[0x71, 0]);
        self.compare();
    }

    pub(super) fn table_step(&mut self, step: &Table) {
        let entry = |entry: u8| 16 * (u64::from(entry) % self.model.msix.vectors() as u64);
        let word = |word: u8| 4 * u64::from(word % 4);
        let len = self.table_len();
        match step {
            Table::Unmask(n) => self.write_table(entry(*n) + 12, &[0; 4]),
            Table::Mask(n) => self.write_table(entry(*n) + 12, &[1, 0, 0, 0]),
            Table::Program(n, data) => {
                let at = entry(*n);
                let high = u32::from(data % 16 == 15);
                let data = u32::from(0x40 + data % 16);
                for (at, word) in [(at, 0xfee0_0000), (at + 4, high), (at + 8, data)] {
                    self.write_table(at, &word.to_le_bytes());
                    self.compare();
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
                let offset = at.offset(self.pba_len());
                let mut bytes = vec![0x5a; usize::from(len_read % 12)];
                self.table.pba_read(offset, &mut bytes);
                let pending = self.model.pending(self.model.table());
                let pba = self.model.msix.pba(&pending);
                assert_eq!(bytes, read(&pba, offset, bytes.len()), "pending bits");
            }
            Table::Enable => self.control(0x8000),
            Table::Control(control) => self.control(*control),
            Table::Set(enabled, masked) => {
                let dead = self.table.set_control(*enabled, *masked);
                self.access(dead);
                (self.model.msix.enabled, self.model.msix.masked) = (*enabled, *masked);
                self.table_turned();
            }
            Table::Config(at, bytes) => {
                let (offset, bytes) = (at.offset(12), bytes.to_vec());
                let dead = self.table.config_write(offset, &bytes);
                self.access(dead);
                self.model.msix.config(offset, &bytes);
                self.table_turned();
            }
        }
    }

    fn write_table(&mut self, offset: u64, bytes: &[u8]) {
        let dead = self.table.write(offset, bytes);
        self.access(dead);
        self.model.msix.write(offset, bytes);
        self.table_turned();
    }

    fn control(&mut self, control: u16) {
        let dead = self.table.config_write(2, &control.to_le_bytes());
        self.access(dead);
        self.model.msix.write_control(control);
        self.table_turned();
    }

    fn table_turned(&mut self) {
        let wishes = self.model.msix.wishes();
        self.model.turn(self.model.table(), wishes);
    }

    pub(super) fn msi_step(&mut self, step: &Msi) {
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
        let dead = self.msi.write(offset, bytes);
        self.access(dead);
        self.model.msi.write(offset, bytes);
        let (range, wishes) = (self.model.check_extension(), self.model.msi.wishes());
        self.model.turn(range.clone(), wishes);
        if self.model.msi.granted() != granted {
            let not_granted = range.skip(self.model.msi.granted());
            not_granted.for_each(|n| self.model.clear(n));
        }
    }

    pub(super) fn read_msi(&self, offset: u64, len: usize) {
        let mut bytes = vec![0x5a; len];
        self.msi.read(offset, &mut bytes);
        let pending = self.model.pending(self.model.check_extension());
        assert_eq!(
            bytes,
            self.model.msi.read(offset, len, &pending),
            "at {offset:#x}"
        );
    }
}
