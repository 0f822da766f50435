// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Message`]: a line of a split irqchip, whose GSI sends a message, and whose EOIs come as exits.

use irq_routing::MsiMessage;
use notify_core::LineStatus;

use super::binding;
use super::driven_gsi::DrivenGsi;
use super::entry::Entry;
use super::members::{Member, Members};
use super::sender::Sender;
use crate::{LevelError, NoResample};

/// A pin of an IOAPIC in user space, as far as its interrupts go through the kernel: the GSI has
/// the message of the pin's redirection entry.
///
/// While the entry is masked what the guest writes there is only remembered, so that it reaches the
/// kernel whole.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) driven_gsi: DrivenGsi,
    sender: Sender,
    /// Whether EOIs are reported. If not, each assertion sends, and no interrupt is in service.
    has_eois: bool,
    /// The route in the kernel.
    committed: MsiMessage,
    /// The redirection entry.
    entry: Entry,
    /// A level-triggered message was taken by a local APIC, and its EOI has not come yet. What the
    /// kernel sends for an irqfd is not seen here.
    in_service: bool,
    /// The entry has been edge-triggered and not masked since it was last level-triggered: a device
    /// that triggered then waits for an EOI of which no exit came.
    had_edges: bool,
    /// The level of the VMM's own devices.
    pub(super) level: bool,
    /// Nothing is sent, as while the entry is masked.
    paused: bool,
    /// The line has risen while it was paused and the entry edge-triggered: the message is due at
    /// resume.
    has_risen: bool,
}

