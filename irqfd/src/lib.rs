// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Interrupts into a guest from eventfds.
//!
//! A device *calls* its guest by signalling an eventfd. An [`IrqFd`] binds one to a GSI, and KVM
//! injects the interrupt to which the routing table leads that GSI, in the signaller's own context if
//! it is a message. The device may be another thread, another process or the kernel.
//!
//! ```
//! use std::sync::Arc;
//! use irq_routing::{MsiMessage, RoutingTable};
//! use irqfd::IrqFd;
//! use notify_core::sim::SimVm;
//!
//! let vm = Arc::new(SimVm::builder().build()); // or a KvmVm
//! vm.enable_lapic(0); // the guest's part
//! let table = RoutingTable::new(vm.clone())?;
//! let lease = table.lease_msi(MsiMessage::new(0xfee0_0000, 0x40))?;
//! let irq = IrqFd::builder(lease).assign()?;
//! irq.notifier().notify()?;
//! assert_eq!(vm.pending_vectors(0), [0x40]);
//!
//! drop(irq); // disarmed, then the GSI is given back
//! assert_eq!(table.leased(), 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A device with message-signalled interrupts (MSI, MSI-X) has a [`Vector`] for each: it needs an eventfd
//! only if somebody else is to signal it, and the guest masks and retargets it at any time. An
//! [`ArmQueue`] arms many vectors at once.
//!
//! [`inject`] is for interrupts without an eventfd: a message, a line's level, a vector of a vCPU, each with what
//! became of it. [`inject::choose`](inject::choose()) says which way an interrupt should take.
//!
//! # Level-triggered lines
//!
//! Devices share a [`LevelLine`], which is high while any of them asserts. A device of the VMM has a
//! [`LevelIrq`] that it asserts and de-asserts; one that is somebody else's has a trigger, and a notifier by
//! which it is told that the guest has ended the interrupt. The INTx interrupt of a passed-through device is a
//! [`vfio::PassthroughIntx`].
//!
//! On a split irqchip the VMM has the IOAPIC. It passes on what the guest writes to its redirection entries,
//! and the EOIs with which KVM exits ([`EoiExits`]):
//!
//! ```
//! use std::sync::Arc;
//! use irq_routing::{MsiMessage, Platform, RoutingTable};
//! use irqfd::{EoiExits, LevelLine};
//! use notify_core::sim::{Profile, SimVm};
//!
//! let vm = SimVm::builder().profile(Profile::X86Split { pins: 24 }).build();
//! let vm = Arc::new(vm); // or a KvmVm
//! vm.enable_lapic(0); // the guest's part
//! let table = RoutingTable::builder(vm.clone()).platform(Platform::X86Split).build()?;
//! let exits = EoiExits::new(); // one for the machine
//!
//! // Pin 10: the GSI of the same number, with a message. Its entry is masked.
//! let lease = table.lease_exact(10)?;
//! lease.set_route(MsiMessage::default())?;
//! let line = LevelLine::builder(lease.into_line()?).eoi_exits(&exits).build()?;
//! let disk = line.join()?;
//! disk.assert()?;
//!
//! // The guest writes the entry: vector 0x51, level-triggered, not masked.
//! line.redirect(MsiMessage::new(0xfee0_0000, 0x8051), false)?;
//! assert_eq!(vm.take_vector(0), Some(0x51));
//! // KVM_EXIT_IOAPIC_EOI, and nobody has served the disk.
//! vm.lapic_eoi(0);
//! assert_eq!(exits.on_vector(0x51), 1);
//! assert_eq!(vm.pending_vectors(0), [0x51]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What the guest of a PCI device sees
//!
//! The guest writes a table of messages, and masks and unmasks its entries. A [`msix::Table`] takes these
//! accesses, whatever they are, and opens and closes its vectors; device code triggers them, or hands
//! their notifiers to vhost, VFIO or another process. Devices with the older capability have a
//! [`msi::Capability`]. The VMM passes on
//!
//! - reads and writes of the table's region of a BAR: [`read`](msix::Table::read),
//!   [`write`](msix::Table::write);
//! - reads of the pending bits: [`pba_read`](msix::Table::pba_read) (writes are ignored);
//! - accesses to Message Control in the configuration space:
//!   [`message_control`](msix::Table::message_control), [`config_write`](msix::Table::config_write);
//! - the vector that a virtio driver chooses for a queue: [`Binding::bind`](msix::Binding::bind) if
//!   the VMM's own code serves it, [`Binding::bind_call`](msix::Binding::bind_call) if a vhost
//!   back-end does, which starts with [`Binding::call`](msix::Binding::call);
//! - resets: [`reset`](msix::Table::reset), and to every binding [`NO_VECTOR`](msix::NO_VECTOR).
//!
//! One of its threads waits until the queue's descriptor is readable, and arms what waits.
//!
//! ```
//! use std::os::fd::AsFd;
//! use std::sync::Arc;
//! use irq_routing::RoutingTable;
//! use irqfd::{ArmQueue, msix};
//! use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
//! use notify_core::sim::SimVm;
//!
//! let vm = Arc::new(SimVm::builder().build()); // or a KvmVm
//! vm.enable_lapic(0); // the guest's part
//! let routing = RoutingTable::new(vm.clone())?;
//! let queue = ArmQueue::new(&routing)?; // one for the machine
//! let table = msix::Table::builder(&routing).vectors(3).queue(&queue).build()?;
//!
//! // Exits of the guest: a BAR that has the table at its start and the pending bits further on.
//! const PBA: u64 = 0x800;
//! let bar_read = |offset: u64, data: &mut [u8]| match offset.checked_sub(PBA) {
//!     Some(offset) => table.pba_read(offset, data),
//!     None => table.read(offset, data),
//! };
//! let report = |dead: Vec<irqfd::Dead>| dead.iter().for_each(|dead| eprintln!("{dead}"));
//! let bar_write = |offset: u64, data: &[u8]| {
//!     if offset < PBA {
//!         report(table.write(offset, data));
//!     }
//! };
//!
//! // The device: two virtqueues, of which a vhost worker serves one. What the guest chooses:
//! let rx = msix::Binding::new(&table);
//! let tx = msix::Binding::new(&table);
//! assert_eq!(rx.bind(1), 1);
//! // Until the worker runs there is nothing to ask of it (later: VHOST_SET_VRING_CALL).
//! assert_eq!(tx.bind_call(2, |_| Ok::<_, std::io::Error>(()))?, 2);
//! // The VMM's own code triggers the vector of `rx`; the worker starts with the call of `tx`.
//! let call = tx.call()?;
//!
//! // A driver: enabled and masked as a whole; for each entry its message and mask bit; open.
//! report(table.config_write(2, &0xc000_u16.to_le_bytes()));
//! for vector in 1..3 {
//!     bar_write(16 * vector, &0xfee0_0000_u32.to_le_bytes());
//!     bar_write(16 * vector + 4, &0_u32.to_le_bytes());
//!     bar_write(16 * vector + 8, &(0x40 + vector as u32).to_le_bytes());
//!     bar_write(16 * vector + 12, &0_u32.to_le_bytes());
//! }
//! rx.trigger()?;
//! let mut pending = [0; 8];
//! bar_read(PBA, &mut pending);
//! assert_eq!(u64::from_le_bytes(pending), 1 << 1);
//! report(table.config_write(2, &0x8000_u16.to_le_bytes()));
//!
//! // The loop of the queue's owner, once around.
//! let mut polled = [PollFd::new(queue.as_fd(), PollFlags::POLLIN)];
//! poll(&mut polled, PollTimeout::NONE)?;
//! report(queue.run_pending().failed);
//!
//! call.notify()?; // the worker
//! assert_eq!(vm.pending_vectors(0), [0x41, 0x42]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//!
//! `serde`: snapshots of tables and capabilities can be written and read.

#![forbid(unsafe_code)]

mod bound;
mod builder;
mod edge;
mod error;
pub mod inject;
mod level;
pub mod msi;
pub mod msix;
mod numbered;
mod queue;
mod source;
mod sync;
mod vector;
pub mod vfio;

pub use builder::IrqFdBuilder;
pub use edge::IrqFd;
pub use error::{Error, NoResample};
pub use level::{Controller, EoiExits, LevelIrq, LevelIrqBuilder, LevelLine, LevelLineBuilder};
pub use queue::{ArmQueue, Quiesced, Round};
pub use source::IrqSource;
pub use vector::{Dead, Triggered, Vector, VectorBuilder, VectorState};

/// The error of a call that gives back what it had consumed.
pub type Rejected<T> = notify_core::Rejected<T, Error>;
