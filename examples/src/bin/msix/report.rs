// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The report of a run, for a person or a script.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use examples::program;
use serde_json::{Value, json};

use crate::Settings;
use crate::layout::{Part, VCPUS, VECTORS, is_exported};
use crate::triggers::{Memory, Outcome};
use crate::watch::Watch;

#[derive(Debug)]
pub(crate) struct Report {
    backend: &'static str,
    seed: u64,
    elapsed: Duration,
    outcome: Outcome,
    lock_step: Counts,
    storm: Counts,
    torn: u64,
    spurious: u64,
    stale: u64,
    closings: u64,
    commits: u64,
}

/// The triggers of one part, by kind of vector.
#[derive(Debug)]
struct Counts {
    internal: Tally,
    exported: Tally,
}

#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    triggered: u64,
    /// Interrupts that the guest has counted.
    delivered: u64,
    /// Vectors whose last trigger did not reach the guest.
    lost: u64,
    /// Interrupts beyond the number of triggers, apart from those that KVM has doubled.
    doubled: u64,
    /// Triggers that KVM doubled because they came while it was assigning the irqfd.
    doubled_by_kvm: u64,
}

impl Report {
    /// Counts what the guest has taken, so the guest must have stopped.
    pub(crate) fn new(
        backend: &'static str,
        settings: &Settings,
        elapsed: Duration,
        outcome: Outcome,
        watch: &Watch,
        memory: &dyn Memory,
    ) -> Result<Self, Box<dyn Error>> {
        Ok(Self {
            backend,
            seed: settings.seed,
            elapsed,
            lock_step: Counts::of(Part::LockStep, &outcome, watch, memory)?,
            storm: Counts::of(Part::Storm, &outcome, watch, memory)?,
            outcome,
            torn: memory.torn()?,
            spurious: watch.spurious(),
            stale: watch.stale(),
            closings: (0..VECTORS).map(|vector| watch.closings(vector)).sum(),
            commits: watch.commits(),
        })
    }

    fn triggered(&self) -> u64 {
        self.lock_step.all().triggered + self.storm.all().triggered
    }
}

impl program::Report for Report {
    /// Whether each trigger in lock-step was delivered once, the last number of every vector was
    /// seen, and nothing unexpected came.
    fn is_exact(&self) -> bool {
        let (lock_step, storm) = (self.lock_step.all(), self.storm.all());
        let simulated = self.backend != "kvm";
        let by_kvm = lock_step.doubled_by_kvm + storm.doubled_by_kvm;
        let wrong = [self.spurious, self.stale, self.torn];
        lock_step.delivered == lock_step.triggered + lock_step.doubled_by_kvm
            && !(simulated && by_kvm > 0)
            && [lock_step, storm]
                .iter()
                .all(|part| part.lost == 0 && part.doubled == 0)
            && wrong.iter().all(|count| *count == 0)
    }

    fn to_json(&self) -> Value {
        let (lock_step, storm) = (&self.lock_step, &self.storm);
        json!({
            "backend": self.backend,
            "seed": self.seed,
            "seconds": self.elapsed.as_secs_f64(),
            "vectors": VECTORS,
            "vcpus": VCPUS,
            "triggered": self.triggered(),
            "lock_step": lock_step.to_json(self.outcome.lock_step_kept),
            "storm": storm.to_json(self.outcome.storm_kept),
            "lost": self.outcome.lost.len(),
            "doubled": lock_step.all().doubled + storm.all().doubled,
            "doubled_by_kvm": lock_step.all().doubled_by_kvm + storm.all().doubled_by_kvm,
            "spurious": self.spurious,
            "stale": self.stale,
            "torn": self.torn,
            "rounds": self.outcome.rounds,
            "masks": self.closings,
            "commits": self.commits,
        })
    }
}

