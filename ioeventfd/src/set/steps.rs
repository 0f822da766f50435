// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A sequence of registrations and deregistrations that is carried out completely or undone.

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

    /// Carries out one step. Refuses to register beside a doorbell in `stuck`, which is in the
    /// kernel: KVM's bus might miss one of the two.
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

/// Carries out all steps, or undoes those that were done. Each step must change something. The
/// error lists what could not be undone; each doorbell knows whether it is registered.
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

/// Undoes what was done in reverse order, so that no step conflicts with a later one.
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
