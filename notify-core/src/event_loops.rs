// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Guide: how the loops that VMMs have already listen to notifiers.
//!
//! An [`EventNotifier`](crate::EventNotifier) is a file descriptor (`AsFd`) that is readable while its
//! counter is not zero. Any loop that watches file descriptors watches it, and there is nothing to
//! adapt. Three things are the same everywhere:
//!
//! - Take the counter with [`consume`](crate::EventNotifier::consume), which never blocks, before
//!   looking at the ring. In a semaphore's mode, or where the mode is not known, take until `None`.
//! - An edge-triggered loop (mio, tokio, event-manager with `EDGE_TRIGGERED`) tells of a signal once. A
//!   level-triggered one tells until the counter was taken.
//! - While a notifier is bound as an irqfd, KVM takes its signals, and no loop is woken.
//!
//! # mio
//!
//! With the feature `mio`, `&EventNotifier` is a [`Source`](mio::event::Source). To have handlers
//! added and removed while the loop runs, or polled, use the [`Dispatcher`](crate::dispatcher::Dispatcher).
//!
//! ```
//! use mio::{Events, Interest, Poll, Token};
//! use notify_core::EventNotifier;
//!
//! let kick = EventNotifier::new()?;
//! let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(64));
//! poll.registry().register(&mut &kick, Token(0), Interest::READABLE)?;
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
//!
//! ```
//! use std::sync::Arc;
//! use event_manager::{EventManager, EventOps, EventSet, Events, MutEventSubscriber, SubscriberOps};
//! use notify_core::EventNotifier;
//!
//! struct Queue {
//!     kick: Arc<EventNotifier>,
//!     kicks: u64,
//! }
//!
//! impl MutEventSubscriber for Queue {
//!     fn init(&mut self, ops: &mut EventOps) {
//!         let kick = Events::new(&*self.kick, EventSet::IN);
//!         ops.add(kick).expect("an open eventfd that nobody else watches here");
//!     }
//!
//!     fn process(&mut self, _: Events, _: &mut EventOps) {
//!         if let Ok(Some(signalled)) = self.kick.consume() {
//!             self.kicks += signalled.get();
//!         }
//!     }
//! }
//!
//! let kick = Arc::new(EventNotifier::new()?);
//! let mut manager = EventManager::new().map_err(|error| error.to_string())?;
//! let queue = manager.add_subscriber(Queue { kick: Arc::clone(&kick), kicks: 0 });
//!
//! kick.notify()?;
//! manager.run().map_err(|error| error.to_string())?;
//! let queue = manager.remove_subscriber(queue).map_err(|error| error.to_string())?;
//! assert_eq!(queue.kicks, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # tokio
//!
//! `AsyncFd` takes what is `AsRawFd`, and so an `Arc` of a notifier. WouldBlock sends it back to wait.
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
//! Nothing but the system calls, here by the crate nix.
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
