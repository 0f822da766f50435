// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The documentation pages with the tables.

use std::fmt::Write;
use std::path::PathBuf;

use kvm_test::{Trial, anywhere};

use crate::call::{ALL, Call};
use crate::row::{Calls, Section};
use crate::{
    controller, dispatcher, doorbells, irqfds, lines, notifiers, routing, vectors, vm, vmms, vrings,
};

/// The tables of one crate.
pub(crate) struct Page {
    pub(crate) package: &'static str,
    pub(crate) sections: Vec<Section>,
}

pub(crate) fn pages() -> Vec<Page> {
    let page = |package, sections: Vec<Vec<Section>>| Page {
        package,
        sections: sections.into_iter().flatten().collect(),
    };
    vec![
        page(
            "irqfd",
            vec![
                vectors::sections(),
                lines::sections(),
                controller::sections(),
                irqfds::sections(),
            ],
        ),
        page("irq-routing", vec![routing::sections()]),
        page("ioeventfd", vec![doorbells::sections()]),
        page(
            "notify-core",
            vec![
                notifiers::sections(),
                dispatcher::sections(),
                vrings::sections(),
                vm::sections(),
            ],
        ),
    ]
}

/// Checks that the documentation has the tables of the lists. `WRITE_TABLE=1` writes them.
pub(crate) fn trials(pages: &[Page]) -> Vec<Trial> {
    let trial = |page: &Page| {
        let name = format!("the_tables_of_{}", page.package.replace('-', "_"));
        let (package, text) = (page.package, page.text());
        anywhere(&name, move || compare(package, "system_calls.md", &text))
    };
    let mut trials: Vec<_> = pages.iter().map(trial).collect();
    let text = vmms::text(pages);
    let lacking = move || compare("irqfd", "system_calls_vmms.md", &text);
    trials.push(anywhere("what_the_lists_of_other_vmms_lack", lacking));
    trials
}

fn compare(package: &str, file: &str, text: &str) {
    let workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let path = workspace.join(package).join("src").join(file);
    if std::env::var_os("WRITE_TABLE").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let documented = std::fs::read_to_string(&path).unwrap();
    assert!(
        documented == text,
        "{} is not what the lists make; WRITE_TABLE=1 writes it",
        path.display()
    );
}

impl Page {
    fn text(&self) -> String {
        let mut text = String::new();
        let mut threads: Vec<_> = self.sections.iter().map(|it| it.thread).collect();
        threads.sort();
        threads.dedup();
        for thread in threads {
            writeln!(text, "# On a {}\n", thread.title()).unwrap();
            for section in self.sections.iter().filter(|it| it.thread == thread) {
                section.write(&mut text);
            }
        }
        text + &numbers(&self.sections)
    }
}

impl Section {
    fn write(&self, text: &mut String) {
        let mut subject = self.subject.to_owned();
        if let Some(first) = subject.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        writeln!(text, "{subject}:\n").unwrap();
        let columns = match self.columns {
            [] => &["system calls"],
            columns => columns,
        };
        writeln!(text, "| operation | {} |", columns.join(" | ")).unwrap();
        writeln!(text, "|---|{}", "---|".repeat(columns.len())).unwrap();
        for row in &self.rows {
            let cells: Vec<_> = row.cells.iter().map(|cell| words(cell.calls)).collect();
            writeln!(text, "| {} | {} |", row.operation, cells.join(" | ")).unwrap();
        }
        text.push('\n');
    }

    pub(crate) fn calls(&self) -> impl Iterator<Item = Call> {
        let cells = self.rows.iter().flat_map(|row| &row.cells);
        cells.flat_map(|cell| cell.calls.unwrap_or_default().iter().copied())
    }
}

/// The text of a cell.
fn words(calls: Calls) -> String {
    let words = |calls: &[Call]| calls.iter().map(Call::to_string).collect::<Vec<_>>();
    match calls {
        None => "–".to_owned(),
        Some([]) => "none".to_owned(),
        Some(calls) => words(calls).join(", "),
    }
}

/// The numbers of the ioctls, for filters.
fn numbers(sections: &[Section]) -> String {
    let mut text =
        "# The ioctls by number, on x86-64\n\n| ioctl | number |\n|---|---|\n".to_owned();
    for call in ALL {
        let is_there = sections.iter().any(|it| it.calls().any(|one| one == call));
        if let Some(number) = call.request().filter(|_| is_there) {
            writeln!(text, "| {call} | {number:#010x} |").unwrap();
        }
    }
    text
}
