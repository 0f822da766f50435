// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Names`]: file descriptors, such that two runs of an operation agree.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::io;

/// Names descriptors by their order among those that are younger than this, so that two runs of an
/// operation agree.
#[derive(Debug)]
pub(super) struct Names {
    old: BTreeSet<u64>,
    /// What was duplicated, and of what.
    duplicates: BTreeMap<u64, String>,
    /// Whether the kernel shows the mode of an eventfd.
    shows_modes: bool,
}

impl Names {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            old: numbers("fd")?.collect(),
            duplicates: BTreeMap::new(),
            shows_modes: kvm_test::kernel() >= (6, 5, 0),
        })
    }

    pub(super) fn duplicate(&mut self, of: u64, duplicate: u64) {
        let of = self.file(of);
        self.duplicates.insert(duplicate, of);
    }

    /// A descriptor is closed. Returns the name of its file, if there is no other one for it.
    pub(super) fn closed(&mut self, fd: u64) -> Option<String> {
        if self.duplicates.remove(&fd).is_some() {
            return None;
        }
        let file = self.of(fd);
        let is_last = self.duplicates.values().all(|other| *other != file);
        is_last.then_some(file)
    }

    /// Names the open file of a descriptor, by the first one.
    pub(super) fn file(&self, fd: u64) -> String {
        let first = self.duplicates.get(&fd).cloned();
        first.unwrap_or_else(|| self.of(fd))
    }

    /// The kernel takes the lowest free number.
    fn of(&self, fd: u64) -> String {
        if self.old.contains(&fd) {
            return "an older descriptor".to_owned();
        }
        format!("#{}", fd - self.old.range(..fd).count() as u64)
    }

    /// The descriptors that are younger: what they are, their flags, the counts of eventfds, and
    /// what an epoll watches.
    pub(super) fn descriptors(&self) -> io::Result<String> {
        let mut text = String::new();
        let numbers: Vec<_> = numbers("fd")?.filter(|fd| !self.old.contains(fd)).collect();
        for fd in numbers {
            // The directory that was read is closed now.
            let Ok(kind) = fs::read_link(format!("/proc/self/fd/{fd}")) else {
                continue;
            };
            let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}"))?;
            let mut info: Vec<_> = info.lines().filter_map(|line| self.info(line)).collect();
            // The order in which an epoll lists what it watches is that of addresses.
            info.sort();
            // Sockets have numbers.
            let kind = kind.display().to_string();
            let kind = kind.strip_prefix("socket:").map_or(&*kind, |_| "socket");
            let _ = writeln!(text, "{} {kind} {}", self.of(fd), info.join(" "));
        }
        Ok(text)
    }

    fn info(&self, line: &str) -> Option<String> {
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            [name @ ("flags:" | "eventfd-count:"), value] => Some(format!("{name} {value}")),
            ["tfd:", fd, "events:", events, "data:", data, ..] => {
                let watched = self.of(fd.parse().ok()?);
                Some(format!("watches {watched} for {events} as {data}"))
            }
            _ => None,
        }
    }

    /// A `Debug` text, in which descriptors are named, and what no two objects have in common is
    /// left out.
    pub(super) fn renamed(&self, text: &str) -> String {
        // A mode that was looked up is no change.
        let text = text.replace("mode: OnceLock(<uninit>)", "mode: OnceLock(Counter)");
        let text = match self.shows_modes {
            true => text,
            false => text.replace("mode: OnceLock(Unknown)", "mode: OnceLock(Counter)"),
        };
        let text = replace(&text, "fd: ", |number| {
            number.parse().map(|fd| self.of(fd)).ok()
        });
        let unique = ["LeaseId(", "SetId(", "version: ", "dispatcher: ", "edits: "];
        unique.iter().fold(text, |text, name| {
            replace(&text, name, |_| Some("_".to_owned()))
        })
    }
}

/// Replaces the number behind each occurrence of a text.
fn replace(text: &str, before: &str, by: impl Fn(&str) -> Option<String>) -> String {
    let mut parts = text.split(before);
    let mut replaced = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(part.len());
        let (number, rest) = part.split_at(digits);
        replaced += &format!("{before}{}{rest}", by(number).as_deref().unwrap_or(number));
    }
    replaced
}

fn numbers(folder: &str) -> io::Result<impl Iterator<Item = u64>> {
    let entries = fs::read_dir(format!("/proc/self/{folder}"))?.collect::<Result<Vec<_>, _>>()?;
    let number = |entry: fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    Ok(entries.into_iter().filter_map(number))
}
