// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Driver`]: the guest's actions on one device, and the check that nothing comes while masked.

use std::sync::Arc;

use irq_routing::Gsi;
use irqfd::msix::Table;
use irqfd::{Dead, VectorHandle};
use kvm_test::Machine;

use super::{FIRST, VECTORS};
use crate::storm::Dice;
use crate::watched::Watched;

/// How many vectors a device has.
pub(super) const ENTRIES: u32 = VECTORS / 2;

/// The pending interrupts of the local APIC: bit 0 stands for `FIRST`.
pub(super) fn requested(machine: &Machine) -> u64 {
    let delivered = machine.delivered().unwrap();
    let bit = |interrupt: &u8| 1 << (u32::from(*interrupt) - FIRST);
    delivered.iter().map(bit).sum()
}

/// The two interrupts of a vector.
pub(super) fn both(n: u32) -> u64 {
    0b11 << (2 * n)
}

/// Writes a vector's message: one of its two interrupts.
pub(super) fn retarget(table: &Table, n: u32, second: u32) -> Vec<Dead> {
    let data = (FIRST + 2 * n + second).to_le_bytes();
    table.write(u64::from(16 * (n % ENTRIES) + 8), &data)
}

/// The masks of a device.
#[derive(Clone, Copy)]
pub(super) struct Masks {
    pub(super) function: bool,
    pub(super) entries: [bool; ENTRIES as usize],
}

impl Masks {
    pub(super) const ALL: Self = Self {
        function: false,
        entries: [true; ENTRIES as usize],
    };

    fn covers(&self, entry: u32) -> bool {
        self.function || self.entries[entry as usize]
    }
}

/// The guest's driver of one device, which alone masks and unmasks its vectors.
pub(super) struct Driver {
    machine: Arc<Machine>,
    vm: Arc<Watched>,
    table: Table,
    /// The number of its first vector.
    first: u32,
    masks: Masks,
    /// For each masked vector: its interrupts that the local APIC had at the mask.
    before: [u64; ENTRIES as usize],
    gsis: [Option<Gsi>; ENTRIES as usize],
    /// How often a vector had another GSI than before.
    pub(super) gsi_changes: u64,
    /// How many vectors could not be armed.
    pub(super) refusals: u64,
}

impl Driver {
    pub(super) fn new(machine: &Arc<Machine>, vm: &Arc<Watched>, table: &Table, d: u32) -> Self {
        let driver = Self {
            machine: Arc::clone(machine),
            vm: Arc::clone(vm),
            table: table.clone(),
            first: d * ENTRIES,
            masks: Masks::ALL,
            before: [0; ENTRIES as usize],
            gsis: [None; ENTRIES as usize],
            gsi_changes: 0,
            refusals: 0,
        };
        assert!(table.set_control(true, false).is_empty());
        for n in driver.first..driver.first + ENTRIES {
            let address = Machine::MSI_ADDRESS.to_le_bytes();
            let _ = table.write(u64::from(16 * (n % ENTRIES)), &address);
            let _ = retarget(table, n, 0);
            driver.watch(n % ENTRIES, true);
        }
        driver
    }

    fn vector(&self, entry: u32) -> &VectorHandle {
        &self.table.vectors()[entry as usize]
    }

    fn watch(&self, entry: u32, masked: bool) {
        let interrupt = FIRST + 2 * (self.first + entry);
        self.vm.mask(interrupt, masked);
        self.vm.mask(interrupt + 1, masked);
    }

    /// The interrupts of the local APIC were cleared.
    pub(super) fn forget(&mut self) {
        self.before = [0; ENTRIES as usize];
    }

    pub(super) fn mask(&mut self, entry: u32, masked: bool) -> Vec<Dead> {
        let mut next = self.masks;
        next.entries[entry as usize] = masked;
        self.change(next)
    }

    pub(super) fn mask_function(&mut self, masked: bool) -> Vec<Dead> {
        let function = masked;
        self.change(Masks {
            function,
            ..self.masks
        })
    }

    /// Masks and unmasks, and checks that nothing came while masked.
    pub(super) fn change(&mut self, next: Masks) -> Vec<Dead> {
        let now = self.masks;
        self.see_gsis();
        let opens = |entry: &u32| now.covers(*entry) && !next.covers(*entry);
        let closes = |entry: &u32| !now.covers(*entry) && next.covers(*entry);
        (0..ENTRIES)
            .filter(opens)
            .for_each(|entry| self.expect_none(entry));

        let mut dead = Vec::new();
        for (offset, (was, is)) in (12..).step_by(16).zip(now.entries.iter().zip(next.entries)) {
            if *was != is {
                dead.extend(self.table.write(offset, &u32::from(is).to_le_bytes()));
            }
        }
        // After the entries, so that no vector that must stay masked is open in between.
        if now.function != next.function {
            dead.extend(self.table.set_control(true, next.function));
        }
        self.masks = next;
        (0..ENTRIES)
            .filter(closes)
            .for_each(|entry| self.masked(entry));
        self.see_gsis();
        self.refusals += dead.len() as u64;
        dead
    }

    /// A vector has just been masked.
    fn masked(&mut self, entry: u32) {
        self.watch(entry, true);
        let interrupts = both(self.first + entry) & requested(&self.machine);
        self.before[entry as usize] = interrupts;
    }

    /// A vector is about to be unmasked.
    fn expect_none(&self, entry: u32) {
        let notifier = self.vector(entry).notifier();
        assert!(notifier.is_none_or(|notifier| !self.vm.is_bound(&*notifier)));
        let interrupts = both(self.first + entry) & requested(&self.machine);
        let new = interrupts & !self.before[entry as usize];
        assert_eq!(new, 0, "delivered while entry {entry} was masked");
        self.watch(entry, false);
    }

    pub(super) fn see_gsis(&mut self) {
        for (vector, last) in self.table.vectors().iter().zip(&mut self.gsis) {
            if let Some(gsi) = vector.gsi() {
                let old = last.replace(gsi);
                self.gsi_changes += u64::from(old.is_some_and(|old| old != gsi));
            }
        }
    }

    /// One random access.
    pub(super) fn act(&mut self, dice: &mut Dice) {
        let entry = dice.roll(ENTRIES);
        let _ = match dice.roll(8) {
            0 => self.mask_function(dice.roll(4) == 0),
            1 | 2 => retarget(&self.table, self.first + entry, dice.roll(2)),
            _ => self.mask(entry, dice.roll(3) == 0),
        };
    }
}
