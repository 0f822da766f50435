// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Translation: interrupt remapping, more than 255 vCPUs, device ids and the ITS of arm64.
//!
//! A guest does not always write messages in the form that KVM takes. A table may have a function
//! that translates each message before it is given to the kernel:
//!
//! ```text
//!  guest's message ──▶ RoutingTable ──▶ translate ──▶ Some(message) ──▶ KVM's table
//!                      keeps this one              └▶ None: blocked, no route in KVM
//! ```
//!
//! The table keeps the messages of the devices: [`GsiLease::route`](crate::GsiLease::route) and a
//! snapshot have these. So a changed translation can be applied to all of them at once.
//!
//! | the guest | the translation |
//! |---|---|
//! | at most 255 vCPUs, no IOMMU | none |
//! | x86, APIC ids up to 32767, KVM_FEATURE_MSI_EXT_DEST_ID | `with_extended_destination` |
//! | x86, an emulated IOMMU with interrupt remapping | a lookup in the guest's remapping table |
//! | arm64 with an ITS | none, but each message needs a device id |
//! | arm64, an emulated SMMU that maps the doorbell's address | the doorbell's real address |
//!
//! # More than 255 vCPUs
//!
//! A message of 32-bit form has 8 bits of destination. With KVM_FEATURE_MSI_EXT_DEST_ID the guest
//! puts 7 more bits into bits 5 to 11 of the address; KVM expects them in the upper half of the
//! address (KVM_CAP_X2APIC_API with 32-bit ids). `MsiMessage::with_extended_destination` moves
//! them:
//!
//! ```
//! use std::sync::Arc;
//! use irq_routing::{MsiMessage, RoutingTable};
//! use notify_sim::SimVm;
//!
//! let vm = Arc::new(SimVm::builder().build());
//! let table = RoutingTable::builder(vm)
//!     .translate(|message| Some(message.with_extended_destination()))
//!     .build()?;
//!
//! // The guest writes APIC id 0x102.
//! let message = MsiMessage::new(0xfee0_2020, 0x41);
//! let lease = table.lease_msi(message)?;
//! assert_eq!(lease.route(), Some(message.into()), "the table keeps the guest's message");
//! assert_eq!(
//!     table.translate(message).map(|message| message.address),
//!     Some(0x100_fee0_2000)
//! );
//! # Ok::<(), irq_routing::Error>(())
//! ```
//!
//! # Interrupt remapping
//!
//! An emulated IOMMU has a table that the guest changes at any time. The translation reads it, and
//! returns `None` for an entry that is not present. When the guest invalidates entries, the VMM
//! calls [`retranslate`](crate::RoutingTable::retranslate): when it returns, no signal follows an
//! old entry.
//!
//! ```
//! # use std::sync::Arc;
//! # use std::sync::Mutex;
//! # use irq_routing::{KernelRoute, MsiMessage, RoutingTable};
//! # use notify_sim::SimVm;
//! # let vm = Arc::new(SimVm::builder().build());
//! /// The VMM's interrupt remapping table: the message of each entry that is present.
//! type Remapping = Mutex<Vec<Option<MsiMessage>>>;
//!
//! let remapping: Arc<Remapping> = Arc::new(Mutex::new(vec![None; 16]));
//! let entries = remapping.clone();
//! let table = RoutingTable::builder(vm)
//!     .translate(move |message| {
//!         let handle = (message.address >> 5 & 0x7fff) as usize; // Intel VT-d, 5.1.2.2
//!         entries.lock().ok()?.get(handle).copied().flatten()
//!     })
//!     .build()?;
//!
//! // The device's message names entry 3, which is not present: the message is blocked.
//! let lease = table.lease_msi(MsiMessage::new(0xfee0_0010 | 3 << 5, 0))?;
//! assert_eq!(table.kernel_route(lease.gsi()), KernelRoute::Blocked);
//!
//! // The guest writes entry 3 and invalidates it.
//! if let Ok(mut entries) = remapping.lock() {
//!     entries[3] = Some(MsiMessage::new(0xfee0_0000, 0x41));
//! } // the lock is released before the next call
//! table.retranslate()?;
//! assert!(matches!(table.kernel_route(lease.gsi()), KernelRoute::Routed(_)));
//! # Ok::<(), irq_routing::Error>(())
//! ```
//!
//! Rules for the function:
//!
//! - It is called on a thread that commits, also for messages of other threads, while the table
//!   holds no lock. It should be fast: each commit calls it once for each of its messages.
//! - If it takes a lock of the VMM, no thread may hold that lock while it commits or calls
//!   `retranslate`. The example releases its lock first.
//! - It must not use the table (deadlock), nor keep a handle to it (leak).
//! - What is armed on a blocked GSI is disarmed before the route is removed. The objects of `irqfd`
//!   do that. Other code registers at its line: [`Line::register`](crate::Line::register),
//!   [`Armed`](crate::Armed).
//!
//! Messages that do not pass the routing table, such as KVM_SIGNAL_MSI, must be translated too:
//! call [`RoutingTable::translate`](crate::RoutingTable::translate), and
//! [`on_retranslate`](crate::RoutingTable::on_retranslate) if the result is stored. `irqfd::inject`
//! and internal vectors do both.
//!
//! # Device ids and the ITS
//!
//! An ITS (arm64) translates an event id by a table of the *device* that writes it. So each message
//! for an ITS needs the id of its device, or KVM loses it:
//!
//! ```
//! # use std::sync::Arc;
//! # use irq_routing::{MsiMessage, RoutingTable, Wiring};
//! # use notify_sim::{Profile, SimVm};
//! # let vm = Arc::new(SimVm::builder().profile(Profile::Arm64Gic { spis: 64 }).build());
//! let table = RoutingTable::builder(vm).wiring(Wiring::gic(64)?).build()?;
//! let message = MsiMessage::new(0x0808_0040, 5);
//! let without = table.lease_msi(message)?;
//! assert!(table.explain(without.gsi()).is_lost());
//!
//! let with = table.lease_msi(message.with_devid(0x8))?; // PCI requester id 00:01.0
//! assert!(!table.explain(with.gsi()).is_lost());
//! # Ok::<(), irq_routing::Error>(())
//! ```
