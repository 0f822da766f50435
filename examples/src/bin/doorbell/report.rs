// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The report of a run, for a person or a script.

use std::fmt;

use examples::interrupt;
use examples::program;
use irq_routing::{Gsi, Route};
use serde_json::json;

use crate::busy::{Processors, are_too_few};
use crate::latency::Latency;

/// Both halves of a run.
#[derive(Debug)]
pub(crate) struct Report {
    backend: &'static str,
    kernel: String,
    kicks: u32,
    /// Whether it ended early, because the user wanted that.
    interrupted: bool,
    /// The most that was subtracted from each time: the cost of reading the guest's clock.
    clock_ns: u64,
    /// How many processors other programs left meanwhile, if that is known.
    left: Option<f64>,
    routes: Vec<String>,
    by_ioeventfd: Phase,
    by_exit: Phase,
}

/// One half of a run.
#[derive(Debug, Default)]
pub(crate) struct Phase {
    pub(crate) counts: Counts,
    pub(crate) cost: Option<Latency>,
    pub(crate) round_trip: Option<Latency>,
}

/// How a kick travels, with the count of each step.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Written by the guest.
    pub(crate) kicks: u64,
    /// Taken from the notifiers by the device.
    pub(crate) handled: u64,
    /// Written to the notifiers by the device.
    pub(crate) signalled: u64,
    /// Taken by the guest's handlers.
    pub(crate) interrupts: u64,
}

impl Counts {
    /// Whether there were `kicks` of each, nothing was lost, and nothing came twice.
    pub(crate) fn is_exact(&self, kicks: u32) -> bool {
        self.kicks == u64::from(kicks) && self.do_agree()
    }

    fn do_agree(&self) -> bool {
        let all = [self.handled, self.signalled, self.interrupts];
        all.iter().all(|count| *count == self.kicks)
    }

    fn to_json(&self) -> serde_json::Value {
        let Self {
            kicks,
            handled,
            signalled,
            interrupts,
        } = self;
        json!({
            "kicks": kicks,
            "handled": handled,
            "signalled": signalled,
            "interrupts": interrupts,
        })
    }

    /// Kicks whose interrupt did not come.
    fn lost(&self) -> u64 {
        self.kicks.saturating_sub(self.interrupts)
    }
}

impl Report {
    /// A run that has just ended. `before` is from when it began.
    pub(crate) fn new(
        backend: &'static str,
        kicks: u32,
        clock_ns: u64,
        before: Option<Processors>,
        routes: &[(Gsi, Route)],
        by_ioeventfd: Phase,
        by_exit: Phase,
    ) -> Self {
        let uname = nix::sys::utsname::uname();
        let kernel = uname.map_or_else(
            |_| "an unknown kernel".to_owned(),
            |uname| {
                let name = [uname.sysname(), uname.release(), uname.machine()];
                name.map(|part| part.to_string_lossy().into_owned())
                    .join(" ")
            },
        );
        Self {
            backend,
            kernel,
            kicks,
            interrupted: interrupt::is_pending(),
            clock_ns,
            left: before.and_then(|before| Processors::now()?.left_since(before)),
            routes: routes
                .iter()
                .map(|(gsi, route)| format!("GSI {gsi}: {route}"))
                .collect(),
            by_ioeventfd,
            by_exit,
        }
    }

    /// How many processors were left, if they were too few.
    fn too_few(&self) -> Option<f64> {
        self.left.filter(|left| are_too_few(*left))
    }
}

impl program::Report for Report {
    /// Whether each kick was handled and interrupted exactly once, both ways.
    fn is_exact(&self) -> bool {
        [&self.by_ioeventfd, &self.by_exit]
            .iter()
            .all(|phase| match self.interrupted {
                true => phase.counts.do_agree(),
                false => phase.counts.is_exact(self.kicks),
            })
    }

