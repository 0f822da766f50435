// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Guide: how the event loops that VMMs already have watch notifiers.
//!
//! An [`EventNotifier`](crate::EventNotifier) is a file descriptor (`AsFd`, `AsRawFd`) that is
//! readable while its counter is not 0. Any loop that watches file descriptors can watch it; no
//! adapter is needed. Three rules hold for every loop:
//!
//! - Take the counter with [`consume`](crate::EventNotifier::consume), which never blocks, before
//!   you look at the ring. In semaphore mode, or if the mode is not known, repeat until `None`.
//! - An edge-triggered loop (mio, tokio, event-manager with `EDGE_TRIGGERED`, io_uring) reports a
//!   signal once. A level-triggered one reports it until the counter was taken.
//! - Do not watch a notifier while it is bound as an irqfd: its signals are for KVM. (From Linux
//!   5.11 on KVM takes them, and no loop wakes. Earlier kernels leave them in the counter.)
//!
//! This page needs no feature. Only `notify_core::dispatcher` and `mio::event::Source` do.
//!
//! The same loops watch the other descriptors of a VMM: taps, timers, sockets, and
//! `irqfd::ArmQueue`, which is readable while vectors wait to be armed.
//!
//! | loop | a notifier | another descriptor |
//! |---|---|---|
//! | the dispatcher | `add`, `add_handler`, `add_polled` | `add_fd` |
//! | mio | `&notifier`, with the feature `mio` | `SourceFd`; `&queue`, with the feature `mio` of `irqfd` |
//! | event-manager | any `AsRawFd` | the same |
//! | tokio | any `AsRawFd`, in an `AsyncFd` | the same |
//! | epoll | any `AsFd` | the same |
//! | io_uring | READ or POLL_ADD | POLL_ADD; READ where it makes sense |
//!
//! # The dispatcher of this crate
//!
//! With the feature `dispatcher`, `notify_core::dispatcher::Dispatcher` calls handlers, which can
//! be added and removed while it runs, and polls where that pays. The chapter
//! [`device_thread`](crate::guide::device_thread) of the guide has examples.
//!
//! # mio
//!
//! Any descriptor is registered as a `SourceFd`. With the feature `mio`, `&EventNotifier` is itself
//! a `mio::event::Source`: `register(&mut &kick, ..)`.
//!
//! ```
//! use std::os::fd::AsRawFd;
//! use mio::unix::SourceFd;
//! use mio::{Events, Interest, Poll, Token};
//! use notify_core::EventNotifier;
//!
//! let kick = EventNotifier::new()?;
//! let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(64));
//! let mut source = SourceFd(&kick.as_raw_fd());
//! poll.registry().register(&mut source, Token(0), Interest::READABLE)?;
//!
//! kick.notify()?;
//! poll.poll(&mut events, None)?;
//! assert!(events.iter().any(|event| event.token() == Token(0)));
//! assert_eq!(kick.consume()?.map(u64::from), Some(1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # event-manager
//!
//! The loop of the rust-vmm project. A subscriber names its file descriptors when it is added.
//! `Events` takes any `AsRawFd`, here a notifier and a socket.
//!
//! ```
//! use std::io::{Read, Write};
//! use std::os::unix::net::UnixStream;
//! use std::sync::Arc;
//! use event_manager::{
//!     EventManager, EventOps, EventSet, Events, MutEventSubscriber, SubscriberOps,
//! };
//! use notify_core::EventNotifier;
//!
//! struct Queue {
//!     kick: Arc<EventNotifier>,
//!     kicks: u64,
//!     socket: UnixStream, // or a tap, or an `Arc<irqfd::ArmQueue>`
//!     received: Vec<u8>,
//! }
//!
//! impl MutEventSubscriber for Queue {
//!     fn init(&mut self, ops: &mut EventOps) {
//!         let kick = Events::with_data(&*self.kick, 0, EventSet::IN);
//!         let socket = Events::with_data(&self.socket, 1, EventSet::IN);
//!         for events in [kick, socket] {
//!             ops.add(events).expect("an open descriptor that is added once");
//!         }
//!     }
//!
//!     fn process(&mut self, events: Events, _: &mut EventOps) {
//!         if events.data() == 0 {
//!             let signalled = self.kick.consume().expect("an open eventfd");
//!             self.kicks += signalled.map_or(0, u64::from);
//!         } else {
//!             // Or `queue.run_pending()`.
//!             let mut bytes = [0; 64];
//!             let len = self.socket.read(&mut bytes).unwrap_or(0);
//!             self.received.extend_from_slice(&bytes[..len]);
//!         }
//!     }
//! }
//!
//! let kick = Arc::new(EventNotifier::new()?);
//! let mut manager = EventManager::new().map_err(|error| error.to_string())?;
//! let (socket, mut peer) = UnixStream::pair()?;
//! let queue = Queue { kick: Arc::clone(&kick), kicks: 0, socket, received: Vec::new() };
//! let id = manager.add_subscriber(queue);
//!
//! kick.notify()?;
//! peer.write_all(b"packet")?;
//! manager.run().map_err(|error| error.to_string())?;
//! let queue = manager.remove_subscriber(id).map_err(|error| error.to_string())?;
//! assert_eq!((queue.kicks, queue.received), (1, b"packet".to_vec()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # tokio
//!
//! `AsyncFd` takes any `AsRawFd`: an `Arc` of a notifier, of a tap or of an `irqfd::ArmQueue`. The
//! closure returns WouldBlock to wait for the next signal. For a queue it calls `run_pending`, and
//! returns WouldBlock afterwards. Newer versions of tokio deprecate `with_interest` for
//! `register_with_interest`, which is unsafe: the caller promises that the descriptor stays open.
//! An `Arc` of a notifier ensures that.
//!
//! ```
//! use std::io;
//! use std::sync::Arc;
//! use notify_core::EventNotifier;
//! use tokio::io::Interest;
//! use tokio::io::unix::AsyncFd;
//!
//! async fn kicked(kick: &AsyncFd<Arc<EventNotifier>>) -> io::Result<u64> {
//!     kick.async_io(Interest::READABLE, |kick| match kick.consume() {
//!         Ok(Some(signalled)) => Ok(signalled.get()),
//!         Ok(None) => Err(io::ErrorKind::WouldBlock.into()),
//!         Err(error) => Err(io::Error::other(error)),
//!     })
//!     .await
//! }
//!
//! let kick = Arc::new(EventNotifier::new()?);
//! let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
//! runtime.block_on(async {
//!     let kick = AsyncFd::with_interest(kick, Interest::READABLE)?;
//!     kick.get_ref().notify().map_err(io::Error::other)?;
//!     assert_eq!(kicked(&kick).await?, 1);
//!     Ok::<_, io::Error>(())
//! })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # epoll
//!
//! The system calls, here by the crate nix. `Epoll::add` takes any `AsFd`.
//!
//! ```
//! use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
//! use notify_core::EventNotifier;
//!
//! let kick = EventNotifier::new()?;
//! let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
//! epoll.add(&kick, EpollEvent::new(EpollFlags::EPOLLIN, 7))?;
//!
//! kick.notify()?;
//! let mut events = [EpollEvent::empty(); 16];
//! let ready = epoll.wait(&mut events, EpollTimeout::NONE)?;
//! assert_eq!((ready, events[0].data()), (1, 7));
//! assert_eq!(kick.consume()?.map(u64::from), Some(1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # io_uring
//!
//! Two requests work (tested on Linux 6.1, 6.18 and 7.2). The example uses the crate `io-uring`.
//!
//! - A multishot POLL_ADD stays, and completes each time that the descriptor becomes readable: call
//!   `consume` then. It works for every descriptor, also for an `irqfd::ArmQueue`.
//! - A READ of 8 bytes waits for a signal, also of a non-blocking notifier, and takes the counter
//!   as `consume` does, without a further system call. Submit it again for the next signal.
#![doc = concat!("```no_run\n", include_str!("../tests/io_uring/example.rs"), "```")]
