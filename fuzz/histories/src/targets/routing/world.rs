// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`World`]: two tables with their leases and lines, each beside its model.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use irq_routing::{
    DrivenLine, GsiLease, IrqChip, Line, MessageEdit, MsiMessage, ParkedLease, Pin, Pins, Platform,
    Route, RoutingTable, Snapshot, Wiring,
};
use notify_core::Vm;

use super::armed::Arming;
use super::call::Open;
use super::each::EachEdit;
use super::kernel::{Fault, Kernel, UNKNOWN_RULE};
use super::model::{Model, Saved, translate};
use super::round::{Change, Edits};
use super::step::{Act, Ask, Edit, Rule, Step};

/// The second VM is smaller: it lacks some GSIs of the first.
pub(super) const LIMITS: [u32; 2] = [13, 7];
const RESERVED: [u32; 2] = [2, 0];

/// A lease, its table and its key.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) lease: GsiLease,
    pub(super) table: usize,
    pub(super) key: u64,
}

/// A parked lease, its table, its key and its GSI.
#[derive(Debug)]
pub(super) struct HeldParked {
    pub(super) parked: ParkedLease,
    pub(super) table: usize,
    pub(super) key: u64,
    pub(super) gsi: u32,
}

/// A line, its table, and the key of its lease.
#[derive(Debug)]
pub(super) struct HeldLine {
    pub(super) line: Line,
    pub(super) table: usize,
    pub(super) key: Option<u64>,
    /// What is armed on it, unless it belongs to the wiring.
    pub(super) arming: Option<Arming>,
}

/// A line that is driven, its table, and the key of its lease.
#[derive(Debug)]
pub(super) struct HeldDriven {
    pub(super) line: DrivenLine,
    pub(super) table: usize,
    pub(super) key: Option<u64>,
    pub(super) arming: Option<Arming>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct World {
    pub(super) tables: [RoutingTable; 2],
    pub(super) kernels: [Arc<Kernel>; 2],
    pub(super) models: [Model; 2],
    pub(super) leases: Vec<Held>,
    pub(super) parked: Vec<HeldParked>,
    pub(super) lines: Vec<HeldLine>,
    pub(super) driven: Vec<HeldDriven>,
    pub(super) open: Vec<Open>,
    /// Independent edits, for later commits.
    pub(super) kept: Vec<(MessageEdit, EachEdit)>,
    /// How many independent edits were staged, by key of their lease.
    pub(super) staged: BTreeMap<u64, u64>,
    pub(super) snapshots: Vec<(Snapshot, Saved)>,
    /// The number of keys used so far.
    pub(super) keys: u64,
    /// The results of calls, for comparison with another world.
    pub(super) returned: Vec<String>,
    rules: Arc<Mutex<[Rule; 4]>>,
    /// Whether nothing panics.
    pub(super) is_tame: bool,
}

/// The message of a number. Half of the time it is one of two, so that a route is often one that an
/// earlier lease had. After the first twelve come messages that the kernel refuses: one by a rule
/// that tables know, one by another rule.
pub(super) fn message(number: u8) -> MsiMessage {
    let number = match number {
        0..0x80 => number % 14,
        0x80..0xf0 => number % 2,
        _ => 13,
    };
    let high = if number == 12 { 1 << 32 } else { 0 };
    let unknown = if number == 13 { UNKNOWN_RULE } else { 0 };
    MsiMessage::new(0xfee0_0000 | high, (0x40 + u32::from(number)) | unknown)
}

/// Pins of a few kinds, rarely of another platform.
fn pins(number: u8) -> Pins {
    let pin = |chip, number| Pin::new(chip, number).expect("the chip has it");
    let low = u32::from(number / 16 % 4);
    match number % 16 {
        0 => pin(IrqChip::Gic, 40 + low).into(),
        1..=5 => pin(IrqChip::IoApic, low).into(),
        6..=8 => pin(IrqChip::PicMaster, low).into(),
        9..=12 => Pins::new([IrqChip::IoApic, IrqChip::PicMaster].map(|chip| pin(chip, low)))
            .expect("two chips"),
        _ => Pins::new(
            [IrqChip::PicSlave, IrqChip::IoApic, IrqChip::PicMaster].map(|chip| pin(chip, low)),
        )
        .expect("three chips"),
    }
}

/// The element of this number modulo the length, if there is any.
pub(super) fn pick(number: u8, count: usize) -> Option<usize> {
    usize::from(number).checked_rem(count)
}

impl World {
    /// Two VMs for the tables; without them the tables end in memory.
    pub(super) fn new(vms: [Option<Arc<dyn Vm>>; 2], is_tame: bool) -> Self {
        let rules = Arc::new(Mutex::new([Rule::Pass; 4]));
        let mut number = 0..;
        let kernels = vms.map(|vm| {
            let number = number.next().expect("without end");
            Arc::new(Kernel::new(LIMITS[number], vm))
        });
        let tables = [0, 1].map(|number| {
            let rules = Arc::clone(&rules);
            let builder =
                RoutingTable::builder(kernels[number].clone()).wiring(Wiring::none(Platform::X86));
            let builder = builder.reserved_gsis(RESERVED[number]);
            let translate = move |message| {
                let rules = *rules.lock().expect("panics come later");
                translate(&rules, message)
            };
            builder.translate(translate).build().expect("a table")
        });
        Self {
            tables,
            kernels,
            models: [0, 1].map(|number| Model::new(LIMITS[number], RESERVED[number])),
            leases: Vec::new(),
            parked: Vec::new(),
            lines: Vec::new(),
            driven: Vec::new(),
            open: Vec::new(),
            kept: Vec::new(),
            staged: BTreeMap::new(),
            snapshots: Vec::new(),
            keys: 1000,
            returned: Vec::new(),
            rules,
            is_tame,
        }
    }