impl Counts {
    fn of(
        part: Part,
        outcome: &Outcome,
        watch: &Watch,
        memory: &dyn Memory,
    ) -> Result<Self, String> {
        let (mut internal, mut exported) = (Tally::default(), Tally::default());
        for vector in part.vectors() {
            let tally = if is_exported(vector) {
                &mut exported
            } else {
                &mut internal
            };
            let (triggered, delivered) = (memory.published(vector)?, memory.delivered(vector)?);
            tally.triggered += triggered;
            tally.delivered += delivered;
            tally.lost += u64::from(outcome.lost.contains(&vector));
            let by_kvm = watch.doubled_by_kvm(vector);
            tally.doubled += delivered.saturating_sub(triggered + by_kvm);
            tally.doubled_by_kvm += by_kvm;
        }
        Ok(Self { internal, exported })
    }

    fn all(&self) -> Tally {
        let (internal, exported) = (self.internal, self.exported);
        Tally {
            triggered: internal.triggered + exported.triggered,
            delivered: internal.delivered + exported.delivered,
            lost: internal.lost + exported.lost,
            doubled: internal.doubled + exported.doubled,
            doubled_by_kvm: internal.doubled_by_kvm + exported.doubled_by_kvm,
        }
    }

    fn to_json(&self, kept: u64) -> Value {
        let all = self.all();
        json!({
            "triggered": all.triggered,
            "delivered": all.delivered,
            "coalesced": all.coalesced(),
            "lost": all.lost,
            "doubled": all.doubled,
            "doubled_by_kvm": all.doubled_by_kvm,
            "kept": kept,
            "internal": self.internal.to_json(),
            "exported": self.exported.to_json(),
        })
    }

    /// One line of the report: the count of all vectors, the internal ones and the exported ones.
    fn line(&self, f: &mut fmt::Formatter<'_>, name: &str, of: fn(&Tally) -> u64) -> fmt::Result {
        let counts = [self.all(), self.internal, self.exported].map(|tally| of(&tally));
        let [all, internal, exported] = counts;
        writeln!(f, "    {name:<28}{all:>12}{internal:>12}{exported:>12}")
    }
}

impl Tally {
    /// Triggers that merged with others. In lock-step none should.
    fn coalesced(&self) -> u64 {
        (self.triggered + self.doubled_by_kvm).saturating_sub(self.delivered)
    }

    fn to_json(self) -> Value {
        json!({
            "triggered": self.triggered,
            "delivered": self.delivered,
            "coalesced": self.coalesced(),
            "lost": self.lost,
            "doubled": self.doubled,
            "doubled_by_kvm": self.doubled_by_kvm,
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
        let (lock_step, storm) = (&self.lock_step, &self.storm);
        let kept = "kept while masked";
        writeln!(
            f,
            "  {:<30}{:>12}{:>12}{:>12}",
            "in lock-step", "all", "internal", "exported"
        )?;
        lock_step.line(f, "triggered", |tally| tally.triggered)?;
        lock_step.line(f, "delivered", |tally| tally.delivered)?;
        lock_step.line(f, "lost", |tally| tally.lost)?;
        lock_step.line(f, "doubled", |tally| tally.doubled)?;
        lock_step.line(f, "doubled by KVM", |tally| tally.doubled_by_kvm)?;
        writeln!(f, "    {kept:<40}{:>12}", self.outcome.lock_step_kept)?;
        writeln!(f, "  in a storm")?;
        storm.line(f, "triggered", |tally| tally.triggered)?;
        storm.line(f, "delivered", |tally| tally.delivered)?;
        storm.line(f, "coalesced", Tally::coalesced)?;
        storm.line(f, "lost", |tally| tally.lost)?;
        writeln!(f, "    {kept:<40}{:>12}", self.outcome.storm_kept)?;
        for (name, count) in [
            ("rounds", self.outcome.rounds),
            ("times a vector was masked", self.closings),
            ("commits of routes", self.commits),
            ("spurious", self.spurious),
            ("stale messages", self.stale),
            ("torn messages", self.torn),
        ] {
            writeln!(f, "  {name:<30}{count:>12}")?;
        }
        let exact = match program::Report::is_exact(self) {
            true => "yes",
            false => "NO",
        };
        writeln!(f, "  {:<30}{exact:>12}", "all as it must be")
    }
}
