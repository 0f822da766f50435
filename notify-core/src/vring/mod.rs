// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The eventfds of a device's queues, handed to a vhost back-end: a worker in the kernel, or a
//! vhost-user daemon in another process.
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
//! signal, and takes them back. Doorbells and interrupts are the caller's: register the kick as an
//! ioeventfd, and use the eventfd of an exported interrupt vector as the call, before
//! [`Vrings::start`]. A vector that is masked keeps its eventfd, so masking changes nothing here.
//!
//! Ring addresses, sizes, features and guest memory are set on the back-end itself, before it is
//! given to `start`.
//!
//! What would be lost, and what `Vrings` does about it:
//!
//! - A kick before the back-end runs. The kernel's vsock worker uses it up without a look at the
//!   ring, and so do some daemons. `start` kicks each ring after the back-end has confirmed that it
//!   runs.
//! - A kick while the ring changes hands, because the kernel never reads the counter. `stop` reads
//!   and clears it, and reports it as [`StoppedRing::kicked`].
//! - A ring that was pending at a snapshot. Each start kicks, so the new back-end looks.
//! - A call that a back-end owed when it died. After [`Vrings::abandon`] the next start also
//!   signals each call.
//! - What completes while a ring has no call eventfd. `Vrings` never takes the call away from a
//!   back-end that runs.
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
//! assert_eq!(stopped.rings[1].base, 7); // where the next back-end goes on
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # A worker in the kernel
//!
//! ```text
//!  guest (vCPU)           KVM                       vhost worker             VMM
//!  ────────────           ───                       ────────────             ───
//!  writes available ring
//!  stores to doorbell ──▶ finds the ioeventfd,
//!  goes on                writes the KICK ────────▶ is woken                 sleeps
//!                                                   reads available ring
//!                                                   moves the data
//!                                                   writes used ring
//!                         is called in the ◀─────── writes the CALL          sleeps
//!                         worker's own write,
//!  runs its handler ◀──── injects the interrupt
//!  reads used ring                                                           sleeps
//! ```
//!
//! # A daemon in another process
//!
//! ```text
//!  guest (vCPU)           KVM                       daemon                   VMM
//!  ────────────           ───                       ──────                   ───
//!  writes available ring
//!  stores to doorbell ──▶ finds the ioeventfd,
//!  goes on                writes the KICK ────────▶ epoll returns,           sleeps
//!                                                   reads the KICK
//!                                                   reads available ring, in memory
//!                                                   that it shares with the guest
//!                                                   writes used ring
//!                         is called in the ◀─────── writes the CALL          sleeps
//!                         daemon's own write,
//!  runs its handler ◀──── injects the interrupt
//!  reads used ring                                                           sleeps
//! ```
//!
//! The daemon got guest memory and eventfds over a Unix socket, as file descriptors. That socket is
//! not on the data path.
//!
//! # Who writes, who is woken, who never runs
//!
//! | eventfd | written by | woken by it | read by | never runs |
//! |---|---|---|---|---|
//! | kick | KVM, in the guest's store | vhost's worker; the daemon | the daemon; **nothing** with a worker, so the counter only grows | a thread of the VMM |
//! | call | vhost's worker; the daemon | KVM, which is called inside the write, and injects at once if the GSI has one MSI route | KVM, in that write (before Linux 5.11: nothing) | a thread of the VMM |
//! | error | vhost's worker; a daemon if it cares to (vhost-user-backend does not) | the VMM's event loop | the VMM ([`Vrings::failed`]) | |
//!
//! Two consequences. The vCPU does not return to user space for a kick, and the device needs no
//! system call of the VMM for an interrupt. And since a worker does not read the kick, its counter
//! says nothing about what was served: [`Vrings::stop`] therefore reads it, and
//! the next [`start`](Vrings::start) kicks once more.
//!
//! # Set-up
//!
//! 1. The guest has programmed its MSI-X table and each queue's vector. Export the vectors, which
//!    binds their notifiers as irqfds (`irqfd::msix::Table`, `Vector::export`).
//! 2. Register the kicks as ioeventfds (`ioeventfd::DoorbellSet`).
//! 3. Give the back-end memory, features, ring addresses and bases, by its own requests.
//! 4. Make a [`NotifierPair`](crate::NotifierPair) for each queue, of its kick and its vector's
//!    notifier, and a [`Vrings`] of all pairs.
//! 5. [`Vrings::start`]. Doorbells and vectors come before it, because the
//!    back-end may call at once, and because a kick that came early is repeated by it.
//!
//! # While packets flow
//!
//! | the guest | the VMM | the back-end is told |
//! |---|---|---|
//! | masks or unmasks a vector | `irqfd::msix::Table::write` | nothing: the call stays the same eventfd, and KVM does not listen to it meanwhile |
//! | changes a vector's message | the same | nothing |
//! | moves a queue to another vector | `irqfd::msix::Binding::bind_call`, which calls [`Vrings::set_pair`] with the same kick | VHOST_SET_VRING_CALL |
//! | moves the BAR with the doorbells | `ioeventfd::DoorbellSet::relocate` | nothing |
//! | resets the device | [`Vrings::stop`], later `start` with bases of 0 | stop, start |
//!
//! To go on in another VM: stop; save the MSI-X table, the bases and the vCPUs, in this order,
//! since the last calls are in the local APICs then; in the new VM, register the doorbells, restore
//! the table, give each queue a pair of the new notifiers by `set_pair`, and start.
//!
//! # When a daemon dies
//!
//! ```text
//!  socket closes ──▶ Vrings::abandon ──▶ new eventfds for doorbells and vectors
//!                                              │
//!  Vrings::start ◀── negotiate again ◀── connect to the new daemon
//!      │
//!      ├─ kicks each ring: the dead daemon may have read a kick and done nothing
//!      └─ signals each call: it may have used buffers and called for none
//! ```
//!
//! New eventfds matter if the old process can still be alive: it would read kicks and write calls
//! of its successor. `DoorbellSet::apply` and `Vector::replace_notifier` carry over what is pending
//! in the old ones.
//!
//! # In the examples
//!
//! `cargo run --release --bin vhost_user` and `--bin vhost_vsock` do all of this with a real guest,
//! and count exits, wake-ups, kicks and interrupts. The VMM's part is in `examples/vhost/src`:
//! `wiring.rs` has doorbells and vectors, `user/device.rs` and `kernel/device.rs` the back-ends,
//! `vmm.rs` what is done when the guest writes a register.

mod backend;
mod error;
mod signal;
#[cfg(feature = "vhost")]
mod vhost;
mod vrings;

pub use backend::VringBackend;
pub use error::VringError;
#[cfg(feature = "vhost")]
pub use vhost::NetWithTap;
pub use vrings::{Stopped, StoppedRing, Vrings};
