// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What a table starts with.
//!
//! KVM's table cannot be read, and is replaced as a whole. So the first commit must contain what
//! the VM had before. That depends on the interrupt controllers, which a VMM may create after the
//! table. It is decided when the table is built if the VM has them by then, otherwise by the first
//! commit.

pub(crate) mod builder;
pub(crate) mod wiring;

use notify_core::{Platform, Retired, Vm};

use crate::IrqChip;
use crate::commit::edit::Edit;
use crate::commit::failure::{Failure, guarded};
use crate::commit::request::{Finished, Request, RequestKind};
use crate::table::shared::Shared;
use crate::table::slots::Slot;
use crate::table::state::State;
use crate::{Error, Gsi, Pins, Wiring};

/// The default number of reserved GSIs: those of the pins, whether they are wired or not.
///
/// On x86 the PIT in the kernel raises GSI 0 whatever its route is, and EOI exits of a split
/// irqchip exist for the first GSIs only. On arm64 and riscv64 GSI n is interrupt source n.
pub(crate) fn reserved_gsis(platform: Platform) -> u32 {
    let chip = match platform {
        Platform::Arm64Gic => IrqChip::Gic,
        Platform::Riscv64Aia => IrqChip::Aplic,
        Platform::X86 | Platform::X86Split => IrqChip::IoApic,
    };
    chip.pins().into()
}

/// What the kernel's table contains after its interrupt controllers were created.
///
/// # Errors
///
/// [`Error::NoIrqChip`], [`Error::UnknownWiring`], [`Error::Retired`], [`Error::Platform`].
pub(crate) fn wiring_of(vm: &dyn Vm) -> Result<Wiring, Error> {
    match vm.platform() {
        Ok(Some(Platform::X86)) => Ok(Wiring::kernel_default_x86()),
        Ok(Some(Platform::X86Split)) => Ok(Wiring::none(Platform::X86Split)),
        Ok(Some(platform)) => Err(Error::UnknownWiring {
            platform: Some(platform),
        }),
        Ok(None) => Err(Error::NoIrqChip { cause: None }),
        Err(error) if error.kind() == std::io::ErrorKind::Unsupported => {
            Err(Error::UnknownWiring { platform: None })
        }
        Err(error) if Retired::caused(&error) => Err(Error::Retired),
        Err(error) => Err(Error::Platform {
            cause: error.into(),
        }),
    }
}

impl Shared {
    /// Decides what the table starts with, unless that is decided. Asks the VM while the lock is
    /// not held.
    pub(crate) fn start(&self) -> Result<(), Error> {
        if self.platform.get().is_some() {
            return Ok(());
        }
        let wiring = wiring_of(&*self.vm)?;
        // A round that needs no start may have the kernel's table: a flush.
        let in_round = |state: &State| self.platform.get().is_none() && state.kernel.is_none();
        let mut state = self.ended.wait_while(self.state.lock(), in_round);
        // Another thread may have come first.
        if self.platform.get().is_none() {
            state.start(&wiring)?;
            // It was empty under the lock.
            let _ = self.platform.set(wiring.platform());
        }
        Ok(())
    }

    /// The platform that the table is for, or will be for when its start is decided.
    pub(crate) fn platform_to_start_with(&self) -> Result<Platform, Error> {
        match self.platform.get() {
            Some(platform) => Ok(*platform),
            None => Ok(wiring_of(&*self.vm)?.platform()),
        }
    }

    /// Decides the start before a request is carried out. If that fails, so does the request.
    pub(crate) fn start_for(
        &self,
        kind: RequestKind,
        edits: Vec<Edit>,
    ) -> Result<Vec<Edit>, Finished> {
        // Without a start nothing was ever committed, and there is nothing to clean up.
        if matches!(
            kind,
            RequestKind::Flush | RequestKind::Drive(_) | RequestKind::Retranslate
        ) {
            return Ok(edits);
        }
        let failure = match guarded(|| self.start()) {
            Ok(Ok(())) => return Ok(edits),
            Ok(Err(error)) => Failure::Error(error),
            Err(panic) => panic,
        };
        let mut request = Request::new(0, kind, edits);
        if kind == RequestKind::Each {
            // Of two edits of a lease the later one counts, also after this failure.
            self.state.lock().supersede_older_edits(&mut request);
            request.finish_open_edits(Err(failure));
            return Err(request.finish(Ok(())));
        }
        Err(request.finish(Err(failure)))
    }
}

impl State {
    /// Sets what the kernel has, or is to have from the first commit on. Leases that were taken
    /// before keep their GSIs.
    pub(crate) fn start(&mut self, wiring: &Wiring) -> Result<(), Error> {
        let limit = self.slots.limit();
        let mut lines = Vec::with_capacity(wiring.iter().len());
        for (number, pins) in wiring.iter() {
            let gsi = Gsi::below(limit, number);
            lines.push((
                gsi.ok_or(Error::GsiOutOfRange { gsi: number, limit })?,
                pins,
            ));
        }
        self.platform = wiring.platform();
        let is_free = |(gsi, _): &(Gsi, Pins)| matches!(self.slots.get(*gsi), Slot::Free);
        lines.retain(is_free);
        for (gsi, pins) in &lines {
            let (pins, lines) = (*pins, 0);
            self.slots.put(*gsi, Slot::Wired { pins, lines });
        }
        if let Some(kernel) = &mut self.kernel {
            kernel.start(wiring.platform(), &lines);
        }
        Ok(())
    }

    /// Whether no GSI is in use, except for the initial wiring if nothing was ever committed.
    pub(crate) fn is_unused(&self) -> bool {
        let unused = |(_, slot)| match slot {
            Slot::Free => true,
            Slot::Wired { lines, .. } => lines == 0 && !self.was_committed,
            _ => false,
        };
        self.slots.iter().all(unused) && self.slots.unsettled.is_clear()
    }
}
