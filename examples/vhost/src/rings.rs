// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Rings`]: a device's rings, which move from one back-end to the next.

use std::error::Error;

use notify_core::NotifierPair;
use notify_core::vring::{VringBackend, Vrings};

use crate::session::Session;

/// The rings of a device. They have eventfds from their first start on.
#[derive(Debug)]
pub(crate) struct Rings<B: VringBackend>(Option<Vrings<B>>);

impl<B: VringBackend> Rings<B> {
    /// Rings that were never started.
    pub(crate) fn new() -> Self {
        Self(None)
    }

    /// Starts them on a back-end that knows everything but their eventfds.
    pub(crate) fn start(
        &mut self,
        backend: B,
        pairs: Vec<NotifierPair>,
    ) -> Result<(), Box<dyn Error>> {
        let vrings = match &mut self.0 {
            Some(vrings) => {
                for (queue, pair) in pairs.into_iter().enumerate() {
                    vrings.set_pair(queue, pair)?;
                }
                vrings
            }
            none => none.insert(Vrings::new(pairs)?),
        };
        vrings.start(backend).map_err(|rejected| rejected.error)?;
        Ok(())
    }

    /// Stops them and returns the back-end; `None` if they do not run. Each ring must have stopped
    /// after the last buffer that was used.
    pub(crate) fn stop(&mut self, session: &Session) -> Result<Option<B>, Box<dyn Error>> {
        let Some(vrings) = self.running() else {
            return Ok(None);
        };
        let stopped = vrings.stop()?;
        for (ring, stopped) in session.guest().rings().iter().zip(&stopped.rings) {
            let (base, used) = (stopped.base, ring.used_index(session.memory())?);
            if base != u32::from(used) {
                return Err(format!("a queue stopped at {base}, with {used} buffers used").into());
            }
        }
        Ok(Some(stopped.backend))
    }

    /// Gives a ring another call, if it runs. Otherwise the next start does so.
    pub(crate) fn set_pair(
        &mut self,
        queue: usize,
        pair: NotifierPair,
    ) -> Result<(), Box<dyn Error>> {
        match self.running() {
            Some(vrings) => Ok(vrings.set_pair(queue, pair)?),
            None => Ok(()),
        }
    }

    /// How many rings the back-end has found malformed since the last call.
    pub(crate) fn failed(&self) -> Result<usize, Box<dyn Error>> {
        match &self.0 {
            Some(vrings) => Ok(vrings.failed()?.len()),
            None => Ok(0),
        }
    }

    /// Takes the rings from a back-end that has died.
    pub(crate) fn abandon(&mut self) {
        drop(self.0.as_mut().and_then(Vrings::abandon));
    }

    fn running(&mut self) -> Option<&mut Vrings<B>> {
        self.0.as_mut().filter(|vrings| vrings.backend().is_some())
    }
}
