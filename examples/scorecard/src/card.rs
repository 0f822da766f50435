// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A run: each row is measured, printed and plotted, one after the other.

use std::error::Error;
use std::fs;
use std::panic::catch_unwind;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use examples::interrupt;
use examples::program::{chain, show};
use examples::progress::Progress;
use examples::width;

use crate::row::{Missing, Row};
use crate::rows::{GROUPS, Group, Measure};
use crate::{Arguments, plot};

/// What the measuring thread reports, and Ctrl-C.
enum Event {
    Measured(Result<Row, Failure>),
    Interrupted,
}

/// Why there is no row.
enum Failure {
    /// It cannot be measured here.
    Missing(String),
    Failed(String),
}

/// The place of a row in the card.
struct Place {
    group: &'static Group,
    name: &'static str,
    measure: Measure,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    if let Some(out) = &arguments.out {
        // Fail at once, not only after a run of minutes.
        fs::create_dir_all(out).map_err(|error| format!("--out {}: {error}", out.display()))?;
    }
    let (told, events) = channel();
    let measured = told.clone();
    interrupt::catch(move || drop(told.send(Event::Interrupted)))?;
    let places: Vec<Place> = places(arguments.only.as_deref()).collect();
    let measures: Vec<Measure> = places.iter().map(|place| place.measure).collect();
    // A row cannot be interrupted: the process ends without this thread.
    thread::spawn(move || measure(&measures, &measured));
    let rows = table(arguments, &places, &events)?;
    if interrupt::is_pending() {
        let (measured, all) = (rows.len(), places.len());
        eprintln!("scorecard: interrupted; {measured} of {all} rows are measured, none is plotted");
        return Ok(interrupt::code());
    }
    if let Some(out) = &arguments.out {
        plots(arguments, &rows, out)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// All rows, or one.
fn places(only: Option<&str>) -> impl Iterator<Item = Place> {
    let all = GROUPS.iter().flat_map(|group| {
        let place = |&(name, measure): &(&'static str, Measure)| Place {
            group,
            name,
            measure,
        };
        group.rows.iter().map(place)
    });
    all.filter(move |place| only.is_none_or(|only| only == place.name))
}

/// Measures one row after the other, as long as the receiver exists.
fn measure(measures: &[Measure], tell: &Sender<Event>) {
    for measure in measures {
        // If a panic were not reported, the receiver would wait for ever.
        let row = catch_unwind(measure).unwrap_or_else(|_| Err("it panicked".into()));
        let row = row.map_err(|error| match error.is::<Missing>() {
            true => Failure::Missing(error.to_string()),
            false => Failure::Failed(chain(&*error)),
        });
        if tell.send(Event::Measured(row)).is_err() {
            break;
        }
    }
}

/// Prints the rows as they arrive. Returns them with their places.
fn table<'a>(
    arguments: &Arguments,
    places: &'a [Place],
    events: &Receiver<Event>,
) -> Result<Vec<(&'a Place, Row)>, Box<dyn Error>> {
    let no_kvm = kvm_probe::probe().err();
    if let (Some(why), None) = (&no_kvm, &arguments.only) {
        eprintln!("scorecard: {why}; only rows that need no KVM are measured");
    }
    let mut progress = Progress::new("rows", places.len() as u64);
    let mut rows: Vec<(&Place, Row)> = Vec::new();
    for (number, place) in (0..).zip(places) {
        progress.show(number);
        let name = place.name;
        let row = match events.recv()? {
            Event::Interrupted => break,
            Event::Measured(row) => row,
        };
        progress.hide();
        match row {
            Ok(row) => {
                let group = rows.last().map(|(last, _)| last.group.title);
                let is_first = group != Some(place.group.title);
                print(arguments, place, is_first, &row)?;
                rows.push((place, row));
            }
            Err(Failure::Missing(why)) if arguments.only.is_none() => {
                eprintln!("scorecard: no row {name}: {why}");
            }
            Err(Failure::Failed(_)) if arguments.only.is_none() && no_kvm.is_some() => {}
            Err(Failure::Missing(why) | Failure::Failed(why)) => {
                return Err(match no_kvm {
                    Some(no_kvm) => format!("{name}: {no_kvm}").into(),
                    None => format!("{name}: {why}").into(),
                });
            }
        }
    }
    Ok(rows)
}

fn print(arguments: &Arguments, place: &Place, is_first: bool, row: &Row) -> std::io::Result<()> {
    let (group, name) = (place.group.title, place.name);
    if arguments.json {
        return show(format_args!("{}\n", row.to_json(group, name)));
    }
    let width = width::of_stdout();
    if is_first {
        show(format_args!("{}\n", Row::headings(group)))?;
    }
    show(format_args!("{}\n", row.to_line(name, width)))?;
    match row.to_note(width).filter(|_| arguments.notes) {
        Some(note) => show(format_args!("{note}\n")),
        None => Ok(()),
    }
}

/// One plot for each group that has rows, or one for the row that was measured alone.
fn plots(arguments: &Arguments, rows: &[(&Place, Row)], out: &Path) -> Result<(), Box<dyn Error>> {
    for group in GROUPS {
        let of_group = rows
            .iter()
            .filter(|(place, _)| place.group.file == group.file);
        let of_group: Vec<_> = of_group.map(|(place, row)| (place.name, row)).collect();
        if of_group.is_empty() {
            continue;
        }
        let name = arguments.only.as_deref().unwrap_or(group.file);
        let path = out.join(format!("{name}.svg"));
        plot::bars(&path, group.title, &of_group)?;
        eprintln!("plotted in {}", path.display());
    }
    #[cfg(target_arch = "x86_64")]
    if arguments.only.is_none() {
        crate::polling_plot::draw(&out.join("dispatch_polling.svg"))?;
    }
    Ok(())
}
