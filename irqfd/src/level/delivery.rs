// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Delivery`]: how the level of a line reaches the guest, and how EOIs come.

use super::binding;
use super::controller::OnController;
use super::driven_gsi::DrivenGsi;
use super::entry::Entry;
use super::kernel::Kernel;
use super::members::{Member, Members};
use super::message::Message;
use super::placeholder::Missed;
use crate::LevelError;

/// How the level reaches the guest, and how EOIs come.
#[derive(Debug)]
pub(super) enum Delivery {
    Kernel(Kernel),
    Message(Message),
    Controller(OnController),
}

impl Delivery {
    pub(super) fn follow(&mut self, level: bool) -> Result<(), LevelError> {
        match self {
            Self::Kernel(kernel) => kernel.follow(level),
            Self::Message(message) => message.follow(level),
            Self::Controller(controller) => controller.follow(level),
        }
    }

    /// A device asserts, so the level is high.
    pub(super) fn assert(&mut self) -> Result<(), LevelError> {
        match self {
            Self::Message(message) => message.assert(),
            delivery => delivery.follow(true),
        }
    }

    /// Whether an assertion of a device that asserts already sends again.
    pub(super) fn sends_each_assertion(&self) -> bool {
        matches!(self, Self::Message(message) if !message.has_eois())
    }

    /// The level is after all what it was before it was followed.
    pub(super) fn put_back(&mut self, level: bool) {
        let result = match self {
            // Nothing was sent when it fell, so nothing is now.
            Self::Message(message) => {
                message.level = level;
                Ok(())
            }
            delivery => delivery.follow(level),
        };
        if let Err(error) = result {
            log::error!("a line that should be high is low: {error}");
        }
    }

    pub(super) fn is_paused(&self) -> bool {
        match self {
            Self::Kernel(kernel) => kernel.is_paused(),
            Self::Message(message) => message.is_paused(),
            Self::Controller(controller) => controller.is_paused(),
        }
    }

    /// Pauses or resumes. Returns the devices that an EOI missed.
    pub(super) fn set_paused(
        &mut self,
        members: &mut Members,
        paused: bool,
    ) -> (Missed, Result<(), LevelError>) {
        let result = match self {
            Self::Kernel(kernel) if paused => return kernel.pause(members),
            Self::Kernel(kernel) => return kernel.resume(members),
            Self::Message(message) => message.set_paused(members, paused),
            Self::Controller(controller) if paused => {
                controller.pause();
                Ok(())
            }
            Self::Controller(controller) => controller.resume(members.level()),
        };
        (Missed::new(), result)
    }

    /// The level that was given last to what stands behind the line.
    pub(super) fn sent_level(&self, members: &Members) -> bool {
        match self {
            Self::Kernel(kernel) => kernel.sent_level(members),
            Self::Message(message) => message.sent_level(),
            Self::Controller(controller) => controller.level(),
        }
    }

    /// The redirection entry, if the line has one.
    pub(super) fn entry(&self) -> Option<Entry> {
        match self {
            Self::Message(message) => Some(message.entry()),
            Self::Kernel(_) | Self::Controller(_) => None,
        }
    }

    pub(super) fn admit(&self, members: &Members, new: &Member) -> Result<(), LevelError> {
        match self {
            Self::Kernel(kernel) => kernel.admit(members, new),
            Self::Message(message) => message.admit(new),
            Self::Controller(_) => Ok(()),
        }
    }

    pub(super) fn admit_level(&self, member: &Member) -> Result<(), LevelError> {
        match self {
            Self::Kernel(kernel) => kernel.admit_level(member),
            Self::Message(_) | Self::Controller(_) => Ok(()),
        }
    }

    pub(super) fn bind(&self, member: &mut Member) -> Result<(), LevelError> {
        match self {
            Self::Kernel(kernel) => kernel.bind(member),
            Self::Message(message) => message.bind(member),
            Self::Controller(_) => Ok(()),
        }
    }

    pub(super) fn unbind(&mut self, member: &mut Member) -> Result<(), LevelError> {
        match self.driven_gsi() {
            Some(driven_gsi) => binding::unbind(driven_gsi.line(), driven_gsi.bound(), member),
            None => Ok(()),
        }
    }

    pub(super) fn keep(&mut self) {
        if let Some(driven_gsi) = self.driven_gsi() {
            driven_gsi.keep();
        }
    }

    fn driven_gsi(&mut self) -> Option<&mut DrivenGsi> {
        match self {
            Self::Kernel(kernel) => Some(kernel.driven_gsi()),
            Self::Message(message) => Some(&mut message.driven_gsi),
            Self::Controller(_) => None,
        }
    }
}
