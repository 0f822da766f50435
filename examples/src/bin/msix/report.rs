// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What a person, or a script, wants to know of a run.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use serde_json::json;

use crate::Settings;
use crate::layout::{VCPUS, VECTORS};
use crate::storm::{Memory, Storm};
use crate::watch::Watch;

#[derive(Debug)]
pub(crate) struct Report {
    backend: &'static str,
    seed: u64,
    elapsed: Duration,
    storm: Storm,
    /// Interrupts that the guest has taken.
    delivered: u64,
    torn: u64,
    spurious: u64,
    stale: u64,
    closings: u64,
    commits: u64,
}

impl Report {
    pub(crate) fn new(
        backend: &'static str,
        settings: &Settings,
        elapsed: Duration,
        storm: Storm,
        watch: &Watch,
        memory: &dyn Memory,
    ) -> Result<Self, Box<dyn Error>> {
        Ok(Self {
            backend,
            seed: settings.seed,
            elapsed,
            storm,
            delivered: memory.delivered()?,
            torn: memory.torn()?,
            spurious: watch.spurious(),
            stale: watch.stale(),
            closings: watch.closings(),
            commits: watch.commits(),
        })
    }

    pub(crate) fn triggered(&self) -> u64 {
        self.storm.triggered
    }

    /// Whether every vector's last number was seen, and nothing came that should not.
    pub(crate) fn is_exact(&self) -> bool {
        self.storm.lost == 0 && self.spurious == 0 && self.stale == 0 && self.torn == 0
    }

    /// Triggers that merged with others.
    fn coalesced(&self) -> u64 {
        self.storm.triggered.saturating_sub(self.delivered)
    }

    pub(crate) fn to_json(&self) -> serde_json::Value {
        json!({
            "backend": self.backend,
            "seed": self.seed,
            "seconds": self.elapsed.as_secs_f64(),
            "vectors": VECTORS,
            "vcpus": VCPUS,
            "triggered": self.storm.triggered,
            "delivered": self.delivered,
            "coalesced": self.coalesced(),
            "lost": self.storm.lost,
            "spurious": self.spurious,
            "stale": self.stale,
            "torn": self.torn,
            "kept": self.storm.kept,
            "bursts": self.storm.bursts,
            "masks": self.closings,
            "commits": self.commits,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let guest = match self.backend {
            "kvm" => "a real guest on /dev/kvm",
            _ => "a simulated guest on SimVm, without /dev/kvm",
        };
        let (seconds, seed) = (self.elapsed.as_secs_f64(), self.seed);
        writeln!(
            f,
            "msix: {guest}, {VECTORS} vectors, {VCPUS} vCPUs, {seconds:.1} s, seed {seed}\n"
        )?;
        for (name, count) in [
            ("triggered", self.storm.triggered),
            ("interrupts delivered", self.delivered),
            ("coalesced", self.coalesced()),
            ("kept while masked (internal)", self.storm.kept),
            ("bursts", self.storm.bursts),
            ("times a vector was masked", self.closings),
            ("commits of routes", self.commits),
            ("lost", self.storm.lost),
            ("spurious", self.spurious),
            ("stale messages", self.stale),
            ("torn messages", self.torn),
        ] {
            writeln!(f, "  {name:<30}{count:>12}")?;
        }
        let exact = if self.is_exact() { "yes" } else { "NO" };
        writeln!(f, "  {:<30}{exact:>12}", "all as it must be")
    }
}
