// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Connection`]: both ends of a vhost-user connection.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use notify_core::EventNotifier;
use notify_core::vring::VringBackend;
use vhost::vhost_user::message::{VhostUserHeaderFlag, VhostUserProtocolFeatures};
use vhost::vhost_user::{Frontend, VhostUserFrontend};
use vhost::{Error, VhostBackend};
use vmm_sys_util::sock_ctrl_msg::ScmSocket;

use super::step::{Reply, Wrong};

const GET_FEATURES: u32 = 1;
const SET_FEATURES: u32 = 2;
const SET_OWNER: u32 = 3;
const GET_VRING_BASE: u32 = 11;
const SET_VRING_KICK: u32 = 12;
const SET_VRING_CALL: u32 = 13;
const SET_VRING_ERR: u32 = 14;
const GET_PROTOCOL_FEATURES: u32 = 15;
const SET_PROTOCOL_FEATURES: u32 = 16;
const SET_VRING_ENABLE: u32 = 18;

/// VHOST_USER_F_PROTOCOL_FEATURES and VIRTIO_F_VERSION_1.
const FEATURES: u64 = 1 << 30 | 1 << 32;
/// VHOST_USER_PROTOCOL_F_REPLY_ACK.
const REPLY_ACK: u64 = 1 << 3;
const MOST_RINGS: u64 = 8;

/// A message that the daemon gets, and the reply that it is to send.
type Exchange = (u32, Option<u64>);

/// A message that the daemon got, with the descriptor that came with it.
struct Message {
    request: u32,
    payload: Vec<u8>,
    descriptor: Option<File>,
}

/// The front-end, and the daemon's end.
pub(super) struct Connection {
    frontend: Frontend,
    daemon: UnixStream,
    confirms: bool,
    /// Whether the daemon has disobeyed. Then the outcome of a request depends on the front-end.
    spoiled: bool,
}

/// What is wrong with a reply, and which one it is.
pub(super) type Misreply = Option<(u8, Reply)>;

impl Connection {
    /// Negotiates. Fails if the daemon disobeys.
    pub(super) fn new(confirms: bool, wrong: Misreply) -> Option<Self> {
        let (ours, daemon) = UnixStream::pair().expect("descriptors");
        daemon.set_nonblocking(true).expect("a socket");
        let mut connection = Self {
            frontend: Frontend::from_stream(ours, MOST_RINGS),
            daemon,
            confirms: false,
            spoiled: false,
        };
        let protocol = if confirms { REPLY_ACK } else { 0 };
        let exchanges = [
            (SET_OWNER, None),
            (GET_FEATURES, Some(FEATURES)),
            (GET_PROTOCOL_FEATURES, Some(protocol)),
            (SET_PROTOCOL_FEATURES, None),
            (SET_FEATURES, confirms.then_some(0)),
        ];
        let negotiated = connection.exchange(&exchanges, wrong, |frontend| {
            negotiate(frontend).map_err(io::Error::other)
        });
        negotiated.0.ok()?;
        connection.confirms = confirms;
        Some(connection)
    }

    /// Sends one of the eventfds. Returns the daemon's, too.
    pub(super) fn set(
        &mut self,
        (ring, request): (usize, Eventfd),
        notifier: &EventNotifier,
        wrong: Misreply,
    ) -> (io::Result<()>, Option<EventNotifier>) {
        let number = match request {
            Eventfd::Kick => SET_VRING_KICK,
            Eventfd::Call => SET_VRING_CALL,
            Eventfd::Err => SET_VRING_ERR,
        };
        let mut exchanges = vec![(number, self.confirmed())];
        if request != Eventfd::Err {
            exchanges.push((GET_FEATURES, Some(FEATURES)));
        }
        let (result, messages) = self.exchange(&exchanges, wrong, |frontend| match request {
            Eventfd::Kick => frontend.set_kick(ring, notifier),
            Eventfd::Call => frontend.set_call(ring, notifier),
            Eventfd::Err => frontend.set_err(ring, notifier),
        });
        let given = messages
            .into_iter()
            .find(|message| message.request == number);
        let given = given.map(|message| {
            assert_eq!(message.payload, (ring as u64).to_ne_bytes());
            let descriptor = message.descriptor.expect("the eventfd");
            EventNotifier::adopt(descriptor.into()).expect("an eventfd")
        });
        (result, given)
    }

    pub(super) fn start(&mut self, rings: usize, wrong: Misreply) -> io::Result<()> {
        let mut exchanges = vec![(SET_VRING_ENABLE, self.confirmed()); rings];
        exchanges.push((GET_FEATURES, Some(FEATURES)));
        self.exchange(&exchanges, wrong, |frontend| frontend.start(rings))
            .0
    }

