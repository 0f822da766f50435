// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Saved routing tables.

use std::collections::BTreeSet;
use std::sync::Arc;

use irq_routing::{IrqChip, MsiMessage, Pin, RestoreError, Route, RoutingTable, Snapshot, Wiring};
use irqfd::IrqFd;
use notify_core::{Platform, RouteEntry, RouteTarget, Vm};
use notify_sim::{CallKind, Interrupt};
use serde_json::Value;

use super::Reading;
use super::saved::{expect_short, read as read_saved};
use super::tree::Tree;
use super::vm::{PROFILES, Watched};

fn vm(shape: u16) -> Arc<Watched> {
    Watched::new(PROFILES[usize::from(shape) % PROFILES.len()])
}

fn table(vm: &Arc<Watched>, shape: u16) -> RoutingTable {
    let builder = RoutingTable::builder(vm.clone());
    let platform = vm.sim.platform().expect("it knows").expect("it has one");
    let builder = match (shape / 4 % 3, platform) {
        (0, _) => builder.wiring(Wiring::none(platform)),
        (_, Platform::Arm64Gic) => builder.wiring(Wiring::gic(32).expect("a GIC has it")),
        (_, Platform::Riscv64Aia) => builder.wiring(Wiring::aia(32).expect("an APLIC has it")),
        (1, _) => builder.reserved_gsis(64),
        _ => builder,
    };
    builder.build().expect("it has a routing table")
}

/// A table with some of each kind of route.
fn saved(shape: u16) -> Snapshot {
    let vm = vm(shape);
    let table = table(&vm, shape);
    let leases: Vec<_> = (0..shape / 16 % 8)
        .filter_map(|n| {
            let lease = table.lease().ok()?;
            let number = u32::from(n);
            let message = MsiMessage::new(0xfee0_0000, 0x40 + number);
            let routes: [Option<Route>; 6] = [
                Some(message.into()),
                Some(message.with_devid(number).into()),
                None,
                Pin::new(IrqChip::IoApic, number).ok().map(Into::into),
                Pin::new(IrqChip::Gic, number).ok().map(Into::into),
                Some(Route::HvSint { vcpu: 0, sint: 2 }),
            ];
            if let Some(route) = routes[usize::from(n) % routes.len()] {
                // Refused where the VM has no such chip.
                let _ = lease.set_route(route);
            }
            Some(lease.named(if n % 2 == 0 { "net0" } else { "\u{e9}" }))
        })
        .collect();
    let snapshot = table.snapshot();
    drop(leases);
    snapshot
}

pub(super) fn valid(shape: u16) -> Tree {
    Tree::of(&serde_json::to_value(saved(shape)).expect("it is known"))
}

/// Everything of a table and its VM that a restore may change.
fn observe(vm: &Watched, table: &RoutingTable) -> (Vec<RouteEntry>, u64, Value, String) {
    let snapshot = serde_json::to_value(table.snapshot()).expect("it is known");
    let rest = format!(
        "{} {:?} {}",
        table.leased(),
        table.unclaimed(),
        table.dump()
    );
    (vm.in_force(), vm.sim.total_calls(), snapshot, rest)
}

pub(super) fn read(reading: &Reading<'_>) {
    let Some(known) = read_saved::<Snapshot>(reading, 1) else {
        return;
    };
    let vm = vm(reading.shape);
    // It starts with something else than the saved one.
    let table = table(&vm, reading.shape.rotate_right(8) & !3 | reading.shape & 3);
    let before = observe(&vm, &table);
    vm.arm(reading, &[CallKind::SetGsiRouting]);
    let restored = table.restore(&known.snapshot);
    let can_be = known
        .value
        .as_ref()
        .is_some_and(|value| can_be(&table, value));
    match restored {
        Ok(()) => {
            vm.sim.clear_faults();
            assert!(can_be, "restored, though it cannot be");
            let value = known.value.expect("of this version");
            works(&vm, &table, &value);
        }
        Err(error) => {
            expect_short(&error);
            let refused = matches!(error, RestoreError::Refused { .. });
            assert!(!can_be || refused, "refused without reason: {error}");
            assert!(
                !reading.valid || reading.fault.is_some(),
                "refused: {error}"
            );
            vm.sim.clear_faults();
            let after = observe(&vm, &table);
            assert_eq!(
                (&after.0, &after.2, &after.3),
                (&before.0, &before.2, &before.3)
            );
            // The table is still empty.
            table.restore(&saved(reading.shape)).expect("a valid one");
        }
    }
}

