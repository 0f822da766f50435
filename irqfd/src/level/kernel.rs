// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Kernel`]: a line to pins in the kernel, which handles EOIs.

use std::io;

use irq_routing::{Line, Platform};
use notify_core::{Extension, Retired};

use super::binding;
use super::driven_gsi::DrivenGsi;
use super::members::{Member, Members};
use super::placeholder::{Missed, Placeholder};
use crate::inject::line_number;
use crate::{LevelError, NoResample};

/// A line to pins of interrupt controllers in the kernel. The VMM's own devices have one level
/// there (KVM_IRQ_LINE), the resampling irqfds have another; the kernel does the rest.
#[derive(Debug)]
pub(super) struct Kernel {
    driven_gsi: DrivenGsi,
    /// The level that the VMM's own devices have in the kernel.
    level: bool,
    paused: Option<Paused>,
}

/// What a line has while it is paused.
#[derive(Debug, Default)]
struct Paused {
    /// If irqfds were bound when it was paused.
    placeholder: Option<Placeholder>,
    /// At resume the kernel gets the level even if it has it.
    send_again: bool,
    /// The interrupt controllers were restored, and may hold the pin up for exported devices of the
    /// other VM. If those leave before the resume, nothing lowers it.
    restored: bool,
}

impl Kernel {
    pub(super) fn new(driven_gsi: DrivenGsi) -> Self {
        Self {
            driven_gsi,
            level: false,
            paused: None,
        }
    }

    pub(super) fn driven_gsi(&mut self) -> &mut DrivenGsi {
        &mut self.driven_gsi
    }

    /// Whether the interrupt controllers may hold the pin up, and nothing lowers it in another VM:
    /// for the level of the VMM's own devices, or for exported ones that have left while the line
    /// was paused. (What devices that wait for EOIs hold up, an EOI lowers.)
    pub(super) fn sent_level(&self, members: &Members) -> bool {
        let paused = self.paused.as_ref();
        let may_be_held =
            paused.is_some_and(|paused| paused.placeholder.is_some() || paused.restored);
        self.level || may_be_held && !members.has_resampled()
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused.is_some()
    }

    /// Gives the kernel the level of the VMM's own devices, unless it has it. While the line is
    /// paused this waits for the resume.
    pub(super) fn follow(&mut self, level: bool) -> Result<(), LevelError> {
        if self.is_paused() || self.level == level {
            return Ok(());
        }
        self.send_now(level)
    }

    /// Gives the kernel the level though it may have it.
    pub(super) fn send(&mut self, members: &Members) -> Result<(), LevelError> {
        if let Some(paused) = &mut self.paused {
            paused.send_again = true;
            return Ok(());
        }
        match self.overwrites_triggers(members) {
            true => Ok(()),
            false => self.send_now(members.level()),
        }
    }

    /// Whether the level of the VMM's own devices would overwrite that of exported ones. There are
    /// none of its own beside them then, so their level is low.
    fn overwrites_triggers(&self, members: &Members) -> bool {
        let platform = self.driven_gsi.line().table().platform();
        members.has_exported() && !has_a_level_for_each_source(platform)
    }

    /// Without the status: the pin of the real-time clock would lose a level, see
    /// [`inject::line_status`](crate::inject::line_status).
    fn send_now(&mut self, level: bool) -> Result<(), LevelError> {
        let (table, gsi) = (self.driven_gsi.line().table(), self.driven_gsi.line().gsi());
        let line = line_number(table, gsi).ok_or(LevelError::NoPin { gsi })?;
        match table.vm().irq_line(line, level) {
            Err(error) if level || !stays_low(&error) => Err(match error.kind() {
                io::ErrorKind::Unsupported => {
                    let cause = error.into();
                    LevelError::NoIrqLine { gsi, cause }
                }
                _ => LevelError::level_refused(gsi.number(), error),
            }),
            _ => {
                self.level = level;
                Ok(())
            }
        }
    }

