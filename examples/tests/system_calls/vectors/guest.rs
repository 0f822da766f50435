// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The operations of a guest, on the vCPU's thread.

use super::{Device, NONE, queued, repaired, row};
use crate::call::*;
use crate::row::Row;

pub(super) fn rows() -> Vec<Row> {
    vec![
        row(
            "a read of the table",
            [NONE, NONE, NONE, NONE],
            Device::open,
            |device| device.table.read(0, &mut [0; 8]),
        ),
        row(
            "a write of address or data, while the vector is masked",
            [NONE, NONE, NONE, NONE],
            Device::enabled,
            |device| device.entry(0x42),
        ),
        repaired(
            "the first unmask of the vector",
            [
                NONE,
                Some(&[KVM_SET_GSI_ROUTING, KVM_IRQFD]),
                Some(&[KVM_SET_GSI_ROUTING, KVM_IRQFD]),
                Some(&[KVM_SET_GSI_ROUTING, KVM_IRQFD]),
            ],
            Device::enabled,
            Device::unmask,
            Device::mask,
        ),
        row(
            "a mask",
            [
                NONE,
                Some(&[KVM_IRQFD]),
                Some(&[KVM_IRQFD]),
                Some(&[KVM_IRQFD]),
            ],
            Device::open,
            Device::mask,
        ),
        repaired(
            "a later unmask",
            [
                NONE,
                Some(&[KVM_IRQFD]),
                Some(&[KVM_IRQFD]),
                Some(&[KVM_IRQFD]),
            ],
            |device| {
                device.open();
                device.mask();
            },
            Device::unmask,
            Device::mask,
        ),
        repaired(
            "an unmask with another message",
            [
                NONE,
                Some(&[KVM_SET_GSI_ROUTING, KVM_IRQFD]),
                Some(&[KVM_SET_GSI_ROUTING, KVM_IRQFD]),
                Some(&[KVM_SET_GSI_ROUTING, KVM_IRQFD]),
            ],
            |device| {
                device.open();
                device.mask();
                device.entry(0x42);
            },
            Device::unmask,
            Device::mask,
        ),
        repaired(
            "an unmask while an interrupt is pending",
            [
                Some(&[KVM_SIGNAL_MSI]),
                Some(&[WRITE, KVM_IRQFD]),
                Some(&[KVM_IRQFD]),
                Some(&[KVM_IRQFD]),
            ],
            |device| {
                device.open();
                device.mask();
                device.pending();
            },
            Device::unmask,
            Device::mask,
        ),
        repaired(
            "an unmask after a read of the PBA that found one",
            [
                Some(&[KVM_SIGNAL_MSI]),
                Some(&[WRITE, KVM_IRQFD]),
                Some(&[READ, WRITE, KVM_IRQFD]),
                Some(&[WRITE, PREADV2, KVM_IRQFD]),
            ],
            |device| {
                device.open();
                device.mask();
                device.pending();
                assert!(device.is_pending());
            },
            Device::unmask,
            Device::mask,
        ),
        repaired(
            "a write of data while the vector is not masked",
            [
                NONE,
                Some(&[KVM_SET_GSI_ROUTING]),
                Some(&[KVM_SET_GSI_ROUTING]),
                Some(&[KVM_SET_GSI_ROUTING]),
            ],
            Device::open,
            |device| assert!(device.table.write(8, &0x42_u32.to_le_bytes()).is_empty()),
            |device| {
                device.mask();
                device.entry(0x41);
                device.unmask();
            },
        ),
        row(
            "a read of the PBA, vectors not masked",
            [NONE, NONE, NONE, NONE],
            Device::open,
            |device| assert!(!device.is_pending()),
        ),
        row(
            "a read of the PBA, the vector masked",
            [NONE, NONE, Some(&[READ]), Some(&[PREADV2])],
            |device| {
                device.open();
                device.mask();
            },
            |device| assert!(!device.is_pending()),
        ),
        row(
            "setting the function mask, or disabling MSI-X",
            [
                NONE,
                Some(&[KVM_IRQFD]),
                Some(&[KVM_IRQFD]),
                Some(&[KVM_IRQFD]),
            ],
            Device::open,
            |device| {
                assert!(device.table.set_control(true, true).is_empty());
                assert!(device.table.set_control(false, false).is_empty());
            },
        ),
        repaired(
            "clearing the function mask, or enabling MSI-X",
            [
                NONE,
                Some(&[KVM_IRQFD]),
                Some(&[KVM_IRQFD]),
                Some(&[KVM_IRQFD]),
            ],
            |device| {
                device.open();
                assert!(device.table.set_control(true, true).is_empty());
            },
            |device| assert!(device.table.set_control(true, false).is_empty()),
            |device| assert!(device.table.set_control(true, true).is_empty()),
        ),
        row(
            "a reset of the function (`Table::reset`), the vector armed",
            [
                NONE,
                Some(&[KVM_IRQFD]),
                Some(&[READ, KVM_IRQFD]),
                Some(&[PREADV2, KVM_IRQFD]),
            ],
            Device::open,
            |device| device.table.reset(),
        ),
        row(
            "a reset of the function, the vector masked",
            [NONE, NONE, Some(&[READ]), Some(&[PREADV2])],
            Device::enabled,
            |device| device.table.reset(),
        ),
        row(
            "`Binding::bind`",
            [NONE, NONE, NONE, NONE],
            Device::open,
            |device| {
                device.binding.bind(irqfd::msix::NO_VECTOR);
                device.binding.bind(0);
            },
        ),
        queued(
            "an unmask, if the table has an `ArmQueue`",
            [NONE, Some(&[WRITE]), Some(&[WRITE]), Some(&[WRITE])],
            |device| device.enabled(),
            |device, _| device.unmask(),
            Device::mask,
        ),
    ]
}
