// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`World`]: a VM with two devices that share a queue and few GSIs, and the model beside them.

use std::collections::BTreeMap;
use std::sync::Arc;

use irq_routing::{Gsi, GsiLease, RoutingTable};
use irqfd::{ArmQueue, Dead, ResumeBatch, Triggered, VectorHandle, msi, msix};
use notify_core::EventNotifier;
use notify_sim::SimVm;

use super::gsis::{GSIS, Gsis};
use super::model::{Fault, Model};
use super::registers::{Msi, Msix};
use super::saves::Saves;
use super::step::{Kind, Shape};

/// GSIs of the VM that cannot be leased, so that the others are few.
const RESERVED: u32 = 4096 - GSIS as u32;

pub(super) struct World {
    // Users of the devices are dropped before the devices.
    /// Batches with resumed vectors that wait until they are run.
    pub(super) batches: [ResumeBatch; 2],
    pub(super) queues: [msix::Binding; 2],
    pub(super) table: msix::Table,
    pub(super) msi: msi::Capability,
    pub(super) owner: Option<ArmQueue>,
    /// Notifiers that were handed out or in, by the numbers of the model.
    pub(super) notifiers: BTreeMap<usize, Arc<EventNotifier>>,
    pub(super) held: Vec<GsiLease>,
    pub(super) routing: RoutingTable,
    pub(super) vm: Arc<SimVm>,
    pub(super) shape: Shape,
    pub(super) model: Model,
    /// Messages that were sent directly, before this step.
    pub(super) signals: u64,
    /// The vectors that the accesses of this step have returned, if there were any.
    pub(super) returned: Option<Vec<Dead>>,
    /// Commits before this step, and whether the table knew which messages the kernel refuses.
    pub(super) commits: u64,
    pub(super) has_learned: bool,
    /// The result of this step's trigger.
    pub(super) outcome: Option<Triggered>,
    pub(super) saves: Saves,
}

fn table_of(routing: &RoutingTable, owner: Option<&ArmQueue>, shape: Shape) -> msix::Table {
    let builder = msix::Table::builder(routing).vectors(shape.table());
    let builder = builder.private_irqfd(shape.is_private(true));
    let builder = match owner {
        Some(owner) => builder.queue(owner),
        None => builder,
    };
    builder.build().expect("nothing that can fail")
}

fn msi_of(routing: &RoutingTable, owner: Option<&ArmQueue>, shape: Shape) -> msi::Capability {
    let builder = msi::Capability::builder(routing).vectors(1 << shape.log());
    let builder = builder.wide(shape.wide).maskable(shape.maskable);
    let builder = builder.private_irqfd(shape.is_private(false));
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
        let mut world = Self {
            batches: Default::default(),
            queues: [msix::Binding::new(&table), msix::Binding::new(&table)],
            table,
            msi,
            owner,
            notifiers: BTreeMap::new(),
            held: Vec::new(),
            routing,
            vm,
            shape,
            model: Model {
                msix: Msix::new(shape.table()),
                msi: Msi::new(shape.log(), shape.wide, shape.maskable),
                lines: Vec::new(),
                notifiers: Vec::new(),
                gsis: Gsis::default(),
                devids: [None; 2],
                joined: Default::default(),
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
            saves: Saves::default(),
        };
        world.build_lines();
        world
    }

    /// The new vectors of both devices.
    fn build_lines(&mut self) {
        let shape = self.shape;
        let (table, msi) = (shape.table(), 1 << shape.log());
        let devices = [(table, true), (msi, false)];
        let mut lines = Vec::new();
        for (vectors, table) in devices {
            let private = shape.is_private(table);
            lines.extend((0..vectors).map(|_| self.model.new_line(shape.queue, private)));
        }
        self.model.lines = lines;
    }

    /// The line of a number.
    pub(super) fn line(&self, n: u8) -> usize {
        usize::from(n) % self.model.lines.len()
    }

    /// Records the vectors that an access has returned.
    pub(super) fn access(&mut self, dead: Vec<Dead>) {
        self.returned.get_or_insert_default().extend(dead);
    }

    /// The notifier of a number, if there is one.
    pub(super) fn notifier(&self, n: u8) -> Option<usize> {
        let n = usize::from(n).checked_rem(self.notifiers.len())?;
        self.notifiers.keys().nth(n).copied()
    }

    pub(super) fn vector(&self, n: usize) -> VectorHandle {
        let mut vectors = self.table.vectors().iter().chain(self.msi.vectors());
        vectors.nth(n).expect("a line").clone()
    }

    /// Makes a request fail, unless it fails already.
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
        self.run_batches();
        if shape.queue && self.owner.is_none() {
            self.owner = Some(ArmQueue::new(&self.routing).expect("descriptors"));
        }
        self.replace_table(shape);
        self.replace_msi(shape);
        self.model.msi = Msi::new(shape.log(), shape.wide, shape.maskable);
        self.model.msix = Msix::new(shape.table());
        self.shape = shape;
        self.build_lines();
        self.saves = Saves::default();
    }

    pub(super) fn replace_table(&mut self, shape: Shape) {
        let owner = self.owner.as_ref().filter(|_| shape.queue);
        self.model.remove(self.model.table());
        let table = table_of(&self.routing, owner, shape);
        self.queues = [msix::Binding::new(&table), msix::Binding::new(&table)];
        self.table = table;
        self.model.devids[0] = None;
    }

    pub(super) fn replace_msi(&mut self, shape: Shape) {
        let owner = self.owner.as_ref().filter(|_| shape.queue);
        self.model.remove(self.model.check_extension());
        self.msi = msi_of(&self.routing, owner, shape);
        self.model.devids[1] = None;
    }
}
