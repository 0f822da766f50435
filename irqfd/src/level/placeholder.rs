// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Placeholder`]: what keeps a pin as it is while the exported devices of its line are off.

use std::sync::Arc;

use notify_core::EventNotifier;

use super::binding;
use super::driven_gsi::DrivenGsi;
use super::members::{Member, Members};
use crate::LevelError;

/// A resampling irqfd of the line's own, whose trigger is never signalled.
///
/// KVM lowers a pin when the last resampling irqfd of its GSI goes (`irqfd_resampler_shutdown` in
/// `virt/kvm/eventfd.c`), and raises it no more when they are back. So this one is bound before the
/// others go, and goes after they are back.
#[derive(Debug)]
pub(super) struct Placeholder(Member);

/// The resample notifiers of devices that an EOI missed.
pub(super) type Missed = Vec<Arc<EventNotifier>>;

impl Placeholder {
    pub(super) fn new(driven_gsi: &DrivenGsi) -> Result<Self, LevelError> {
        let line = driven_gsi.line();
        let new = || {
            let line = line.gsi().number();
            let new = EventNotifier::builder().private(true).build().map(Arc::new);
            new.map_err(|cause| LevelError::Notifier { line, cause })
        };
        let mut member = Member::new(false, Some(new()?), Some(new()?));
        binding::bind(line, driven_gsi.bound(), &mut member)?;
        Ok(Self(member))
    }

    pub(super) fn remove(&mut self, driven_gsi: &DrivenGsi) -> Result<(), LevelError> {
        binding::unbind(driven_gsi.line(), driven_gsi.bound(), &mut self.0)
    }

    /// Removes it where nothing can be done if that fails.
    pub(super) fn remove_or_keep(mut self, driven_gsi: &mut DrivenGsi) -> Self {
        if let Err(error) = self.remove(driven_gsi) {
            let gsi = driven_gsi.line().gsi();
            log::error!("an unused irqfd stays bound to GSI {gsi}: {error}");
            driven_gsi.keep();
        }
        self
    }

    /// The exported devices, if a vCPU has ended an interrupt while this stood in for them.
    pub(super) fn missed(self, members: &mut Members) -> Missed {
        // If it cannot be read it may be signalled.
        let signalled = |resample: &EventNotifier| !matches!(resample.consume(), Ok(None));
        if !self.0.resample.as_deref().is_some_and(signalled) {
            return Missed::new();
        }
        let exported = members.exported();
        exported
            .filter_map(|member| member.resample.clone())
            .collect()
    }
}
