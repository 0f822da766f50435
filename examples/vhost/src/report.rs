// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Traffic`]: the part of the report that both programs have.

use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::guest::{Change, Counts, Load};
use crate::vmm::Totals;

/// The traffic of a device.
#[derive(Debug, Clone, Copy)]
pub struct Traffic {
    /// The guest's work.
    pub load: Load,
    /// How many snapshots the VMM was to take.
    pub wanted_snapshots: u32,
    /// Whether the user has ended the run early.
    pub interrupted: bool,
    /// What the guest has counted.
    pub counts: Counts,
    /// What the VMM has counted.
    pub totals: Totals,
    /// How long it took.
    pub took: Duration,
}

impl Traffic {
    /// How many packets there were to be.
    #[must_use]
    pub fn packets(&self) -> u64 {
        match self.interrupted {
            true => self.counts.requests,
            false => self.load.packets.into(),
        }
    }

    /// How many changes to the device there were to be.
    fn changes(&self) -> u32 {
        match self.interrupted {
            true => u32::try_from(self.counts.changes).unwrap_or(u32::MAX),
            false => self.load.changes(),
        }
    }

    /// Packets that did not come back when they were due.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.counts.requests - self.counts.answered
    }

    /// Packets that came back twice, including those that the guest has not taken.
    #[must_use]
    pub fn doubled(&self) -> u64 {
        let Counts {
            answered,
            lost,
            doubled,
            others,
            ..
        } = self.counts;
        // One more packet, which accepted the connection.
        let taken = answered + lost + doubled + others + 1;
        let [received, _] = self.totals.used;
        doubled + u64::from(received.wrapping_sub(taken as u16))
    }

    /// Exits to user space for each packet.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "these are small numbers")]
    pub fn exits_per_packet(&self) -> f64 {
        self.totals.exits as f64 / self.counts.requests.max(1) as f64
    }

    /// Whether each packet came back exactly once, without the VMM, and no change to the device
    /// went wrong.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        let packets = self.packets();
        let changes = self.changes();
        let snapshots = self.totals.snapshots;
        let [_, completed] = self.totals.used;
        self.counts.requests == packets
            && self.counts.answered == packets
            && self.lost() == 0
            && self.doubled() == 0
            && completed == (packets + 1 - self.counts.unfinished) as u16
            && self.counts.changes == u64::from(changes)
            && snapshots.of_guest == Change::moves(changes)
            && (snapshots.of_vmm == self.wanted_snapshots || self.interrupted)
            && self.counts.through_mask == 0
            && self.counts.stale == 0
            && self.totals.exits == 0
    }

    /// The report's lines, with the counts of `others` added.
    ///
    /// # Errors
    ///
    /// Those of the formatter.
    pub fn show(&self, f: &mut fmt::Formatter<'_>, others: &[(&str, u64)]) -> fmt::Result {
        let snapshots = self.totals.snapshots;
        let lost = match self.interrupted {
            true => "lost or on their way",
            false => "lost",
        };
        let own = [
            ("packets sent", self.counts.requests),
            ("packets received", self.counts.answered),
            (lost, self.lost()),
            ("doubled", self.doubled()),
            ("kicks", self.counts.kicks),
            ("interrupts", self.counts.interrupts),
            ("changes to the device", self.counts.changes),
            ("snapshots by the guest", snapshots.of_guest.into()),
            ("snapshots by the VMM", snapshots.of_vmm.into()),
            ("pending in a vector", snapshots.pending_in_vector.into()),
            ("pending in the APIC", snapshots.pending_in_apic.into()),
            ("interrupts while masked", self.counts.through_mask),
            ("at the vector before", self.counts.stale),
            ("exits of packets", self.totals.exits),
            ("exits to registers", self.totals.register_exits),
        ];
        for (name, count) in own.iter().chain(others) {
            writeln!(f, "  {name:<24}{count:>12}")?;
        }
        Ok(())
    }

    /// The same for a script.
    #[must_use]
    pub fn to_json(&self) -> Map<String, Value> {
        let values = json!({
            "lost": self.lost(),
            "doubled": self.doubled(),
            "others": self.counts.others,
            "kicks": self.counts.kicks,
            "interrupts": self.counts.interrupts,
            "changes": self.counts.changes,
            "moves": self.totals.snapshots.of_guest,
            "snapshots": self.totals.snapshots.of_vmm,
            "pending_in_vector": self.totals.snapshots.pending_in_vector,
            "pending_in_apic": self.totals.snapshots.pending_in_apic,
            "through_mask": self.counts.through_mask,
            "stale": self.counts.stale,
            "register_exits": self.totals.register_exits,
            "seconds": self.took.as_secs_f64(),
        });
        match values {
            Value::Object(values) => values,
            _ => Map::new(),
        }
    }
}