    /// Whether a new member may join those that are there.
    pub(super) fn admit(&self, members: &Members, new: &Member) -> Result<(), LevelError> {
        let line = self.driven_gsi.line();
        let gsi = line.gsi();
        if new.resample.is_some() {
            let reason = can_resample(line);
            reason.map_err(|reason| LevelError::NoResample { gsi, reason })?;
        }
        if has_a_level_for_each_source(line.table().platform()) {
            return Ok(());
        }
        let told_of_own = new.resample.is_some() && !new.exported;
        let others = members.iter().any(|member| member.exported != new.exported);
        if told_of_own || others {
            return Err(LevelError::OneSource { gsi });
        }
        Ok(())
    }

    /// Whether a member may have a level beside its trigger.
    pub(super) fn admit_level(&self, member: &Member) -> Result<(), LevelError> {
        let line = self.driven_gsi.line();
        if member.exported && !has_a_level_for_each_source(line.table().platform()) {
            return Err(LevelError::OneSource { gsi: line.gsi() });
        }
        Ok(())
    }

    /// Binds the trigger of a member. While the line is paused this waits for the resume.
    pub(super) fn bind(&self, member: &mut Member) -> Result<(), LevelError> {
        match self.paused {
            Some(_) => Ok(()),
            None => binding::bind(self.driven_gsi.line(), self.driven_gsi.bound(), member),
        }
    }

    /// Takes the irqfds of exported devices off, which waits for what they have under way in the
    /// kernel. Returns the devices that an EOI missed.
    pub(super) fn pause(&mut self, members: &mut Members) -> (Missed, Result<(), LevelError>) {
        if self.is_paused() {
            return (Missed::new(), Ok(()));
        }
        let before = bindings(members);
        let placeholder = before
            .contains(&true)
            .then(|| Placeholder::new(&self.driven_gsi));
        let placeholder = match placeholder.transpose() {
            Ok(placeholder) => placeholder,
            Err(error) => return (Missed::new(), Err(error)),
        };
        let (line, bound) = (self.driven_gsi.line(), self.driven_gsi.bound());
        let unbind = |member| binding::unbind(line, bound, member);
        let unbound = members.exported().try_for_each(unbind);
        match unbound {
            Ok(()) => {
                self.paused = Some(Paused {
                    placeholder,
                    ..Paused::default()
                });
                (Missed::new(), Ok(()))
            }
            Err(error) => {
                self.put_back(members, &before);
                let missed = placeholder.map(|placeholder| {
                    let placeholder = placeholder.remove_or_keep(&mut self.driven_gsi);
                    placeholder.missed(members)
                });
                (missed.unwrap_or_default(), Err(error))
            }
        }
    }

    /// Binds what is to be bound, gives the kernel the level, and takes the placeholder off.
    /// Returns the devices that an EOI missed.
    pub(super) fn resume(&mut self, members: &mut Members) -> (Missed, Result<(), LevelError>) {
        let (before, level) = (bindings(members), self.level);
        match self.try_resume(members) {
            Ok(()) => {
                let placeholder = self.paused.take().and_then(|paused| paused.placeholder);
                let missed = placeholder.map(|placeholder| placeholder.missed(members));
                (missed.unwrap_or_default(), Ok(()))
            }
            Err(error) => {
                self.put_back(members, &before);
                if self.level != level
                    && let Err(error) = self.send_now(level)
                {
                    log::error!("the level of a line that stays paused cannot be undone: {error}");
                }
                (Missed::new(), Err(error))
            }
        }
    }

