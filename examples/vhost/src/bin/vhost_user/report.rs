// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The report of a run, for a person or a script.

use std::fmt;

use examples::program;
use serde_json::Value;
use vhost_examples::report::Traffic;

/// The counts of a run.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) traffic: Traffic,
    pub(crate) wanted_restarts: u32,
    pub(crate) restarts: u32,
    /// File descriptors of this process before the VM was created, and after it was closed.
    pub(crate) descriptors: [usize; 2],
}

impl Report {
    /// Whether there was one interrupt for each packet, and one for the packet that opens the
    /// connection.
    ///
    /// A guest that stops its device may take a packet for which the device had no time to call. A
    /// daemon that replaces a dead one calls once more.
    fn interrupts_are_exact(&self) -> bool {
        let counts = &self.traffic.counts;
        let wanted = self.traffic.packets() + 1;
        self.restarts > 0 || counts.interrupts + counts.early == wanted
    }
}

impl program::Report for Report {
    /// Whether each packet came back exactly once, without the VMM, and nothing was left behind.
    fn is_exact(&self) -> bool {
        let [before, after] = self.descriptors;
        self.traffic.is_exact()
            && self.traffic.counts.others == 0
            && (self.restarts == self.wanted_restarts || self.traffic.interrupted)
            && self.interrupts_are_exact()
            && before == after
    }

    fn to_json(&self) -> Value {
        let [before, after] = self.descriptors;
        let mut values = self.traffic.to_json();
        for (name, value) in [
            ("requests", self.traffic.counts.requests.into()),
            ("answered", self.traffic.counts.answered.into()),
            ("restarts", self.restarts.into()),
            ("fds_before", before.into()),
            ("fds_after", after.into()),
            // No thread of the VMM waits for a kick or a call, so there are no other wake-ups to
            // count.
            (
                "vmm_wakeups_per_request",
                self.traffic.exits_per_packet().into(),
            ),
            (
                "restart_exits",
                self.traffic.totals.replacement_exits.into(),
            ),
        ] {
            values.insert(name.to_owned(), value);
        }
        Value::Object(values)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [before, after] = self.descriptors;
        writeln!(
            f,
            "vhost_user: a real guest on /dev/kvm, its device in another process\n"
        )?;
        let others = [
            ("restarts of the daemon", self.restarts.into()),
            (
                "exits during restarts",
                self.traffic.totals.replacement_exits,
            ),
            ("descriptors before", before as u64),
            ("descriptors after", after as u64),
        ];
        self.traffic.show(f, &others)?;
        let exact = match program::Report::is_exact(self) {
            true => "yes",
            false => "NO",
        };
        writeln!(f, "  {:<24}{exact:>12}", "exact")?;
        let seconds = self.traffic.took.as_secs_f64();
        writeln!(f, "\n{seconds:.2} s, restarts included")
    }
}
