// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`VringBackend`] for the back-ends of the `vhost` crate.

use std::fs::File;
use std::io;

use vhost::net::VhostNet;
use vhost::vhost_kern::PhysicalGuestAddressSpace;
use vhost::vhost_kern::net::Net;
use vhost::vhost_kern::vsock::Vsock;
use vhost::vhost_user::{Error as User, Frontend, VhostUserFrontend};
use vhost::vsock::VhostVsock;
use vhost::{Error, VhostBackend};

use super::VringBackend;
use crate::EventNotifier;

/// Keeps the errno where the crate's error has one.
fn io_error(error: Error) -> io::Error {
    match error {
        Error::VhostOpen(source) | Error::IoctlError(source) | Error::IOError(source) => source,
        Error::VhostUserProtocol(
            User::SocketError(source) | User::SocketBroken(source) | User::SocketConnect(source),
        ) => source,
        Error::VhostUserProtocol(User::Disconnected | User::PartialMessage) => {
            io::ErrorKind::ConnectionReset.into()
        }
        other => io::Error::other(other),
    }
}

fn bases(backend: &impl VhostBackend, rings: usize) -> io::Result<Vec<u32>> {
    let base = |ring| backend.get_vring_base(ring).map_err(io_error);
    (0..rings).map(base).collect()
}

/// `/dev/vhost-vsock`, with two rings: receive and transmit. The event queue is not vhost's.
impl<AS: PhysicalGuestAddressSpace> VringBackend for Vsock<AS> {
    fn set_kick(&mut self, ring: usize, kick: &EventNotifier) -> io::Result<()> {
        self.set_vring_kick(ring, kick.as_ref()).map_err(io_error)
    }

    fn set_call(&mut self, ring: usize, call: &EventNotifier) -> io::Result<()> {
        self.set_vring_call(ring, call.as_ref()).map_err(io_error)
    }

    fn set_err(&mut self, ring: usize, err: &EventNotifier) -> io::Result<()> {
        self.set_vring_err(ring, err.as_ref()).map_err(io_error)
    }

    fn start(&mut self, _rings: usize) -> io::Result<()> {
        VhostVsock::start(self).map_err(io_error)
    }

    fn stop(&mut self, rings: usize) -> io::Result<Vec<u32>> {
        VhostVsock::stop(self).map_err(io_error)?;
        bases(self, rings)
    }
}

/// `/dev/vhost-net`, and the tap device that its two rings, receive and transmit, work on.
pub struct NetWithTap<AS: PhysicalGuestAddressSpace> {
    net: Net<AS>,
    tap: File,
}

impl<AS: PhysicalGuestAddressSpace> NetWithTap<AS> {
    /// Creates the back-end. The interface must have `IFF_VNET_HDR` if the device's features need
    /// it.
    #[must_use]
    pub fn new(net: Net<AS>, tap: File) -> Self {
        Self { net, tap }
    }

    /// Returns the vhost device, to set features, memory and ring addresses.
    #[must_use]
    pub fn net(&self) -> &Net<AS> {
        &self.net
    }
}

impl<AS: PhysicalGuestAddressSpace> std::fmt::Debug for NetWithTap<AS> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut output = f.debug_struct("NetWithTap");
        output.field("tap", &self.tap).finish_non_exhaustive()
    }
}

impl<AS: PhysicalGuestAddressSpace> VringBackend for NetWithTap<AS> {
    fn set_kick(&mut self, ring: usize, kick: &EventNotifier) -> io::Result<()> {
        let result = self.net.set_vring_kick(ring, kick.as_ref());
        result.map_err(io_error)
    }

    fn set_call(&mut self, ring: usize, call: &EventNotifier) -> io::Result<()> {
        let result = self.net.set_vring_call(ring, call.as_ref());
        result.map_err(io_error)
    }

    fn set_err(&mut self, ring: usize, err: &EventNotifier) -> io::Result<()> {
        let result = self.net.set_vring_err(ring, err.as_ref());
        result.map_err(io_error)
    }

    fn start(&mut self, rings: usize) -> io::Result<()> {
        for ring in 0..rings {
            if let Err(error) = self.net.set_backend(ring, Some(&self.tap)) {
                for started in 0..ring {
                    // One that does not let the tap go has it until the device is closed.
                    let _ = self.net.set_backend(started, None);
                }
                return Err(io_error(error));
            }
        }
        Ok(())
    }

    fn stop(&mut self, rings: usize) -> io::Result<Vec<u32>> {
        let stop = |ring| self.net.set_backend(ring, None).map_err(io_error);
        (0..rings).try_for_each(stop)?;
        bases(&self.net, rings)
    }
}

/// A vhost-user daemon.
///
/// `VHOST_USER_F_PROTOCOL_FEATURES` must have been negotiated, because without it rings cannot be
/// enabled and disabled.
///
/// A request blocks until the daemon replies. A time-out of the socket does not end the wait,
/// because the `vhost` crate tries again. So use a thread that serves no other device, and keep a
/// clone of the `UnixStream`. `UnixStream::shutdown` from another thread ends the wait, and the
/// request fails.
impl VringBackend for Frontend {
    fn set_kick(&mut self, ring: usize, kick: &EventNotifier) -> io::Result<()> {
        numbered(ring)?;
        self.set_vring_kick(ring, kick.as_ref()).map_err(io_error)?;
        confirm(self)
    }

    fn set_call(&mut self, ring: usize, call: &EventNotifier) -> io::Result<()> {
        numbered(ring)?;
        self.set_vring_call(ring, call.as_ref()).map_err(io_error)?;
        confirm(self)
    }

    fn set_err(&mut self, ring: usize, err: &EventNotifier) -> io::Result<()> {
        numbered(ring)?;
        self.set_vring_err(ring, err.as_ref()).map_err(io_error)
    }

    fn start(&mut self, rings: usize) -> io::Result<()> {
        let mut enable = |ring, on| self.set_vring_enable(ring, on).map_err(io_error);
        for ring in 0..rings {
            if let Err(error) = enable(ring, true) {
                for started in 0..=ring {
                    // The connection is broken, or the daemon disobeys: nothing more can be done
                    // here.
                    let _ = enable(started, false);
                }
                return Err(error);
            }
        }
        confirm(self)
    }

    fn stop(&mut self, rings: usize) -> io::Result<Vec<u32>> {
        // GET_VRING_BASE stops the ring, and its reply confirms that.
        let bases = bases(self, rings)?;
        // Otherwise the ring would run from the next SET_VRING_KICK on.
        let disable = |ring| self.set_vring_enable(ring, false).map_err(io_error);
        (0..rings).try_for_each(disable)?;
        confirm(self)?;
        Ok(bases)
    }
}

/// Messages have eight bits for the ring; the next one means that there is no descriptor.
fn numbered(ring: usize) -> io::Result<()> {
    if ring > 0xff {
        let text = format!("vhost-user has no ring {ring}, 255 is the last");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok(())
}

/// Waits until the daemon has carried out all requests so far. Without REPLY_ACK it confirms none
/// of them; but it takes them in order, and replies to this one.
fn confirm(frontend: &Frontend) -> io::Result<()> {
    frontend.get_features().map(drop).map_err(io_error)
}
