// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The report of a run, for a person or a script.

use std::fmt;

use examples::program;
use serde_json::json;

use crate::mover::Moves;

/// How many kicks went which way, and what the moves took.
#[derive(Debug)]
pub(crate) struct Report {
    backend: &'static str,
    kicks: u64,
    handled: u64,
    by_exit: u64,
    lost: u64,
    doubled: u64,
    /// In nanoseconds, sorted.
    times: Vec<u64>,
    failed: u64,
}

impl Report {
    /// Takes what the guest wrote to each queue and what each queue got.
    pub(crate) fn new(
        backend: &'static str,
        kicks: &[u64],
        handled: &[u64],
        by_exit: u64,
        moves: Moves,
    ) -> Self {
        let queues = || kicks.iter().zip(handled);
        let mut times = moves.times;
        times.sort_unstable();
        Self {
            backend,
            kicks: kicks.iter().sum(),
            handled: handled.iter().sum(),
            by_exit,
            lost: queues()
                .map(|(kicks, got)| kicks.saturating_sub(*got))
                .sum(),
            doubled: queues()
                .map(|(kicks, got)| got.saturating_sub(*kicks))
                .sum(),
            times,
            failed: moves.failed,
        }
    }

    /// The time that this percentage of the moves did not exceed.
    fn quantile(&self, percent: usize) -> u64 {
        let last = self.times.len().saturating_sub(1);
        let time = self.times.get(last * percent / 100);
        time.copied().unwrap_or(0)
    }
}

impl program::Report for Report {
    /// Whether each queue got each of its kicks once.
    fn is_exact(&self) -> bool {
        self.lost == 0 && self.doubled == 0 && self.kicks == self.handled
    }

    fn to_json(&self) -> serde_json::Value {
        json!({
            "backend": self.backend,
            "kicks": self.kicks,
            "handled": self.handled,
            "by_exit": self.by_exit,
            "lost": self.lost,
            "doubled": self.doubled,
            "moves": self.times.len(),
            "failed_moves": self.failed,
            "move_ns": {
                "p50": self.quantile(50),
                "p99": self.quantile(99),
                "max": self.quantile(100),
            },
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let guest = match self.backend {
            "kvm" => "a real guest on /dev/kvm",
            _ => "a simulated guest on SimVm, without /dev/kvm",
        };
        writeln!(f, "bar_move: {guest}\n")?;
        writeln!(f, "kicks sent      {:>12}", self.kicks)?;
        writeln!(f, "kicks handled   {:>12}", self.handled)?;
        let by_ioeventfd = self.handled.saturating_sub(self.by_exit);
        writeln!(f, "  by ioeventfd  {by_ioeventfd:>12}")?;
        writeln!(f, "  by exit       {:>12}", self.by_exit)?;
        writeln!(f, "lost            {:>12}", self.lost)?;
        writeln!(f, "doubled         {:>12}", self.doubled)?;
        writeln!(f, "\nmoves           {:>12}", self.times.len())?;
        if self.failed > 0 {
            writeln!(f, "made to fail    {:>12}", self.failed)?;
        }
        writeln!(f, "what a move of 64 doorbells took, microseconds")?;
        for (name, percent) in [("p50", 50), ("p99", 99), ("max", 100)] {
            writeln!(f, "  {name:<14}{:>12}", self.quantile(percent) / 1000)?;
        }
        Ok(())
    }
}
