// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Vectors whose notifier is exported.

use std::sync::Arc;

use irqfd::msix::{Binding, Table};
use notify_core::EventNotifier;

use super::{ABSENT, Device, KINDS, NONE, notifier, routing, row};
use crate::call::*;
use crate::row::{Calls, Row, leak, on, with};

pub(super) fn rows() -> Vec<Row> {
    vec![
        row(
            "`export`, the vector masked",
            [Some(&[EVENTFD2]), NONE, NONE, NONE],
            Device::enabled,
            |device| drop(device.vector().export().unwrap()),
        ),
        row(
            "`export`, the vector open",
            [
                Some(&[EVENTFD2, KVM_SET_GSI_ROUTING, KVM_IRQFD]),
                NONE,
                NONE,
                NONE,
            ],
            Device::open,
            |device| drop(device.vector().export().unwrap()),
        ),
        replace(
            "`replace_notifier`, the vector masked",
            [NONE, Some(&[CLOSE]), Some(&[READ]), Some(&[PREADV2])],
            Device::enabled,
        ),
        replace(
            "`replace_notifier`, the vector open",
            [
                Some(&[KVM_SET_GSI_ROUTING, KVM_IRQFD]),
                Some(&[CLOSE, KVM_IRQFD]),
                Some(&[READ, KVM_IRQFD]),
                Some(&[PREADV2, KVM_IRQFD]),
            ],
            Device::open,
        ),
        row(
            "`take_notifier`, the vector open",
            [
                ABSENT,
                ABSENT,
                Some(&[READ, KVM_IRQFD]),
                Some(&[PREADV2, KVM_IRQFD]),
            ],
            Device::open,
            |device| std::mem::forget(device.vector().take_notifier().unwrap()),
        ),
        row(
            "`unexport`, the vector open",
            [
                ABSENT,
                ABSENT,
                Some(&[READ, KVM_IRQFD]),
                Some(&[PREADV2, KVM_IRQFD]),
            ],
            |device| {
                device.open();
                // The other holder keeps the eventfd open.
                std::mem::forget(device.vector().notifier());
            },
            |device| device.vector().unexport().unwrap(),
        ),
        bind_call(
            "`Binding::bind_call`, away from a vector that is open",
            [ABSENT, ABSENT, NONE, NONE],
            Device::open,
        ),
        bind_call(
            "`Binding::bind_call`, away from a masked vector with a signal",
            [
                ABSENT,
                ABSENT,
                Some(&[WRITE, PREADV2]),
                Some(&[WRITE, PREADV2]),
            ],
            |device| {
                device.enabled();
                device.pending();
            },
        ),
    ]
}

fn replace(operation: &'static str, calls: [Calls; 4], prepare: fn(&Device)) -> Row {
    Row::each(operation, KINDS, calls, move |kind| {
        let device = leak(Device::new(kind));
        prepare(device);
        let new = leak(notifier(kind).unwrap_or_else(|| Arc::new(EventNotifier::new().unwrap())));
        // The other holder keeps the eventfd open.
        std::mem::forget(device.vector().notifier());
        with(device, move || {
            drop(device.vector().replace_notifier(Arc::clone(new)).unwrap())
        })
    })
}

/// A queue that a back-end serves moves to another vector.
fn bind_call(operation: &'static str, calls: [Calls; 4], prepare: fn(&Device)) -> Row {
    Row::each(operation, KINDS, calls, move |kind| {
        let routing = routing();
        let table = Table::builder(&routing).vectors(2).build().unwrap();
        for vector in table.vectors() {
            vector.replace_notifier(notifier(kind).unwrap()).unwrap();
        }
        let binding = Binding::new(&table);
        binding.bind_call(0, |_| Ok::<_, ()>(())).unwrap();
        let device = leak(Device {
            routing,
            table,
            binding,
        });
        prepare(device);
        on(device, |device| {
            device.binding.bind_call(1, |_| Ok::<_, ()>(())).unwrap();
        })
    })
}
