// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What a table starts with.
//!
//! KVM cannot be asked for its table, and replaces it whole. So a table has to contain from its
//! first commit on what the VM had before. What that is depends on the interrupt controllers, which
//! a VMM may create after the table. It is decided when the table is built if the VM has them then,
//! and by the first commit otherwise.

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

/// How many of the lowest GSIs are not leased for messages, unless the caller knows better: those
/// of the pins, whether they are wired or not.
///
/// On x86 the timer in the kernel raises GSI 0 wherever it leads, and a split irqchip's EOI exits
/// exist for the first GSIs alone. On arm64 and riscv64 GSI n is interrupt source n.
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
    /// Decides what the table starts with, unless that is decided. The VM is asked without the
    /// lock.
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

    /// Which interrupt controllers the table is for, or will be for when its start is decided.
    pub(crate) fn platform_to_start_with(&self) -> Result<Platform, Error> {
        match self.platform.get() {
            Some(platform) => Ok(*platform),
            None => Ok(wiring_of(&*self.vm)?.platform()),
        }
    }

    /// The same before a request is carried out. If it fails, so does the request.
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
            // Of two edits of a lease the later one counts, also after this.
            self.state.lock().supersede_older_edits(&mut request);
            request.finish_open_edits(Err(failure));
            return Err(request.finish(Ok(())));
        }
        Err(request.finish(Err(failure)))
    }
}

impl State {
    /// Enters what the kernel has, or is to have from the first commit on. Leases that were taken
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

    /// Whether nothing is used for anything, but for the wiring that the table has started with, if
    /// nothing was ever committed.
    pub(crate) fn is_unused(&self) -> bool {
        let unused = |(_, slot)| match slot {
            Slot::Free => true,
            Slot::Wired { lines, .. } => lines == 0 && !self.was_committed,
            _ => false,
        };
        self.slots.iter().all(unused) && self.slots.unsettled.is_clear()
    }
}
