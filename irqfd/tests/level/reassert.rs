// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The guest masks and unmasks a pin in the kernel while devices of the VMM hold it up.

use std::sync::atomic::Ordering;

use irqfd::LevelError;
use notify_core::Bus;
use notify_sim::{CallKind, SimVm};

use super::bench::{self, GSI, VECTOR, pin};
use super::{exported, heard, own, signal, told};

fn write_entry(vm: &SimVm, entry: u32) {
    vm.guest_write(Bus::Mmio, 0xfec0_0000, &(0x10 + 2 * GSI).to_le_bytes());
    vm.guest_write(Bus::Mmio, 0xfec0_0010, &entry.to_le_bytes());
}

const UNMASKED: u32 = 0x8000 | VECTOR as u32;
const MASKED: u32 = 1 << 16 | UNMASKED;

#[test]
fn a_level_that_the_kernel_forgot_at_an_unmask_is_said_again() {
    let (vm, _, line) = bench::pc();
    bench::use_ioapic(&vm);
    let (disk, net, card) = (own(&line), told(&line), exported(&line));
    write_entry(&vm, MASKED);
    disk.assert().unwrap();
    write_entry(&vm, UNMASKED);
    // As in the kernel: devices with a resample notifier are signalled, and the disk is not.
    assert_eq!([&net, &card].map(heard), [1, 1]);
    assert_eq!(vm.take_vector(0), None);
    vm.reset_calls();
    line.reassert().unwrap();
    assert_eq!(vm.calls(CallKind::IrqLine), 1);
    assert_eq!(vm.take_vector(0), Some(VECTOR));
    // One more signal than needed does no harm.
    line.reassert().unwrap();
    disk.deassert().unwrap();
    vm.lapic_eoi(0);
    assert_eq!([&net, &card].map(heard), [1, 1]);
    assert_eq!(vm.take_vector(0), None);
    assert!(!pin(&vm));
}

#[test]
fn to_reassert_a_low_line_does_nothing() {
    let (vm, _, line) = bench::pc();
    let (disk, card) = (own(&line), exported(&line));
    signal(&card);
    assert!(pin(&vm));
    vm.reset_calls();
    line.reassert().unwrap();
    assert_eq!(vm.total_calls(), 0);
    drop(disk);
}

#[test]
fn only_a_line_to_the_kernel_s_pins_is_reasserted() {
    let (vm, _table, line, _exits) = bench::split();
    line.redirect(bench::level(VECTOR), false).unwrap();
    let (disk, net) = (own(&line), told(&line));
    disk.assert().unwrap();
    vm.reset_calls();
    line.reassert().unwrap();
    assert_eq!((vm.total_calls(), heard(&net)), (0, 0));
    let (chip, line, _exits) = bench::on_chip();
    let (disk, calls) = (own(&line), || chip.calls.load(Ordering::Relaxed));
    disk.assert().unwrap();
    line.reassert().unwrap();
    assert_eq!(calls(), 1);
}

#[test]
fn a_reassertion_that_fails_says_so() {
    let (vm, _, line) = bench::pc();
    let disk = own(&line);
    disk.assert().unwrap();
    vm.fail(CallKind::IrqLine, 0, 5);
    let error = line.reassert().unwrap_err();
    assert!(
        matches!(error, LevelError::LevelRefused { line: GSI, .. }),
        "{error}"
    );
    assert!(disk.is_asserted() && line.is_asserted() && pin(&vm));
}
