// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! MSI capabilities: saved states, and registers of other formats.

use std::sync::Arc;

use irq_routing::RoutingTable;
use irqfd::msi::{Capability, Registers, Snapshot};
use notify_sim::{CallKind, Profile};
use serde_json::Value;

use super::Reading;
use super::form::{Form, can_be, form_of, form_of_bytes, number};
use super::memory::bounded;
use super::saved::{expect_short, read as read_saved};
use super::tree::Tree;
use super::vm::Watched;

struct Device {
    vm: Arc<Watched>,
    msi: Capability,
    form: Form,
}

impl Device {
    fn new(form: Form) -> Self {
        let vm = Watched::new(Profile::X86);
        let routing = RoutingTable::new(vm.clone()).expect("it has a routing table");
        let builder = Capability::builder(&routing).vectors(1 << form.log);
        let builder = builder.wide(form.wide).maskable(form.maskable);
        let builder = builder.extended_data(form.extended).next(0x70);
        let msi = builder.build().expect("nothing that can fail");
        Self { vm, msi, form }
    }

    /// One that a guest has programmed, some of whose vectors are exported or pending.
    fn programmed(form: Form, seed: u16) -> Self {
        let device = Self::new(form);
        let msi = &device.msi;
        let data = form.data() as u64;
        let _ = msi.write(4, &0xfee0_0000_u32.to_le_bytes());
        let _ = msi.write(data, &0x40_u16.to_le_bytes());
        if form.maskable {
            let _ = msi.write(data + 4, &u32::from(seed >> 4).to_le_bytes());
        }
        for (number, vector) in msi.vectors().iter().enumerate() {
            if seed >> (number % 8) & 1 != 0 {
                vector.export().expect("descriptors");
            }
        }
        let control = seed & 0x71 | (seed & 0x800) >> 1;
        let _ = msi.write(2, &control.to_le_bytes());
        let pending = msi.vectors().iter().step_by(2);
        pending.for_each(|vector| drop(vector.trigger()));
        // Open vectors send another message than what the registers have.
        let _ = msi.write(
            4,
            &(0xfee0_0000 | u32::from(seed >> 12) << 12).to_le_bytes(),
        );
        if seed & 0x400 != 0 {
            msi.pause();
        }
        device
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.msi.len()];
        self.msi.read(0, &mut bytes);
        bytes
    }

    /// What is saved of it now; it stays paused if it shall.
    fn save(&self, stays: bool) -> Value {
        let is_paused = self.msi.snapshot().is_ok();
        self.msi.pause();
        let snapshot = self.msi.snapshot().expect("it is paused");
        if !is_paused && !stays {
            let _ = self.msi.resume();
        }
        serde_json::to_value(snapshot).expect("it is known")
    }

    /// A vector that the guest programs anew reaches it.
    fn works(&self) {
        let data = self.form.data() as u64;
        let _ = self.msi.resume();
        let _ = self.msi.write(2, &0_u16.to_le_bytes());
        let _ = self.msi.write(4, &0xfee0_0000_u32.to_le_bytes());
        if self.form.wide {
            let _ = self.msi.write(8, &0_u32.to_le_bytes());
        }
        let _ = self.msi.write(data, &0x35_u16.to_le_bytes());
        if self.form.extended {
            let _ = self.msi.write(data + 2, &0_u16.to_le_bytes());
        }
        if self.form.maskable {
            let _ = self.msi.write(data + 4, &0_u32.to_le_bytes());
        }
        let _ = self.msi.write(2, &1_u16.to_le_bytes());
        let vector = self.msi.vector(0).expect("there is one");
        let _ = self.vm.sim.deliver();
        self.vm.sim.clear_vectors(0);
        let _ = vector.trigger().expect("it is armed");
        let _ = self.vm.sim.deliver();
        assert_eq!(self.vm.sim.pending_vectors(0), [0x35]);
    }
}

pub(super) fn valid(shape: u16) -> Tree {
    Tree::of(&Device::programmed(Form::of(shape), shape).save(true))
}

