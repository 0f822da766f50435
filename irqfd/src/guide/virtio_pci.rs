// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A virtio-pci device with MSI-X, and any other PCI device that has MSI-X.
//!
//! Vectors that only the VMM's own code triggers need no [`ArmQueue`]. Give the VM one if vectors
//! are exported (vhost, VFIO, a daemon) or private. Without it each unmask of such a vector commits
//! the routing table on the vCPU's thread.
//!
//! ```text
//!  a BAR, as the guest sees it              what takes the access
//! ┌────────────────────────────┐
//! │ common configuration       │  the device; queue_msix_vector: Binding::bind or bind_call;
//! │                            │  config_msix_vector: Binding::bind
//! │ device configuration       │  the device
//! │ MSI-X table                │  msix::Table::read, write
//! │ pending bits               │  msix::Table::pba_read
//! │ notify region              │  KVM, by the doorbells; exits: DoorbellSet::on_exit_write
//! └────────────────────────────┘
//!  configuration space: Message Control     msix::Table::message_control, config_write
//! ```
//!
//! # In which order
//!
//! 1. For the VM: `KvmVm`, `DoorbellRegistry`, [`RoutingTable`], [`ArmQueue`].
//! 2. For the device: kicks, a `DoorbellSet`, a [`Table`], a [`Binding`] for each queue and one for
//!    changes of the configuration (`config_msix_vector`).
//! 3. In the event loop: the kicks, and the [`ArmQueue`], which is readable when vectors wait.
//! 4. On the vCPU threads: accesses to the BAR and to the configuration space, as in the picture.
//! 5. The driver sets DRIVER_OK: `PciModern::doorbells` for the enabled queues and the BAR's base
//!    at that time, then `plan` and `apply`. When the guest moves the BAR later: `relocate`.
//!
//! # Mask and unmask
//!
//! ```text
//!                    ┌──────────── open ────────────┐
//!  device triggers ─▶│ injected at once             │─▶ guest
//!                    └──────────────────────────────┘
//!        guest masks │                              ▲ guest unmasks: a kept trigger
//!                    ▼                              │ is injected once
//!                    ┌──────────── masked ──────────┐
//!  device triggers ─▶│ kept: one, however many come │─▶ pending bit
//!                    └──────────────────────────────┘
//! ```
//!
//! A vector is open if MSI-X is enabled, the function is not masked, and the mask bit of the vector
//! is clear. When the write that masks a vector has returned, no injection is in flight.
//!
//! # The life of a vector
//!
//! ```text
//!                   unmask
//!  built ─▶ masked ──┬─ internal ──────────────────────────▶ open
//!             ▲      ├─ exported or private, with a queue ─▶ queued ─┐
//!             │      └─ exported or private, without ────────────────┴▶ being armed ─▶ armed
//!             │                                                             │
//!             └── mask, reset: from each of these                           ▼
//!                                  dead: no GSI, or KVM refuses the route, irqfd or message
//! ```
//!
//! [`VectorHandle::state`] returns the state. A vector is *internal* until its notifier is handed
//! out ([`export`](crate::VectorHandle::export)): it has no eventfd, GSI or route. [`Vector`]
//! describes the kinds.
//!
//! # A call
//!
//! ```text
//!  internal   trigger ─▶ KVM_SIGNAL_MSI ─────────────────────────────────▶ guest
//!  exported   vhost, VFIO, a daemon ─write─▶ eventfd ─▶ irqfd ─▶ route ──▶ guest
//! ```
//!
//! # An example
//!
//! Two queues: the VMM serves the first one, vhost the second one.
//!
//! ```
//! use std::error::Error;
//! use std::sync::Arc;
//! use ioeventfd::virtio::{Notification, NotifyCapability, PciModern, PciQueue};
//! use ioeventfd::{AfterExit, DoorbellRegistry, DoorbellSet, IoAddress, Window};
//! use irqfd::{ArmQueue, Dead, EventNotifier, RoutingTable, msix};
//! use notify_core::Bus;
//! use notify_sim::SimVm;
//!
//! const BAR: u64 = 0xfe00_0000; // where the guest has placed it
//! const BAR_SIZE: u64 = 0x4000;
//! const TABLE: u64 = 0x1000;
//! const PBA: u64 = 0x1800;
//! const NOTIFY: NotifyCapability = NotifyCapability {
//!     offset: 0x3000,
//!     length: 0x1000,
//!     multiplier: 4,
//! };
//!
//! /// The guest has given a vector a message that KVM refuses. The VM goes on without it.
//! fn report(dead: &[Dead]) {
//!     dead.iter().for_each(|dead| eprintln!("{dead}"));
//! }
//!
//! let vm = Arc::new(SimVm::builder().build()); // or a KvmVm
//! vm.enable_lapic(0); // as a guest does when it boots
//! let registry = DoorbellRegistry::new(vm.clone(), Window::of_irqchip(&*vm)?); // one for the VM
//! let routing = RoutingTable::new(vm.clone())?; // one for the VM
//! let arm_queue = ArmQueue::new(&routing)?; // one for the VM, in the event loop
//!
//! let kicks = [Arc::new(EventNotifier::new()?), Arc::new(EventNotifier::new()?)];
//! let bells = DoorbellSet::new(&registry);
//! let table = msix::Table::builder(&routing).name("net0").vectors(3).queue(&arm_queue).build()?;
//! let queues = [msix::Binding::new(&table), msix::Binding::new(&table)];
//!
//! // On a vCPU thread, for KVM_EXIT_MMIO.
//! let mmio_read = |address: u64, data: &mut [u8]| match address.wrapping_sub(BAR) {
//!     offset @ TABLE..PBA => table.read(offset - TABLE, data),
//!     offset @ PBA..0x2000 => table.pba_read(offset - PBA, data),
//!     _ => data.fill(0), // the other registers
//! };
//! let mmio_write = |address: u64, data: &[u8]| -> Result<(), Box<dyn Error>> {
//!     // First: while the BAR moves, kicks at its old place come here too.
//!     if bells.on_exit_write(IoAddress::Mmio(address), data)? == AfterExit::Resume {
//!         return Ok(()); // a kick that KVM did not match
//!     }
//!     match address.wrapping_sub(BAR) {
//!         offset @ TABLE..PBA => report(&table.write(offset - TABLE, data)),
//!         PBA..0x2000 => {} // pending bits are read-only
//!         _ => {}           // the other registers
//!     }
//!     Ok(())
//! };
//!
//! // The guest writes queue_msix_vector. It reads back what is returned.
//! assert_eq!(queues[0].bind(1), 1);
//! let set_vring_call = |_: &Arc<EventNotifier>| Ok::<_, std::io::Error>(()); // no back-end yet
//! assert_eq!(queues[1].bind_call(2, set_vring_call)?, 2);
//! let call = queues[1].call()?; // when vhost starts: VHOST_SET_VRING_CALL
//!
//! // The driver: MSI-X enabled; for each vector address, data, and a clear mask bit.
//! report(&table.config_write(2, &0x8000_u16.to_le_bytes()));
//! for vector in 1..3 {
//!     let entry = BAR + TABLE + 16 * vector;
//!     mmio_write(entry, &0xfee0_0000_u64.to_le_bytes())?;
//!     mmio_write(entry + 8, &(0x40 + vector).to_le_bytes())?; // the upper half is the mask bit
//! }
//! // The event loop: the queue's descriptor is readable.
//! report(&arm_queue.run_pending().failed);
//!
//! // The driver sets DRIVER_OK: the doorbells of the queues that it has enabled.
//! let layout = PciModern::new(NOTIFY, BAR_SIZE, Notification::Index)?;
//! let enabled = [PciQueue::new(0, 0), PciQueue::new(1, 1)];
//! let wanted = layout.doorbells(IoAddress::Mmio(BAR), enabled)?.into_iter().zip(&kicks);
//! bells.apply(bells.plan(wanted.map(|(bell, kick)| bell.signalling(kick.clone())))?)?;
//!
//! // A kick of queue 0, and the device's call; then the call of vhost.
//! vm.guest_write(Bus::Mmio, BAR + 0x3000, &0_u16.to_le_bytes());
//! assert!(kicks[0].consume()?.is_some());
//! queues[0].trigger()?;
//! call.notify()?;
//! assert_eq!(vm.pending_vectors(0), [0x41, 0x42]);
//!
//! // The guest masks vector 1: the next call is a pending bit.
//! mmio_write(BAR + TABLE + 16 + 12, &1_u32.to_le_bytes())?;
//! queues[0].trigger()?;
//! let mut pending = [0; 8];
//! mmio_read(BAR + PBA, &mut pending);
//! assert_eq!(u64::from_le_bytes(pending), 1 << 1);
//! # Ok::<(), Box<dyn Error>>(())
//! ```
//!
//! # A queue that vhost serves
//!
//! When the guest writes `queue_msix_vector`, call [`bind_call`](crate::msix::Binding::bind_call)
//! instead of `bind`. It gives the back-end the new call and moves the signals of the old one;
//! [`Binding`] has the picture. For `config_msix_vector` call `bind`: the VMM's own code triggers
//! that vector, also if a back-end serves the queues. How the back-end starts and stops is in
//! [`vhost_device`](notify_core::guide::vhost_device).
//!
//! # INTx instead of MSI-X
//!
//! A driver may not enable MSI-X. Ask [`is_enabled`](crate::msix::Table::is_enabled) at each
//! interrupt, or look at the outcome: [`Triggered::Disabled`](crate::Triggered::Disabled) means
//! that MSI-X is off. Then set the ISR status and [`assert`](crate::LevelIrq::assert) the device's
//! line; a read of the ISR status clears it and deasserts. The lock of
//! [`virtio_mmio`](super::virtio_mmio) is needed here too.
//!
//! # Resets
//!
//! | the guest | call |
//! |---|---|
//! | writes 0 to `device_status` | pause the handlers, `DoorbellSet::stop`, and discard what is left over; [`bind`](crate::msix::Binding::bind) to [`NO_VECTOR`] of each queue and of the configuration. MSI-X stays enabled (VIRTIO 1.3, 4.1.5.1.2) |
//! | sets DRIVER_OK again | `plan`, `apply` and `start` (one kick for each queue), then resume the handlers |
//! | resets the PCI function or its bus | the same, and [`Table::reset`] |
//! | moves the BAR | `DoorbellSet::relocate`; `ioeventfd::guide::moving_bar` has the order |
//! | clears Memory Space Enable | `DoorbellSet::stop` with the handlers paused, and process what is left over. `relocate` then issues no ioctl; when the bit is set again, `DoorbellSet::start`. Old addresses match until `vcpus_passed` |
//!
//! # An unplugged device
//!
//! Stop the back-end, then drop the `DoorbellSet`, the bindings and the table, in any order. The
//! last drop blocks for one KVM_IRQFD for each armed vector.
//!
//! [`ArmQueue`]: crate::ArmQueue
//! [`Binding`]: crate::msix::Binding
//! [`NO_VECTOR`]: crate::msix::NO_VECTOR
//! [`RoutingTable`]: crate::RoutingTable
//! [`Table`]: crate::msix::Table
//! [`Table::reset`]: crate::msix::Table::reset
//! [`Vector`]: crate::Vector
//! [`VectorHandle::state`]: crate::VectorHandle::state
