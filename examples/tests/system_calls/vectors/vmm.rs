// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What a VMM does with a table: hotplug, snapshots, unplug.

use irqfd::ResumeBatch;
use irqfd::msix::{Snapshot, Table};

use super::{ABSENT, Device, KINDS, Kind, NONE, Private, queued, repaired, routing, row};
use crate::call::*;
use crate::row::{Calls, Row, beside, leak, on, with};

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row::each(
            "`TableBuilder::build`",
            KINDS,
            [NONE, Some(&[EVENTFD2]), ABSENT, ABSENT],
            |kind| {
                let routing = leak(routing());
                with(routing, move || {
                    let builder = Table::builder(routing).private_irqfd(kind == Private);
                    std::mem::forget(builder.build().unwrap());
                })
            },
        ),
        row(
            "`Table::pause`",
            [
                NONE,
                Some(&[KVM_IRQFD]),
                Some(&[KVM_IRQFD]),
                Some(&[KVM_IRQFD]),
            ],
            Device::open,
            |device| device.table.pause(),
        ),
        row(
            "`Table::snapshot`",
            [NONE, NONE, Some(&[READ]), Some(&[PREADV2])],
            |device| {
                device.open();
                device.table.pause();
            },
            |device| drop(device.table.snapshot().unwrap()),
        ),
        repaired(
            "`Table::resume`, `ResumeBatch::run`",
            [
                NONE,
                Some(&[KVM_IRQFD]),
                Some(&[KVM_IRQFD]),
                Some(&[KVM_IRQFD]),
            ],
            |device| {
                device.open();
                device.table.pause();
            },
            |device| {
                let mut batch = ResumeBatch::default();
                device.table.resume_in(&mut batch);
                assert!(batch.run().is_empty());
            },
            |device| device.table.pause(),
        ),
        repaired(
            "`Table::resume` with an interrupt that came meanwhile",
            [
                Some(&[KVM_SIGNAL_MSI]),
                Some(&[WRITE, KVM_IRQFD]),
                Some(&[READ, WRITE, KVM_IRQFD]),
                Some(&[WRITE, PREADV2, KVM_IRQFD]),
            ],
            |device| {
                device.open();
                device.table.pause();
                device.pending();
                device.table.snapshot().unwrap();
            },
            |device| assert!(device.table.resume().is_empty()),
            |device| device.table.pause(),
        ),
        Row::each(
            "`Table::restore`, the table paused",
            KINDS,
            [NONE, NONE, Some(&[READ]), Some(&[PREADV2])],
            |kind| on(saved(kind, false), restore),
        ),
        Row::each(
            "`Table::restore` with an interrupt that is pending",
            KINDS,
            [NONE, NONE, Some(&[READ, WRITE]), Some(&[WRITE, PREADV2])],
            |kind| on(saved(kind, true), restore),
        ),
        Row::each(
            "`Table::resume` after a restore",
            KINDS,
            [
                NONE,
                Some(&[KVM_SET_GSI_ROUTING, KVM_IRQFD]),
                Some(&[KVM_SET_GSI_ROUTING, KVM_IRQFD]),
                Some(&[KVM_SET_GSI_ROUTING, KVM_IRQFD]),
            ],
            |kind| {
                let saved = saved(kind, false);
                restore(saved);
                let body = on(saved, |(device, _)| {
                    assert!(device.table.resume().is_empty())
                });
                body.repaired(|| saved.0.table.pause())
            },
        ),
        repaired(
            "`Table::set_devid`, the vector open",
            [
                NONE,
                Some(&[KVM_SET_GSI_ROUTING]),
                Some(&[KVM_SET_GSI_ROUTING]),
                Some(&[KVM_SET_GSI_ROUTING]),
            ],
            Device::open,
            |device| assert!(device.table.set_devid(Some(1)).is_empty()),
            |device| {
                assert!(device.table.set_devid(None).is_empty());
                device.mask();
                device.unmask();
            },
        ),
        row(
            "`Table::set_lease`, the vector paused",
            [ABSENT, NONE, NONE, NONE],
            |device| {
                device.enabled();
                device.table.pause();
                device.unmask();
            },
            |device| {
                let lease = device.routing.lease().unwrap();
                device.table.set_lease(0, lease).unwrap();
            },
        ),
        dropped(
            "drop of the table, vectors masked",
            [NONE, Some(&[CLOSE]), Some(&[CLOSE]), Some(&[CLOSE])],
            Device::enabled,
        ),
        dropped(
            "drop of the table, vectors open",
            [
                NONE,
                Some(&[CLOSE, KVM_IRQFD]),
                Some(&[CLOSE, KVM_IRQFD]),
                Some(&[CLOSE, KVM_IRQFD]),
            ],
            Device::open,
        ),
        queued(
            "`ArmQueue::run_pending`, one vector waits",
            [
                ABSENT,
                Some(&[READ, KVM_SET_GSI_ROUTING, KVM_IRQFD]),
                Some(&[READ, KVM_SET_GSI_ROUTING, KVM_IRQFD]),
                Some(&[READ, KVM_SET_GSI_ROUTING, KVM_IRQFD]),
            ],
            |device| device.open(),
            |_, queue| assert_eq!(queue.run_pending().armed, 1),
            |device| {
                device.mask();
                device.unmask();
            },
        ),
    ]
}

/// A paused table, and the snapshot of another table with an unmasked vector.
fn saved(kind: Kind, pending: bool) -> &'static (Device, Snapshot) {
    let saved = Device::new(kind);
    saved.open();
    saved.table.pause();
    if pending {
        saved.pending();
    }
    let snapshot = saved.table.snapshot().unwrap();
    std::mem::forget(saved);
    let device = Device::new(kind);
    device.table.pause();
    leak((device, snapshot))
}

fn restore((device, snapshot): &(Device, Snapshot)) {
    assert!(device.table.restore(snapshot).unwrap().is_empty());
}

fn dropped(operation: &'static str, calls: [Calls; 4], prepare: fn(&Device)) -> Row {
    Row::each(operation, KINDS, calls, move |kind| {
        let device = Device::new(kind);
        prepare(&device);
        let Device {
            routing,
            table,
            binding,
        } = device;
        drop(binding);
        beside(leak(routing), table, drop)
    })
}
