// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Vectors of an MSI-X table, of each kind.

mod device;
mod export;
mod guest;
mod msi;
mod vmm;

use std::fmt;
use std::sync::Arc;

use irq_routing::RoutingTable;
use irqfd::msix::{Binding, Table};
use irqfd::{ArmQueue, VectorHandle, VectorState};
use kvm_test::Machine;
use notify_core::{EventFd, EventNotifier};

use crate::row::{Calls, Row, Section, Thread, leak, on, with};
use crate::shown::{Counted, Routing};

/// The owner of a vector's eventfd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Internal,
    Private,
    /// The VMM's own eventfd, which it has declared private.
    Declared,
    /// What `export` returns, or the notifier of another process.
    Shared,
}

use Kind::{Declared, Internal, Private, Shared};

const KINDS: [Kind; 4] = [Internal, Private, Declared, Shared];
pub(crate) const COLUMNS: [&str; 4] = [
    "internal",
    "private",
    "exported, private notifier",
    "exported, shared notifier",
];

const ABSENT: Calls = None;
const NONE: Calls = Some(&[]);

/// A device with one vector, whose table is in the state after a reset.
struct Device {
    routing: Routing,
    table: Table,
    binding: Binding,
}

fn routing() -> Routing {
    let machine = Machine::new().unwrap();
    let routing = RoutingTable::new(machine.vm()).unwrap();
    std::mem::forget(machine);
    Routing(routing)
}

fn notifier(kind: Kind) -> Option<Arc<EventNotifier>> {
    match kind {
        Internal | Private => None,
        Declared => {
            let notifier = EventNotifier::from(EventFd::new(0).unwrap());
            notifier.declare_private().unwrap();
            // Called before the filter is installed, as the documentation says.
            notifier.mode();
            Some(Arc::new(notifier))
        }
        Shared => Some(Arc::new(EventNotifier::new().unwrap())),
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut entry = [0; 16];
        self.table.read(0, &mut entry);
        writeln!(f, "{:?}, entry 0: {entry:x?}", self.table)?;
        let mut is_armed = false;
        for vector in self.table.vectors() {
            let (state, notifier) = (vector.state(), vector.notifier().map(Counted));
            is_armed |= state == VectorState::Armed;
            writeln!(f, "{state:?}, {notifier:?}, pending: {}", pending(vector))?;
        }
        // Others may have a GSI, to be armed more quickly.
        if is_armed {
            writeln!(f, "{:?}", self.routing)?;
        }
        writeln!(f, "{:?}", self.binding)
    }
}

/// Whether it keeps a signal. [`VectorHandle::is_pending`] would look into the notifier as well,
/// and so change it.
fn pending(vector: &VectorHandle) -> bool {
    format!("{vector:?}").contains("pending: true")
}

impl Device {
    fn new(kind: Kind) -> Self {
        Self::queued(kind, None)
    }

    fn queued(kind: Kind, queue: Option<&ArmQueue>) -> Self {
        let routing = routing();
        Self::on(routing, kind, queue)
    }

    fn on(routing: Routing, kind: Kind, queue: Option<&ArmQueue>) -> Self {
        let mut builder = Table::builder(&routing).private_irqfd(kind == Private);
        if let Some(queue) = queue {
            builder = builder.queue(queue);
        }
        let table = builder.build().unwrap();
        if let Some(notifier) = notifier(kind) {
            table.vectors()[0].replace_notifier(notifier).unwrap();
        }
        let binding = Binding::new(&table);
        binding.bind(0);
        Self {
            routing,
            table,
            binding,
        }
    }

    fn vector(&self) -> &VectorHandle {
        &self.table.vectors()[0]
    }

    fn entry(&self, vector: u32) {
        let address = self.table.write(0, &Machine::MSI_ADDRESS.to_le_bytes());
        let data = self.table.write(8, &vector.to_le_bytes());
        assert!(address.is_empty() && data.is_empty());
    }

    fn mask(&self) {
        assert!(self.table.write(12, &1_u32.to_le_bytes()).is_empty());
    }

    fn unmask(&self) {
        assert!(self.table.write(12, &0_u32.to_le_bytes()).is_empty());
    }

    /// The guest has written a message and enabled MSI-X.
    fn enabled(&self) {
        self.entry(0x41);
        assert!(self.table.set_control(true, false).is_empty());
    }

    /// The guest has also unmasked the vector.
    fn open(&self) {
        self.enabled();
        self.unmask();
    }

    fn trigger(&self) {
        self.vector().trigger().unwrap();
    }

    /// A signal is pending, from a peer if there is one, that KVM has not taken.
    fn pending(&self) {
        match self.vector().notifier() {
            Some(notifier) => notifier.notify().unwrap(),
            None => self.trigger(),
        }
    }

    fn is_pending(&self) -> bool {
        let mut bytes = [0; 8];
        self.table.pba_read(0, &mut bytes);
        bytes[0] & 1 != 0
    }
}

/// An operation on a device, after setup without a filter.
fn row(
    operation: &'static str,
    calls: [Calls; 4],
    prepare: fn(&Device),
    act: fn(&'static Device),
) -> Row {
    Row::each(operation, KINDS, calls, move |kind| {
        let device = leak(Device::new(kind));
        prepare(device);
        on(device, act)
    })
}

/// An operation that returns which vectors are dead, and what the guest or the VMM does about it.
fn repaired(
    operation: &'static str,
    calls: [Calls; 4],
    prepare: fn(&Device),
    act: fn(&'static Device),
    repair: fn(&Device),
) -> Row {
    Row::each(operation, KINDS, calls, move |kind| {
        let device = leak(Device::new(kind));
        prepare(device);
        on(device, act).repaired(move || repair(device))
    })
}

pub(crate) fn sections() -> Vec<Section> {
    vec![
        section("vectors", Thread::Vcpu, guest::rows()),
        section("vectors", Thread::Device, device::rows()),
        section("vectors", Thread::Vmm, vmm::rows()),
        section("export of a vector", Thread::Vmm, export::rows()),
        capability(Thread::Vcpu, msi::guest()),
        capability(Thread::Vmm, msi::vmm()),
    ]
}

fn capability(thread: Thread, rows: Vec<Row>) -> Section {
    Section {
        columns: &[],
        ..section("the MSI capability, with private irqfds", thread, rows)
    }
}

fn section(subject: &'static str, thread: Thread, rows: Vec<Row>) -> Section {
    Section {
        subject,
        thread,
        columns: &COLUMNS,
        kvm: true,
        rows,
    }
}

/// A device whose vectors are armed by a queue.
fn queued(
    operation: &'static str,
    calls: [Calls; 4],
    prepare: fn(&Device),
    act: fn(&Device, &ArmQueue),
    repair: fn(&Device),
) -> Row {
    Row::each(operation, KINDS, calls, move |kind| {
        let routing = routing();
        let queue = ArmQueue::new(&routing).unwrap();
        let device = Device::on(routing, kind, Some(&queue));
        prepare(&device);
        let both = leak((device, queue));
        with(both, move || act(&both.0, &both.1)).repaired(move || repair(&both.0))
    })
}