    /// Carries out a step. Signals are for VMs that have them.
    pub(super) fn step(&mut self, step: &Step) {
        match step {
            Step::Act(table, act) => self.act(usize::from(*table), act),
            Step::Fill(table, left) => {
                let table = usize::from(*table);
                let left = usize::from(left % 4);
                while self.models[table].free().count() > left {
                    self.act(table, &Act::Lease);
                }
            }
            Step::Arm(table, number, manner) => self.arm(usize::from(*table), *number, *manner),
            Step::ParkSome(table, bits) => {
                for at in (0..16).rev().filter(|at| bits >> at & 1 == 1) {
                    self.act(usize::from(*table), &Act::Park(at));
                }
            }
            Step::Again(table, lease) => self.again(usize::from(*table), *lease),
            Step::Stage(table, edits) => {
                let open = self.stage(usize::from(*table), edits);
                self.keep(open);
            }
            Step::StageEach(table, item) => self.stage_each(usize::from(*table), item),
            Step::Translate(class, rule) => self.set_rule(*class, *rule),
            Step::Round(table, ask, faults) => {
                self.round(usize::from(*table), ask, &[], None, &(0, vec![]), faults);
            }
            Step::Commit(table, first, rest) => {
                let ask = Ask::Commit(first.clone(), rest.clone());
                self.round(usize::from(*table), &ask, &[], None, &(0, vec![]), &[]);
            }
            Step::Crowd(table, crowd) => {
                let first = crowd.first.as_ref().unwrap_or(&Ask::Recommit);
                let others = [&crowd.others.0, &crowd.others.1].into_iter();
                let others: Vec<Ask> = others.chain(&crowd.more).take(5).cloned().collect();
                let (wait, acts) = (crowd.wait.as_ref(), (crowd.at, crowd.acts.clone()));
                let table = usize::from(*table);
                self.round(table, first, &others, wait, &acts, &crowd.faults);
            }
            Step::Restore(table, number, faults) => {
                self.restore(usize::from(*table), *number, faults);
            }
            Step::Signal(..) | Step::Send(_) => {}
        }
        self.check();
    }

