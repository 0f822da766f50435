// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The report of a run, for a person or a script.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use examples::program;
use serde_json::json;

use crate::device::Counts;
use crate::layout::{DEVICES, EXPORTED, TOLD};
use crate::session::Machine;
use crate::storm::Storm;
use crate::{Run, Settings};

#[derive(Debug)]
pub(crate) struct Report {
    backend: &'static str,
    run: Run,
    seed: u64,
    elapsed: Duration,
    counts: Counts,
    storm: Storm,
    /// As the guest counts them.
    interrupts: u64,
    eois: u64,
    spurious: u64,
    masks: u64,
    moves: u64,
    /// How many of these EOIs the VMM has seen, where it sees them, without those of a vector that
    /// the pin had before.
    seen: Option<u64>,
    leaves: bool,
}

impl Report {
    pub(crate) fn new(
        run: Run,
        settings: &Settings,
        machine: &Machine<'_>,
        elapsed: Duration,
        storm: Storm,
        counts: [Counts; DEVICES],
    ) -> Result<Self, String> {
        Ok(Self {
            backend: machine.backend,
            run,
            seed: settings.seed,
            elapsed,
            counts: counts.into_iter().sum(),
            storm,
            interrupts: machine.memory.interrupts()?,
            eois: machine.memory.eois()?,
            spurious: machine.memory.spurious()?,
            masks: machine.memory.masks()?,
            moves: machine.memory.moves()?,
            seen: machine.board.ended(),
            leaves: machine.leaves,
        })
    }

    /// How many EOIs the VMM should have seen. When an IOAPIC's pin is moved, one interrupt of the
    /// previous vector may be in service and one may wait.
    fn may_be_seen(&self) -> RangeInclusive<u64> {
        self.eois.saturating_sub(2 * self.moves)..=self.eois
    }

    fn told(&self, device: usize) -> u64 {
        self.storm.told.get(device).copied().flatten().unwrap_or(0)
    }
}

impl program::Report for Report {
    /// Whether every assertion was handled or withdrawn, nothing is stuck, and every device that
    /// asks for EOIs was signalled all of them.
    fn is_exact(&self) -> bool {
        !self.counts.is_asserted()
            && self.storm.is_exact()
            && self
                .seen
                .is_none_or(|seen| self.may_be_seen().contains(&seen))
    }

    fn to_json(&self) -> serde_json::Value {
        let counts = &self.counts;
        json!({
            "backend": self.backend,
            "chip": self.run.chip.name(),
            "irqchip": self.run.irqchip.name(),
            "seed": self.seed,
            "seconds": self.elapsed.as_secs_f64(),
            "devices": DEVICES,
            "asserted": counts.asserted,
            "handled": counts.handled,
            "withdrawn": counts.withdrawn,
            "merged": counts.merged,
            "triggered_again": counts.triggered_again,
            "interrupts": self.interrupts,
            "spurious": self.spurious,
            "masks": self.masks,
            "moves": self.moves,
            "eois": self.eois,
            "eois_seen": self.seen,
            "told_exported": self.told(EXPORTED),
            "told_own": self.told(TOLD),
            "bursts": self.storm.bursts,
            "leaves": self.storm.leaves,
            "lost": self.storm.lost,
            "stuck": self.storm.stuck,
            "mistold": self.storm.mistold,
            "leaves_after_eoi": self.leaves,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let guest = match self.backend {
            "kvm" => "a real guest on /dev/kvm",
            _ => "a simulated guest on SimVm, without /dev/kvm",
        };
        let (chip, place) = (self.run.chip.title(), self.run.irqchip.place());
        let (seconds, seed) = (self.elapsed.as_secs_f64(), self.seed);
        writeln!(
            f,
            "intx: {guest}, {DEVICES} devices on a pin of {chip} {place}, {seconds:.1} s, seed \
                {seed}"
        )?;
        if self.leaves {
            writeln!(
                f,
                "(this host delays the report of an EOI if the guest halts after it, so the guest \
                 exits by a port access before)"
            )?;
        }
        writeln!(f)?;
        let counts = &self.counts;
        for (name, count) in [
            ("asserted", counts.asserted),
            ("handled", counts.handled),
            ("withdrawn", counts.withdrawn),
            ("merged with an earlier one", counts.merged),
            ("triggered again after an EOI", counts.triggered_again),
            ("bursts", self.storm.bursts),
            ("left while asserting", self.storm.leaves),
            ("interrupts", self.interrupts),
            ("spurious, by the PIC", self.spurious),
            ("masked and unmasked", self.masks),
            ("moved to another vector", self.moves),
            ("EOIs of the guest", self.eois),
        ] {
            writeln!(f, "  {name:<30}{count:>12}")?;
        }
        if let Some(seen) = self.seen {
            writeln!(f, "  {:<30}{seen:>12}", "EOIs seen by the VMM")?;
        }
        for (name, count) in [
            ("EOIs sent to exported device", self.told(EXPORTED)),
            ("EOIs sent to the VMM's own", self.told(TOLD)),
            ("EOIs sent wrongly", self.storm.mistold),
            ("lost", self.storm.lost),
            ("stuck", self.storm.stuck),
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
