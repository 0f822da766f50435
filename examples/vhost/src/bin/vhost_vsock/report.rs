// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The report of a run, for a person or a script.

use std::fmt;

use examples::program;
use serde_json::Value;
use vhost_examples::report::Traffic;

/// So few wake-ups count as none: the kernel may let the watcher sleep twice for one wait.
const FEW: u64 = 10;

/// The counts of a run.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) traffic: Traffic,
    /// Packets that the host process has sent back, in order.
    pub(crate) echoed: u64,
    pub(crate) ring_errors: u64,
    /// How many times threads of the VMM, except the vCPU's, were woken in all.
    pub(crate) wakeups: u64,
    /// File descriptors of this process before the VM was created, and after it was closed.
    pub(crate) descriptors: [usize; 2],
}

impl program::Report for Report {
    /// Whether each packet came back exactly once, without the VMM.
    fn is_exact(&self) -> bool {
        let [before, after] = self.descriptors;
        self.traffic.is_exact()
            && before == after
            && self.echoed == self.traffic.counts.requests
            && self.ring_errors == 0
            && self.wakeups < FEW
    }

    fn to_json(&self) -> Value {
        let [before, after] = self.descriptors;
        let mut values = self.traffic.to_json();
        for (name, value) in [
            ("packets_sent", self.traffic.counts.requests.into()),
            ("packets_received", self.traffic.counts.answered.into()),
            ("packets_echoed", self.echoed.into()),
            ("exits_per_packet", self.traffic.exits_per_packet().into()),
            ("vmm_wakeups", self.wakeups.into()),
            ("ring_errors", self.ring_errors.into()),
            ("fds_before", before.into()),
            ("fds_after", after.into()),
        ] {
            values.insert(name.to_owned(), value);
        }
        Value::Object(values)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "vhost_vsock: a real guest on /dev/kvm, its device a worker of vhost in the kernel\n"
        )?;
        let [before, after] = self.descriptors;
        let others = [
            ("packets of the host", self.echoed),
            ("wake-ups of the VMM", self.wakeups),
            ("errors of rings", self.ring_errors),
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
        writeln!(f, "\n{seconds:.2} s")
    }
}
