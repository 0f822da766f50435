// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Snapshots beside a real local APIC: each interrupt is in the APIC's state or in the snapshot,
//! and a second VM delivers it once.
//!
//! A signal is sent before the pause or races with it, so KVM may be about to inject it from its
//! worker. The vCPU never runs: injected interrupts stay in the APIC's request registers.

use std::sync::{Arc, Barrier};
use std::thread;

use irq_routing::RoutingTable;
use irqfd::{ArmQueue, VectorHandle, msi, msix};
use kvm_bindings::kvm_lapic_state;
use kvm_test::{Machine, Trial, kvm, snapshot_rounds, wait_until};

const VECTOR: u8 = 0x41;
/// To all vCPUs: physical destination 0xff.
const BROADCAST: u64 = 0xfeef_f000;
/// Logical destination 0xff; the data says lowest priority.
const LOGICAL: u64 = 0xfeef_f00c;
const LOWEST_PRIORITY: u32 = 0x100;
/// Level-triggered and asserted.
const LEVEL: u32 = 0xc000;

pub(crate) fn trials() -> Vec<Trial> {
    let one = Machine::MSI_ADDRESS;
    let message = |kind, address, data| move || over_snapshots(table(kind, address, data), false);
    vec![
        kvm(
            "an_ordinary_message_survives_snapshots",
            message(Kind::Exported, one, 0),
        ),
        kvm(
            "a_message_of_the_vmm_survives_snapshots",
            message(Kind::Internal, one, 0),
        ),
        kvm(
            "a_message_of_a_private_vector_survives_snapshots",
            message(Kind::Private, one, 0),
        ),
        kvm(
            "a_broadcast_survives_snapshots",
            message(Kind::Exported, BROADCAST, 0),
        ),
        kvm(
            "a_broadcast_of_a_private_vector_survives_snapshots",
            message(Kind::Private, BROADCAST, 0),
        ),
        kvm(
            "a_logical_destination_survives_snapshots",
            message(Kind::Exported, LOGICAL, LOWEST_PRIORITY),
        ),
        kvm(
            "a_level_triggered_message_survives_snapshots",
            message(Kind::Exported, one, LEVEL),
        ),
        kvm("what_a_queue_arms_survives_snapshots", || {
            over_snapshots(queued(), true);
        }),
        kvm(
            "what_is_pending_at_an_unmask_survives_snapshots",
            move || {
                over_snapshots(table(Kind::Exported, one, 0), true);
            },
        ),
        kvm("a_capabilitys_message_survives_snapshots", || {
            over_snapshots(capability(), true);
        }),
    ]
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Internal,
    Private,
    Exported,
}

/// A device with one vector, in the first or the second VM.
trait Device: Send {
    fn vector(&self) -> VectorHandle;
    fn set_mask(&self, masked: bool);
    fn pause(&self);
    fn resume(&self);
    /// Whether the saved state has a pending interrupt, and the written state.
    fn save(&self) -> (bool, String);
    fn restore(&self, saved: &str);
}

type Build = Box<dyn Fn(&RoutingTable) -> Box<dyn Device>>;

fn table(kind: Kind, address: u64, delivery: u32) -> Build {
    Box::new(move |routing| {
        let builder = msix::Table::builder(routing).private_irqfd(matches!(kind, Kind::Private));
        let table = builder.build().unwrap();
        if matches!(kind, Kind::Exported) {
            table.vector(0).unwrap().export().unwrap();
        }
        let _ = table.write(0, &address.to_le_bytes());
        let _ = table.write(8, &(delivery | u32::from(VECTOR)).to_le_bytes());
        let _ = table.set_control(true, false);
        Box::new(table)
    })
}

impl Device for msix::Table {
    fn vector(&self) -> VectorHandle {
        self.vector(0).unwrap().clone()
    }

    fn set_mask(&self, masked: bool) {
        let dead = self.write(12, &u32::from(masked).to_le_bytes());
        assert!(dead.is_empty());
    }

    fn pause(&self) {
        self.pause();
    }

    fn resume(&self) {
        assert!(self.resume().is_empty());
    }

    fn save(&self) -> (bool, String) {
        let snapshot = self.snapshot().unwrap();
        let pending = snapshot.registers().unwrap().pending == [1];
        (pending, serde_json::to_string(&snapshot).unwrap())
    }

    fn restore(&self, saved: &str) {
        self.restore(&serde_json::from_str(saved).unwrap()).unwrap();
    }
}

/// A table whose vectors are armed by the owner of a queue that is empty.
struct Queued {
    table: msix::Table,
    queue: ArmQueue,
}

fn queued() -> Build {
    Box::new(|routing| {
        let queue = ArmQueue::new(routing).unwrap();
        let builder = msix::Table::builder(routing).queue(&queue);
        let table = builder.build().unwrap();
        table.vector(0).unwrap().export().unwrap();
        let _ = table.write(0, &Machine::MSI_ADDRESS.to_le_bytes());
        let _ = table.write(8, &u32::from(VECTOR).to_le_bytes());
        let _ = table.set_control(true, false);
        Box::new(Queued { table, queue })
    })
}

