// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Kernel`]: a VM that logs each table and its own result, with faults and hooks. The tables go
//! to another VM, or end here.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arbitrary::Arbitrary;
use notify_core::{
    Extension, IoEventFdRequest, IrqFdRequest, LineStatus, MsiMessage, MsiOutcome, Platform,
    Retired, RouteBuffer, RouteEntry, RouteTarget, Vm,
};

use super::armed::Recorder;

pub(super) const EINVAL: i32 = 22;
pub(super) const ENOMEM: i32 = 12;

/// The kernel refuses messages with this bit in the data. KVM has no such rule: it represents all
/// rules that tables do not know.
pub(super) const UNKNOWN_RULE: u32 = 0x1_0000;

/// What goes wrong at one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Arbitrary)]
pub enum Fault {
    /// EINVAL, as for a bad table.
    Einval,
    /// ENOMEM.
    Enomem,
    /// EINVAL, and the VM reports no interrupt controller.
    NoIrqChip,
    /// EINVAL, and the VM panics in `platform`.
    PanicLater,
    /// The VM is being closed.
    Retired,
    /// The VM panics before the table is in force.
    PanicBefore,
    /// The VM panics after that.
    PanicAfter,
}

/// The VM's result for a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    Ok,
    Errno(i32),
    Fault(Fault),
}

/// What happened at the VM.
#[derive(Debug)]
pub(super) enum Event {
    Table(Vec<RouteEntry>, Said),
    /// The hook of this name ran, before the table that follows.
    Hook(Name),
}

/// Which hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Name {
    Joiners,
    Meanwhile,
}

/// A hook; its argument is whether a table follows.
pub(super) type Hook = Box<dyn FnOnce(bool) + Send>;

#[derive(Default)]
struct State {
    tables: u8,
    log: VecDeque<Event>,
    faults: BTreeMap<u8, Fault>,
    hooks: BTreeMap<Name, (u8, Hook)>,
    question: Option<Fault>,
    in_force: Vec<RouteEntry>,
    /// What may be armed on a GSI.
    watched: Vec<Weak<Recorder>>,
    /// What stays armed for ever.
    stuck: Vec<Arc<Recorder>>,
    violation: Option<String>,
}

/// See the module.
pub(super) struct Kernel {
    limit: u32,
    inner: Option<Arc<dyn Vm>>,
    state: Mutex<State>,
}

impl Kernel {
    pub(super) fn new(limit: u32, inner: Option<Arc<dyn Vm>>) -> Self {
        let state = Mutex::default();
        Self {
            limit,
            inner,
            state,
        }
    }

    /// Counts tables from here on, and has these faults at them.
    pub(super) fn arm(&self, faults: impl IntoIterator<Item = (u8, Fault)>) {
        let mut state = self.lock();
        state.tables = 0;
        state.faults = faults.into_iter().collect();
    }

    /// Runs `hook` before the table of this number.
    pub(super) fn at(&self, table: u8, name: Name, hook: Hook) {
        self.lock().hooks.insert(name, (table, hook));
    }

    /// Takes the hook, if it has not run.
    pub(super) fn take_hook(&self, name: Name) -> Option<Hook> {
        self.lock().hooks.remove(&name).map(|(_, hook)| hook)
    }

    /// Takes the events since the last call.
    pub(super) fn take_log(&self) -> VecDeque<Event> {
        std::mem::take(&mut self.lock().log)
    }

    /// The table that was last put in force.
    pub(super) fn in_force(&self) -> Vec<RouteEntry> {
        self.lock().in_force.clone()
    }

    /// Checks from now on that no table lacks its GSI while it is armed.
    pub(super) fn watch(&self, armed: Weak<Recorder>) {
        self.lock().watched.push(armed);
    }

    /// The same for something that is armed for ever.
    pub(super) fn keep_armed(&self, armed: Arc<Recorder>) {
        self.lock().stuck.push(armed);
    }

