// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`World`]: a VM with two devices that share a queue and few GSIs, and the model beside them.

use std::sync::Arc;

use irq_routing::{Gsi, GsiLease, RoutingTable};
use irqfd::{ArmQueue, Dead, Triggered, Vector, msi, msix};
use notify_core::EventNotifier;
use notify_core::sim::SimVm;

use super::gsis::{GSIS, Gsis};
use super::model::{Fault, Line, Model};
use super::registers::{Msi, Msix};
use super::step::{Into, Kind, Shape};

/// GSIs of the VM that cannot be leased, so that the others are few.
const RESERVED: u32 = 4096 - GSIS as u32;

pub(super) struct World {
    // What uses the devices is dropped before them.
    pub(super) queues: [msix::Binding; 2],
    pub(super) table: msix::Table,
    pub(super) msi: msi::Capability,
    pub(super) owner: Option<ArmQueue>,
    pub(super) notifiers: Vec<Arc<EventNotifier>>,
    pub(super) held: Vec<GsiLease>,
    pub(super) routing: RoutingTable,
    pub(super) vm: Arc<SimVm>,
    pub(super) shape: Shape,
    pub(super) model: Model,
    /// Messages that were sent directly, before this step.
    pub(super) signals: u64,
    /// The vectors that the accesses of this step have returned, if there were any.
    pub(super) returned: Option<Vec<Dead>>,
    /// Commits before this step, and whether it was learned which messages the kernel refuses.
    pub(super) commits: u64,
    pub(super) has_learned: bool,
    /// What the trigger of this step has said.
    pub(super) outcome: Option<Triggered>,
    /// With what was pending.
    table_saved: Option<(msix::Snapshot, Msix, Vec<bool>)>,
    msi_saved: Option<(msi::Snapshot, Msi, Vec<bool>)>,
}

fn table_of(routing: &RoutingTable, owner: Option<&ArmQueue>, shape: Shape) -> msix::Table {
    let builder = msix::Table::builder(routing).vectors(shape.table());
    let builder = match owner {
        Some(owner) => builder.queue(owner),
        None => builder,
    };
    builder.build().expect("nothing that can fail")
}

fn msi_of(routing: &RoutingTable, owner: Option<&ArmQueue>, shape: Shape) -> msi::Capability {
    let builder = msi::Capability::builder(routing).vectors(1 << shape.log());
    let builder = builder.wide(shape.wide).maskable(shape.maskable);
    let builder = match owner {
        Some(owner) => builder.queue(owner),
        None => builder,
    };
    builder.build().expect("nothing that can fail")
}

/// Which of the few GSIs it is.
pub(super) fn gsi(gsi: Gsi) -> usize {
    gsi.number().checked_sub(RESERVED).expect("a free one") as usize
}

fn lines(shape: Shape) -> Vec<Line> {
    let lines = shape.table() + (1 << shape.log());
    vec![Line::new(shape.queue); lines]
}

impl World {
    pub(super) fn new(choosy: bool, shape: Shape) -> Self {
        let vm = Arc::new(SimVm::builder().build());
        vm.enable_lapic(0);
        if choosy {
            vm.enable_x2apic_ids();
        }
        let builder = RoutingTable::builder(vm.clone()).reserved_gsis(RESERVED);
        let routing = builder.build().expect("it has a routing table");
        let owner = shape
            .queue
            .then(|| ArmQueue::new(&routing).expect("descriptors"));
        let table = table_of(&routing, owner.as_ref(), shape);
        let msi = msi_of(&routing, owner.as_ref(), shape);
        Self {
            queues: [msix::Binding::new(&table), msix::Binding::new(&table)],
            table,
            msi,
            owner,
            notifiers: Vec::new(),
            held: Vec::new(),
            routing,
            vm,
            shape,
            model: Model {
                msix: Msix::new(shape.table()),
                msi: Msi::new(shape.log(), shape.wide, shape.maskable),
                lines: lines(shape),
                notifiers: Vec::new(),
                gsis: Gsis::default(),
                queue: Vec::new(),
                tried: Vec::new(),
                faults: Vec::new(),
                choosy,
                deceived: false,
                assigns: 0,
                deassigns: 0,
                injected: Vec::new(),
                direct: Vec::new(),
            },
            signals: 0,
            returned: None,
            commits: 0,
            has_learned: false,
            outcome: None,
            table_saved: None,
            msi_saved: None,
        }
    }

