// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! KVM_IRQ_LINE and KVM_IRQ_LINE_STATUS.

use std::io;

use irq_routing::{Gsi, KernelRoute, Line, Platform, Route, RoutingTable};
use notify_core::{LineStatus, SysError};

use super::InjectError;
use super::{Injected, wired};

/// Sets the level of a GSI (KVM_IRQ_LINE). An edge is `true`, then `false`.
///
/// The kernel keeps one level of a GSI for all callers of this ioctl. Where devices share a line,
/// use a [`LevelLine`](crate::LevelLine), which combines their levels. (What irqfds with a resample
/// eventfd assert is a separate level.)
///
/// A GSI that is routed to a message sends it at each call with `true`.
///
/// # Errors
///
/// [`InjectError::NoIrqChip`]; [`InjectError::NoPin`] on arm64 and riscv64;
/// [`InjectError::LevelRefused`]: the kernel refuses, or the VM is being closed. Where the
/// port has no [`Vm::irq_line_status`](notify_core::Vm::irq_line_status),
/// [`InjectError::NoIrqLine`] for a pin, and [`InjectError::LevelRefused`] for a message: an
/// [`IrqFd`](crate::IrqFd) or a [`LevelLine`](crate::LevelLine) sends that.
#[inline]
pub fn line(line: &Line, level: bool) -> Result<(), InjectError> {
    let (table, gsi) = (line.table(), line.gsi());
    let result = table.vm().irq_line(pin_number(table, gsi)?, level);
    result.map_err(|error| explain(table, gsi, error))
}

/// Sets the level of a GSI and returns the outcome (KVM_IRQ_LINE_STATUS).
///
/// On x86 this has an effect that [`line`](line()) does not have. While an interrupt of the
/// real-time clock (pin 8 of the IOAPIC) awaits the EOI of a vCPU that took it, a second one is not
/// injected but [`Coalesced`](Injected::Coalesced), so that the caller can count lost ticks.
///
/// # Errors
///
/// Those of [`line`](line()).
#[inline]
pub fn line_status(line: &Line, level: bool) -> Result<Injected, InjectError> {
    let (table, gsi) = (line.table(), line.gsi());
    match table.vm().irq_line_status(pin_number(table, gsi)?, level) {
        Ok(LineStatus::Delivered(taken)) => Ok(Injected::Delivered(taken)),
        other => otherwise(table, gsi, level, other),
    }
}

/// KVM's number of the line. `None` if it is routed to no pin, where only pins have a level.
#[inline]
pub(crate) fn number(table: &RoutingTable, gsi: Gsi) -> Option<u32> {
    match table.platform() {
        Platform::Arm64Gic | Platform::Riscv64Aia => wired::number(table, gsi),
        _ => Some(gsi.number()),
    }
}

#[inline]
fn pin_number(table: &RoutingTable, gsi: Gsi) -> Result<u32, InjectError> {
    number(table, gsi).ok_or(InjectError::NoPin { gsi })
}

/// A function of its own, so that the usual path is short.
#[cold]
fn otherwise(
    table: &RoutingTable,
    gsi: Gsi,
    level: bool,
    result: io::Result<LineStatus>,
) -> Result<Injected, InjectError> {
    match result {
        Ok(LineStatus::Delivered(taken)) => Ok(Injected::Delivered(taken)),
        Ok(LineStatus::Coalesced) => Ok(zero(table, gsi)),
        Ok(LineStatus::Ignored) => Ok(nothing(table, gsi, level)),
        Ok(_) => Ok(Injected::Untold),
        Err(error) => Err(explain(table, gsi, error)),
    }
}

/// The status was 0: a pin is pending already, a message was taken by no local APIC.
fn zero(table: &RoutingTable, gsi: Gsi) -> Injected {
    match table.route(gsi) {
        Some(Route::Pins(_)) => Injected::Coalesced,
        _ => Injected::NoListener,
    }
}

/// The status was -1, which has several causes.
fn nothing(table: &RoutingTable, gsi: Gsi, level: bool) -> Injected {
    match table.kernel_route(gsi) {
        KernelRoute::Routed(Route::Pins(_)) => Injected::Masked,
        KernelRoute::Routed(_) | KernelRoute::Blocked if !level => Injected::NoLowLevel,
        KernelRoute::Routed(_) => Injected::NoListener,
        KernelRoute::Blocked => Injected::Untranslated,
        // The kernel may have a route that is not the table's.
        _ => Injected::Untold,
    }
}

/// Finds the cause of a refusal. KVM returns ENXIO on every architecture where no controller is in
/// the kernel; one that is not ready yet has another errno.
#[cold]
fn explain(table: &RoutingTable, gsi: Gsi, error: io::Error) -> InjectError {
    let is_unsupported = error.kind() == io::ErrorKind::Unsupported;
    let cause = SysError::from(error);
    match cause.raw_os_error() {
        Some(libc::ENXIO) => InjectError::NoIrqChip { cause },
        _ if is_unsupported && matches!(table.route(gsi), Some(Route::Pins(_))) => {
            InjectError::NoIrqLine { gsi, cause }
        }
        _ => InjectError::LevelRefused { gsi, cause },
    }
}
