// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Notifiers as event sources of mio (feature `mio`).

use std::io;
use std::os::fd::AsRawFd;

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use crate::EventNotifier;

/// Registers the eventfd with a mio loop.
///
/// mio is edge-triggered: one event reports that there were signals, and
/// [`consume`](EventNotifier::consume) takes them. If the notifier has duplicates, deregister it
/// before it is dropped: they would go on causing events.
impl Source for &EventNotifier {
    fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        SourceFd(&self.as_raw_fd()).register(registry, token, interests)
    }

    fn reregister(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        SourceFd(&self.as_raw_fd()).reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.as_raw_fd()).deregister(registry)
    }
}

/// The same as for a reference, for code that has `&mut EventNotifier`.
impl Source for EventNotifier {
    fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        (&*self).register(registry, token, interests)
    }

    fn reregister(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        (&*self).reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        (&*self).deregister(registry)
    }
}
