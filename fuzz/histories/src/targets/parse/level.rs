// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Saved lines: through the kernel's interrupt controllers, as messages, and on a controller of the
//! VMM.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use irq_routing::{MsiMessage, Platform, RoutingTable, Wiring};
use irqfd::{Controller, EoiExits, LevelIrq, LevelLine, LevelSnapshot, RestoreError};
use notify_core::EventNotifier;
use notify_sim::{CallKind, Profile};
use serde_json::Value;

use super::Reading;
use super::saved::{expect_short, read as read_saved};
use super::tree::Tree;
use super::vm::Watched;

const GSI: u32 = 10;
const VECTOR: u8 = 0x52;

/// How the line reaches the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Kernel,
    Message,
    Chip,
}

/// A controller with one pin.
#[derive(Debug, Default)]
struct Chip {
    level: AtomicBool,
    fails: AtomicBool,
}

impl Controller for Chip {
    fn set_level(&self, _: u32, level: bool) -> io::Result<()> {
        if self.fails.swap(false, Ordering::Relaxed) {
            return Err(io::Error::from_raw_os_error(22));
        }
        self.level.store(level, Ordering::Relaxed);
        Ok(())
    }
}

struct Bench {
    way: Way,
    vm: Arc<Watched>,
    chip: Arc<Chip>,
    // Dropped before the line.
    devices: Vec<LevelIrq>,
    exported: Vec<bool>,
    line: LevelLine,
    _exits: EoiExits,
}

/// A level-triggered message.
fn message() -> MsiMessage {
    MsiMessage::new(0xfee0_0000, 1 << 15 | u32::from(VECTOR))
}

impl Bench {
    fn new(shape: u16) -> Self {
        let way = [Way::Kernel, Way::Message, Way::Chip][usize::from(shape % 3)];
        let (profile, platform) = match way {
            Way::Message => (Profile::X86Split { pins: 24 }, Platform::X86Split),
            _ => (Profile::X86, Platform::X86),
        };
        let (vm, chip, exits) = (Watched::new(profile), Arc::default(), EoiExits::default());
        let wiring = match way {
            Way::Message => Wiring::none(platform),
            _ => Wiring::pc(),
        };
        let table = RoutingTable::builder(vm.clone()).wiring(wiring);
        let table = table.build().expect("it has a routing table");
        let line = match way {
            Way::Kernel => LevelLine::builder(table.line(GSI).expect("it is wired"))
                .build()
                .expect("nothing that can fail"),
            Way::Message => {
                let lease = table.lease_exact(GSI).expect("it is free");
                lease.set_route(MsiMessage::default()).expect("any message");
                let line = lease.into_line().expect("it has a route");
                let builder = LevelLine::builder(line).eoi_exits(&exits);
                builder.build().expect("nothing that can fail")
            }
            Way::Chip => LevelLine::on_controller(GSI, Arc::clone(&chip) as Arc<_>, &exits),
        };
        let exported: Vec<bool> = (0..=shape / 3 % 4)
            .map(|n| shape >> (4 + n) & 1 != 0)
            .collect();
        let join = |exported: &bool| match exported {
            true => {
                let eoi = Arc::new(EventNotifier::new().expect("descriptors"));
                line.join_exported(None, eoi).expect("an x86 VM")
            }
            false => line.join().expect("no reason to refuse"),
        };
        Self {
            way,
            vm,
            devices: exported.iter().map(join).collect(),
            exported,
            line,
            chip,
            _exits: exits,
        }
    }

    /// One in use.
    fn used(shape: u16, state: u16) -> Self {
        let bench = Self::new(shape);
        if bench.way == Way::Message {
            bench
                .line
                .redirect(message(), state & 1 != 0)
                .expect("a fine message");
        }
        for (n, (device, exported)) in bench.devices.iter().zip(&bench.exported).enumerate() {
            if state >> (1 + n) & 1 == 0 {
                continue;
            }
            match exported {
                false => device.assert().expect("nothing that can fail"),
                true if bench.way == Way::Chip => {
                    let trigger = device.trigger_notifier().expect("it is exported");
                    trigger.notify().expect("it has room");
                    let _ = device.take_trigger().expect("the counter can be read");
                }
                true => {}
            }
        }
        if state & 0x20 != 0 {
            bench.line.pause().expect("nothing that can fail");
        }
        bench
    }

    fn is_paused(&self) -> bool {
        self.line.snapshot().is_ok()
    }

    fn save(&self) -> Value {
        self.line.pause().expect("nothing that can fail");
        let snapshot = self.line.snapshot().expect("it is paused");
        serde_json::to_value(snapshot).expect("it is known")
    }

    /// What a restore may change, beside what is saved.
    fn observe(&self) -> (bool, Vec<bool>, Vec<bool>, bool) {
        let notified = |device: &LevelIrq| {
            let notifier = device.resample_notifier();
            notifier.is_some_and(|it| it.is_signalled().expect("it can be read"))
        };
        (
            self.is_paused(),
            self.devices.iter().map(LevelIrq::is_asserted).collect(),
            self.devices.iter().map(notified).collect(),
            self.chip.level.load(Ordering::Relaxed),
        )
    }