    /// Which line is meant.
    pub(super) fn line(&self, n: u8) -> usize {
        usize::from(n) % self.model.lines.len()
    }

    /// An access has returned these.
    pub(super) fn access(&mut self, dead: Vec<Dead>) {
        self.returned.get_or_insert_default().extend(dead);
    }

    /// Which notifier is meant, if there is one.
    pub(super) fn notifier(&self, n: u8) -> Option<usize> {
        usize::from(n).checked_rem(self.notifiers.len())
    }

    pub(super) fn vector(&self, n: usize) -> Vector {
        let mut vectors = self.table.vectors().iter().chain(self.msi.vectors());
        vectors.nth(n).expect("a line").clone()
    }

    /// Makes a request fail, unless it does already.
    pub(super) fn fail(&mut self, kind: Kind, ahead: u64, transient: bool) {
        let number = self.vm.calls(kind.call()) + ahead;
        let there = |fault: &Fault| fault.kind == kind && fault.number == number;
        if !self.model.faults.iter().any(there) {
            self.model.faults.push(Fault {
                kind,
                number,
                transient,
            });
            self.vm
                .fail(kind.call(), ahead, if transient { 12 } else { 22 });
        }
    }

    pub(super) fn rebuild(&mut self, shape: Shape) {
        if shape.queue && self.owner.is_none() {
            self.owner = Some(ArmQueue::new(&self.routing).expect("descriptors"));
        }
        self.replace_table(shape);
        self.replace_msi(shape);
        self.model.msi = Msi::new(shape.log(), shape.wide, shape.maskable);
        self.model.msix = Msix::new(shape.table());
        self.model.lines = lines(shape);
        self.shape = shape;
        self.table_saved = None;
        self.msi_saved = None;
    }

    fn replace_table(&mut self, shape: Shape) {
        let owner = self.owner.as_ref().filter(|_| shape.queue);
        self.model.remove(self.model.table());
        let table = table_of(&self.routing, owner, shape);
        self.queues = [msix::Binding::new(&table), msix::Binding::new(&table)];
        self.table = table;
    }

    fn replace_msi(&mut self, shape: Shape) {
        let owner = self.owner.as_ref().filter(|_| shape.queue);
        self.model.remove(self.model.capability());
        self.msi = msi_of(&self.routing, owner, shape);
    }

    pub(super) fn save(&mut self, table: bool) {
        if table {
            let pending = self.model.pending(self.model.table());
            self.table_saved = Some((self.table.snapshot(), self.model.msix.clone(), pending));
        } else {
            let pending = self.model.pending(self.model.capability());
            self.msi_saved = Some((self.msi.snapshot(), self.model.msi.clone(), pending));
        }
    }

    /// Into a fresh device its vectors come with those that were exported internal.
    pub(super) fn restore(&mut self, table: bool, into: Into) {
        let queue = self.shape.queue && self.owner.is_some();
        if table {
            let Some((snapshot, registers, pending)) = self.table_saved.clone() else {
                return;
            };
            if into == Into::Fresh {
                let bound = [self.queues[0].number(), self.queues[1].number()];
                self.replace_table(self.shape);
                for (queue, number) in self.queues.iter().zip(bound) {
                    queue.bind(number);
                }
                let range = self.model.table();
                self.model.lines[range].fill(Line::new(queue));
            }
            let dead = self.table.restore(&snapshot).expect("it is its own");
            self.access(dead);
            let wishes = registers.wishes();
            self.model.restore(0, wishes, &pending);
            self.model.msix = registers;
            if !pending.contains(&true) {
                assert!(self.table.snapshot() == snapshot, "another snapshot");
            }
        } else {
            let Some((snapshot, registers, pending)) = self.msi_saved.clone() else {
                return;
            };
            if into == Into::Fresh {
                self.replace_msi(self.shape);
                let range = self.model.capability();
                self.model.lines[range].fill(Line::new(queue));
            }
            let dead = self.msi.restore(&snapshot).expect("it is its own");
            self.access(dead);
            let wishes = registers.wishes();
            let first = self.model.capability().start;
            self.model.restore(first, wishes, &pending);
            self.model.msi = registers;
        }
    }
}
