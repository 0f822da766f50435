// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The picture of the table: a line for each run of GSIs, and a dot for each chip that it is routed
//! to.

use std::iter::repeat_n;

use irq_routing::Platform;

use crate::line::{Run, chips};

/// Width of the column with the GSIs.
const GSIS: usize = 12;
/// Width of each other column, and of a narrow one.
const CHIP: usize = 14;
const NARROW: usize = 11;
/// The longest text of the last column.
const TRAVEL: &str = "by a worker, unusual";

/// Returns the picture with its titles, or why there is none.
pub(crate) fn draw(platform: Platform, runs: &[Run<'_>], width: usize) -> String {
    let mut titles: Vec<_> = chips(platform).iter().map(ToString::to_string).collect();
    titles.push("message".to_owned());
    let room = width.saturating_sub(GSIS + TRAVEL.len()) / titles.len();
    let chip = room.min(CHIP);
    if chip < NARROW {
        let least = GSIS + TRAVEL.len() + titles.len() * NARROW;
        return format!("  (drawn where there are {least} columns)\n");
    }
    let mut drawing = cell("  GSI", GSIS, ' ');
    titles
        .iter()
        .for_each(|title| drawing += &cell(title, chip, ' '));
    drawing += "delivery\n";
    for run in runs {
        drawing += &cell(&format!("  {}", run.gsis()), GSIS, ' ');
        let mut dots: Vec<_> = run
            .pins()
            .map(|pins| pins.map(|pins| format!("● {pins}")))
            .collect();
        dots.push(run.is_single().then(|| "●".to_owned()));
        let end = dots.iter().rposition(Option::is_some);
        for (column, dot) in dots.iter().enumerate() {
            let (before, behind) = (end >= Some(column), end > Some(column));
            let fill = |is_line| if is_line { '─' } else { ' ' };
            let dot = match dot {
                Some(dot) if behind => format!("{dot} "),
                Some(dot) => dot.clone(),
                None if before => "─".to_owned(),
                None => String::new(),
            };
            drawing += &cell(&dot, chip, fill(behind));
        }
        drawing += run.first.travel.short();
        if run.first.is_odd {
            drawing += ", unusual";
        }
        drawing += "\n";
    }
    drawing
}

/// Pads a text to a width in characters.
fn cell(text: &str, width: usize, fill: char) -> String {
    let missing = width.saturating_sub(text.chars().count()).max(1);
    text.chars().chain(repeat_n(fill, missing)).collect()
}