pub(super) fn valid_registers(shape: u16) -> Tree {
    let device = Device::programmed(Form::of(shape), shape);
    device.msi.pause();
    let snapshot = device.msi.snapshot().expect("it is paused");
    let registers = snapshot.registers().expect("a capability has it");
    Tree::map([
        ("capability", Tree::list(&registers.capability)),
        ("pending", Tree::number(registers.pending)),
    ])
}

pub(super) fn read(reading: &Reading<'_>) {
    let Some(known) = read_saved::<Snapshot>(reading, 2) else {
        return;
    };
    let wanted = Form::of(reading.shape);
    let value = known.value.as_ref();
    let form = value.and_then(form_of);
    let is_possible = |form| value.is_some_and(|value| can_be(form, value));
    let fits = form == Some(wanted) && is_possible(wanted);
    restore(reading, &known.snapshot, value, (wanted, fits));

    let registers = known.snapshot.registers();
    assert_eq!(
        registers.is_ok(),
        form.is_some_and(is_possible),
        "{registers:?}"
    );
    match registers {
        Err(error) => expect_short(&error),
        Ok(registers) => {
            let again = Snapshot::try_from(&registers).expect("they were made of one");
            let mut then = value.expect("it is known").clone();
            let now = serde_json::to_value(&again).expect("it is known");
            // It is not in the registers.
            then["sends"] = now["sends"].clone();
            assert_eq!(now, then);
        }
    }
}

/// Restores to a device that is in use.
fn restore(
    reading: &Reading<'_>,
    snapshot: &Snapshot,
    value: Option<&Value>,
    (form, fits): (Form, bool),
) {
    let device = Device::programmed(form, reading.shape.rotate_left(5));
    let before = (device.bytes(), device.save(false));
    let is_paused = device.msi.snapshot().is_ok();
    device
        .vm
        .arm(reading, &[CallKind::SetGsiRouting, CallKind::IrqFdAssign]);
    let restored = device.msi.restore(snapshot);
    device.vm.sim.clear_faults();
    assert_eq!(restored.is_ok(), fits, "{restored:?}");
    match (restored, value) {
        (Err(error), _) => {
            expect_short(&error);
            assert_eq!((device.bytes(), device.save(false)), before);
        }
        (Ok(_), None) => panic!("another version was restored"),
        (Ok(dead), Some(value)) => {
            assert!(!is_paused || dead.is_empty());
            let mut now = device.save(true);
            let mut then = value.clone();
            if !is_paused {
                // Those of open vectors were delivered, or wait for a route.
                let open = match (then["enabled"] == true, number(&then, "granted")) {
                    (true, granted) => ((1 << granted) - 1) & !number(&then, "masked"),
                    (false, _) => 0,
                };
                for value in [&mut now, &mut then] {
                    value["pending"] = (number(value, "pending") & !open).into();
                }
            }
            assert_eq!(now, then);
        }
    }
    device.works();
}

pub(super) fn read_registers(reading: &Reading<'_>) {
    let Some(tree) = reading.tree else {
        return;
    };
    let capability = tree
        .field("capability")
        .map_or(Vec::new(), Tree::as_numbers);
    let registers = Registers {
        capability: capability.into_iter().map(|byte| byte as u8).collect(),
        pending: tree.field("pending").map_or(0, Tree::as_u64) as u32,
    };
    let snapshot = bounded(registers.capability.len(), || {
        Snapshot::try_from(&registers)
    });
    let form = form_of_bytes(&registers);
    assert_eq!(
        snapshot.is_ok(),
        form.is_some(),
        "{snapshot:?} of {registers:?}"
    );
    assert!(form.is_some() || !reading.valid);
    let (snapshot, form) = match (snapshot, form) {
        (Ok(snapshot), Some(form)) => (snapshot, form),
        (Ok(_), None) => return,
        (Err(error), _) => return expect_short(&error),
    };
    let again = snapshot.registers().expect("it was made of registers");
    let mut expected = registers.clone();
    expected.capability[1] = 0;
    if form.maskable {
        // As the guest reads it.
        let shown = form.data() + 8;
        expected.capability[shown..].copy_from_slice(&again.capability[shown..]);
    }
    assert_eq!(again, expected);
    let value = serde_json::to_value(&snapshot).expect("it is known");
    restore(reading, &snapshot, Some(&value), (form, true));
}
