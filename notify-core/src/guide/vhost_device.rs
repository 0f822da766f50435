// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A vhost device: a worker in the kernel, or a vhost-user daemon.
//!
//! [`Vrings`] holds the kick and the call of each ring, and gives them to a back-end. On the data
//! path no thread of the VMM runs.
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
//! The daemon gets guest memory and eventfds as file descriptors, over a Unix socket. The socket is
//! not on the data path.
//!
//! # Which side writes, which side wakes
//!
//! | eventfd | written by | wakes | read by |
//! |---|---|---|---|
//! | kick | KVM, in the guest's store | vhost's worker, or the daemon | the daemon; **nothing** with a worker, so the counter only grows |
//! | call | vhost's worker, or the daemon | KVM, which is called inside the write, and injects at once if the GSI has one MSI route | KVM, in that write (before Linux 5.11: nothing) |
//! | error | vhost's worker; some daemons (vhost-user-backend does not) | the VMM's event loop | the VMM ([`Vrings::failed`]) |
//!
//! A worker does not read the kick, so the counter does not show what was served. Therefore
//! [`Vrings::stop`] reads it, and the next [`Vrings::start`] kicks once more.
//!
//! # Start
//!
//! 1. The guest has programmed its MSI-X table and each queue's vector. Export the vectors
//!    (`irqfd::msix::Table`, `Vector::export`). The notifier of an exported vector is bound as an
//!    irqfd while the vector is not masked.
//! 2. Register the kicks as ioeventfds (`ioeventfd::DoorbellSet`).
//! 3. Give the back-end memory, features, ring addresses and bases, by its own requests.
//! 4. Make a [`NotifierPair`] for each queue, of its kick and its vector's notifier, and a
//!    [`Vrings`] of all pairs.
//! 5. Call [`Vrings::start`]. The back-end may call at once, so doorbells and vectors come first.
//!
//! With the feature `vhost` the back-ends of the `vhost` crate implement [`VringBackend`]. This
//! example has one of its own, so that it runs anywhere.
//!
//! ```
//! use std::collections::BTreeMap;
//! use std::io;
//! use std::os::fd::AsFd;
//! use notify_core::vring::{VringBackend, Vrings};
//! use notify_core::{
//!     Bus, EventNotifier, IoEventFdRequest, IrqFdRequest, MsiMessage, NotifierPair, RouteEntry,
//!     RouteTarget, Vm,
//! };
//! use notify_sim::SimVm;
//!
//! /// Stands for vhost's worker, or for a daemon.
//! #[derive(Debug, Default)]
//! struct Backend {
//!     kicks: BTreeMap<usize, EventNotifier>,
//!     calls: BTreeMap<usize, EventNotifier>,
//!     next: u32,
//! }
//!
//! impl VringBackend for Backend {
//!     fn set_kick(&mut self, ring: usize, kick: &EventNotifier) -> io::Result<()> {
//!         self.kicks.insert(ring, kick.try_clone().map_err(io::Error::other)?);
//!         Ok(())
//!     }
//!     fn set_call(&mut self, ring: usize, call: &EventNotifier) -> io::Result<()> {
//!         self.calls.insert(ring, call.try_clone().map_err(io::Error::other)?);
//!         Ok(())
//!     }
//!     fn set_err(&mut self, _ring: usize, _err: &EventNotifier) -> io::Result<()> {
//!         Ok(())
//!     }
//!     fn start(&mut self, _rings: usize) -> io::Result<()> {
//!         Ok(())
//!     }
//!     fn stop(&mut self, rings: usize) -> io::Result<Vec<u32>> {
//!         Ok(vec![self.next; rings]) // the base of each ring
//!     }
//! }
//!
//! impl Backend {
//!     /// One wake-up: serves each ring that was kicked, and calls the guest.
//!     fn serve(&self) -> Result<usize, notify_core::Error> {
//!         let mut served = 0;
//!         for (ring, kick) in &self.kicks {
//!             if kick.consume()?.is_some() {
//!                 self.calls[ring].notify()?;
//!                 served += 1;
//!             }
//!         }
//!         Ok(served)
//!     }
//! }
//!
//! let vm = SimVm::builder().build(); // in a VMM: `KvmVm::try_from(&vm_fd)?`
//! vm.enable_lapic(0); // as a guest does when it boots
//! let pair = NotifierPair::new()?;
//! let (kick, call) = (pair.host_notifier.as_fd(), pair.guest_notifier.as_fd());
//! vm.ioeventfd(&IoEventFdRequest::assign(kick, Bus::Mmio, 0xd000_0000, 2))?;
//! let route = RouteEntry::new(24, RouteTarget::Msi(MsiMessage::new(0xfee0_0000, 0x41)));
//! vm.set_gsi_routing(&[route].into_iter().collect())?;
//! vm.irqfd(&IrqFdRequest::assign(call, 24))?;
//!
//! let mut vrings = Vrings::new([pair.clone()])?;
//! vrings.start(Backend::default())?;
//! let backend = vrings.backend().ok_or("it was started")?;
//! assert_eq!(backend.serve()?, 1, "each start kicks each ring once");
//!
//! vm.guest_write(Bus::Mmio, 0xd000_0000, &[0, 0]);
//! assert_eq!(backend.serve()?, 1);
//! assert_eq!(vm.pending_vectors(0), [0x41]);
//!
//! // Stop: a kick that was not served is reported, and the base is where the next one goes on.
//! vm.guest_write(Bus::Mmio, 0xd000_0000, &[0, 0]);
//! let stopped = vrings.stop()?;
//! assert!(stopped.rings[0].kicked);
//! assert_eq!(stopped.rings[0].base, 0);
//!
//! // Death: `abandon` asks the back-end nothing. The next start kicks and calls.
//! vrings.start(stopped.backend)?;
//! drop(vrings.abandon());
//! vm.deliver(); // forget the interrupts so far
//! vrings.start(Backend::default())?;
//! assert_eq!(vm.deliver().len(), 1, "the guest looks for buffers used without a call");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Connecting to a daemon
//!
//! ```no_run
//! # #[cfg(feature = "vhost")] {
//! use std::os::unix::net::UnixStream;
//! use notify_core::NotifierPair;
//! use notify_core::vring::Vrings;
//! use vhost::vhost_user::Frontend;
//!
//! let socket = UnixStream::connect("/run/blk.sock")?;
//! // A daemon that is silent blocks a request. `shutdown` from another thread ends the wait.
//! let for_watchdog = socket.try_clone()?;
//! let daemon = Frontend::from_stream(socket, 1);
//! // Here: negotiate VHOST_USER_F_PROTOCOL_FEATURES, and set memory, sizes, addresses and bases.
//!
//! let pair = NotifierPair::new()?; // the kick of the doorbell, the notifier of the vector
//! let mut vrings = Vrings::new([pair])?;
//! vrings.start(daemon)?;
//! # drop(for_watchdog);
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # While packets flow
//!
//! | the guest | the VMM calls | request to the back-end |
//! |---|---|---|
//! | masks or unmasks a vector | `irqfd::msix::Table::write` | none: the call stays the same eventfd, and KVM does not listen to it meanwhile |
//! | changes a vector's message | the same | none |
//! | moves a queue to another vector | `irqfd::msix::Binding::bind_call`, which calls [`Vrings::set_pair`] with the same kick | VHOST_SET_VRING_CALL |
//! | moves the BAR with the doorbells | `ioeventfd::DoorbellSet::relocate` | none |
//! | resets the device | [`Vrings::stop`], later `start` with bases of 0 | stop, start |
//!
//! # Migration
//!
//! 1. In the old VM: stop the vCPUs, then call [`Vrings::stop`]. The back-end signals no more
//!    calls.
//! 2. Pause the MSI-X table (`irqfd::msix::Table::pause`). When that returns, each call is in a
//!    local APIC or in the paused table. Then save the table, the bases and the vCPUs.
//! 3. In the new VM: register the doorbells. Build the MSI-X table, pause it, restore the local
//!    APICs, then restore the table. Make a [`Vrings`] of the new pairs. (If the same process goes
//!    on, use [`Vrings::set_pair`].)
//! 4. Resume the table. If there is an `irqfd::ArmQueue`, wait until what is queued is armed.
//! 5. Give the back-end the bases, call [`Vrings::start`], then start the vCPUs. `start` kicks each
//!    ring, so a ring that was pending when the VM was saved is served.
//!
//! `irqfd::guide::snapshot` has the whole order, for all objects of a VM.
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
//! New eventfds matter if the old process may still be alive: it would read kicks and write calls
//! of its successor. `DoorbellSet::apply` and `Vector::replace_notifier` move what is pending in
//! the old eventfds to the new ones.
//!
//! # In the examples
//!
//! `cargo run --release --bin vhost_user` and `--bin vhost_vsock` do all of this with a real guest,
//! and count exits, wake-ups, kicks and interrupts. The VMM's part is in `examples/vhost/src`:
//! `wiring.rs` has doorbells and vectors, `user/device.rs` and `kernel/device.rs` the back-ends,
//! and `vmm.rs` what is done when the guest writes a register.
//!
//! [`NotifierPair`]: crate::NotifierPair
//! [`VringBackend`]: crate::vring::VringBackend
//! [`Vrings`]: crate::vring::Vrings
//! [`Vrings::failed`]: crate::vring::Vrings::failed
//! [`Vrings::set_pair`]: crate::vring::Vrings::set_pair
//! [`Vrings::start`]: crate::vring::Vrings::start
//! [`Vrings::stop`]: crate::vring::Vrings::stop
