// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The operations of device code.

use super::{ABSENT, Device, NONE, row};
use crate::call::*;
use crate::row::Row;

pub(super) fn rows() -> Vec<Row> {
    vec![
        row(
            "`trigger`, the vector open",
            [
                Some(&[KVM_SIGNAL_MSI]),
                Some(&[WRITE]),
                Some(&[WRITE]),
                Some(&[WRITE]),
            ],
            Device::open,
            Device::trigger,
        ),
        row(
            "`trigger`, the vector masked",
            [NONE, NONE, Some(&[WRITE]), Some(&[WRITE])],
            Device::enabled,
            Device::trigger,
        ),
        row(
            "`trigger` after a peer has filled the counter",
            [ABSENT, ABSENT, ABSENT, Some(&[WRITE, PREADV2])],
            |device| {
                device.enabled();
                let notifier = device.vector().notifier().unwrap();
                notifier.add((u64::MAX - 1).try_into().unwrap()).unwrap();
                device.unmask();
            },
            Device::trigger,
        ),
        row(
            "`is_pending`, the vector masked",
            [NONE, NONE, Some(&[READ]), Some(&[PREADV2])],
            Device::enabled,
            |device| assert!(!device.vector().is_pending()),
        ),
        row(
            "`state`, `message`, `gsi`, `notifier`",
            [NONE, NONE, NONE, NONE],
            Device::open,
            |device| {
                let vector = device.vector();
                let (state, message) = (vector.state(), vector.message());
                drop((state, message, vector.gsi(), vector.notifier()));
            },
        ),
        row(
            "`Binding::trigger`",
            [
                Some(&[KVM_SIGNAL_MSI]),
                Some(&[WRITE]),
                Some(&[WRITE]),
                Some(&[WRITE]),
            ],
            Device::open,
            |device| assert!(device.binding.trigger().unwrap().is_some()),
        ),
    ]
}