    /// What was armed when a table arrived without its GSI.
    pub(super) fn violation(&self) -> Option<String> {
        self.lock().violation.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run_hooks(&self, table: u8) {
        for name in [Name::Joiners, Name::Meanwhile] {
            let mut state = self.lock();
            if state.hooks.get(&name).is_none_or(|(at, _)| *at != table) {
                continue;
            }
            let hook = state.hooks.remove(&name);
            state.log.push_back(Event::Hook(name));
            drop(state);
            if let Some((_, hook)) = hook {
                hook(true);
            }
        }
    }
}

impl State {
    fn check_armed(&mut self, table: &[RouteEntry]) {
        self.watched.retain(|armed| armed.strong_count() > 0);
        let watched = self.watched.iter().filter_map(Weak::upgrade);
        let mut all = watched.chain(self.stuck.iter().cloned());
        let has = |gsi: u32| table.iter().any(|entry| entry.gsi == gsi);
        if let Some(armed) = all.find(|armed| armed.is_armed() && !has(armed.gsi())) {
            self.violation = Some(format!("{armed:?}"));
        }
    }
}

fn breaks_unknown_rule(entry: &RouteEntry) -> bool {
    matches!(entry.target, RouteTarget::Msi(MsiMessage { data, .. }) if data & UNKNOWN_RULE != 0)
}

/// Whether a kernel accepts them: a GSI has one message, or at most one pin of each chip, and no
/// message has any of the address bits 32 to 39.
fn takes(entries: &[RouteEntry]) -> bool {
    let mut seen: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    entries.iter().all(|entry| {
        let of = seen.entry(entry.gsi).or_default();
        match entry.target {
            RouteTarget::Pin { chip, .. } => {
                let fits = !of.contains(&chip) && !of.contains(&u32::MAX);
                of.push(chip);
                fits
            }
            RouteTarget::Msi(MsiMessage { address, .. }) => {
                of.push(u32::MAX);
                of.len() == 1 && address >> 32 & 0xff == 0
            }
            _ => false,
        }
    })
}

impl Vm for Kernel {
    fn check_extension(&self, _: Extension) -> io::Result<u32> {
        Ok(self.limit)
    }

    fn irqfd(&self, request: &IrqFdRequest<'_>) -> io::Result<()> {
        let inner = self.inner.as_ref();
        inner.map_or(Ok(()), |inner| inner.irqfd(request))
    }

    fn ioeventfd(&self, _: &IoEventFdRequest<'_>) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn set_gsi_routing(&self, table: &RouteBuffer) -> io::Result<()> {
        let number = self.lock().tables;
        self.run_hooks(number);
        let entries: Vec<RouteEntry> = table.iter().collect();
        self.lock().check_armed(&entries);
        let fault = self.lock().faults.get(&number).copied();
        let applied = match (fault, &self.inner) {
            (Some(fault), _) if fault != Fault::PanicAfter => None,
            _ if entries.iter().any(breaks_unknown_rule) => {
                Some(Err(io::Error::from_raw_os_error(EINVAL)))
            }
            (_, Some(inner)) => Some(inner.set_gsi_routing(table)),
            (_, None) if takes(&entries) => Some(Ok(())),
            (_, None) => Some(Err(io::Error::from_raw_os_error(EINVAL))),
        };
        let mut state = self.lock();
        state.tables += 1;
        if let Some(Ok(())) = &applied {
            state.in_force.clone_from(&entries);
        }
        let said = match (fault, &applied) {
            (Some(fault), _) => Said::Fault(fault),
            (None, Some(Err(error))) => Said::Errno(error.raw_os_error().unwrap_or(0)),
            (None, _) => Said::Ok,
        };
        state.log.push_back(Event::Table(entries, said));
        state.question = fault;
        drop(state);
        match fault {
            None => applied.unwrap_or(Ok(())),
            Some(Fault::Enomem) => Err(io::Error::from_raw_os_error(ENOMEM)),
            Some(Fault::Retired) => Err(Retired.into()),
            Some(Fault::Einval | Fault::NoIrqChip | Fault::PanicLater) => {
                Err(io::Error::from_raw_os_error(EINVAL))
            }
            Some(Fault::PanicBefore | Fault::PanicAfter) => planned_panic(),
        }
    }

    fn signal_msi(&self, message: &MsiMessage) -> io::Result<MsiOutcome> {
        let inner = self.inner.as_ref();
        inner.map_or(Ok(MsiOutcome::Blocked), |inner| inner.signal_msi(message))
    }

    fn irq_line_status(&self, gsi: u32, level: bool) -> io::Result<LineStatus> {
        let inner = self.inner.as_ref();
        inner.map_or(Ok(LineStatus::Unknown), |inner| {
            inner.irq_line_status(gsi, level)
        })
    }

    fn platform(&self) -> io::Result<Option<Platform>> {
        let question = self.lock().question.take();
        match question {
            Some(Fault::NoIrqChip) => Ok(None),
            Some(Fault::PanicLater) => planned_panic(),
            _ => Ok(Some(Platform::X86)),
        }
    }
}

/// A panic that is part of a history: it prints nothing.
pub(super) fn planned_panic() -> ! {
    resume_unwind(Box::new("a planned panic"))
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kernel").finish_non_exhaustive()
    }
}
