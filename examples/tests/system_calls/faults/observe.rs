// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What is seen of an operation: its system calls, what KVM has accepted, and the descriptors.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};
use std::fs;
use std::io;

use kvm_test::Attempt;
use nix::libc;

use crate::call::*;

const DEASSIGN_IRQFD: u32 = 1;
const DEASSIGN_IOEVENTFD: u32 = 4;

/// A system call of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    number: libc::c_long,
    second: u64,
    /// Its name; `None` for one that call.rs does not know.
    pub(super) call: Option<Call>,
    /// Whether it deassigns.
    pub(super) undoes: bool,
}

impl Seen {
    pub(super) fn new(attempt: &Attempt<'_>) -> Self {
        let (number, second) = (attempt.number, attempt.arguments[1]);
        let is_it = |call: &Call| {
            let (other, argument) = call.filter();
            other == number && argument.is_none_or(|it| second & 0xffff_ffff == u64::from(it))
        };
        let call = ALL
            .into_iter()
            .filter(|call| call.is_of_this_libc())
            .find(is_it);
        let flags = |call| match call {
            KVM_IRQFD => Some(attempt.words(2, 3).ok()?[2] & DEASSIGN_IRQFD),
            KVM_IOEVENTFD => Some(attempt.words(2, 7).ok()?[6] & DEASSIGN_IOEVENTFD),
            _ => None,
        };
        let undoes = call.and_then(flags).is_some_and(|flag| flag != 0);
        Self {
            number,
            second,
            call,
            undoes,
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.call {
            Some(call) if self.undoes => write!(f, "{call} that deassigns"),
            Some(call) => call.fmt(f),
            None => write!(f, "the call {} ({:#x})", self.number, self.second),
        }
    }
}

/// What KVM has accepted.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// irqfds and ioeventfds.
    assigned: BTreeSet<String>,
    /// By VM.
    routes: BTreeMap<String, Vec<String>>,
    /// By VM and line.
    levels: BTreeMap<String, u32>,
    /// How many messages and interrupts were injected.
    injected: u32,
}

/// What a request changes, if KVM accepts it.
#[derive(Debug)]
pub(super) enum Change {
    Assign(String),
    /// All that begins with this.
    Deassign(String),
    Routes(String, Vec<String>),
    Level(String, u32),
    Inject,
}

impl Change {
    /// Reads a request before it is made, as KVM may write to it.
    pub(super) fn read(
        seen: &Seen,
        attempt: &Attempt<'_>,
        names: &Names,
    ) -> io::Result<Option<Self>> {
        let Some(call) = seen.call else {
            return Ok(None);
        };
        let vm = names.of(attempt.arguments[0]);
        Ok(Some(match call {
            KVM_IRQFD => {
                let words = attempt.words(2, 4)?;
                let fd = names.of(words[0].into());
                let irqfd = format!("irqfd of {vm}: {fd} to GSI {};", words[1]);
                match words[2] {
                    _ if seen.undoes => Self::Deassign(irqfd),
                    0 => Self::Assign(irqfd),
                    _ => Self::Assign(irqfd + " resampled by " + &names.of(words[3].into())),
                }
            }
            KVM_IOEVENTFD => {
                let words = attempt.words(2, 7)?;
                let (fd, flags) = (names.of(words[5].into()), words[6] & !DEASSIGN_IOEVENTFD);
                let [value, address, width] = [&words[0..2], &words[2..4], &words[4..5]];
                let what = format!("{width:x?} bytes of {value:x?} at {address:x?}, {flags:#x}");
                let doorbell = format!("ioeventfd of {vm}: {fd} for {what};");
                match seen.undoes {
                    true => Self::Deassign(doorbell),
                    false => Self::Assign(doorbell),
                }
            }
            KVM_SET_GSI_ROUTING => {
                let count = attempt.words(2, 1)?[0] as usize;
                let words = attempt.words(2, 2 + 12 * count)?;
                let entries = words[2..].chunks(12).map(|words| format!("{words:x?}"));
                Self::Routes(vm, entries.collect())
            }
            KVM_IRQ_LINE | KVM_IRQ_LINE_STATUS => {
                let words = attempt.words(2, 2)?;
                Self::Level(format!("{vm}: {}", words[0]), words[1])
            }
            KVM_SIGNAL_MSI | KVM_INTERRUPT => Self::Inject,
            _ => return Ok(None),
        }))
    }
}

impl Ledger {
    pub(super) fn apply(&mut self, change: Change) {
        match change {
            Change::Assign(what) => drop(self.assigned.insert(what)),
            Change::Deassign(what) => self.assigned.retain(|it| !it.starts_with(&what)),
            Change::Routes(vm, routes) => drop(self.routes.insert(vm, routes)),
            Change::Level(line, level) => {
                self.injected += 1;
                self.levels.insert(line, level);
            }
            Change::Inject => self.injected += 1,
        }
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.assigned {
            writeln!(f, "{line}")?;
        }
        for (vm, entries) in &self.routes {
            for entry in entries {
                writeln!(f, "route of {vm}: {entry}")?;
            }
        }
        for (line, level) in &self.levels {
            writeln!(f, "line of {line} at {level}")?;
        }
        writeln!(f, "injected: {}", self.injected)
    }
}

/// Names descriptors by their order among those that are younger than this, so that two runs of an
/// operation agree.
#[derive(Debug)]
pub(super) struct Names {
    old: BTreeSet<u64>,
}

impl Names {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            old: numbers("fd")?.collect(),
        })
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
            let _ = write!(text, "{} {}", self.of(fd), kind.display());
            for line in info.lines() {
                self.write_info(&mut text, line);
            }
            text.push('\n');
        }
        Ok(text)
    }

    fn write_info(&self, text: &mut String, line: &str) {
        let words: Vec<_> = line.split_whitespace().collect();
        let _ = match words[..] {
            [name @ ("flags:" | "eventfd-count:"), value] => write!(text, " {name} {value}"),
            ["tfd:", fd, "events:", events, "data:", data, ..] => {
                let watched = fd.parse().map(|fd| self.of(fd)).unwrap_or_default();
                write!(text, " watches {watched} for {events} as {data}")
            }
            _ => Ok(()),
        };
    }

    /// A `Debug` text, in which descriptors are named.
    pub(super) fn renamed(&self, text: &str) -> String {
        let mut parts = text.split("fd: ");
        let mut renamed = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let end = part
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(part.len());
            let (number, rest) = part.split_at(end);
            let name = number.parse().map(|fd| self.of(fd));
            renamed += &format!("fd: {}{rest}", name.as_deref().unwrap_or(number));
        }
        renamed
    }
}

fn numbers(folder: &str) -> io::Result<impl Iterator<Item = u64>> {
    let entries = fs::read_dir(format!("/proc/self/{folder}"))?.collect::<Result<Vec<_>, _>>()?;
    let number = |entry: fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    Ok(entries.into_iter().filter_map(number))
}
