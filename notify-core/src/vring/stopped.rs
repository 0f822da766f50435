// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Stopped`]: what [`Vrings::stop`](super::Vrings::stop) returns.

/// A back-end that was stopped, and the state of its rings.
#[derive(Debug)]
#[must_use = "the next back-end needs the bases"]
pub struct Stopped<B> {
    /// The back-end. It no longer signals any of the eventfds.
    pub backend: B,
    /// The rings, by number.
    pub rings: Vec<StoppedRing>,
}

/// The state of a ring whose back-end was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct StoppedRing {
    /// Index of the next available buffer, as the back-end returned it (VHOST_GET_VRING_BASE).
    ///
    /// Check the value of an untrusted process. Then give it to the next back-end
    /// (VHOST_SET_VRING_BASE).
    pub base: u32,
    /// Whether the kick was signalled and is now cleared, or could not be read.
    ///
    /// The back-end may have served those kicks: the kernel never reads the counter. If the VMM
    /// takes over the ring, it should process it once more. A back-end that is started on it looks
    /// by itself.
    pub kicked: bool,
}
