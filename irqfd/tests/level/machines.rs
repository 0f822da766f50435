// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Lines of VMs that are no PC.

use std::sync::Arc;

use irq_routing::{RoutingTable, Wiring};
use irqfd::{LevelError, LevelLine, NoResample};
use notify_sim::{Profile, SimVm};

use super::{exported, heard, notifier, own, signal};

const GIC: u32 = 0;

fn arm64() -> (Arc<SimVm>, LevelLine) {
    let vm = Arc::new(
        SimVm::builder()
            .profile(Profile::Arm64Gic { spis: 64 })
            .build(),
    );
    vm.init_gic();
    vm.set_spi_level_triggered(6, true);
    let table = RoutingTable::builder(vm.clone()).wiring(Wiring::gic(64).unwrap());
    let table = table.build().unwrap();
    let line = LevelLine::builder(table.line(6).unwrap()).build().unwrap();
    (vm, line)
}

/// KVM_IRQ_LINE takes kind and INTID there, where an irqfd takes the GSI.
#[test]
fn arm64_own_devices_share_a_shared_interrupt() {
    let (vm, line) = arm64();
    let (one, other) = (own(&line), own(&line));
    one.assert().unwrap();
    other.assert().unwrap();
    one.deassert().unwrap();
    assert!(vm.is_pin_pending(6) && !vm.is_pin_pending(38));
    drop(other);
    assert!(!vm.is_pin_pending(6));
}

#[test]
fn arm64_exported_devices_share_a_shared_interrupt() {
    let (vm, line) = arm64();
    let (card, nic) = (exported(&line), exported(&line));
    signal(&card);
    drop(vm.deliver());
    assert!(vm.is_pin_pending(6));
    vm.guest_eoi(GIC, 6);
    assert_eq!([&card, &nic].map(heard), [1, 1]);
    assert!(!vm.is_pin_pending(6));
    signal(&nic);
    drop(vm.deliver());
    assert!(vm.is_pin_pending(6));
    drop((card, nic));
    assert!(!vm.is_pin_pending(6));
}

/// A shared interrupt has one level, the one that was set last.
#[test]
fn arm64_both_kinds_do_not_share_one() {
    let (vm, line) = arm64();
    let one_source =
        |error: LevelError| assert!(matches!(error, LevelError::OneSource { .. }), "{error}");
    let disk = own(&line);
    one_source(line.join_exported(None, notifier()).unwrap_err().error);
    one_source(line.join_resampled(notifier()).unwrap_err().error);
    drop(disk);
    let card = exported(&line);
    one_source(line.join().unwrap_err());
    one_source(card.assert().unwrap_err());
    assert!(!card.is_asserted() && !vm.is_pin_pending(6));
}

/// The pin's one level was set low at the resume, after the device's trigger had raised it.
#[test]
fn arm64_a_resync_of_a_paused_line_dropped_the_interrupt_of_an_exported_device() {
    let (vm, line) = arm64();
    let card = exported(&line);
    line.pause().unwrap();
    line.resync().unwrap();
    assert_eq!(heard(&card), 1);
    signal(&card);
    line.resume().unwrap();
    assert!(vm.is_pin_pending(6));
    line.resync().unwrap();
    assert!(vm.is_pin_pending(6) && heard(&card) == 1);
}

/// The level of the device that has left was lowered after the other's trigger had raised the pin.
#[test]
fn arm64_an_exported_device_took_the_place_of_an_own_one_while_the_line_was_paused() {
    let (vm, line) = arm64();
    let disk = own(&line);
    disk.assert().unwrap();
    line.pause().unwrap();
    disk.leave().unwrap();
    let card = exported(&line);
    signal(&card);
    line.resume().unwrap();
    drop(vm.deliver());
    assert!(vm.is_pin_pending(6));
    vm.guest_eoi(GIC, 6);
    assert!(!vm.is_pin_pending(6) && heard(&card) == 1);
}

#[test]
fn riscv64_tells_nobody_of_eois() {
    let vm = SimVm::builder().profile(Profile::Riscv64Aia { sources: 64 });
    let vm = Arc::new(vm.build());
    vm.init_aia();
    let table = RoutingTable::builder(vm.clone()).wiring(Wiring::aia(64).unwrap());
    let table = table.build().unwrap();
    let line = LevelLine::builder(table.line(6).unwrap()).build().unwrap();
    for joined in [
        line.join_resampled(notifier()).map_err(|it| it.error),
        line.join_exported(None, notifier()).map_err(|it| it.error),
    ] {
        let error = joined.unwrap_err();
        assert!(matches!(
            error,
            LevelError::NoResample {
                reason: NoResample::NeverReported,
                ..
            }
        ));
        assert_eq!(
            error.to_string(),
            "no EOI of GSI 6 is reported: KVM does not notice them on riscv64; join the line with \
             a device that asserts by itself"
        );
    }
    let disk = own(&line);
    disk.assert().unwrap();
    assert!(vm.is_pin_pending(6));
    disk.deassert().unwrap();
}
