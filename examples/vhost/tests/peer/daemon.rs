// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A vhost-user daemon that only speaks the protocol, as well or as badly as a test wants.

use std::io::{IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use notify_core::EventNotifier;
use vhost::VhostBackend;
use vhost::vhost_user::Frontend;

/// Requests of the vhost-user protocol, by their numbers.
pub(crate) mod request {
    pub(crate) const GET_FEATURES: u32 = 1;
    pub(crate) const GET_VRING_BASE: u32 = 11;
    pub(crate) const SET_VRING_KICK: u32 = 12;
    pub(crate) const SET_VRING_CALL: u32 = 13;
    pub(crate) const SET_VRING_ERR: u32 = 14;
    pub(crate) const SET_VRING_ENABLE: u32 = 18;
}

/// VHOST_USER_F_PROTOCOL_FEATURES and VIRTIO_F_VERSION_1.
pub(crate) const FEATURES: u64 = 1 << 30 | 1 << 32;

/// The eventfds that the daemon was given, in the order of the requests.
#[derive(Debug, Default)]
pub(crate) struct Given {
    pub(crate) kicks: Vec<EventNotifier>,
    pub(crate) calls: Vec<EventNotifier>,
}

/// What the daemon does with the next request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Obey,
    Close,
    /// Takes requests and replies to none.
    Silent,
}

/// A daemon at the other end of a connection, served by a thread. `end` and drop wait for that
/// thread: afterwards none of its descriptors is open.
pub(crate) struct Daemon {
    stream: UnixStream,
    thread: Option<JoinHandle<Given>>,
}

impl Daemon {
    /// Ends the connection; both sides see it closed.
    pub(crate) fn disconnect(stream: &UnixStream) {
        // It fails if the other side has closed already.
        let _ = stream.shutdown(Shutdown::Both);
    }

    /// The front-end's end of the connection.
    pub(crate) fn stream(&self) -> UnixStream {
        self.stream.try_clone().unwrap()
    }

    /// Ends the connection and the daemon.
    pub(crate) fn end(mut self) -> Given {
        Self::disconnect(&self.stream);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            Self::disconnect(&self.stream);
            // If the test fails, its own message says more than the daemon's.
            let _ = thread.join();
        }
    }
}

/// A front-end, with the features negotiated, and its daemon. `next` is called before each request
/// is carried out.
pub(crate) fn negotiated(
    next: impl FnMut(u32, &mut Given) -> Next + Send + 'static,
) -> (Frontend, Daemon) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let stream = ours.try_clone().unwrap();
    let thread = Some(thread::spawn(move || serve(theirs, next)));
    let daemon = Daemon { stream, thread };
    let frontend = Frontend::from_stream(ours, 2);
    let features = frontend.get_features().unwrap();
    frontend.set_features(features).unwrap();
    (frontend, daemon)
}

fn serve(mut stream: UnixStream, mut next: impl FnMut(u32, &mut Given) -> Next) -> Given {
    let mut given = Given::default();
    let mut silent = false;
    while let Some((header, descriptor)) = header(&stream) {
        let [request, _, size] = header;
        let mut payload = vec![0; size as usize];
        if stream.read_exact(&mut payload).is_err() {
            break;
        }
        match next(request, &mut given) {
            Next::Obey => {}
            Next::Close => break,
            Next::Silent => silent = true,
        }
        let reply = match request {
            request::GET_FEATURES => FEATURES.to_ne_bytes(),
            // The ring's number, and 7 as its base.
            request::GET_VRING_BASE => {
                payload[4..8].copy_from_slice(&7u32.to_ne_bytes());
                payload[..8].try_into().unwrap()
            }
            request::SET_VRING_KICK => {
                given.kicks.extend(descriptor.map(adopt));
                continue;
            }
            request::SET_VRING_CALL => {
                given.calls.extend(descriptor.map(adopt));
                continue;
            }
            _ => continue,
        };
        if silent {
            continue;
        }
        // Version 1, a reply.
        let header = [request, 0x5, 8].map(u32::to_ne_bytes).concat();
        if stream.write_all(&[&header[..], &reply].concat()).is_err() {
            break;
        }
    }
    given
}

fn adopt(descriptor: OwnedFd) -> EventNotifier {
    EventNotifier::adopt(descriptor).unwrap()
}

/// Reads the header of a message: request, flags, size; and the descriptor that came with it.
fn header(stream: &UnixStream) -> Option<([u32; 3], Option<OwnedFd>)> {
    let mut bytes = [0; 12];
    let mut space = nix::cmsg_space!([i32; 1]);
    let mut slices = [IoSliceMut::new(&mut bytes)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_WAITALL;
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut slices, Some(&mut space), flags).ok()?;
    let mut descriptor = None;
    for control in message.cmsgs().ok()? {
        if let ControlMessageOwned::ScmRights(numbers) = control {
            for number in numbers {
                // SAFETY: the kernel has just made this descriptor for us, and no other code has
                // its number.
                descriptor = Some(unsafe { OwnedFd::from_raw_fd(number) });
            }
        }
    }
    if message.bytes != 12 {
        return None;
    }
    let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
    Some(([word(0), word(4), word(8)], descriptor))
}