    /// A device that asserts raises the line.
    fn works(&self) {
        if self.way == Way::Message {
            self.line
                .redirect(message(), true)
                .expect("a masked entry sends nothing");
        }
        self.line.resume().expect("nothing that can fail");
        self.devices
            .iter()
            .for_each(|device| device.deassert().expect("as before"));
        let _ = self.vm.sim.deliver();
        if self.way != Way::Kernel {
            // The guest ends what it was sent before.
            self.line.on_eoi().expect("nothing that can fail");
        }
        self.vm.sim.clear_vectors(0);
        let Some(own) = self.exported.iter().position(|exported| !exported) else {
            return;
        };
        self.devices[own].assert().expect("nothing that can fail");
        assert!(self.line.is_asserted());
        match self.way {
            Way::Kernel => {
                let ioapic = self.vm.sim.ioapic().expect("it has one");
                assert!(ioapic.irr >> GSI & 1 == 1, "the pin is low");
            }
            Way::Message => {
                self.line
                    .redirect(message(), false)
                    .expect("a fine message");
                assert_eq!(self.vm.sim.pending_vectors(0), [VECTOR]);
            }
            Way::Chip => assert!(self.chip.level.load(Ordering::Relaxed)),
        }
    }
}

pub(super) fn valid(shape: u16) -> Tree {
    Tree::of(&Bench::used(shape, shape >> 8).save())
}

pub(super) fn read(reading: &Reading<'_>) {
    let Some(known) = read_saved::<LevelSnapshot>(reading, 1) else {
        return;
    };
    let bench = Bench::used(reading.shape, reading.shape >> 5);
    let before = bench.observe();
    let (is_paused, calls) = (bench.is_paused(), bench.vm.sim.total_calls());
    let kinds = [
        CallKind::SetGsiRouting,
        CallKind::IrqLine,
        CallKind::IrqFdAssign,
    ];
    bench.vm.arm(reading, &kinds);
    bench
        .chip
        .fails
        .store(reading.fault.is_some(), Ordering::Relaxed);
    let restored = bench.line.restore(&known.snapshot);
    bench.vm.sim.clear_faults();
    let may_fail = bench.chip.fails.swap(false, Ordering::Relaxed) != reading.fault.is_some();
    assert!(
        !is_paused || bench.vm.sim.total_calls() == calls,
        "a paused line makes calls"
    );
    let fits = known
        .value
        .as_ref()
        .is_some_and(|value| fits(&bench, value));
    match restored {
        Ok(()) => {
            assert!(fits, "restored, though it does not fit");
            is_restored(&bench, known.value.expect("of this version"));
        }
        Err(error) => {
            expect_short(&error);
            let is_line = matches!(error, RestoreError::Line(_));
            // KVM refuses some messages, and an unmasked entry is sent at once.
            let may_fail = may_fail || !is_paused && reading.fault.is_some();
            let may_fail = may_fail || !is_paused && bench.way == Way::Message;
            assert!(if fits { is_line && may_fail } else { !is_line }, "{error}");
            assert!(
                !reading.valid || reading.fault.is_some(),
                "refused: {error}"
            );
            let mut after = bench.observe();
            if !is_paused && is_line {
                // Devices may have been notified.
                let mut notified = before.2.iter().zip(&after.2);
                assert!(notified.all(|(before, after)| after >= before));
                after.2.clone_from(&before.2);
            }
            assert_eq!(after, before);
            // Another line that is in the same state.
            let twin = Bench::used(reading.shape, reading.shape >> 5);
            assert_eq!(bench.save(), twin.save());
        }
    }
    bench.works();
}

/// Whether a saved state is one of this line.
fn fits(bench: &Bench, value: &Value) -> bool {
    let devices = value["devices"].as_array().expect("a list");
    let takes = |(device, exported): (&Value, &bool)| {
        device["triggered"] == false || bench.way == Way::Chip && *exported
    };
    devices.len() == bench.devices.len()
        && value["entry"].is_null() == (bench.way != Way::Message)
        && devices.iter().zip(&bench.exported).all(takes)
}

fn is_restored(bench: &Bench, then: Value) {
    let devices = then["devices"].as_array().expect("a list");
    for (device, saved) in bench.devices.iter().zip(devices) {
        assert!(device.is_asserted() || saved["asserted"] == false);
    }
    for device in &bench.devices {
        if let Some(eoi) = device.resample_notifier() {
            assert!(
                eoi.consume().expect("it can be read").is_some(),
                "no EOI after a restore"
            );
        }
    }
    let mut now = bench.save();
    let mut then = then;
    for value in [&mut now, &mut then] {
        // What was sent depends on what was sent before.
        value["level"] = Value::Null;
    }
    assert_eq!(now, then);
}
