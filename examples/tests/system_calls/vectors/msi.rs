// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The MSI capability of a device with two vectors, which have private irqfds.

use std::fmt;

use irqfd::VectorState;
use irqfd::msi::Capability;
use kvm_test::Machine;

use super::routing;
use crate::call::*;
use crate::row::{Body, Row, leak, on};
use crate::shown::Routing;

/// Registers of a capability with addresses of 32 bits and without mask bits.
const CONTROL: u64 = 2;
const ADDRESS: u64 = 4;
const DATA: u64 = 8;

struct Device {
    routing: Routing,
    msi: Capability,
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let states: Vec<_> = self.msi.vectors().iter().map(|it| it.state()).collect();
        writeln!(f, "{:?}, {states:?}", self.msi)?;
        // Others may have GSIs, to be armed more quickly.
        match states.contains(&VectorState::Armed) {
            true => writeln!(f, "{:?}", self.routing),
            false => Ok(()),
        }
    }
}

impl Device {
    /// The guest has written a message.
    fn new() -> Self {
        let routing = routing();
        let builder = Capability::builder(&routing).vectors(2).private_irqfd(true);
        let builder = builder.wide(false).maskable(false);
        let msi = builder.build().unwrap();
        let device = Self { routing, msi };
        let address = u32::try_from(Machine::MSI_ADDRESS).unwrap();
        device.write(ADDRESS, &address.to_le_bytes());
        device.write(DATA, &[0x40, 0]);
        device
    }

    fn write(&self, register: u64, bytes: &[u8]) {
        let dead = self.msi.write(register, bytes);
        assert!(dead.is_empty(), "{dead:?}");
    }

    /// Grants two vectors.
    fn enable(&self) {
        self.write(CONTROL, &[0x11, 0]);
    }

    fn disable(&self) {
        self.write(CONTROL, &[0x10, 0]);
    }
}

fn enabled() -> &'static Device {
    let device = Device::new();
    device.enable();
    leak(device)
}

/// An operation, and how its failure is repaired.
fn repaired(
    device: &'static Device,
    act: fn(&'static Device),
    repair: fn(&'static Device),
) -> Body {
    on(device, act).repaired(move || repair(device))
}

/// What a guest does.
pub(super) fn guest() -> Vec<Row> {
    vec![
        Row::new("enabling MSI", &[KVM_SET_GSI_ROUTING, KVM_IRQFD], || {
            let device = leak(Device::new());
            device.disable();
            repaired(device, Device::enable, Device::disable)
        }),
        Row::new(
            "a write of data while MSI is enabled",
            &[KVM_SET_GSI_ROUTING],
            || {
                let write = |device: &Device| device.write(DATA, &[0x60, 0]);
                repaired(enabled(), write, |device| {
                    device.disable();
                    device.write(DATA, &[0x40, 0]);
                    device.enable();
                })
            },
        ),
        Row::new("disabling MSI", &[KVM_IRQFD], || {
            on(enabled(), Device::disable)
        }),
    ]
}

/// What a VMM does.
pub(super) fn vmm() -> Vec<Row> {
    vec![
        Row::new("`Capability::pause`", &[KVM_IRQFD], || {
            on(enabled(), |device| device.msi.pause())
        }),
        Row::new("`Capability::resume`", &[KVM_IRQFD], || {
            let device = enabled();
            device.msi.pause();
            let resume = |device: &Device| assert!(device.msi.resume().is_empty());
            repaired(device, resume, |device| device.msi.pause())
        }),
    ]
}
