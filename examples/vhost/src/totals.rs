// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Totals`]: what a run has cost.

use crate::guest::QUEUES;

/// How many times the VM was saved, and the guest continued in another one.
#[derive(Debug, Default, Clone, Copy)]
pub struct Snapshots {
    /// Because the guest requested it.
    pub of_guest: u32,
    /// Because another thread of the VMM requested it.
    pub of_vmm: u32,
    /// Of all: how many found an interrupt pending in a masked vector.
    pub pending_in_vector: u32,
    /// Of all: how many found an interrupt pending in the local APIC.
    pub pending_in_apic: u32,
}

/// What a run has cost, and where it ended.
#[derive(Debug, Default, Clone, Copy)]
pub struct Totals {
    /// Exits that the traffic caused.
    pub exits: u64,
    /// Kicks that exited because the back-end was replaced.
    pub replacement_exits: u64,
    /// Exits to the device's registers.
    pub register_exits: u64,
    /// How many times the VM was saved, and the guest continued in another one.
    pub snapshots: Snapshots,
    /// By queue: how many buffers were used, modulo 2^16.
    pub used: [u16; QUEUES],
}

impl Snapshots {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.of_guest + self.of_vmm
    }
}
