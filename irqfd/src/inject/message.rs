// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! KVM_SIGNAL_MSI.

use std::io;

use irq_routing::{MsiMessage, Platform, RoutingTable};
use notify_core::{MsiOutcome, SysError, Vm};

use super::InjectError;
use super::Injected;

/// Sends a message (KVM_SIGNAL_MSI), translated by the table's translation.
///
/// For a message of the VMM itself. For a vector that the guest masks and retargets use a
/// [`Vector`](crate::Vector). It calls the translation, so the caller must not hold a lock that the
/// translation takes.
///
/// The outcome is one of [`Delivered`](Injected::Delivered), [`NoListener`](Injected::NoListener)
/// and [`Untranslated`](Injected::Untranslated); on riscv64 [`Untold`](Injected::Untold) for the
/// first two.
///
/// # Errors
///
/// [`InjectError::NoIrqChip`]; [`InjectError::MessageRefused`]: the kernel refuses the message, the
/// VM is being closed, or the port has no [`Vm::signal_msi`](notify_core::Vm::signal_msi)
/// (`Unsupported`). With such a port a [`Vector`](crate::Vector) sends by an irqfd, if it returns 0
/// for [`Extension::SignalMsi`](notify_core::Extension::SignalMsi).
#[inline]
pub fn message(table: &RoutingTable, message: MsiMessage) -> Result<Injected, InjectError> {
    let Some(translated) = table.translate(message) else {
        return Ok(Injected::Untranslated);
    };
    match table.vm().signal_msi(&translated) {
        Ok(MsiOutcome::Delivered(taken)) => Ok(Injected::Delivered(taken)),
        other => otherwise(table, message, other),
    }
}

/// A function of its own, so that the usual path is short.
#[cold]
fn otherwise(
    table: &RoutingTable,
    message: MsiMessage,
    result: io::Result<MsiOutcome>,
) -> Result<Injected, InjectError> {
    match result {
        Ok(MsiOutcome::Delivered(taken)) => Ok(Injected::Delivered(taken)),
        // Kernel source: `kvm_riscv_aia_inject_msi` returns 0 whether or not a hart took it.
        Ok(_) if table.platform() == Platform::Riscv64Aia => Ok(Injected::Untold),
        Ok(_) => Ok(Injected::NoListener),
        Err(error) => Err(explain(&**table.vm(), message, error.into())),
    }
}

/// Finds the cause of a refusal.
fn explain(vm: &dyn Vm, message: MsiMessage, cause: SysError) -> InjectError {
    match cause.raw_os_error() {
        Some(libc::EINVAL) if matches!(vm.platform(), Ok(None)) => InjectError::NoIrqChip { cause },
        _ => InjectError::MessageRefused { message, cause },
    }
}
