// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A device with a thread.
//!
//! The chapter needs the feature `dispatcher`. A VMM that has an event loop may keep it: see
//! [`event_loops`](crate::event_loops).
//!
//! # The kick and the call
//!
//! ```text
//!  vCPU thread            KVM                         device thread
//!  ───────────            ───                         ─────────────
//!  guest fills the ring
//!  stores to doorbell ──▶ finds the ioeventfd,
//!  goes on (no exit)      adds 1 to the KICK ───────▶ epoll_wait returns
//!                                                     takes the counter (consume)
//!                                                     handler(kicks):
//!                                                       reads the available ring
//!                                                       writes the used ring
//!                         is called inside that ◀────── writes the CALL (notify)
//!                         write, and injects
//!  guest takes the ◀───── the interrupt               epoll_wait blocks again
//!  interrupt
//! ```
//!
//! Kicks that come while the handler runs add up in the counter, and cause one more call. So one
//! call can stand for many kicks, and a handler must empty the ring each time.
//!
//! # From start to end
//!
//! A [`Dispatcher`] is run by one thread. All else is done through a [`DispatcherHandle`], from any
//! thread and from inside handlers.
//!
//! ```
//! # #[cfg(feature = "dispatcher")] {
//! use std::os::fd::AsFd;
//! use std::sync::Arc;
//! use std::thread;
//! use notify_core::dispatcher::Dispatcher;
//! use notify_core::{
//!     Bus, IoEventFdRequest, IrqFdRequest, MsiMessage, NotifierPair, RouteEntry, RouteTarget, Vm,
//! };
//! use notify_sim::SimVm;
//!
//! let vm = SimVm::builder().build(); // in a VMM: `KvmVm::try_from(&vm_fd)?`
//! vm.enable_lapic(0); // as a guest does when it boots
//! let queue = NotifierPair::new()?;
//! let (kick, call) = (&queue.host_notifier, &queue.guest_notifier);
//!
//! // In a VMM `ioeventfd` and `irqfd` make these three requests.
//! vm.ioeventfd(&IoEventFdRequest::assign(kick.as_fd(), Bus::Mmio, 0xd000_0000, 2))?;
//! let route = RouteEntry::new(24, RouteTarget::Msi(MsiMessage::new(0xfee0_0000, 0x41)));
//! vm.set_gsi_routing(&[route].into_iter().collect())?;
//! vm.irqfd(&IrqFdRequest::assign(call.as_fd(), 24))?;
//!
//! // Start: add the handler, then give the dispatcher to a thread.
//! let dispatcher = Dispatcher::new()?;
//! let handle = dispatcher.handle();
//! let to_guest = Arc::clone(call);
//! let token = handle.add(Arc::clone(kick), move |_kicks| {
//!     // Here: serve the ring until it is empty.
//!     to_guest.notify()?;
//!     Ok(())
//! })?;
//! let device = thread::spawn(move || dispatcher.run());
//!
//! // The guest kicks, and waits for its interrupt.
//! vm.guest_write(Bus::Mmio, 0xd000_0000, &[0, 0]);
//! while !vm.pending_vectors(0).contains(&0x41) {
//!     thread::yield_now();
//! }
//!
//! // Snapshot: when `pause` has returned, the handler does not run.
//! let pending = handle.pause(token)?;
//! // Here: save the device.
//! if let Some(kicks) = pending {
//!     kick.add(kicks)?; // the handler sees them after `resume`
//! }
//! handle.resume(token)?;
//!
//! // End: take the handler out, stop the thread, join it.
//! let unhandled = handle.remove(token)?;
//! assert_eq!(unhandled, None);
//! handle.stop()?;
//! device.join().unwrap()?;
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What a handler must do
//!
//! - **Finish the work in the call.** There is no second call for the same kick. To give other
//!   handlers a turn, signal your own notifier with `notify`, and return.
//! - **Not block.** All handlers of a dispatcher share its thread.
//! - **Return an error only if it cannot go on.** The handler is then removed, as it is after a
//!   panic. The callback of [`DispatcherBuilder::on_failure`] gets a [`Failure`] with the notifier
//!   and the kicks that were pending. Other handlers are not affected.
//!
//! # Pause, remove, and the kicks in between
//!
//! ```text
//!                  add ─────────────▶ watched ──── signal ────▶ handler runs
//!                                     │  ▲  ▲                        │
//!                   pause: waits for  │  │  └────────────────────────┘
//!                   the handler       ▼  │ resume
//!                                    paused      kicks stay in the counter
//!
//!  remove, from each of these: waits for the handler, drops it, returns pending kicks
//! ```
//!
//! `pause` and `remove` wait for a call of the handler that is under way. Then they take the
//! counter and return it. Each kick has therefore been handled, or is returned, or is still in the
//! counter. A snapshot needs no kick to be saved: after a restore signal each notifier once, and
//! each handler looks at its ring.
//!
//! Inside the handler's own call `pause` and `remove` cannot wait: that call is then the last one.
//! The deadlocks to avoid are listed at [`DispatcherHandle`].
//!
//! # Polling
//!
//! A blocked thread takes microseconds to wake. A handler that can look at its ring in memory can
//! be polled instead: implement [`PollHandler`], and add it with `add_polled`.
//!
//! ```text
//!  blocked ── signal ──▶ handle ──▶ begin_polling ──▶ poll, poll, poll, …
//!     ▲                  (the peer need not signal)    │ nothing found for a while
//!     │                                                ▼
//!     └────── nothing found ◀── poll once more ◀── end_polling
//!                                                  (the peer must signal again)
//! ```
//!
//! How long the dispatcher polls tunes itself by QEMU's rules, see [`PollLimits`]. The last `poll`
//! finds work that came between the last look and `end_polling`.
//!
//! ```
//! # #[cfg(feature = "dispatcher")] {
//! use std::collections::VecDeque;
//! use std::num::NonZeroU64;
//! use std::sync::atomic::{AtomicBool, Ordering};
//! use std::sync::{Arc, Mutex};
//! use std::thread;
//! use notify_core::EventNotifier;
//! use notify_core::dispatcher::{
//!     Dispatcher, DispatcherHandle, Handler, HandlerError, PollHandler, Progress,
//! };
//!
//! /// A ring in memory that both sides see.
//! struct Ring {
//!     available: Mutex<VecDeque<u32>>,
//!     /// As the flag VIRTQ_USED_F_NO_NOTIFY of a virtio ring, inverted.
//!     wants_kicks: AtomicBool,
//! }
//!
//! struct Device {
//!     ring: Arc<Ring>,
//!     served: u32,
//!     dispatcher: DispatcherHandle,
//! }
//!
//! impl Device {
//!     /// Serves at most 16 buffers. Returns whether there was one.
//!     fn serve(&mut self) -> bool {
//!         let mut available = self.ring.available.lock().unwrap();
//!         let count = available.len().min(16);
//!         available.drain(..count);
//!         self.served += count as u32;
//!         if self.served == 1000 {
//!             let _ = self.dispatcher.stop(); // ends this example
//!         }
//!         count > 0
//!     }
//! }
//!
//! impl Handler for Device {
//!     fn handle(&mut self, _kicks: NonZeroU64) -> Result<(), HandlerError> {
//!         while self.serve() {}
//!         Ok(())
//!     }
//! }
//!
//! impl PollHandler for Device {
//!     fn poll(&mut self) -> Progress {
//!         if self.serve() { Progress::Made } else { Progress::None }
//!     }
//!
//!     fn begin_polling(&mut self) {
//!         self.ring.wants_kicks.store(false, Ordering::SeqCst);
//!     }
//!
//!     fn end_polling(&mut self) {
//!         self.ring.wants_kicks.store(true, Ordering::SeqCst);
//!     }
//! }
//!
//! let kick = Arc::new(EventNotifier::new()?);
//! let ring = Ring { available: Mutex::default(), wants_kicks: AtomicBool::new(true) };
//! let ring = Arc::new(ring);
//! let dispatcher = Dispatcher::new()?;
//! let handle = dispatcher.handle();
//! let device = Device { ring: Arc::clone(&ring), served: 0, dispatcher: handle.clone() };
//! handle.add_polled(Arc::clone(&kick), device)?;
//!
//! let driver = thread::spawn(move || {
//!     for buffer in 0..1000 {
//!         ring.available.lock().unwrap().push_back(buffer);
//!         if ring.wants_kicks.load(Ordering::SeqCst) {
//!             kick.notify()?;
//!         }
//!     }
//!     Ok::<(), notify_core::Error>(())
//! });
//! dispatcher.run()?; // returns when all buffers are served
//! driver.join().unwrap()?;
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Other descriptors
//!
//! A tap, a timer, a socket or an `irqfd::ArmQueue` is added with `add_fd`. Its closure is called
//! while the descriptor is readable. The dispatcher reads nothing from it.
//!
//! # A loop of the VMM's own
//!
//! [`Dispatcher::run_once`] blocks for at most a given time, calls the handlers that are ready, and
//! returns. Use it where the thread has other work between two turns.
#![cfg_attr(
    feature = "dispatcher",
    doc = "",
    doc = "[`Dispatcher`]: crate::dispatcher::Dispatcher",
    doc = "[`Dispatcher::run_once`]: crate::dispatcher::Dispatcher::run_once",
    doc = "[`DispatcherHandle`]: crate::dispatcher::DispatcherHandle",
    doc = "[`DispatcherBuilder::on_failure`]: crate::dispatcher::DispatcherBuilder::on_failure",
    doc = "[`Failure`]: crate::dispatcher::Failure",
    doc = "[`PollHandler`]: crate::dispatcher::PollHandler",
    doc = "[`PollLimits`]: crate::dispatcher::PollLimits"
)]
#![cfg_attr(
    not(feature = "dispatcher"),
    doc = "",
    doc = "[`Dispatcher`]: self",
    doc = "[`Dispatcher::run_once`]: self",
    doc = "[`DispatcherHandle`]: self",
    doc = "[`DispatcherBuilder::on_failure`]: self",
    doc = "[`Failure`]: self",
    doc = "[`PollHandler`]: self",
    doc = "[`PollLimits`]: self"
)]
