// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Shared`]: what all handles of a table share.

use std::sync::{Arc, OnceLock};

use notify_core::Vm;

use super::state::State;
use super::translation::Translation;
use crate::sync::{Condvar, Mutex};
use crate::{Error, Observer, Platform, Route};

pub(crate) struct Shared {
    pub(crate) vm: Arc<dyn Vm>,
    /// Set when it is decided what the table starts with.
    pub(crate) platform: OnceLock<Platform>,
    pub(crate) limit: u32,
    pub(crate) translation: Translation,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) state: Mutex<State>,
    /// A round of commits has ended.
    pub(crate) ended: Condvar,
    pub(crate) _claim: Claim,
}

/// The claim that no other table is of this VM, if the VM has such a claim.
pub(crate) struct Claim(Option<Arc<dyn Vm>>);

impl Claim {
    pub(crate) fn take(vm: &Arc<dyn Vm>) -> Result<Self, Error> {
        match vm.routing_claim() {
            Some(claim) if claim.take() => Ok(Self(Some(Arc::clone(vm)))),
            Some(_) => Err(Error::SecondTable),
            None => Ok(Self(None)),
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(claim) = self.0.as_ref().and_then(|vm| vm.routing_claim()) {
            claim.release();
        }
    }
}

impl Shared {
    /// The route that the kernel is given for this one, or `None` if it is blocked.
    pub(crate) fn translated(&self, route: Route) -> Option<Route> {
        match route {
            Route::Msi(message) => self.translation.message(message).map(Route::Msi),
            other => Some(other),
        }
    }
}