/// Whether a document of this version is one of a table, wherever it comes from. A kernel may still
/// refuse its routes.
fn can_be(table: &RoutingTable, value: &Value) -> bool {
    let platforms = ["x86", "x86-split", "arm64-gic", "riscv64-aia"];
    let own = format!("{:?}", table.platform()).to_lowercase();
    let platform = platforms
        .into_iter()
        .find(|name| name.replace('-', "") == own);
    let mut seen = BTreeSet::new();
    value["platform"].as_str() == platform
        && list(&value["gsis"]).iter().all(|gsi| {
            let number = gsi["gsi"].as_u64().expect("a number");
            let name = gsi["name"].as_str().unwrap_or_default();
            let pins = gsi["route"].get("pins");
            seen.insert(number)
                && number < 4096
                && name.len() <= 128
                && !name.contains(char::is_control)
                && pins.is_none_or(|pins| are_pins(list(pins)))
                && (pins.is_some() || gsi["wired"] == false)
        })
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

/// At least one, at most one of each chip, all of one platform.
fn are_pins(pins: &[Value]) -> bool {
    assert!(pins.len() <= 3, "no platform has so many chips");
    let mut chips = BTreeSet::new();
    let mut exists = |pin: &Value| {
        let chip = pin["chip"].as_str().expect("a name");
        let most = match chip {
            "pic-master" | "pic-slave" => 8,
            "io-apic" => 24,
            "gic" => 988,
            _ => 1024,
        };
        let number = pin["pin"].as_u64().expect("a number");
        number < most && chips.insert(chip.to_owned())
    };
    let all_exist = pins.iter().all(&mut exists);
    let alone = chips.contains("gic") || chips.contains("aplic");
    all_exist && !pins.is_empty() && (pins.len() == 1 || !alone)
}

/// Sorted, and without what a restore does not keep.
fn normal(value: &Value) -> Value {
    let mut value = value.clone();
    let gsis = value["gsis"].as_array_mut().expect("a list");
    gsis.sort_by_key(|gsi| gsi["gsi"].as_u64());
    for gsi in gsis {
        if gsi["wired"] == true {
            gsi["name"] = Value::Null;
        }
        if let Some(pins) = gsi["route"].get_mut("pins").and_then(Value::as_array_mut) {
            pins.sort_by_key(|pin| pin["chip"].to_string());
        }
    }
    value
}

/// The kernel has what the table has, each lease is claimed once, and the table can be changed.
fn works(vm: &Watched, table: &RoutingTable, value: &Value) {
    let now = serde_json::to_value(table.snapshot()).expect("it is known");
    assert_eq!(normal(&now), normal(value));
    let in_force = |vm: &Watched| -> BTreeSet<(u32, String)> {
        let entries = vm.in_force().into_iter();
        entries
            .map(|entry| (entry.gsi, format!("{:?}", entry.target)))
            .collect()
    };
    let routes = |table: &RoutingTable| -> BTreeSet<(u32, String)> {
        let routes = table.routes().into_iter();
        let targets = |(gsi, route): (irq_routing::Gsi, Route)| {
            let targets = match route {
                Route::Pins(pins) => pins
                    .iter()
                    .map(|pin| RouteTarget::Pin {
                        chip: pin.chip().number(),
                        pin: pin.number(),
                    })
                    .collect(),
                Route::Msi(message) => vec![RouteTarget::Msi(message)],
                Route::HvSint { vcpu, sint } => vec![RouteTarget::HvSint { vcpu, sint }],
                other => {
                    assert!(matches!(other, Route::XenEvtchn { .. }));
                    return Vec::new();
                }
            };
            let targets = targets.into_iter();
            targets
                .map(|target| (gsi.number(), format!("{target:?}")))
                .collect()
        };
        routes.flat_map(targets).collect()
    };
    if vm.sim.calls(CallKind::SetGsiRouting) > 0 {
        let in_force = in_force(vm);
        assert!(routes(table).is_subset(&in_force));
    }
    let dump = table.dump();
    assert_eq!(dump.to_string().parse().as_ref(), Ok(&dump));
    let unclaimed = table.unclaimed();
    let gsis = list(&value["gsis"]).iter();
    assert_eq!(
        unclaimed.len(),
        gsis.filter(|gsi| gsi["wired"] == false).count()
    );
    let claim = |gsi: irq_routing::Gsi| {
        let lease = table.claim(gsi.number()).expect("it is there");
        assert_eq!(lease.route(), table.route(gsi));
        assert!(table.claim(gsi.number()).is_err());
        lease
    };
    let mut claimed: Vec<_> = unclaimed.into_iter().map(claim).collect();
    claimed.truncate(claimed.len() / 2);
    let message = MsiMessage::new(0xfee0_0000, 0x55);
    let lease = table
        .lease_msi(message)
        .expect("GSIs are free now, and the message is fine");
    let target = RouteTarget::Msi(message);
    let entry = |entry: &RouteEntry| entry.gsi == lease.gsi().number() && entry.target == target;
    assert_eq!(vm.in_force().iter().filter(|it| entry(it)).count(), 1);
    let _ = vm.sim.deliver();
    if let Ok(irqfd) = IrqFd::builder(lease).assign() {
        irqfd.notifier().notify().expect("it has room");
        let injected = vm.sim.deliver();
        let sent = |it: &notify_sim::Injected| it.interrupt == Interrupt::Msi(message);
        assert_eq!(injected.iter().filter(|it| sent(it)).count(), 1);
    }
}
