// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Processors`]: whether other programs leave enough processors to measure.

use std::fs;

/// The guest and the device need a processor each.
const NEEDED: f64 = 2.0;
/// What other programs may take of these so that times still mean something.
const SPARE: f64 = 0.25;
/// A measurement over fewer ticks of the kernel's accounting is too coarse.
const FEW: u64 = 20;

/// How long processors have run so far, in ticks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Processors {
    number: u64,
    /// Ticks of all processors, idle or not.
    total: u64,
    /// Ticks that were not idle and not spent on this process.
    others: u64,
}

impl Processors {
    /// Reads the kernel's counters; `None` if they cannot be read.
    pub(crate) fn now() -> Option<Self> {
        let all = fs::read_to_string("/proc/stat").ok()?;
        let own = fs::read_to_string("/proc/self/stat").ok()?;
        Self::parse(&all, &own)
    }

    fn parse(all: &str, own: &str) -> Option<Self> {
        let mut lines = all.lines().take_while(|line| line.starts_with("cpu"));
        let ticks = lines.next()?.split_whitespace().skip(1);
        let ticks: Result<Vec<u64>, _> = ticks.take(8).map(str::parse).collect();
        let &[user, nice, system, idle, waiting, irq, softirq, stolen] = ticks.as_deref().ok()?
        else {
            return None;
        };
        let busy = user + nice + system + irq + softirq + stolen;
        // The name of the program, in brackets, may have spaces.
        let (_, own) = own.rsplit_once(')')?;
        let own = own.split_whitespace().skip(11).take(2);
        let own: Result<Vec<u64>, _> = own.map(str::parse).collect();
        Some(Self {
            number: lines.count().try_into().ok()?,
            total: busy + idle + waiting,
            others: busy.saturating_sub(own.ok()?.iter().sum()),
        })
    }

    /// How many processors other programs have left since then; `None` if the time was too short.
    #[expect(clippy::cast_precision_loss, reason = "these are small numbers")]
    pub(crate) fn left_since(self, before: Self) -> Option<f64> {
        let total = self.total.saturating_sub(before.total);
        let others = self.others.saturating_sub(before.others);
        let left = total.saturating_sub(others);
        (total >= FEW * self.number).then(|| (self.number * left) as f64 / total as f64)
    }
}

/// Whether that is too few processors for a guest and a device.
pub(crate) fn are_too_few(left: f64) -> bool {
    left < NEEDED - SPARE
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn what_others_leave_is_what_they_do_not_use() {
        let parse = |all: &str, own: &str| Processors::parse(all, own).unwrap();
        let own = |ticks| format!("7 (a b) c) R 1 1 1 1 1 1 1 1 1 1 {ticks} 20 0 0");
        let before = parse("cpu 0 0 0 0 0 0 0 0 0 0\ncpu0 0\ncpu1 0\nintr 5\n", &own(0));
        let after = "cpu 100 10 60 20 0 5 0 5 90 0\ncpu0 0\ncpu1 0\nintr 5\n";
        // 180 of 200 ticks were used, 120 of them by this process.
        let left = parse(after, &own(100)).left_since(before).unwrap();
        assert!((left - 1.4).abs() < 1e-9, "{left}");
        assert!(are_too_few(left) && !are_too_few(1.9));
        assert!(before.left_since(before).is_none());
        assert!(Processors::parse("cpu 1 2\n", &own(0)).is_none());
    }

    #[test]
    fn the_kernel_tells() {
        assert!(Processors::now().is_some());
    }
}