impl Device for Queued {
    fn vector(&self) -> VectorHandle {
        Device::vector(&self.table)
    }

    fn set_mask(&self, masked: bool) {
        self.table.set_mask(masked);
        assert!(self.queue.run_pending().failed.is_empty());
    }

    fn pause(&self) {
        self.table.pause();
    }

    fn resume(&self) {
        Device::resume(&self.table);
        assert!(self.queue.run_pending().failed.is_empty());
    }

    fn save(&self) -> (bool, String) {
        self.table.save()
    }

    fn restore(&self, saved: &str) {
        Device::restore(&self.table, saved);
    }
}

fn capability() -> Build {
    Box::new(|routing| {
        let msi = msi::Capability::builder(routing).build().unwrap();
        msi.vector(0).unwrap().export().unwrap();
        let _ = msi.write(4, &Machine::MSI_ADDRESS.to_le_bytes());
        let _ = msi.write(0xc, &u16::from(VECTOR).to_le_bytes());
        let _ = msi.write(2, &1_u16.to_le_bytes());
        Box::new(msi)
    })
}

impl Device for msi::Capability {
    fn vector(&self) -> VectorHandle {
        self.vector(0).unwrap().clone()
    }

    fn set_mask(&self, masked: bool) {
        let dead = self.write(0x10, &u32::from(masked).to_le_bytes());
        assert!(dead.is_empty());
    }

    fn pause(&self) {
        self.pause();
    }

    fn resume(&self) {
        assert!(self.resume().is_empty());
    }

    fn save(&self) -> (bool, String) {
        let snapshot = self.snapshot().unwrap();
        let pending = snapshot.registers().unwrap().pending == 1;
        (pending, serde_json::to_string(&snapshot).unwrap())
    }

    fn restore(&self, saved: &str) {
        self.restore(&serde_json::from_str(saved).unwrap()).unwrap();
    }
}

struct Vm {
    machine: Machine,
    device: Box<dyn Device>,
}

impl Vm {
    fn new(build: &Build) -> Self {
        let machine = Machine::new().unwrap();
        let routing = RoutingTable::new(machine.vm()).unwrap();
        let device = build(&routing);
        Self { machine, device }
    }

    fn is_delivered(&self) -> bool {
        self.machine.delivered().unwrap() == [VECTOR]
    }

    /// Continues where another VM has stopped, and gets its interrupt once.
    fn take_over(&self, lapic: &kvm_lapic_state, saved: &str) {
        self.device.pause();
        self.machine.set_lapic(lapic).unwrap();
        self.device.restore(saved);
        self.device.resume();
        wait_until(|| self.is_delivered());
        // No other interrupt comes after it.
        self.machine.clear().unwrap();
        self.device.pause();
        assert!(!self.is_delivered() && !self.device.save().0, "doubled");
        self.device.resume();
    }
}

/// Interrupts that a VM had, and those in its snapshots.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    in_lapic: u32,
    in_snapshot: u32,
    lost: u32,
    doubled: u32,
}

/// One signal and one snapshot a round. In every other round the signal races with the pause; with
/// `masked` the vector is unmasked between the two.
fn over_snapshots(build: Build, masked: bool) {
    let (source, target) = (Vm::new(&build), Vm::new(&build));
    let rounds = snapshot_rounds();
    target.device.set_mask(false);
    source.device.set_mask(masked);
    let (begin, end) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let device_thread = {
        let vector = source.device.vector();
        let (begin, end) = (Arc::clone(&begin), Arc::clone(&end));
        thread::spawn(move || {
            for _ in 0..rounds / 2 {
                begin.wait();
                vector.trigger().unwrap();
                end.wait();
            }
        })
    };
    let mut counts = Counts::default();
    for round in 0..rounds {
        let races = round % 2 == 1;
        if masked {
            source.device.set_mask(true);
        }
        if races {
            begin.wait();
        } else {
            source.device.vector().trigger().unwrap();
        }
        if masked {
            source.device.set_mask(false);
        }
        source.device.pause();
        if races {
            // The device thread stops before the snapshot, as back-ends do.
            end.wait();
        }
        let (in_snapshot, saved) = source.device.save();
        let lapic = source.machine.lapic().unwrap();
        match (source.is_delivered(), in_snapshot) {
            (true, false) => counts.in_lapic += 1,
            (false, true) => counts.in_snapshot += 1,
            (false, false) => counts.lost += 1,
            (true, true) => counts.doubled += 1,
        }
        if counts.lost + counts.doubled == 0 {
            target.take_over(&lapic, &saved);
        }
        // The source continues with the next round, without the interrupt.
        source.device.resume();
        wait_until(|| source.is_delivered());
        source.device.pause();
        source.machine.clear().unwrap();
        source.device.resume();
    }
    device_thread.join().unwrap();
    assert_eq!((counts.lost, counts.doubled), (0, 0), "{counts:?}");
    assert_eq!(counts.in_lapic + counts.in_snapshot, rounds);
}
