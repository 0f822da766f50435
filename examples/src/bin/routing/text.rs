// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The report for people: the result first.

use std::fmt::{self, Display, Write as _};

use crate::drawing::draw;
use crate::known::{Verdict, compare};
use crate::line::{Run, runs};
use crate::ranges::{list, range, ranges};
use crate::report::{Report, Travel};
use examples::width::{fold, hang};

/// The most lines of one kind that are printed.
const MOST: usize = 40;

const LEGEND: &str = "
how a signal reaches the guest
  on the spot   it is injected before the write to the irqfd's eventfd returns
  by a worker   a thread of the kernel injects it later; signals that arrive before it runs are \
coalesced. Pins are raised and lowered at once: a pin that the guest has masked, or that still \
awaits an EOI, loses the signal (an irqfd with a resample eventfd raises pins until the EOI)
  LOST          KVM takes the signal and drops it, without an error
";
/// The columns where the texts of the legend and of the details begin.
const WORDS: usize = 16;
const DETAILS: usize = 14;

/// Returns the report on the whole table, folded to a width in columns.
pub(crate) fn all(report: &Report, width: usize) -> String {
    // Writing to a string does not fail.
    let mut text = String::new();
    let _ = write_all(&mut text, report, width);
    let mut text = fold(&text, width);
    if report.backend != "dump" && !report.travels.is_empty() {
        // Never folded, so that it can be read back.
        text += "\nthe table, for a bug report\n";
        text += report.dump.to_string().trim_end();
        text += "\n";
    }
    text
}

/// Returns the report on one GSI, folded to a width in columns.
pub(crate) fn one(report: &Report, gsi: u32, width: usize) -> String {
    let mut text = String::new();
    let _ = write_one(&mut text, report, gsi);
    fold(&text, width)
}

fn write_all(text: &mut String, report: &Report, width: usize) -> fmt::Result {
    let runs = runs(report);
    let known = compare(report);
    head(text, report)?;
    if let Verdict::Same(name) = known {
        writeln!(text, "  the pins are wired {name}")?;
    }
    lost(text, report)?;
    odd(text, report, &known)?;
    if runs.is_empty() {
        return Ok(());
    }
    writeln!(text, "\nwhat each GSI is routed to")?;
    text.push_str(&draw(report.dump.platform(), &runs, width));
    let legend = LEGEND.split_inclusive('\n');
    legend.for_each(|line| text.push_str(&hang(line, width, WORDS)));
    writeln!(text, "\nin detail")?;
    for run in &runs {
        details(text, run, width)?;
    }
    Ok(())
}

fn head(text: &mut String, report: &Report) -> fmt::Result {
    let dump = &report.dump;
    writeln!(
        text,
        "routing: {}\n  {} entries for {} GSIs of {}, {}",
        report.source,
        dump.entries().len(),
        report.travels.len(),
        dump.limit(),
        dump.platform()
    )
}

fn lost(text: &mut String, report: &Report) -> fmt::Result {
    writeln!(text, "\nwhat would be lost")?;
    if report.is_refused() {
        writeln!(
            text,
            "  every new route: KVM refuses the whole table, and keeps the one that it had"
        )?;
    }
    let mut runs: Vec<(u32, u32, &Travel)> = Vec::new();
    for (gsi, travel) in report.travels.iter().filter(|(_, it)| it.is_lost) {
        match runs.last_mut() {
            Some((_, last, same)) if *last + 1 == *gsi && *same == travel => *last = *gsi,
            _ => runs.push((*gsi, *gsi, travel)),
        }
    }
    let runs = runs.into_iter();
    let lost = runs.map(|(first, last, why)| {
        let words = [vec![why.words()], why.hints.clone()].concat().join("; ");
        format!("GSI {}: {words}", range(first, last))
    });
    let lost: Vec<_> = lost.collect();
    if lost.is_empty() && !report.is_refused() {
        writeln!(
            text,
            "  no signal of a GSI with a route, as far as the table shows"
        )?;
    }
    some(text, &lost)?;
    let nowhere = report.nowhere();
    if !nowhere.is_empty() {
        writeln!(
            text,
            "  every signal of GSI {}: there is no route, yet KVM accepts an irqfd",
            list(&nowhere)
        )?;
    }
    Ok(())
}

fn odd(text: &mut String, report: &Report, known: &Verdict) -> fmt::Result {
    writeln!(text, "\nwhat is unusual")?;
    let mut odd: Vec<_> = report.problems.iter().map(ToString::to_string).collect();
    if let Verdict::Differs(differences) = known {
        odd.extend_from_slice(differences);
    }
    let mut untold = report.untold();
    for (gsi, travel) in &report.travels {
        if travel.is_lost {
            untold.remove(gsi);
        } else if report.has_odd_hints(travel, untold.contains(gsi)) {
            let hints = travel.hints.iter();
            odd.extend(hints.map(|hint| format!("GSI {gsi}: {hint}")));
        }
    }
    if !untold.is_empty() {
        odd.push(format!(
            "GSI {}: the dump has no address and data of the message, so whether a vCPU gets it \
             is unknown",
            list(&ranges(untold))
        ));
    }
    if odd.is_empty() {
        writeln!(text, "  nothing")?;
    }
    some(text, &odd)
}

/// Prints the first lines, and how many more there are.
fn some(text: &mut String, lines: &[impl Display]) -> fmt::Result {
    for line in lines.iter().take(MOST) {
        writeln!(text, "  {line}")?;
    }
    match lines.len().saturating_sub(MOST) {
        0 => Ok(()),
        more => writeln!(text, "  and {more} more; --json has all"),
    }
}

fn details(text: &mut String, run: &Run<'_>, width: usize) -> fmt::Result {
    let gsis = format!("GSI {}", run.gsis());
    let how = match run.first.travel.is_lost {
        true => "LOST",
        false => &run.first.travel.how,
    };
    let words = format!("{how}: {}", run.destination());
    text.push_str(&hang(&format!("  {gsis:<12}{words}\n"), width, DETAILS));
    for hint in &run.first.travel.hints {
        let hint = format!("  {:<12}- {hint}\n", "");
        text.push_str(&hang(&hint, width, DETAILS + 2));
    }
    Ok(())
}

fn write_one(text: &mut String, report: &Report, gsi: u32) -> fmt::Result {
    writeln!(text, "GSI {gsi}: {}", report.dump.explain(gsi))?;
    for entry in report.dump.entries() {
        if entry.gsi == gsi {
            writeln!(text, "  {entry}")?;
        }
    }
    let problems = report.problems.iter();
    let problems = problems.filter(|it| it.is_refused() || it.gsis().any(|named| named == gsi));
    some(text, &problems.collect::<Vec<_>>())
}
