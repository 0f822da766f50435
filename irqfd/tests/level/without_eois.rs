// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Lines of a split irqchip whose EOIs are not reported, as of a TDX guest.

use std::sync::Arc;

use irq_routing::RoutingTable;
use irqfd::vfio::{IntxDevice, IntxError, PassthroughIntx};
use irqfd::{LevelError, LevelLine, NoResample};
use notify_core::EventNotifier;
use notify_sim::{CallKind, SimVm};

use super::bench::{GSI, VECTOR, edge, level, split_table};
use super::notifier;
use super::own;

/// A line whose entry is level-triggered and not masked.
fn open() -> (Arc<SimVm>, RoutingTable, LevelLine) {
    let (vm, table) = split_table();
    let lease = table.lease_exact(GSI).unwrap();
    lease.set_route(level(VECTOR)).unwrap();
    let line = LevelLine::builder(lease.into_line().unwrap()).without_eois();
    let line = line.build().unwrap();
    line.redirect(level(VECTOR), false).unwrap();
    vm.reset_calls();
    (vm, table, line)
}

/// The guest takes the interrupt and sends the EOI, which is not reported.
#[track_caller]
fn serve(vm: &SimVm) {
    assert_eq!(vm.take_vector(0), Some(VECTOR));
    vm.lapic_eoi(0);
}

fn sent(vm: &SimVm) -> u64 {
    vm.calls(CallKind::IrqLine)
}

#[test]
fn each_assertion_sends_also_while_the_line_is_high() {
    let (vm, _table, line) = open();
    let (disk, net) = (own(&line), own(&line));
    for round in 1..4 {
        disk.assert().unwrap();
        assert_eq!(sent(&vm), 2 * round - 1);
        serve(&vm);
        // The disk was not served, and the line is still high.
        net.assert().unwrap();
        assert_eq!(sent(&vm), 2 * round);
        serve(&vm);
    }
    assert!(vm.pending_vectors(0).is_empty());
}

#[test]
fn an_assertion_during_the_service_is_delivered_after_it() {
    let (vm, _table, line) = open();
    let disk = own(&line);
    disk.assert().unwrap();
    assert_eq!(vm.take_vector(0), Some(VECTOR));
    disk.assert().unwrap();
    vm.lapic_eoi(0);
    assert_eq!(vm.pending_vectors(0), [VECTOR]);
}

#[test]
fn a_level_that_falls_or_stays_sends_nothing() {
    let (vm, _table, line) = open();
    let (disk, net, card) = (own(&line), own(&line), own(&line));
    disk.assert().unwrap();
    net.assert().unwrap();
    card.assert().unwrap();
    disk.deassert().unwrap();
    disk.deassert().unwrap();
    net.leave().unwrap();
    drop(card);
    assert_eq!(sent(&vm), 3);
    assert!(!line.is_asserted());
}

#[test]
fn a_masked_or_paused_line_sends_once_when_that_ends() {
    let (vm, _table, line) = open();
    let disk = own(&line);
    line.redirect(level(VECTOR), true).unwrap();
    disk.assert().unwrap();
    disk.assert().unwrap();
    assert_eq!(sent(&vm), 0);
    for unmasked in 1..3 {
        line.redirect(level(VECTOR), false).unwrap();
        assert_eq!(sent(&vm), unmasked);
        serve(&vm);
        // The disk was not served.
        line.redirect(level(VECTOR), true).unwrap();
    }
    disk.deassert().unwrap();
    line.redirect(level(VECTOR), false).unwrap();
    assert_eq!(sent(&vm), 2);

    line.pause().unwrap();
    disk.assert().unwrap();
    disk.assert().unwrap();
    assert_eq!(sent(&vm), 2);
    line.resume().unwrap();
    assert_eq!(sent(&vm), 3);
    serve(&vm);
    disk.assert().unwrap();
    assert_eq!(sent(&vm), 4);
}

#[test]
fn an_edge_triggered_entry_gets_a_message_for_each_assertion() {
    let (vm, _table, line) = open();
    line.redirect(edge(VECTOR), false).unwrap();
    let (disk, net) = (own(&line), own(&line));
    disk.assert().unwrap();
    net.assert().unwrap();
    disk.assert().unwrap();
    assert_eq!(sent(&vm), 3);
    disk.deassert().unwrap();
    line.redirect(edge(VECTOR), true).unwrap();
    line.redirect(edge(VECTOR), false).unwrap();
    assert_eq!(sent(&vm), 3, "a level is no edge");

    // While it is paused the edge is kept.
    line.pause().unwrap();
    disk.assert().unwrap();
    line.resume().unwrap();
    assert_eq!(sent(&vm), 4);
}

#[test]
fn the_vmm_may_send_again() {
    let (vm, _table, line) = open();
    let disk = own(&line);
    line.reassert().unwrap();
    assert_eq!(sent(&vm), 0, "the line is low");
    disk.assert().unwrap();
    serve(&vm);
    line.reassert().unwrap();
    line.resync().unwrap();
    line.on_eoi().unwrap();
    assert_eq!(sent(&vm), 4);
    disk.deassert().unwrap();
    line.reassert().unwrap();
    assert_eq!(sent(&vm), 4);
}

#[test]
fn a_snapshot_of_a_high_line_sends_in_the_other_vm() {
    let (_vm, _table, line) = open();
    let disk = own(&line);
    disk.assert().unwrap();
    line.pause().unwrap();
    let snapshot = line.snapshot().unwrap();

    let (vm, _table, restored) = open();
    let disk = own(&restored);
    restored.pause().unwrap();
    restored.restore(&snapshot).unwrap();
    restored.resume().unwrap();
    assert_eq!(sent(&vm), 1);
    serve(&vm);
    disk.assert().unwrap();
    assert_eq!(sent(&vm), 2);
}

#[test]
fn a_device_that_waits_for_eois_is_refused() {
    let (_vm, _table, line) = open();
    for joined in [
        line.join_resampled(notifier()).map_err(|it| it.error),
        line.join_exported(None, notifier()).map_err(|it| it.error),
    ] {
        let error = joined.unwrap_err();
        let LevelError::NoResample { gsi, reason, .. } = error else {
            panic!("{error:?}");
        };
        assert_eq!(gsi.number(), GSI);
        assert!(matches!(reason, NoResample::WithoutEois), "{reason:?}");
    }
    let intx = PassthroughIntx::enable(&line, Arc::new(Device));
    assert!(matches!(
        intx.unwrap_err(),
        IntxError::Line(LevelError::NoResample { .. })
    ));
}

#[test]
fn nothing_is_asked_when_it_is_built() {
    let (vm, table) = split_table();
    // A GSI for which no EOI exit can come.
    let lease = table.lease_exact(100).unwrap();
    lease.set_route(level(VECTOR)).unwrap();
    vm.reset_calls();
    let line = LevelLine::builder(lease.into_line().unwrap()).without_eois();
    assert!(line.build().is_ok());
    assert_eq!(vm.total_calls(), 0);
}

#[derive(Debug)]
struct Device;

impl IntxDevice for Device {
    fn mask(&self) -> std::io::Result<()> {
        Ok(())
    }

    fn unmask(&self) -> std::io::Result<()> {
        Ok(())
    }

    fn set_trigger(&self, _: Option<&EventNotifier>) -> std::io::Result<()> {
        Ok(())
    }

    fn set_unmask(&self, _: Option<&EventNotifier>) -> std::io::Result<()> {
        Ok(())
    }
}
