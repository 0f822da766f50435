// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`VringBackend`]: what [`Vrings`](super::Vrings) needs of a back-end.

use std::io;

use crate::EventNotifier;

/// A vhost back-end: the requests that concern its eventfds.
///
/// With the feature `vhost` it is implemented for `vhost::vhost_kern::vsock::Vsock`, for
/// `NetWithTap`, and for `vhost::vhost_user::Frontend`.
///
/// Rings are numbered from 0. Implementations duplicate the descriptors that they keep; the kernel
/// and a vhost-user connection do so by themselves. Each method may block until the back-end has
/// replied.
pub trait VringBackend {
    /// Sets the eventfd that wakes the back-end for this ring (VHOST_SET_VRING_KICK).
    ///
    /// [`Vrings`](super::Vrings) calls it only while the back-end does not run.
    ///
    /// # Errors
    ///
    /// Those of the request.
    fn set_kick(&mut self, ring: usize, kick: &EventNotifier) -> io::Result<()>;

    /// Sets the eventfd that the back-end signals when it has used buffers (VHOST_SET_VRING_CALL).
    ///
    /// When this has returned, a running back-end no longer signals the old one.
    ///
    /// # Errors
    ///
    /// Those of the request. If the connection broke, it is not known which eventfd the ring has.
    fn set_call(&mut self, ring: usize, call: &EventNotifier) -> io::Result<()>;

    /// Sets the eventfd that the back-end signals when it stops a ring as broken
    /// (VHOST_SET_VRING_ERR).
    ///
    /// # Errors
    ///
    /// Those of the request.
    fn set_err(&mut self, ring: usize, err: &EventNotifier) -> io::Result<()>;

    /// Starts the rings `0..rings`. When this has returned, the back-end takes kicks.
    ///
    /// # Errors
    ///
    /// Those of the request. [`Vrings`](super::Vrings) then calls `stop`, since some rings may run.
    fn start(&mut self, rings: usize) -> io::Result<()>;

    /// Stops the rings `0..rings`, and returns each one's base.
    ///
    /// The base is the index of the next available buffer (VHOST_GET_VRING_BASE). When this has
    /// returned, the back-end neither reads nor writes a ring, and signals no call.
    ///
    /// # Errors
    ///
    /// Those of the request. It is then not known which rings run.
    fn stop(&mut self, rings: usize) -> io::Result<Vec<u32>>;
}
