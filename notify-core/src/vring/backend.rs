// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`VringBackend`]: what [`Vrings`](super::Vrings) needs of a back-end.

use std::io;

use crate::EventNotifier;

/// A vhost back-end, as far as its eventfds are concerned.
///
/// With the feature `vhost` it is implemented for `vhost::vhost_kern::vsock::Vsock`, for
/// `NetWithTap`, and for `vhost::vhost_user::Frontend`.
///
/// Rings are numbered from 0. Implementations duplicate the descriptors that they keep; the kernel
/// and a vhost-user connection do so by themselves.
pub trait VringBackend {
    /// Sets the eventfd that wakes the back-end for this ring (VHOST_SET_VRING_KICK).
    ///
    /// Called only while the back-end does not run.
    ///
    /// # Errors
    ///
    /// Those of the request.
    fn set_kick(&mut self, ring: usize, kick: &EventNotifier) -> io::Result<()>;

    /// Sets the eventfd that the back-end signals when it has used buffers (VHOST_SET_VRING_CALL).
    ///
    /// A back-end that runs signals the old one no more once this call has returned.
    ///
    /// # Errors
    ///
    /// Those of the request. If the connection broke, it is unknown which eventfd the ring has.
    fn set_call(&mut self, ring: usize, call: &EventNotifier) -> io::Result<()>;

    /// Sets the eventfd that the back-end signals when it gives the ring up (VHOST_SET_VRING_ERR).
    ///
    /// # Errors
    ///
    /// Those of the request.
    fn set_err(&mut self, ring: usize, err: &EventNotifier) -> io::Result<()>;

    /// Starts the rings `0..rings`. When this returns, the back-end takes kicks.
    ///
    /// # Errors
    ///
    /// Those of the request. `stop` is called then, since some rings may run.
    fn start(&mut self, rings: usize) -> io::Result<()>;

    /// Stops the rings `0..rings`, and returns each one's base: the index of the next available
    /// buffer, as VHOST_GET_VRING_BASE gives it. When this returns, the back-end neither reads nor
    /// writes a ring, and signals no call.
    ///
    /// # Errors
    ///
    /// Those of the request. It is then unknown which rings run.
    fn stop(&mut self, rings: usize) -> io::Result<Vec<u32>>;
}