    /// The kernel still has the route of the dropped lease: nothing is left to do.
    fn again(&mut self, table: usize, number: u8) {
        let held = self.leases.iter().filter(|held| held.table == table);
        let held: Vec<&Held> = held.collect();
        let Some(held) = pick(number, held.len()).map(|at| held[at]) else {
            return;
        };
        let (gsi, route) = (held.lease.gsi().number(), held.lease.route());
        self.act(table, &Act::Drop(number));
        self.act(table, &Act::Exact(gsi as u8));
        let (Some(held), Some(route)) = (self.leases.last(), route) else {
            return;
        };
        let mut transaction = self.tables[table].transaction();
        transaction.route(&held.lease, route);
        let edits = vec![(gsi, Change::Lease(held.key, Some(route)))];
        self.keep(Open {
            transaction,
            edits,
            table,
        });
        let staged = self.open.iter().filter(|open| open.table == table).count();
        let ask = Ask::Staged(staged as u8 - 1);
        self.round(table, &ask, &[], None, &(0, vec![]), &[]);
    }

    fn set_rule(&mut self, class: u8, rule: Rule) {
        let rule = match rule {
            Rule::Panic if self.is_tame => Rule::Block,
            rule => rule,
        };
        let class = usize::from(class % 4);
        self.rules.lock().expect("panics come later")[class] = rule;
        for model in &mut self.models {
            model.rules[class] = rule;
        }
    }

    /// The faults of a step: at one of the first tables each.
    pub(super) fn faults(&self, faults: &[(u8, Fault)], may_panic: bool) -> Vec<(u8, Fault)> {
        let tame = |fault| match fault {
            Fault::PanicLater | Fault::PanicBefore | Fault::PanicAfter
                if self.is_tame || !may_panic =>
            {
                Fault::Enomem
            }
            fault => fault,
        };
        let faults = faults.iter();
        faults.map(|(at, fault)| (at % 6, tame(*fault))).collect()
    }

    /// A lease of this table with its key, seldom one of the other table.
    pub(super) fn lease(&self, table: usize, number: u8) -> Option<(&GsiLease, u64)> {
        let table = if number >= 0xf0 { 1 - table } else { table };
        let leases = self.leases.iter().filter(|held| held.table == table);
        let leases = leases.map(|held| (&held.lease, held.key));
        let lines = self.lines.iter().filter(|held| held.table == table);
        let lines = lines.filter_map(|held| Some((held.line.lease()?, held.key?)));
        let driven = self.driven.iter().filter(|held| held.table == table);
        let driven = driven.filter_map(|held| Some((held.line.line().lease()?, held.key?)));
        let all: Vec<_> = leases.chain(lines).chain(driven).collect();
        pick(number, all.len()).map(|at| all[at])
    }

    /// Puts edits into a transaction, as far as they are possible.
    pub(super) fn stage(&self, table: usize, edits: &[Edit]) -> Open {
        let mut transaction = self.tables[table].transaction();
        let mut staged = Edits::new();
        for edit in edits {
            let (lease, route) = match *edit {
                Edit::Msi(lease, number) | Edit::MsiToo(lease, number) => {
                    (lease, Some(Route::Msi(message(number))))
                }
                Edit::Pins(lease, number) => (lease, Some(Route::Pins(pins(number)))),
                Edit::Unroute(lease) => (lease, None),
                Edit::Wire(gsi, number) => {
                    let (gsi, pins) = (u32::from(gsi) % LIMITS[0], pins(number));
                    transaction.wire(self.tables[0].gsi(gsi).expect("below"), pins);
                    staged.push((gsi, Change::Wiring(Some(pins))));
                    continue;
                }
                Edit::Unwire(gsi) => {
                    let gsi = u32::from(gsi) % LIMITS[0];
                    transaction.unwire(self.tables[0].gsi(gsi).expect("below"));
                    staged.push((gsi, Change::Wiring(None)));
                    continue;
                }
            };
            let Some((lease, key)) = self.lease(table, lease) else {
                continue;
            };
            match route {
                Some(route) => transaction.route(lease, route),
                None => transaction.unroute(lease),
            };
            staged.push((lease.gsi().number(), Change::Lease(key, route)));
        }
        Open {
            transaction,
            edits: staged,
            table,
        }
    }

    /// Keeps a transaction that was not committed; only a few are kept.
    pub(super) fn keep(&mut self, open: Open) {
        if self.open.len() == 4 {
            self.open.remove(0);
        }
        self.open.push(open);
    }

    /// Reserves keys for new leases.
    pub(super) fn new_keys(&mut self, count: u32) -> u64 {
        let first = self.keys;
        self.keys += u64::from(count);
        first
    }
}
