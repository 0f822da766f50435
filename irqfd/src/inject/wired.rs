// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The numbers of lines on arm64 and riscv64, where KVM_IRQ_LINE does not ask the routing table.
//!
//! Kernel documentation: `Documentation/virt/kvm/api.rst`, 4.25. Kernel source: `kvm_vm_ioctl_irq_line` in
//! `arch/arm64/kvm/arm.c` and in `arch/riscv/kvm/vm.c`.

use irq_routing::{Gsi, IrqChip, Route, RoutingTable};

use crate::Error;

/// arm64: the kind "shared interrupt", and the first of their numbers.
const SPI: u32 = 1 << 24;
const FIRST_SPI: u32 = 32;

/// The number of the source to which a GSI leads. (An irqfd needs no such thing: it does go through the table.)
pub(super) fn number(table: &RoutingTable, gsi: Gsi) -> Result<u32, Error> {
    let Some(Route::Pins(pins)) = table.route(gsi) else {
        return Err(Error::NoPin { gsi });
    };
    // Neither platform has a second chip.
    let pin = pins.iter().next().ok_or(Error::NoPin { gsi })?;
    let number = pin.number();
    Ok(match pin.chip() {
        IrqChip::Gic => SPI | (FIRST_SPI + number),
        _ => number,
    })
}
