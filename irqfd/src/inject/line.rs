// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! KVM_IRQ_LINE and KVM_IRQ_LINE_STATUS.

use std::io;

use irq_routing::{Explanation, Gsi, Line, Loss, Platform, Route, RoutingTable};
use notify_core::LineStatus;

use super::{Injected, wired};
use crate::Error;

/// Drives the line of a GSI: high or low. An edge is high, then low.
///
/// The kernel keeps one level for all who call this for a GSI: whoever lowers it lowers it for
/// all. Where several devices share a line, somebody has to add up their levels. (What irqfds with a resample
/// eventfd assert is a level apart.)
///
/// A GSI that leads to a message sends it at each call with `true`. Any thread may call this.
///
/// # Errors
///
/// [`Error::NoController`]; [`Error::NoPin`] on arm64 and riscv64; [`Error::Line`]: the kernel
/// refuses, or the machine is being closed. Where the port has no
/// [`Vm::irq_line_status`](notify_core::Vm::irq_line_status), [`Error::NoLevel`] for a pin, and
/// [`Error::Line`] for a message: an [`IrqFd`](crate::IrqFd) or a [`LevelLine`](crate::LevelLine)
/// sends that.
#[inline]
pub fn line(line: &Line, level: bool) -> Result<(), Error> {
    let (table, gsi) = (line.table(), line.gsi());
    let result = table.vm().irq_line(number(table, gsi)?, level);
    result.map_err(|source| explain(table, gsi, source))
}

/// The same, and what became of it.
///
/// On x86 to ask is not without effect: while an interrupt of the real-time clock (pin 8 of the IOAPIC) is not
/// ended on every vCPU that took it, a second one is [`Coalesced`](Injected::Coalesced) instead of
/// injected, so that the caller can count the lost ticks. [`line`](line()) has no such rule.
///
/// # Errors
///
/// Those of [`line`](line()).
#[inline]
pub fn line_status(line: &Line, level: bool) -> Result<Injected, Error> {
    gsi_status(line.table(), line.gsi(), level)
}

/// The same for a GSI that may lead nowhere: of a device model that is older than this crate, a debugger, a test.
/// A [`Line`] keeps its route, and is to be preferred.
///
/// # Errors
///
/// Those of [`line`](line()).
#[inline]
pub fn gsi_status(table: &RoutingTable, gsi: Gsi, level: bool) -> Result<Injected, Error> {
    match table.vm().irq_line_status(number(table, gsi)?, level) {
        Ok(LineStatus::Delivered(taken)) => Ok(Injected::Delivered(taken)),
        other => otherwise(table, gsi, level, other),
    }
}

/// What KVM calls the line.
#[inline]
pub(crate) fn number(table: &RoutingTable, gsi: Gsi) -> Result<u32, Error> {
    match table.platform() {
        Platform::Arm64Gic | Platform::Riscv64Aia => wired::number(table, gsi),
        _ => Ok(gsi.number()),
    }
}

/// Apart, so that what is usual is short.
#[cold]
fn otherwise(
    table: &RoutingTable,
    gsi: Gsi,
    level: bool,
    answer: io::Result<LineStatus>,
) -> Result<Injected, Error> {
    match answer {
        Ok(LineStatus::Delivered(taken)) => Ok(Injected::Delivered(taken)),
        Ok(LineStatus::Coalesced) => Ok(zero(table, gsi)),
        Ok(LineStatus::Ignored) => Ok(nothing(table, gsi, level)),
        Ok(_) => Ok(Injected::Untold),
        Err(source) => Err(explain(table, gsi, source)),
    }
}

/// The status was 0: of a pin, pending already; of anything else, taken by nobody.
fn zero(table: &RoutingTable, gsi: Gsi) -> Injected {
    match table.route(gsi) {
        Some(Route::Pins(_)) => Injected::Coalesced,
        Some(_) => Injected::NoListener,
        // The kernel has one, which is not the table's.
        None => Injected::Untold,
    }
}

/// The status was -1, of which there are several kinds.
fn nothing(table: &RoutingTable, gsi: Gsi, level: bool) -> Injected {
    match (table.route(gsi), table.explain(gsi)) {
        (
            _,
            Explanation::Unknown
            | Explanation::Lost {
                reason: Loss::Stale,
                ..
            },
        ) => Injected::Untold,
        (None, _) => Injected::NoRoute,
        (Some(Route::Pins(_)), _) => Injected::Masked,
        (Some(_), _) if !level => Injected::NoLowLevel,
        (
            Some(_),
            Explanation::Lost {
                reason: Loss::Blocked,
                ..
            },
        ) => Injected::Untranslated,
        _ => Injected::NoListener,
    }
}

/// Turns a refusal of the kernel into an error that says as much as can be found out. ENXIO is what KVM says on
/// every architecture where no controller is in the kernel; one that is not ready yet has another errno.
#[cold]
fn explain(table: &RoutingTable, gsi: Gsi, source: io::Error) -> Error {
    let is_unsupported = source.kind() == io::ErrorKind::Unsupported;
    match source.raw_os_error() {
        Some(libc::ENXIO) => Error::NoController { source },
        _ if is_unsupported && matches!(table.route(gsi), Some(Route::Pins(_))) => {
            Error::NoLevel { gsi, source }
        }
        _ => Error::Line { gsi, source },
    }
}
