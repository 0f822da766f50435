// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Snapshots of both devices, and registers in another VMM's format.

use irqfd::{VectorError, msi, msix};

use super::registers::{Msi, Msix};
use super::step::{Damage, Into};
use super::world::World;

/// A snapshot, and the model's registers and pending bits at that time.
pub(super) type Saved<S, R> = (S, R, Vec<bool>);

#[derive(Default)]
pub(super) struct Saves {
    table: Option<Saved<msix::Snapshot, Msix>>,
    msi: Option<Saved<msi::Snapshot, Msi>>,
}

impl World {
    /// Takes a snapshot, only of a paused device.
    pub(super) fn save(&mut self, table: bool) {
        let range = self.range(table);
        let is_paused = self.model.is_paused(range.clone());
        let pending = self.model.pending(range);
        let refused = match table {
            true => match self.table.snapshot() {
                Ok(snapshot) => {
                    let found = snapshot.registers().expect("a version that is known");
                    assert_eq!(found, self.foreign(), "the registers of a snapshot");
                    let read = msix::Snapshot::try_from(&found).expect("its own registers");
                    assert!(read == snapshot, "another snapshot");
                    self.saves.table = Some((snapshot, self.model.msix.clone(), pending));
                    None
                }
                Err(error) => Some(error),
            },
            false => match self.msi.snapshot() {
                Ok(snapshot) => {
                    self.saves.msi = Some((snapshot, self.model.msi.clone(), pending));
                    None
                }
                Err(error) => Some(error),
            },
        };
        match refused {
            None => assert!(is_paused, "a snapshot of what is not paused"),
            Some(VectorError::NotPaused) => assert!(!is_paused, "it is paused"),
            Some(error) => panic!("{error}"),
        }
    }

    /// The registers of the model's table.
    fn foreign(&self) -> msix::Registers {
        let pending = self.model.pending(self.model.table());
        self.model.msix.foreign(&pending)
    }

    /// In a new device, vectors that were exported are internal or private.
    pub(super) fn restore(&mut self, table: bool, into: Into) {
        let is_saved = match table {
            true => self.saves.table.is_some(),
            false => self.saves.msi.is_some(),
        };
        if !is_saved {
            return;
        }
        if into != Into::Same {
            self.replace(table);
        }
        if into == Into::Paused {
            self.pause(table);
        }
        if table {
            let Some(saved) = self.saves.table.clone() else {
                return;
            };
            self.restore_table(saved);
        } else {
            let Some((snapshot, registers, pending)) = self.saves.msi.clone() else {
                return;
            };
            let dead = self.msi.restore(&snapshot).expect("it is its own");
            self.access(dead);
            let range = self.model.check_extension();
            self.model
                .restore(range.start, registers.wishes(), &pending);
            self.model.msi = registers;
            self.compare();
            if self.model.is_paused(range.clone()) && self.model.pending(range) == pending {
                let again = self.msi.snapshot().expect("it is paused");
                assert!(again == snapshot, "another snapshot");
            }
        }
    }

    fn restore_table(&mut self, (snapshot, registers, pending): Saved<msix::Snapshot, Msix>) {
        let dead = self.table.restore(&snapshot).expect("of its size");
        self.access(dead);
        self.model.restore(0, registers.wishes(), &pending);
        self.model.msix = registers;
        self.compare();
        if self.model.is_paused(self.model.table()) {
            let again = self.table.snapshot().expect("it is paused");
            let found = again.registers().expect("a version that is known");
            assert_eq!(found, self.foreign(), "the registers after a restore");
        }
    }

    /// Replaces a device by a new one.
    fn replace(&mut self, table: bool) {
        self.run_batches();
        if table {
            let bound = self.queues.each_ref().map(msix::Binding::number);
            self.replace_table(self.shape);
            for (queue, number) in self.queues.iter().zip(bound) {
                queue.bind(number);
            }
        } else {
            self.replace_msi(self.shape);
        }
        let queue = self.shape.queue && self.owner.is_some();
        let private = self.shape.is_private(table);
        for n in self.range(table) {
            self.model.lines[n] = self.model.new_line(queue, private);
        }
    }

    /// The table's registers go to another VMM, are damaged, and return.
    pub(super) fn import(&mut self, damage: &[Damage]) {
        let mut registers = self.foreign();
        for damage in damage {
            damage.inflict(&mut registers);
        }
        let readable = Msix::of_foreign(&registers);
        let snapshot = msix::Snapshot::try_from(&registers);
        assert_eq!(
            snapshot.is_ok(),
            readable.is_some(),
            "{registers:?}: {snapshot:?}"
        );
        let (Ok(snapshot), Some((msix, pending))) = (snapshot, readable) else {
            return;
        };
        let again = snapshot.registers().expect("a version that is known");
        assert_eq!(again, msix.foreign(&pending), "what was read");
        if pending.len() == self.model.table().len() {
            self.restore_table((snapshot, msix, pending));
        } else {
            let result = self.table.restore(&snapshot);
            let refused = matches!(result, Err(irqfd::RestoreError::Vectors { .. }));
            assert!(refused, "a snapshot of another size: {result:?}");
        }
    }
}

impl Damage {
    fn inflict(&self, registers: &mut msix::Registers) {
        let msix::Registers {
            control,
            table,
            pending,
        } = registers;
        let index = |n: u8, len: usize| usize::from(n).checked_rem(len);
        match *self {
            Self::None => {}
            Self::Control(bits) => *control ^= bits,
            Self::Byte(at, byte) => {
                if let Some(at) = index(at, table.len()) {
                    table[at] = byte;
                }
            }
            Self::Shorter(bytes) => table.truncate(table.len().saturating_sub(bytes.into())),
            Self::Longer(bytes) => table.resize(table.len() + usize::from(bytes), 0x5a),
            Self::Entries(entries) => {
                // Sometimes many: up to one more than the most that a table can have.
                let entries = match entries {
                    255 => 2049,
                    250.. => 2048,
                    few => usize::from(few % 7),
                };
                table.resize(16 * entries, 0);
                *control = *control & 0xc000 | (entries.wrapping_sub(1) as u16 & 0x7ff);
            }
            Self::Pending(at, word) => {
                if let Some(at) = index(at, pending.len()) {
                    pending[at] = word;
                }
            }
            Self::Words(words, word) => pending.resize((words % 40).into(), word.into()),
        }
    }
}
