// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What is seen of an operation: its system calls, and what KVM has accepted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};
use std::io;

use kvm_test::Attempt;
use nix::libc;

use super::names::Names;
use crate::call::*;

/// KVM_CREATE_IRQCHIP.
const CREATE_IRQCHIP: u64 = 0xae60;
const DEASSIGN_IRQFD: u32 = 1;
const DEASSIGN_IOEVENTFD: u32 = 4;
const EPOLL_CTL_DEL: u64 = 2;

/// A system call of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    number: libc::c_long,
    second: u64,
    /// Its name; `None` for one that call.rs does not know.
    pub(super) call: Option<Call>,
    /// Whether it undoes what another one has done.
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
            EPOLL_CTL => Some(u32::from(second == EPOLL_CTL_DEL)),
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

    /// Whether it is the same call, perhaps of other objects.
    pub(super) fn is_as(&self, other: &Self) -> bool {
        (self.call, self.undoes) == (other.call, other.undoes)
    }

    fn request(&self) -> Option<u64> {
        (self.number == libc::SYS_ioctl).then_some(self.second)
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.call {
            Some(call) if self.undoes => write!(f, "{call} that undoes"),
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
    routes: BTreeMap<String, BTreeSet<Route>>,
    /// By VM and line: those that are high.
    high: BTreeSet<String>,
    /// How many messages and interrupts were injected.
    injected: u32,
}

/// What a request changes, if KVM accepts it.
#[derive(Debug)]
pub(super) enum Change {
    Assign(String),
    /// All that begins with this.
    Deassign(String),
    Routes(String, BTreeSet<Route>),
    /// Whether it is high, and whether this may inject a message.
    Level(String, bool, bool),
    Inject,
}

impl Change {
    /// Reads a request before it is made, as KVM may write to it.
    pub(super) fn read(
        seen: &Seen,
        attempt: &Attempt<'_>,
        names: &Names,
    ) -> io::Result<Option<Self>> {
        let vm = names.file(attempt.arguments[0]);
        if seen.request() == Some(CREATE_IRQCHIP) {
            return Ok(Some(Self::Routes(vm, defaults())));
        }
        let Some(call) = seen.call else {
            return Ok(None);
        };
        Ok(Some(match call {
            KVM_IRQFD => {
                let words = attempt.words(2, 4)?;
                let fd = names.file(words[0].into());
                let irqfd = format!("irqfd of {vm}: {fd} to GSI {};", words[1]);
                match words[2] {
                    _ if seen.undoes => Self::Deassign(irqfd),
                    0 => Self::Assign(irqfd),
                    _ => Self::Assign(irqfd + " resampled by " + &names.file(words[3].into())),
                }
            }
            KVM_IOEVENTFD => {
                let words = attempt.words(2, 7)?;
                let (fd, flags) = (names.file(words[5].into()), words[6] & !DEASSIGN_IOEVENTFD);
                let long = |at: usize| u64::from(words[at + 1]) << 32 | u64::from(words[at]);
                let (value, address, width) = (long(0), long(2), words[4]);
                let what = format!("{width} bytes of {value:#x} at {address:#x} ({flags:#x})");
                let doorbell = format!("ioeventfd of {vm}: {fd} for {what};");
                match seen.undoes {
                    true => Self::Deassign(doorbell),
                    false => Self::Assign(doorbell),
                }
            }
            KVM_SET_GSI_ROUTING => {
                let count = attempt.words(2, 1)?[0] as usize;
                let words = attempt.words(2, 2 + 12 * count)?;
                let entry = |words: &[u32]| route(words[0], words[1], &words[4..]);
                Self::Routes(vm, words[2..].chunks(12).map(entry).collect())
            }
            KVM_IRQ_LINE | KVM_IRQ_LINE_STATUS => {
                let words = attempt.words(2, 2)?;
                let line = format!("{} of {vm}", words[0]);
                Self::Level(line, words[1] != 0, call == KVM_IRQ_LINE_STATUS)
            }
            KVM_SIGNAL_MSI | KVM_INTERRUPT => Self::Inject,
            _ => return Ok(None),
        }))
    }
}

fn route(gsi: u32, kind: u32, to: &[u32]) -> Route {
    let kind = match kind {
        1 => "pin".to_owned(),
        2 => "message".to_owned(),
        _ => format!("type {kind}"),
    };
    let to: Vec<_> = to.iter().take(4).map(|word| format!("{word:#x}")).collect();
    (gsi, format!("{kind} {}", to.join(" ")))
}

/// A GSI and the text of its target.
type Route = (u32, String);

/// The routes of a new irqchip: to the PICs and to the IOAPIC.
fn defaults() -> BTreeSet<Route> {
    let pics = (0..16).map(|gsi| route(gsi, 1, &[gsi / 8, gsi % 8, 0, 0]));
    let ioapic = (0..24).map(|gsi| route(gsi, 1, &[2, gsi, 0, 0]));
    pics.chain(ioapic).collect()
}

impl Ledger {
    pub(super) fn apply(&mut self, change: Change) {
        match change {
            Change::Assign(what) => drop(self.assigned.insert(what)),
            Change::Deassign(what) => self.assigned.retain(|it| !it.starts_with(&what)),
            Change::Routes(vm, routes) => drop(self.routes.insert(vm, routes)),
            Change::Level(line, false, _) => drop(self.high.remove(&line)),
            Change::Level(line, true, injects) => {
                self.high.insert(line);
                self.injected += u32::from(injects);
            }
            Change::Inject => self.injected += 1,
        }
    }
}

impl Ledger {
    /// No descriptor of a file is left. KVM deassigns its irqfds then, and keeps its ioeventfds.
    pub(super) fn closed(&mut self, file: &str) {
        let irqfd = format!(": {file} to GSI ");
        self.assigned.retain(|it| !it.contains(&irqfd));
    }

    /// As text, behind the state of the objects. A message route that no irqfd and no lease has may
    /// stay until the next commit, so it is left out.
    pub(super) fn write(&self, text: &mut String) {
        let state = text.clone();
        for line in &self.assigned {
            let _ = writeln!(text, "{line}");
        }
        let is_used = |gsi: u32| {
            let irqfd = format!(" to GSI {gsi};");
            let uses = [format!("gsi: {gsi},"), format!("Gsi({gsi})")];
            let is_bound = self.assigned.iter().any(|it| it.contains(&irqfd));
            is_bound || uses.iter().any(|uses| state.contains(uses))
        };
        for (vm, entries) in &self.routes {
            for (gsi, target) in entries {
                if target.starts_with("pin") || is_used(*gsi) {
                    let _ = writeln!(text, "route of {vm}: {gsi} to {target}");
                }
            }
        }
        for line in &self.high {
            let _ = writeln!(text, "line {line} is high");
        }
        let _ = writeln!(text, "injected: {}", self.injected);
    }
}
