// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Exits`]: the exits of the vCPU to the VMM.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use crate::registers::Write;

/// Returns of KVM_RUN to user space, each of which is a wake-up of the VMM.
#[derive(Debug, Default)]
pub(crate) struct Exits {
    pub(crate) of_traffic: AtomicU64,
    pub(crate) of_replacements: AtomicU64,
    pub(crate) of_registers: AtomicU64,
    /// How many replacements of the back-end have begun, and how many have ended.
    pub(crate) begun: AtomicU64,
    pub(crate) ended: AtomicU64,
}

impl Exits {
    /// Counts an exit of a run of the vCPU; `ended` replacements had ended when that run began.
    ///
    /// A replacement causes an exit if the guest kicks while its doorbell gets another eventfd.
    pub(crate) fn count(&self, write: Write, ended: u64) {
        let exits = match write {
            Write::Kick if self.begun.load(SeqCst) > ended => &self.of_replacements,
            Write::Kick => &self.of_traffic,
            _ => &self.of_registers,
        };
        exits.fetch_add(1, SeqCst);
    }
}