    fn to_json(&self) -> serde_json::Value {
        let Counts {
            kicks,
            handled,
            signalled,
            interrupts,
        } = self.by_ioeventfd.counts;
        let percentiles = |latency: &Option<Latency>| latency.as_ref().map(Latency::to_json);
        json!({
            "backend": self.backend,
            "kernel": self.kernel,
            "kicks": kicks,
            "handled": handled,
            "signalled": signalled,
            "interrupts": interrupts,
            "lost": self.by_ioeventfd.counts.lost() + self.by_exit.counts.lost(),
            "ioeventfd_ns": percentiles(&self.by_ioeventfd.cost),
            "exit_ns": percentiles(&self.by_exit.cost),
            "ioeventfd_round_trip_ns": percentiles(&self.by_ioeventfd.round_trip),
            "exit_round_trip_ns": percentiles(&self.by_exit.round_trip),
            "by_exit": self.by_exit.counts.to_json(),
            "processors_left": self.left,
            "too_busy": self.too_few().is_some(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let guest = match self.backend {
            "kvm" => "a real guest on /dev/kvm",
            _ => "a simulated guest on SimVm, without /dev/kvm",
        };
        writeln!(f, "doorbell: {guest} ({})\n", self.kernel)?;
        writeln!(f, "routing table")?;
        self.routes
            .iter()
            .try_for_each(|route| writeln!(f, "  {route}"))?;

        let (one, other) = (&self.by_ioeventfd, &self.by_exit);
        writeln!(f, "\n{:<24}{:>12}{:>12}", "", "ioeventfd", "exit")?;
        // If the guest was stopped while the device had its kick, it does not take the interrupt.
        let lost = match self.interrupted {
            true => "lost or on its way",
            false => "lost",
        };
        for (name, count) in [
            ("kicks sent", (|c| c.kicks) as fn(&Counts) -> u64),
            ("kicks handled", |c| c.handled),
            ("interrupts signalled", |c| c.signalled),
            ("interrupts taken", |c| c.interrupts),
            (lost, Counts::lost),
        ] {
            let (one, other) = (count(&one.counts), count(&other.counts));
            writeln!(f, "  {name:<22}{one:>12}{other:>12}")?;
        }
        let exact = match program::Report::is_exact(self) {
            true => "yes",
            false => "NO",
        };
        writeln!(f, "  {:<22}{exact:>12}", "all agree")?;

        writeln!(f, "\nwhat a kick costs the guest, ns")?;
        match self.backend {
            "sim" => writeln!(f, "  (simulated: these times do not apply to KVM)")?,
            _ => writeln!(
                f,
                "  (the guest reads its clock before and after each kick; the {} ns that this \
                    takes \
                 are subtracted)",
                self.clock_ns
            )?,
        }
        if let Some(left) = self.too_few() {
            writeln!(
                f,
                "  (THE HOST IS TOO BUSY: the guest and the device need a processor each, and \
                 other programs have left {left:.1}, so the ratios mean nothing)"
            )?;
        }
        compare(f, &one.cost, &other.cost)?;
        writeln!(
            f,
            "\nfrom kick to interrupt taken, ns (by way of the device's thread)"
        )?;
        compare(f, &one.round_trip, &other.round_trip)?;
        for (name, phase) in [("ioeventfd", one), ("exit", other)] {
            if let Some(cost) = &phase.cost {
                write!(f, "\ncost of a kick by {name}\n{cost}")?;
            }
        }
        Ok(())
    }
}

/// A line for each percentile of both ways, and their ratio.
fn compare(
    f: &mut fmt::Formatter<'_>,
    one: &Option<Latency>,
    other: &Option<Latency>,
) -> fmt::Result {
    if one.is_none() && other.is_none() {
        return writeln!(f, "  not measured");
    }
    writeln!(
        f,
        "{:<24}{:>12}{:>12}{:>10}",
        "", "ioeventfd", "exit", "ratio"
    )?;
    for (name, percent) in [("p50", 50), ("p90", 90), ("p99", 99), ("max", 100)] {
        let times = [one, other].map(|way| way.as_ref().map(|way| way.percentile(percent)));
        let [one, other] = times.map(|time| time.map_or("-".to_owned(), |time| time.to_string()));
        let ratio = match times {
            // A u64 of nanoseconds that a double cannot hold is a hundred days long.
            #[expect(clippy::cast_precision_loss, reason = "it is printed with one digit")]
            [Some(one), Some(other)] => format!("{:.1}", other as f64 / one.max(1) as f64),
            _ => "-".to_owned(),
        };
        writeln!(f, "  {name:<22}{one:>12}{other:>12}{ratio:>10}")?;
    }
    Ok(())
}
