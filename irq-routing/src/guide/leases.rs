// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Leases and transactions: the life of a GSI, parked leases, and what happens in a shortage.
//!
//! # The life of a GSI
//!
//! ```text
//!            lease             commit a route             into_line
//!   free ───────────▶ leased ────────────────▶ routed ◀────────────▶ line: an irqfd may be armed
//!    ▲                  │                       │  ▲     into_lease
//!    │       drop       │         drop          │  │
//!    ├──────────────────┴───────────────────────┤  │ unpark
//!    │                                     park ▼  │
//!    └───────────────────────────────────────── parked
//!        dropped, or taken back in a shortage
//! ```
//!
//! | step | ioctls |
//! |---|---|
//! | lease, park, unpark, convert to a line and back, drop | none |
//! | set a route, commit a transaction, commit many edits | one, or none if nothing changes |
//! | [`flush`](crate::RoutingTable::flush) after leases were dropped | one, or none |
//!
//! Dropping a lease leaves its route in the kernel until the next commit. That is harmless: nothing
//! is armed on the GSI any more, and nothing can be armed on it before it is routed again. So
//! dropping 2000 leases costs at most one ioctl.
//!
//! # All or nothing: a transaction
//!
//! A device that is enabled leases its GSIs and routes them in one commit:
//!
//! ```
//! use std::sync::Arc;
//! use irq_routing::{MsiMessage, RoutingTable};
//! use notify_sim::{CallKind, SimVm};
//!
//! let vm = Arc::new(SimVm::builder().build());
//! let table = RoutingTable::new(vm.clone())?;
//! let leases: Vec<_> = (0..16)
//!     .map(|_| table.lease().map(|lease| lease.named("net0")))
//!     .collect::<Result<_, _>>()?;
//!
//! let mut transaction = table.transaction();
//! for (vector, lease) in (0x40..).zip(&leases) {
//!     transaction.route(lease, MsiMessage::new(0xfee0_0000, vector));
//! }
//! transaction.commit()?;
//! assert_eq!(vm.calls(CallKind::SetGsiRouting), 1);
//! # Ok::<(), irq_routing::Error>(())
//! ```
//!
//! If a commit fails, the table and the kernel are as before, and the transaction is in the error
//! ([`Rejected::value`](crate::Rejected)). Commits of other threads that share its ioctl succeed.
//!
//! # Each for itself: `commit_each`
//!
//! A guest programs messages, and one bad message must not affect the others.
//! [`commit_each`](crate::RoutingTable::commit_each) commits many edits with one ioctl and reports
//! an outcome for each:
//!
//! ```
//! # use std::sync::Arc;
//! # use irq_routing::{EditOutcome, MsiMessage, RoutingTable};
//! # use notify_sim::SimVm;
//! let vm = Arc::new(SimVm::builder().build());
//! vm.enable_x2apic_ids(); // KVM refuses messages with bits 32 to 39 of the address set
//! let table = RoutingTable::new(vm)?;
//! let (good, bad) = (table.lease()?, table.lease()?);
//! let edits = [
//!     good.edit(MsiMessage::new(0xfee0_0000, 0x41)),
//!     bad.edit(MsiMessage::new(0x01_fee0_0000, 0x42)),
//! ];
//! let mut outcomes = Vec::new();
//! table.commit_each(edits, |_, outcome| outcomes.push(outcome));
//! assert!(matches!(outcomes[..], [EditOutcome::Committed, EditOutcome::Failed(_)]));
//! # Ok::<(), irq_routing::Error>(())
//! ```
//!
//! Of the edits of one lease the one that was staged last counts, also if threads commit them in
//! another order. A guest that programs bad messages again and again costs a bounded number of
//! ioctls for each call; see [`commit_each`](crate::RoutingTable::commit_each).
//!
//! # Parked leases
//!
//! A VM has 4096 GSIs, and its guest may have more vectors than that, most of them masked. A masked
//! vector needs no GSI now, but perhaps soon. Parking solves both:
//!
//! ```
//! # use std::sync::Arc;
//! # use irq_routing::{MsiMessage, RoutingTable};
//! # use notify_sim::{CallKind, SimVm};
//! # let vm = Arc::new(SimVm::builder().build());
//! # let table = RoutingTable::new(vm.clone())?;
//! let message = MsiMessage::new(0xfee0_0000, 0x41);
//! let parked = table.lease_msi(message)?.park(); // the guest masks
//!
//! let lease = match parked.unpark() { // the guest unmasks
//!     Some(lease) => lease,                // no shortage since: no ioctl at all
//!     None => table.lease_msi(message)?,   // taken back: a new GSI, and one ioctl
//! };
//! # assert_eq!(vm.calls(CallKind::SetGsiRouting), 1);
//! # drop(lease);
//! # Ok::<(), irq_routing::Error>(())
//! ```
//!
//! `irqfd::Vector` does this by itself.
//!
//! # Shortage
//!
//! There are two limits. The VM has a number of GSIs (KVM_CAP_IRQ_ROUTING, usually 4096), and the
//! kernel's table has at most as many *entries*. A PC's wiring has 38 entries for 23 GSIs, so
//! entries run out first. In a shortage the table takes back parked leases, the longest parked
//! first, and no more than it needs. When none is left:
//!
//! | what runs out | error | what to do |
//! |---|---|---|
//! | GSIs, at `lease` | [`Error::Exhausted`](crate::Error::Exhausted), with the holders and their counts | drop or park leases; name them ([`named`](crate::GsiLease::named)) to see which device holds them |
//! | entries, at a commit | [`Error::TableFull`](crate::Error::TableFull) | drop or park leases; unwire pins that the VM does not use |
//!
//! ```
//! # use std::sync::Arc;
//! # use irq_routing::{Error, RoutingTable};
//! # use notify_sim::SimVm;
//! # let table = RoutingTable::new(Arc::new(SimVm::builder().build()))?;
//! let mut leases = Vec::new();
//! let error = loop {
//!     match table.lease() {
//!         Ok(lease) => leases.push(lease.named("net0")),
//!         Err(error) => break error,
//!     }
//! };
//! assert!(matches!(error, Error::Exhausted { leased: 4072, limit: 4096, .. }));
//! assert!(error.to_string().contains("4072 by net0"));
//! # Ok::<(), irq_routing::Error>(())
//! ```
