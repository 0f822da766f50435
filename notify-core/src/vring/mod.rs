// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Kicks and calls of a device's queues, handed to a vhost back-end.
//!
//! The back-end is a worker in the kernel, or a vhost-user daemon in another process.
//!
//! ```text
//!  guest: store to the doorbell                                  guest: interrupt handler
//!         │                                                             ▲
//!         ▼ KVM: ioeventfd                                              │ KVM: irqfd
//!   kick eventfd ──wakes──▶ vhost worker or daemon ──signals──▶ call eventfd
//!                           (no thread of the VMM runs)
//! ```
//!
//! [`Vrings`] holds a [`NotifierPair`](crate::NotifierPair) for each ring: the host notifier is the
//! kick, the guest notifier is the call. It gives them to a back-end in the order that loses no
//! signal, and takes them back.
//!
//! The caller makes doorbells and interrupts before [`Vrings::start`]: register the kick as an
//! ioeventfd, and use the eventfd of an exported interrupt vector as the call. A masked vector
//! keeps its eventfd, so masking needs no request. Ring addresses, sizes, features and guest memory
//! are set on the back-end itself, before it is given to `start`.
//!
//! Which signals could be lost, and what `Vrings` does about it:
//!
//! | the signal | what `Vrings` does |
//! |---|---|
//! | a kick before the back-end runs, which the kernel's vsock worker and some daemons use up without a look at the ring | `start` kicks each ring after the back-end has confirmed that it runs |
//! | a kick while the ring changes hands, since the kernel never reads the counter | `stop` reads and clears it, and reports it as [`StoppedRing::kicked`] |
//! | a kick that was pending at a snapshot | each start kicks, so the new back-end looks at the ring |
//! | a call that a back-end owed when it died | after [`Vrings::abandon`] the next start also signals each call |
//! | a call while a ring has no call eventfd | `Vrings` never takes the call away from a back-end that runs |
//!
//! ```
//! use notify_core::NotifierPair;
//! use notify_core::vring::{VringBackend, Vrings};
//! # use notify_core::EventNotifier;
//! # use std::io;
//! # #[derive(Debug)] struct Backend;
//! # impl VringBackend for Backend {
//! #     fn set_kick(&mut self, _: usize, _: &EventNotifier) -> io::Result<()> { Ok(()) }
//! #     fn set_call(&mut self, _: usize, _: &EventNotifier) -> io::Result<()> { Ok(()) }
//! #     fn set_err(&mut self, _: usize, _: &EventNotifier) -> io::Result<()> { Ok(()) }
//! #     fn start(&mut self, _: usize) -> io::Result<()> { Ok(()) }
//! #     fn stop(&mut self, rings: usize) -> io::Result<Vec<u32>> { Ok(vec![7; rings]) }
//! # }
//! # let backend = Backend;
//! let (rx, tx) = (NotifierPair::new()?, NotifierPair::new()?);
//! let mut vrings = Vrings::new([rx, tx])?;
//! vrings.start(backend)?; // each ring is kicked once
//! let stopped = vrings.stop()?;
//! assert_eq!(stopped.rings[1].base, 7); // where the next back-end continues
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The chapter [`vhost_device`](crate::guide::vhost_device) of the guide shows the whole life of a
//! vhost device: set-up, traffic, migration, and the death of a daemon.

mod backend;
mod error;
mod signal;
mod stopped;
#[cfg(feature = "vhost")]
mod vhost;
mod vrings;

pub use backend::VringBackend;
pub use error::VringError;
pub use stopped::{Stopped, StoppedRing};
#[cfg(feature = "vhost")]
pub use vhost::NetWithTap;
pub use vrings::Vrings;
