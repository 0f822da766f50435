// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Controller`]: an interrupt controller of the VMM's own, and a line to one of its pins.

use std::fmt;
use std::io;
use std::sync::Arc;

use super::members::Members;
use crate::LevelError;

/// An interrupt controller in user space: a PIC, or an IOAPIC whose state the VMM keeps.
///
/// It is called with the line's lock held, so that levels come in their order. It must not call the
/// line, nor wait for a thread that does. A thread that reports an EOI
/// ([`EoiExits::on_pin`](super::EoiExits::on_pin), [`LevelLine::on_eoi`](super::LevelLine::on_eoi))
/// must not hold a lock that `set_level` takes.
pub trait Controller: fmt::Debug + Send + Sync {
    /// Sets the level of a pin.
    ///
    /// The pin may have this level already: after an EOI a level that is still high is sent again.
    ///
    /// # Errors
    ///
    /// Any, with nothing changed. The caller of the line gets it as
    /// [`LevelError::LevelRefused`].
    fn set_level(&self, pin: u32, level: bool) -> io::Result<()>;
}

/// A line to a pin of such a controller.
#[derive(Debug)]
pub(super) struct OnController {
    pin: u32,
    controller: Arc<dyn Controller>,
    /// The level that the controller has.
    level: bool,
    /// It has a high level from before an EOI, or should have one since. It may interrupt again
    /// only when it is given one.
    owes: bool,
    paused: Option<Paused>,
}

/// What a line has while it is paused.
#[derive(Debug)]
struct Paused {
    /// At resume the controller gets the level even if it has it.
    send_again: bool,
}

impl OnController {
    pub(super) fn new(pin: u32, controller: Arc<dyn Controller>) -> Self {
        Self {
            pin,
            controller,
            level: false,
            owes: false,
            paused: None,
        }
    }

    /// The level that the controller was given last.
    pub(super) fn level(&self) -> bool {
        self.level
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused.is_some()
    }

    /// Gives the controller the level, unless it has it and owes nothing. While the line is paused
    /// this waits for the resume.
    pub(super) fn follow(&mut self, level: bool) -> Result<(), LevelError> {
        if self.is_paused() || self.level == level && !self.owes {
            return Ok(());
        }
        self.send_now(level)
    }

    /// Gives the controller the level though it may have it.
    pub(super) fn send(&mut self, level: bool) -> Result<(), LevelError> {
        match &mut self.paused {
            Some(paused) => {
                paused.send_again = true;
                Ok(())
            }
            None => self.send_now(level),
        }
    }

    pub(super) fn pause(&mut self) {
        let send_again = false;
        self.paused.get_or_insert(Paused { send_again });
    }

    pub(super) fn resume(&mut self, level: bool) -> Result<(), LevelError> {
        let Some(Paused { send_again }) = self.paused else {
            return Ok(());
        };
        if send_again || self.owes || level != self.level {
            self.send_now(level)?;
        }
        self.paused = None;
        Ok(())
    }

    fn send_now(&mut self, level: bool) -> Result<(), LevelError> {
        let line = self.pin;
        let result = self.controller.set_level(line, level);
        result.map_err(|error| LevelError::level_refused(line, error))?;
        (self.level, self.owes) = (level, false);
        Ok(())
    }

    /// An interrupt has ended: triggers that were signalled count no longer, and a level that is
    /// still high is said again.
    pub(super) fn end_service(&mut self, members: &mut Members) -> Result<(), LevelError> {
        for member in members.iter_mut() {
            member.level.triggered = false;
        }
        let level = members.level();
        // Until it takes a level: it may refuse this one or panic, or the line is paused.
        self.owes = self.level || level;
        match level {
            true => self.send(true),
            false => self.follow(false),
        }
    }
}