    fn try_resume(&mut self, members: &mut Members) -> Result<(), LevelError> {
        let (level, may_send) = (members.level(), !self.overwrites_triggers(members));
        let Some(paused) = &mut self.paused else {
            return Ok(());
        };
        let send_again = paused.send_again && may_send;
        // For devices that have joined: if this fails they are taken off again, and what they have
        // signalled keeps the pin high. For those that have left after a restore: it lowers the pin
        // when it goes.
        if paused.placeholder.is_none() && (paused.restored || members.has_resampled()) {
            paused.placeholder = Some(Placeholder::new(&self.driven_gsi)?);
        }
        // The level of a device that has left, before the triggers of exported ones set theirs.
        if !may_send && level != self.level {
            self.send_now(level)?;
        }
        let (line, bound) = (self.driven_gsi.line(), self.driven_gsi.bound());
        for member in members.iter_mut() {
            binding::bind(line, bound, member)?;
        }
        if send_again || level != self.level {
            self.send_now(level)?;
        }
        match &mut self.paused {
            Some(Paused {
                placeholder: Some(placeholder),
                ..
            }) => placeholder.remove(&self.driven_gsi),
            _ => Ok(()),
        }
    }

    /// The line has this level now, and state of a VM whose kernel had been given the level
    /// `saved`. KVM_SET_IRQCHIP restores a pin that was high without its source: the next EOI or
    /// the next level lowers it.
    pub(super) fn restore(
        &mut self,
        members: &Members,
        (saved, level): (bool, bool),
    ) -> Result<(), LevelError> {
        match &mut self.paused {
            Some(paused) => {
                paused.restored |= paused.placeholder.is_none() && members.has_resampled();
                self.level |= saved;
                paused.send_again |= self.level;
                Ok(())
            }
            None if saved || level || self.level => self.send_now(level),
            None => Ok(()),
        }
    }

    /// Makes the irqfds of the members what they were, after something has failed half way.
    fn put_back(&self, members: &mut Members, before: &[bool]) {
        let (line, bound) = (self.driven_gsi.line(), self.driven_gsi.bound());
        for (member, was_bound) in members.iter_mut().zip(before) {
            let result = match was_bound {
                true => binding::bind(line, bound, member),
                false => binding::unbind(line, bound, member),
            };
            if let Err(error) = result {
                let gsi = line.gsi();
                log::error!("a failed change of an irqfd of GSI {gsi} cannot be undone: {error}");
            }
        }
    }
}

fn bindings(members: &Members) -> Vec<bool> {
    members.iter().map(|member| member.bound).collect()
}

/// A level that could not be lowered when the last device left would be the next line's.
impl Drop for Kernel {
    fn drop(&mut self) {
        if let Some(paused) = self.paused.take() {
            self.level |= paused.restored;
            if let Some(placeholder) = paused.placeholder {
                placeholder.remove_or_keep(&mut self.driven_gsi);
            }
        }
        if let Err(error @ LevelError::LevelRefused { .. }) = self.follow(false) {
            log::error!("a line stays high though no device asserts: {error}");
        }
    }
}

/// Whether a level is low although it could not be lowered. A VM that is being closed takes it
/// along, as it does irqfds. A port that cannot set a level has raised none.
fn stays_low(error: &io::Error) -> bool {
    Retired::caused(error) || error.kind() == io::ErrorKind::Unsupported
}

/// Whether the controllers of a line keep a level for each source and OR them, as those
/// of x86 do (`kvm_irq_line_state` in `arch/x86/kvm/irq.h`). Those of arm64 and riscv64 have one
/// level, which is that of the last caller (`vgic_irqfd_set_irq`, `kvm_riscv_aia_aplic_inject`).
fn has_a_level_for_each_source(platform: Platform) -> bool {
    matches!(platform, Platform::X86)
}

/// Whether the kernel reports the EOIs of this line.
fn can_resample(line: &Line) -> Result<(), NoResample> {
    // No EOI of an APLIC reaches KVM: it calls `kvm_notify_acked_irq` nowhere in `arch/riscv/kvm`.
    if line.table().platform() == Platform::Riscv64Aia {
        return Err(NoResample::NeverReported);
    }
    match line.table().vm().check_extension(Extension::IrqFdResample) {
        Ok(0) => Err(NoResample::NoExtension),
        _ => Ok(()),
    }
}
