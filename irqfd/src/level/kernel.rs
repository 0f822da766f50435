// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Kernel`]: a line to pins in the kernel, which knows when an interrupt has ended.

use irq_routing::{Line, Platform};
use notify_core::{Capability, Retired};

use super::binding;
use super::held::Held;
use super::members::{Member, Members};
use crate::inject::line_number;
use crate::{Error, NoResample};

/// A line to pins of interrupt controllers in the kernel. The VMM's own devices have one level there
/// (KVM_IRQ_LINE), the resampling irqfds have another; the kernel does the rest.
#[derive(Debug)]
pub(super) struct Kernel {
    held: Held,
    /// The level that the VMM's own devices have in the kernel.
    level: bool,
}

impl Kernel {
    pub(super) fn new(held: Held) -> Self {
        Self { held, level: false }
    }

    pub(super) fn held(&mut self) -> &mut Held {
        &mut self.held
    }

    /// Gives the kernel the level of the VMM's own devices, unless it has it.
    pub(super) fn follow(&mut self, level: bool) -> Result<(), Error> {
        if self.level == level {
            return Ok(());
        }
        self.send(level)
    }

    /// The status is not asked for: the real-time clock's pin would lose a level to it, as
    /// [`inject::line_status`](crate::inject::line_status) says.
    pub(super) fn send(&mut self, level: bool) -> Result<(), Error> {
        let (table, gsi) = (self.held.line().table(), self.held.line().gsi());
        match table.vm().irq_line(line_number(table, gsi)?, level) {
            // A machine that is being closed takes the level along, as it does irqfds.
            Err(source) if level || !Retired::caused(&source) => {
                let line = gsi.number();
                Err(Error::SetLevel { line, source })
            }
            _ => {
                self.level = level;
                Ok(())
            }
        }
    }

    /// Whether a new member may join those that are there.
    pub(super) fn admit(&self, members: &Members, new: &Member) -> Result<(), Error> {
        let line = self.held.line();
        let gsi = line.gsi();
        if new.resample.is_some() {
            let reason = can_resample(line);
            reason.map_err(|reason| Error::NoResample { gsi, reason })?;
        }
        if has_a_level_for_each_source(line.table().platform()) {
            return Ok(());
        }
        let told_of_own = new.resample.is_some() && !new.exported;
        let others = members.iter().any(|member| member.exported != new.exported);
        if told_of_own || others {
            return Err(Error::OneSource { gsi });
        }
        Ok(())
    }

    /// Whether a member may have a level beside its trigger.
    pub(super) fn admit_level(&self, member: &Member) -> Result<(), Error> {
        let line = self.held.line();
        if member.exported && !has_a_level_for_each_source(line.table().platform()) {
            return Err(Error::OneSource { gsi: line.gsi() });
        }
        Ok(())
    }

    pub(super) fn bind(&self, member: &mut Member) -> Result<(), Error> {
        binding::bind(self.held.line(), self.held.bound(), member)
    }
}

/// A level that could not be lowered when the last device left would be the next line's.
impl Drop for Kernel {
    fn drop(&mut self) {
        if let Err(Error::SetLevel { line, source }) = self.follow(false) {
            log::error!("line {line} stays high, and nobody asserts it: {source}");
        }
    }
}

/// Whether the controllers to which a line leads keep a level for each source and or them, as those of x86 do
/// (`kvm_irq_line_state` in `arch/x86/kvm/irq.h`). Those of arm64 and riscv64 have one level, which is that of
/// whoever came last (`vgic_irqfd_set_irq`, `kvm_riscv_aia_aplic_inject`).
fn has_a_level_for_each_source(platform: Platform) -> bool {
    matches!(platform, Platform::X86)
}

/// Whether the kernel tells of the ends of this line's interrupts.
fn can_resample(line: &Line) -> Result<(), NoResample> {
    // No EOI of an APLIC reaches KVM: it calls `kvm_notify_acked_irq` nowhere in `arch/riscv/kvm`.
    if line.table().platform() == Platform::Riscv64Aia {
        return Err(NoResample::NeverTold);
    }
    match line.table().vm().capability(Capability::IrqFdResample) {
        Ok(0) => Err(NoResample::NoCapability),
        _ => Ok(()),
    }
}
