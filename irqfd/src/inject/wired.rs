// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The numbers of lines on arm64 and riscv64, where KVM_IRQ_LINE does not ask the routing table.
//!
//! Kernel documentation: `Documentation/virt/kvm/api.rst`, 4.25. Kernel source:
//! `kvm_vm_ioctl_irq_line` in `arch/arm64/kvm/arm.c` and in `arch/riscv/kvm/vm.c`.

use irq_routing::{Gsi, IrqChip, Route, RoutingTable};

/// arm64: the kind "shared interrupt", and the first of their numbers.
const SPI: u32 = 1 << 24;
const FIRST_SPI: u32 = 32;

/// The number of the pin to which a GSI is routed, if it is. (An irqfd needs none: it does go
/// through the table.)
pub(super) fn number(table: &RoutingTable, gsi: Gsi) -> Option<u32> {
    let Some(Route::Pins(pins)) = table.route(gsi) else {
        return None;
    };
    // Neither platform has a second chip.
    let pin = pins.iter().next()?;
    let number = pin.number();
    Some(match pin.chip() {
        IrqChip::Gic => SPI | (FIRST_SPI + number),
        _ => number,
    })
}