    /// Stops the rings, whose bases are these.
    pub(super) fn stop(&mut self, bases: &[u32], wrong: Misreply) -> io::Result<Vec<u32>> {
        let base =
            |(ring, base): (u64, &u32)| (GET_VRING_BASE, Some(ring | u64::from(*base) << 32));
        let mut exchanges: Vec<_> = (0..).zip(bases).map(base).collect();
        exchanges.extend(vec![(SET_VRING_ENABLE, self.confirmed()); bases.len()]);
        exchanges.push((GET_FEATURES, Some(FEATURES)));
        self.exchange(&exchanges, wrong, |frontend| frontend.stop(bases.len()))
            .0
    }

    fn confirmed(&self) -> Option<u64> {
        self.confirms.then_some(0)
    }

    /// Makes requests to a daemon, of which so many messages and replies are expected.
    fn exchange<T>(
        &mut self,
        exchanges: &[Exchange],
        wrong: Misreply,
        request: impl FnOnce(&mut Frontend) -> io::Result<T>,
    ) -> (io::Result<T>, Vec<Message>) {
        if !self.spoiled {
            self.reply(exchanges, wrong);
        }
        let result = request(&mut self.frontend);
        let messages = self.receive();
        if !self.spoiled {
            assert!(result.is_ok(), "the daemon has obeyed");
            let requests = messages.iter().map(|message| message.request);
            assert!(requests.eq(exchanges.iter().map(|(request, _)| *request)));
        }
        (result, messages)
    }

    /// Writes the replies to messages that will come.
    fn reply(&mut self, exchanges: &[Exchange], wrong: Misreply) {
        let replies = exchanges
            .iter()
            .filter_map(|(request, value)| Some((*request, (*value)?)));
        for (number, (request, value)) in replies.enumerate() {
            match wrong.filter(|(at, _)| usize::from(*at) == number) {
                None => self.send(&reply(request, 0x5, 8, value), 0),
                Some((_, wrong)) => {
                    self.spoiled = true;
                    self.disobey(wrong.wrong, request, value);
                    if !wrong.continues {
                        break;
                    }
                }
            }
        }
        if self.spoiled {
            let all = wrong.is_some_and(|(_, it)| matches!(it.wrong, Wrong::Missing));
            let how = if all { Shutdown::Both } else { Shutdown::Write };
            self.daemon.shutdown(how).expect("it is connected");
        }
    }

    fn disobey(&mut self, wrong: Wrong, request: u32, value: u64) {
        let usual = reply(request, 0x5, 8, value);
        match wrong {
            Wrong::Missing => {}
            Wrong::Short(len) => self.send(&usual[..usize::from(len) % usual.len()], 0),
            Wrong::Flags(flags) => self.send(&reply(request, flags, 8, value), 0),
            Wrong::Request(request) => self.send(&reply(request, 0x5, 8, value), 0),
            Wrong::Size(size) => self.send(&reply(request, 0x5, size, value), 0),
            Wrong::Value(value) => self.send(&reply(request, 0x5, 8, value), 0),
            Wrong::Descriptors(count) => self.send(&usual, usize::from(count) % 64),
            Wrong::Twice => self.send(&[usual.clone(), usual].concat(), 0),
            Wrong::More(more) => self.send(&[&usual[..], &more.to_ne_bytes()].concat(), 0),
        }
    }

    fn send(&mut self, bytes: &[u8], descriptors: usize) {
        if bytes.is_empty() {
            return;
        }
        let descriptors = vec![self.daemon.as_raw_fd(); descriptors];
        match descriptors.is_empty() {
            true => self.daemon.write_all(bytes).expect("it has room"),
            false => {
                let sent = self.daemon.send_with_fds(&[bytes], &descriptors);
                assert_eq!(sent.expect("it has room"), bytes.len());
            }
        }
    }

    /// Reads all messages.
    fn receive(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        loop {
            let mut header = [0; 12];
            let Ok((12, descriptor)) = self.daemon.recv_with_fd(&mut header) else {
                return messages;
            };
            let word = |at: usize| header[at..at + 4].try_into().map(u32::from_ne_bytes);
            let (Ok(request), Ok(size)) = (word(0), word(8)) else {
                return messages;
            };
            let mut payload = vec![0; size as usize];
            self.daemon
                .read_exact(&mut payload)
                .expect("the front-end sends whole messages");
            messages.push(Message {
                request,
                payload,
                descriptor,
            });
        }
    }
}

/// Which eventfd of a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Eventfd {
    Kick,
    Call,
    Err,
}

fn reply(request: u32, flags: u32, size: u32, value: u64) -> Vec<u8> {
    let header = [request, flags, size].map(u32::to_ne_bytes).concat();
    [header, value.to_ne_bytes().to_vec()].concat()
}

/// As a VMM does.
fn negotiate(frontend: &mut Frontend) -> Result<(), Error> {
    frontend.set_owner()?;
    let features = frontend.get_features()?;
    let protocol = frontend.get_protocol_features()? & VhostUserProtocolFeatures::REPLY_ACK;
    frontend.set_protocol_features(protocol)?;
    if !protocol.is_empty() {
        frontend.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
    }
    frontend.set_features(features & FEATURES)
}
