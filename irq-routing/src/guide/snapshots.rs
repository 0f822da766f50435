// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Snapshot and restore: what is saved of a table, and the order of steps.
//!
//! ```text
//!  source VM                          target VM
//!  ─────────                          ─────────
//!  1 stop vCPUs, pause devices        4 create the VM and its interrupt controllers
//!  2 save devices and controllers     5 RoutingTable::new, or builder
//!  3 table.snapshot()                 6 table.restore(&snapshot)     one ioctl
//!                                     7 restore the interrupt controllers
//!                                     8 each device: table.claim(gsi), then arm
//!                                     9 resume devices, start vCPUs
//! ```
//!
//! `irqfd::guide::snapshot` has the steps of devices and interrupt controllers in detail.
//!
//! A [`Snapshot`](crate::Snapshot) has the wiring, the leased GSIs, their routes and the names of
//! their holders. It has no eventfd and nothing that is armed: the devices arm again. With the
//! feature `serde` it can be written in any format.
//!
//! ```
//! use std::sync::Arc;
//! use irq_routing::{MsiMessage, RoutingTable};
//! use notify_sim::{CallKind, SimVm};
//!
//! // The source.
//! let table = RoutingTable::new(Arc::new(SimVm::builder().build()))?;
//! let lease = table.lease_msi(MsiMessage::new(0xfee0_0000, 0x40))?.named("net0");
//! let snapshot = table.snapshot();
//! let saved_by_device = lease.gsi().number();
//!
//! // The target: an empty table, before the first commit.
//! let vm = Arc::new(SimVm::builder().build());
//! let table = RoutingTable::new(vm.clone())?;
//! table.restore(&snapshot)?;
//! assert_eq!(vm.calls(CallKind::SetGsiRouting), 1);
//!
//! let lease = table.claim(saved_by_device)?;
//! assert_eq!(lease.name().as_deref(), Some("net0"));
//! assert!(table.unclaimed().is_empty(), "else a device was not restored");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is saved, and what is not
//!
//! | state | saved |
//! |---|---|
//! | wiring, leases, routes, names of holders (at most 128 bytes) | yes |
//! | messages | before the translation: the target translates them by its own |
//! | restored leases that are not yet claimed | yes |
//! | parked leases | no: their holders lease again when they need a GSI |
//! | quarantined GSIs | no: nothing is armed in the target |
//! | irqfds, eventfds, masks, pending interrupts | no: by the devices, see `irqfd::guide::snapshot` |
//!
//! # Untrusted and later snapshots
//!
//! A snapshot may come from anywhere. Reading it refuses lists that are longer than any table.
//! [`restore`](crate::RoutingTable::restore) checks everything before it changes anything, and
//! fails with a [`RestoreError`](crate::RestoreError):
//!
//! | error | cause |
//! |---|---|
//! | `Version` | written by a later version of the crate |
//! | `Platform` | for other interrupt controllers than the table's |
//! | `Duplicate`, `Route`, `Name`, `NotPins` | damaged |
//! | `NotEmpty` | the table has leases, or something was committed to it |
//! | `Refused` | a GSI is out of range, or the kernel refuses the routes |
//!
//! After an error the table is still empty, and may be used or restored again.
//!
//! A device whose saved state contains GSI numbers must use them by
//! [`claim`](crate::RoutingTable::claim), not by [`lease_exact`](crate::RoutingTable::lease_exact):
//! a claimed lease has its route, and can be claimed only once. GSIs that no device has claimed
//! keep their route; [`unclaimed`](crate::RoutingTable::unclaimed) lists them.
