// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Way`]: who carries the level of a line to the guest, and hears of EOIs.

use super::binding;
use super::controller::OnController;
use super::entry::Entry;
use super::held::Held;
use super::kernel::Kernel;
use super::members::{Member, Members};
use super::message::Message;
use super::placeholder::Missed;
use crate::LevelError;

/// Who carries the level to the guest, and hears of EOIs.
#[derive(Debug)]
pub(super) enum Way {
    Kernel(Kernel),
    Message(Message),
    Controller(OnController),
}

impl Way {
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
            way => way.follow(true),
        }
    }

    /// Whether a device that asserts already is to be heard when it does so once more.
    pub(super) fn hears_each_assertion(&self) -> bool {
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
            way => way.follow(level),
        };
        if let Err(error) = result {
            log::error!("a line is low that should be high: {error}");
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
    pub(super) fn sent_level(&self) -> bool {
        match self {
            Self::Kernel(kernel) => kernel.level(),
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
        match self.held() {
            Some(held) => binding::unbind(held.line(), held.bound(), member),
            None => Ok(()),
        }
    }

    pub(super) fn keep(&mut self) {
        if let Some(held) = self.held() {
            held.keep();
        }
    }

    fn held(&mut self) -> Option<&mut Held> {
        match self {
            Self::Kernel(kernel) => Some(kernel.held()),
            Self::Message(message) => Some(&mut message.held),
            Self::Controller(_) => None,
        }
    }
}