impl Message {
    /// The entry starts masked, as after a reset.
    pub(super) fn new(driven_gsi: DrivenGsi, message: MsiMessage, has_eois: bool) -> Self {
        let entry = Entry {
            message,
            masked: true,
        };
        Self {
            driven_gsi,
            sender: Sender::default(),
            has_eois,
            committed: message,
            entry,
            in_service: false,
            had_edges: false,
            level: false,
            paused: false,
            has_risen: false,
        }
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    pub(super) fn has_eois(&self) -> bool {
        self.has_eois
    }

    pub(super) fn entry(&self) -> Entry {
        self.entry
    }

    /// The level that was sent to the guest, as far as its entry allows. It is not that of the
    /// devices if an edge is due, also of a line that has fallen again.
    pub(super) fn sent_level(&self) -> bool {
        self.level != self.has_risen
    }

    /// The vector whose EOI ends an interrupt of the line.
    pub(super) fn ended_by(&self) -> Option<u8> {
        self.entry.ended_by()
    }

    /// Sets the level of the VMM's own devices, and sends an interrupt if one is due.
    pub(super) fn follow(&mut self, level: bool) -> Result<(), LevelError> {
        self.follow_to(level, level && !self.level)
    }

    /// A device asserts. Without EOIs that counts as a rise, also while the line is high.
    pub(super) fn assert(&mut self) -> Result<(), LevelError> {
        self.follow_to(true, !self.level || !self.has_eois)
    }

    fn follow_to(&mut self, level: bool, rises: bool) -> Result<(), LevelError> {
        let entry = self.entry.masked_if(self.paused);
        // Without EOIs a level that stays high sends nothing.
        let is_quiet = if self.has_eois {
            self.in_service
        } else {
            !rises
        };
        let in_service = self.send(entry, level, rises, is_quiet)?;
        self.in_service = in_service && self.has_eois;
        self.level = level;
        self.has_risen |= self.paused && rises && self.entry.waits_for_edges();
        Ok(())
    }

    /// The service has ended: a level that is high is sent again.
    pub(super) fn end_service(&mut self) -> Result<(), LevelError> {
        self.in_service = false;
        let entry = self.entry.masked_if(self.paused);
        self.in_service = self.send(entry, self.level, false, false)?;
        Ok(())
    }

    /// Sends a message if the entry and the level require one. Returns whether an interrupt is in
    /// service then.
    fn send(
        &mut self,
        entry: Entry,
        level: bool,
        rises: bool,
        in_service: bool,
    ) -> Result<bool, LevelError> {
        let is_level = entry.ended_by().is_some();
        let called = if is_level {
            level && !in_service
        } else {
            rises
        };
        if entry.masked || !called {
            return Ok(in_service);
        }
        let status = self.sender.send(&self.driven_gsi)?;
        // No EOI will come of a message that no local APIC took.
        let taken = matches!(status, LineStatus::Delivered(_) | LineStatus::Unknown);
        Ok(is_level && taken && self.has_eois)
    }

    /// Whether a new device may join. One that waits for EOIs would wait for ever without them.
    pub(super) fn admit(&self, new: &Member) -> Result<(), LevelError> {
        if self.has_eois || new.resample.is_none() {
            return Ok(());
        }
        let (gsi, reason) = (self.driven_gsi.line().gsi(), NoResample::WithoutEois);
        Err(LevelError::NoResample { gsi, reason })
    }

    pub(super) fn bind(&self, member: &mut Member) -> Result<(), LevelError> {
        match self.entry.masked || self.paused {
            true => Ok(()),
            false => binding::bind_message(self.driven_gsi.line(), self.driven_gsi.bound(), member),
        }
    }

    /// The guest has written the entry. Returns whether that ends a service, or may have, also if
    /// it fails.
    pub(super) fn redirect(
        &mut self,
        members: &mut Members,
        new: Entry,
    ) -> (bool, Result<(), LevelError>) {
        self.change(members, new, self.paused)
    }

    /// Pauses or resumes. If a resume fails, the EOI of what it has sent is still reported, as the
    /// entry stays; or there is none, of an edge.
    pub(super) fn set_paused(
        &mut self,
        members: &mut Members,
        paused: bool,
    ) -> Result<(), LevelError> {
        if self.paused == paused {
            return Ok(());
        }
        let (may_be_sent, result) = self.change(members, self.entry, paused);
        self.had_edges |= may_be_sent && self.entry.ended_by().is_none();
        result
    }

    /// Sets entry and level to those of a line of another VM, in which the level `saved` was sent.
    /// No interrupt is in service: KVM may have lost an EOI exit that it had yet to make when the
    /// VM was saved. At worst this sends one spurious interrupt. Returns whether, if this fails,
    /// something may have been sent whose EOI is not reported.
    pub(super) fn restore(
        &mut self,
        members: &mut Members,
        entry: Entry,
        (saved, level): (bool, bool),
    ) -> (bool, Result<(), LevelError>) {
        let Self {
            in_service,
            had_edges,
            level: old_level,
            has_risen,
            ..
        } = *self;
        (self.in_service, self.had_edges, self.level) = (false, false, level);
        self.has_risen = level != saved && entry.waits_for_edges();
        let (may_be_sent, result) = self.change(members, entry, self.paused);
        if result.is_err() {
            (self.in_service, self.had_edges) = (in_service, had_edges);
            (self.level, self.has_risen) = (old_level, has_risen);
        }
        (may_be_sent, result)
    }

    /// Makes the kernel follow an entry, and a pause. Returns whether that ends a service, or may
    /// have, also if it fails.
    fn change(
        &mut self,
        members: &mut Members,
        new: Entry,
        paused: bool,
    ) -> (bool, Result<(), LevelError>) {
        let old = self.entry;
        // What irqfds have sent is not known.
        let may_be_sent = old.ended_by().is_some() || self.had_edges;
        let may_wait = self.in_service || may_be_sent && members.has_exported();
        let ends = old.ended_by() != new.ended_by() && may_wait;
        let effective = new.masked_if(paused);
        let masked = effective.masked;
        if !masked && let Err(error) = self.commit(new.message) {
            return (false, Err(error));
        }
        let in_service = self.in_service && !ends;
        let rebound = self.rebind(members, masked);
        let rises = self.has_risen;
        match rebound.and_then(|()| self.send(effective, self.level, rises, in_service)) {
            Ok(in_service) => {
                (self.entry, self.paused, self.in_service) = (new, paused, in_service);
                self.had_edges = new.ended_by().is_none() && (self.had_edges || !masked);
                self.has_risen &= paused;
                (ends, Ok(()))
            }
            Err(error) => {
                self.undo(members, old);
                // The EOI of what irqfds have sent meanwhile is not reported.
                (!masked && members.has_exported(), Err(error))
            }
        }
    }

    fn commit(&mut self, message: MsiMessage) -> Result<(), LevelError> {
        let line = self.driven_gsi.line();
        let Some(lease) = line.lease().filter(|_| self.committed != message) else {
            return Ok(());
        };
        let gsi = line.gsi();
        let result = lease.set_route(message);
        result.map_err(|cause| LevelError::Route {
            gsi,
            cause: Box::new(cause),
        })?;
        self.committed = message;
        Ok(())
    }

    /// Takes the irqfds off, or puts those of devices back.
    fn rebind(&mut self, members: &mut Members, masked: bool) -> Result<(), LevelError> {
        if masked {
            self.sender.unbind(&self.driven_gsi)?;
        }
        let (line, bound) = (self.driven_gsi.line(), self.driven_gsi.bound());
        let mut exported = members.exported();
        exported.try_for_each(|member| match masked {
            true => binding::unbind(line, bound, member),
            false => binding::bind_message(line, bound, member),
        })
    }

    /// Makes everything what it was with this entry, after something has failed half way.
    fn undo(&mut self, members: &mut Members, old: Entry) {
        let masked = old.masked_if(self.paused).masked;
        let rebound = self.rebind(members, masked);
        let committed = match masked {
            true => Ok(()),
            false => self.commit(old.message),
        };
        for error in [rebound, committed].into_iter().filter_map(Result::err) {
            let gsi = self.driven_gsi.line().gsi();
            log::error!("a failed change of GSI {gsi} cannot be undone: {error}");
        }
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        if let Err(error) = self.sender.unbind(&self.driven_gsi) {
            let gsi = self.driven_gsi.line().gsi();
            log::error!("the irqfd of a dropped line stays bound to GSI {gsi}: {error}");
            self.driven_gsi.keep();
        }
    }
}
