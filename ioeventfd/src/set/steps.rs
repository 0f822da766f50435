// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A run of registrations and deregistrations that is carried out whole, or taken back.

use super::doorbell::Bell;
use crate::registry::Places;
use crate::{Error, Unrestored};

/// One ioctl, on the doorbell with this index.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    Register(usize),
    Deregister(usize),
}

impl Step {
    fn back(self) -> Self {
        match self {
            Self::Register(index) => Self::Deregister(index),
            Self::Deregister(index) => Self::Register(index),
        }
    }

    fn bell(self, bells: &mut [Bell]) -> Option<&mut Bell> {
        let (Self::Register(index) | Self::Deregister(index)) = self;
        bells.get_mut(index)
    }

    /// What is `stuck` is in the kernel, and KVM's bus would miss one of the two if a doorbell that
    /// is in conflict with it were registered.
    fn run(self, bells: &mut [Bell], stuck: &Places) -> Result<(), Error> {
        let Some(bell) = self.bell(bells) else {
            return Ok(());
        };
        match self {
            Self::Register(_) => {
                stuck.refuse_beside(bell.place())?;
                bell.fd.register()
            }
            Self::Deregister(_) => bell.fd.deregister(),
        }
    }
}

/// Carries out all steps, each of which changes something, or takes back those that were done. What
/// cannot be taken back the error names; each doorbell knows how it is.
pub(super) fn run(
    bells: &mut [Bell],
    steps: impl Iterator<Item = Step> + Clone,
    stuck: Places,
) -> Result<(), Error> {
    for (index, step) in steps.clone().enumerate() {
        if let Err(cause) = step.run(bells, &stuck) {
            let done: Vec<_> = steps.take(index).collect();
            return Err(take_back(bells, &done, stuck, cause));
        }
    }
    Ok(())
}

/// Takes back what was done, the last first, so that nothing is in the way of anything.
pub(super) fn take_back(
    bells: &mut [Bell],
    done: &[Step],
    mut stuck: Places,
    cause: Error,
) -> Error {
    let mut unrestored = Vec::new();
    for step in done.iter().rev().map(|step| step.back()) {
        let Err(cause) = step.run(bells, &stuck) else {
            continue;
        };
        if let Some(bell) = step.bell(bells) {
            if bell.fd.is_registered() {
                stuck.insert(bell.place());
            }
            unrestored.push(Unrestored {
                key: bell.key,
                address: bell.fd.address(),
                datamatch: bell.fd.datamatch(),
                registered: bell.fd.is_registered(),
                cause,
            });
        }
    }
    if unrestored.is_empty() {
        return cause;
    }
    let cause = Box::new(cause);
    Error::NotUndone { cause, unrestored }
}
