// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What a person, or a script, wants to know of a run.

use std::fmt;
use std::time::Duration;

use serde_json::json;
use vhost_examples::guest::Counts;

/// A run.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) packets: u32,
    pub(crate) wanted_restarts: u32,
    pub(crate) restarts: u32,
    /// What the guest has counted.
    pub(crate) counts: Counts,
    /// The used index of the receive ring, at the end.
    pub(crate) used: u16,
    /// The used index of the transmit ring, at the end.
    pub(crate) completed: u16,
    pub(crate) ring_errors: u64,
    /// Exits to user space while no daemon was replaced.
    pub(crate) exits: u64,
    /// Exits because a daemon was replaced.
    pub(crate) restart_exits: u64,
    /// File descriptors of this process before the VM was created, and after it was closed.
    pub(crate) descriptors: [usize; 2],
    pub(crate) took: Duration,
}

impl Report {
    /// Packets that have not come back when they were due.
    fn lost(&self) -> u64 {
        self.counts.requests - self.counts.answered
    }

    /// Packets that have come back twice, those included that the guest has not taken.
    fn doubled(&self) -> u64 {
        let Counts {
            answered,
            lost,
            doubled,
            others,
            ..
        } = self.counts;
        // One more, which has accepted the connection.
        let taken = answered + lost + doubled + others + 1;
        doubled + u64::from(self.used.wrapping_sub(taken as u16))
    }

    /// Exits for each packet. No thread of the VMM waits for a kick or a call, so there is nothing
    /// else to wake.
    #[expect(clippy::cast_precision_loss, reason = "these are small numbers")]
    fn wakeups_per_request(&self) -> f64 {
        self.exits as f64 / self.counts.requests.max(1) as f64
    }

    /// Whether each packet came back exactly once, without the VMM, and nothing was left behind.
    pub(crate) fn is_exact(&self) -> bool {
        let packets = u64::from(self.packets);
        let [before, after] = self.descriptors;
        self.counts.requests == packets
            && self.counts.answered == packets
            && self.lost() == 0
            && self.doubled() == 0
            && self.counts.others == 0
            && self.completed == (packets + 1) as u16
            && self.restarts == self.wanted_restarts
            && self.ring_errors == 0
            && self.exits == 0
            && before == after
    }

    pub(crate) fn to_json(&self) -> serde_json::Value {
        let [before, after] = self.descriptors;
        json!({
            "requests": self.counts.requests,
            "answered": self.counts.answered,
            "restarts": self.restarts,
            "lost": self.lost(),
            "doubled": self.doubled(),
            "others": self.counts.others,
            "kicks": self.counts.kicks,
            "interrupts": self.counts.interrupts,
            "ring_errors": self.ring_errors,
            "fds_before": before,
            "fds_after": after,
            "vmm_wakeups_per_request": self.wakeups_per_request(),
            "restart_exits": self.restart_exits,
            "seconds": self.took.as_secs_f64(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [before, after] = self.descriptors;
        writeln!(
            f,
            "vhost_user: a real guest on /dev/kvm, its device in another process\n"
        )?;
        for (name, count) in [
            ("packets sent", self.counts.requests),
            ("packets answered", self.counts.answered),
            ("lost", self.lost()),
            ("doubled", self.doubled()),
            ("kicks", self.counts.kicks),
            ("interrupts", self.counts.interrupts),
            ("restarts of the daemon", self.restarts.into()),
            ("errors of rings", self.ring_errors),
            ("exits to user space", self.exits),
            ("exits during restarts", self.restart_exits),
            ("descriptors before", before as u64),
            ("descriptors after", after as u64),
        ] {
            writeln!(f, "  {name:<24}{count:>12}")?;
        }
        let exact = if self.is_exact() { "yes" } else { "NO" };
        writeln!(f, "  {:<24}{exact:>12}", "exact")?;
        let seconds = self.took.as_secs_f64();
        writeln!(f, "\n{seconds:.2} s, restarts included")
    }
}
