// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Interrupts into a guest from eventfds.
//!
//! A device *calls* its guest by signalling an eventfd. An [`IrqFd`] binds an eventfd to a GSI. KVM
//! then injects the interrupt to which the GSI is routed. The device may be another thread, another
//! process or the kernel. A message for one vCPU is injected in the context of the signaller.
//!
//! ```toml
//! [dependencies]
//! irqfd = "0.1" # default features: kvm-ioctls 0.25 and vmm-sys-util 0.15
//! ```
//!
//! ```no_run
//! use std::sync::Arc;
//! use irqfd::{IrqFd, KvmVm, MsiMessage, RoutingTable};
//!
//! let vm_fd = kvm_ioctls::Kvm::new()?.create_vm()?;
//! vm_fd.create_irq_chip()?;
//!
//! // One table for each VM. It keeps the pins that KVM has wired (serial port, PIT, RTC).
//! let table = RoutingTable::new(Arc::new(KvmVm::try_from(&vm_fd)?))?;
//!
//! // Each signal of the notifier is vector 0x40 in vCPU 0.
//! let lease = table.lease_msi(MsiMessage::new(0xfee0_0000, 0x40))?;
//! let irq = IrqFd::builder(lease).assign()?;
//! irq.notifier().notify()?;
//!
//! drop(irq); // disarmed, then the GSI is given back
//! assert_eq!(table.leased(), 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The notifier is new here. [`IrqFdBuilder::notifier`] takes an existing one:
//! `Arc::new(EventNotifier::try_from(&eventfd)?)` for an `&EventFd` of vmm-sys-util 0.15. Other
//! versions come in by [`EventNotifier::adopt_borrowed`], and a `VmFd` of another version of
//! kvm-ioctls by [`KvmVm::duplicate`]. Set `default-features = false` then, so that Cargo
//! builds no second copy of these crates. A VMM with a hypervisor layer of its own implements
//! [`Vm`]; see [`notify_core::ports`].
//!
//! The folder `examples` has this and an MSI-X table as programs, which run on the simulator.
//!
//! A VM has one [`RoutingTable`]. Give each device a clone, and do not call KVM_SET_GSI_ROUTING
//! elsewhere. On arm64 and riscv64 the table is built with a
//! [`Wiring`](irq_routing::RoutingTableBuilder::wiring).
//!
//! This crate re-exports what its signatures need, and [`irq_routing`] and [`notify_core`] whole.
//! The examples below use `SimVm`, a VM in memory, of the crate `notify-sim`, which is for tests.
//!
//! A device with message-signalled interrupts (MSI, MSI-X) has a [`Vector`] for each of them. A
//! vector needs an eventfd only if vhost, VFIO or another process signals it. The guest masks and
//! retargets it at any time. An [`ArmQueue`] arms many vectors at once.
//!
//! [`inject`] injects interrupts without an eventfd: a message, the level of a line, or a vector of
//! a vCPU. Each call returns the outcome. Its page has a table of the path that each interrupt
//! takes.
//!
//! # Level-triggered lines
//!
//! Devices share a [`LevelLine`], which is high while any of them asserts. A device of the VMM has
//! a [`LevelIrq`] that it asserts and deasserts. A device of another process, vhost or VFIO has a
//! trigger that it signals, and a notifier that is signalled at each EOI. The INTx interrupt of a
//! passed-through device is a [`vfio::PassthroughIntx`].
//!
//! On a split irqchip the VMM has the IOAPIC. It passes on what the guest writes to the redirection
//! entries, and the EOIs that KVM reports by exits ([`EoiExits`]):
//!
//! ```
//! use std::sync::Arc;
//! use irq_routing::{MsiMessage, RoutingTable};
//! use irqfd::{EoiExits, LevelLine};
//! use notify_sim::{Profile, SimVm};
//!
//! let vm = SimVm::builder().profile(Profile::X86Split { pins: 24 }).build();
//! let vm = Arc::new(vm); // or a KvmVm
//! vm.enable_lapic(0); // the guest's part
//! let table = RoutingTable::new(vm.clone())?;
//! let exits = EoiExits::default(); // one for the VM
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
//! // KVM_EXIT_IOAPIC_EOI, and the disk was not served.
//! vm.lapic_eoi(0);
//! assert_eq!(exits.on_vector(0x51), 1);
//! assert_eq!(vm.pending_vectors(0), [0x51]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What the guest of a PCI device sees
//!
//! The guest writes a table of messages, and masks and unmasks its entries. A [`msix::Table`] takes
//! these accesses, whatever they are, and opens and closes its vectors; device code triggers them,
//! or hands their notifiers to vhost, VFIO or another process. Devices with the older capability
//! have a [`msi::Capability`]. The VMM passes on
//!
//! - reads and writes of the table's region of a BAR: [`read`](msix::Table::read),
//!   [`write`](msix::Table::write);
//! - reads of the pending bits: [`pba_read`](msix::Table::pba_read) (writes are ignored);
//! - accesses to Message Control in the configuration space:
//!   [`message_control`](msix::Table::message_control),
//!   [`config_write`](msix::Table::config_write);
//! - the vector that a virtio driver chooses for a queue: [`Binding::bind`](msix::Binding::bind) if
//!   the VMM's own code serves it, [`Binding::bind_call`](msix::Binding::bind_call) if a vhost
//!   back-end does, which starts with [`Binding::call`](msix::Binding::call);
//! - a reset of the PCI function: [`reset`](msix::Table::reset), and
//!   [`bind`](msix::Binding::bind) of each queue to [`NO_VECTOR`](msix::NO_VECTOR);
//! - a reset of the virtio device: the same `bind` alone.
//!
//! One thread of the VMM waits until the queue's descriptor is readable, and arms the queued
//! vectors.
//!
//! ```
//! use std::os::fd::AsFd;
//! use std::sync::Arc;
//! use irq_routing::RoutingTable;
//! use irqfd::{ArmQueue, msix};
//! use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
//! use notify_sim::SimVm;
//!
//! let vm = Arc::new(SimVm::builder().build()); // or a KvmVm
//! vm.enable_lapic(0); // the guest's part
//! let routing = RoutingTable::new(vm.clone())?;
//! let queue = ArmQueue::new(&routing)?; // one for the VM
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
//! # Snapshots
//!
//! KVM may be about to inject an interrupt that is neither in a notifier nor in the local APIC. A
//! pause waits for KVM, and the paused object keeps later interrupts. To save a VM, in this order:
//!
//! 1. Stop the vCPUs. Report the EOI exits with which they have stopped ([`EoiExits`]).
//! 2. Stop the back-ends: vhost, VFIO and device threads. The owner of an [`ArmQueue`] may go on.
//! 3. Pause tables, capabilities, bare vectors and lines. Deassign each [`IrqFd`].
//! 4. Save them and the interrupt controllers (KVM_GET_IRQCHIP, KVM_GET_LAPIC), in any order. Save
//!    [`number`](msix::Binding::number) of each [`msix::Binding`], and the routing table if its
//!    GSIs are to be the same. A signal that came while a queue had no vector is in the
//!    [`call`](msix::Binding::call) of its binding: save whether that is signalled.
//!
//! To restore it in another VM:
//!
//! 1. Restore the routing table, while it is empty.
//! 2. Build the objects, let the devices join their lines, and pause all of them.
//! 3. Restore the interrupt controllers (KVM_SET_IRQCHIP, KVM_SET_LAPIC).
//! 4. Restore the paused objects, then give vectors their GSIs (`set_lease`), if they are saved.
//! 5. Bind each [`msix::Binding`] to its vector.
//!
//! To go on, in the same VM or in the other one:
//!
//! 1. Resume tables, capabilities and vectors in one [`ResumeBatch`]: one commit for those without
//!    a queue. Resume each line. Assign each [`IrqFd`].
//! 2. If there is an [`ArmQueue`], wait until its owner has armed what is queued.
//! 3. Start the back-ends. KVM may inject a signal twice if it comes while an irqfd is assigned.
//! 4. Start the vCPUs.
//!
//! | object | pause | saved state | resume |
//! |---|---|---|---|
//! | MSI-X | [`Table::pause`](msix::Table::pause) | [`msix::Snapshot`], or [`msix::Registers`] for another format | [`Table::resume_in`](msix::Table::resume_in) |
//! | MSI | [`Capability::pause`](msi::Capability::pause) | [`msi::Snapshot`], [`msi::Registers`] | [`Capability::resume_in`](msi::Capability::resume_in) |
//! | a bare vector | [`Vector::pause`] | `message`, `is_masked`, `is_pending` | [`Vector::resume_in`] |
//! | a level-triggered line | [`LevelLine::pause`] | [`LevelSnapshot`] | [`LevelLine::resume`] |
//! | an [`IrqFd`] | [`IrqFd::deassign`] | whether its notifier is signalled | [`IrqFdBuilder::assign`] |
//!
//! A virtio driver may suspend its device (VIRTIO_F_SUSPEND): see [`suspend`].
//!
//! # Device code
//!
//! Device code gets a [`VectorHandle`], which triggers the vector and exports its notifier. Masks,
//! messages and resets stay with the table. Use *private* vectors for device threads of the VMM
//! whose system call filter does not allow KVM_SIGNAL_MSI
//! ([`TableBuilder::private_irqfd`](msix::TableBuilder::private_irqfd)): `write`, KVM_IRQFD and
//! KVM_SET_GSI_ROUTING are all that they need.
//!
//! # System call filters
//!
//! [`system_calls`] has the system calls of each operation by thread, and what the lists of
//! Firecracker and Cloud Hypervisor lack.
//!
//! # Metrics
//!
//! [`RoutingTableBuilder::observer`](irq_routing::RoutingTableBuilder::observer) sets an observer
//! for a VM: it is called when vectors are opened and refused, when a trigger that was kept is
//! delivered, and for commits. Triggers are not observed, and cost the same: device code gets the
//! outcome of each as [`Triggered`].
//!
//! # Features
//!
//! `kvm-ioctls` and `vmm-sys-util` (default): as those of `notify-core`.
//!
//! `mio`: `&ArmQueue` is a `mio::event::Source`.
//!
//! `serde`: snapshots of tables, capabilities and lines can be written and read.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

mod edge;
mod hex;
pub mod inject;
mod level;
pub mod msi;
pub mod msix;
mod numbered;
mod restore;
pub mod suspend;
mod sync;
pub mod system_calls;
mod vector;
pub mod vfio;

/// The routing table, and what vectors and lines are made of.
#[doc(no_inline)]
pub use irq_routing::{self, GsiLease, Line, MsiMessage, RoutingTable};
/// The notifiers, and the VM.
#[doc(no_inline)]
pub use notify_core::{self, EventNotifier, KvmVm, Rejected, Vm};

pub use edge::{IrqFd, IrqFdBuilder, IrqFdError, IrqTarget};
pub use level::{Controller, EoiExits, LevelIrq, LevelLine, LevelLineBuilder};
pub use level::{LevelError, LevelSnapshot, NoResample};
pub use restore::RestoreError;
pub use vector::{ArmQueue, Round, VectorState};
pub use vector::{Dead, ResumeBatch, Triggered, Vector, VectorBuilder, VectorError, VectorHandle};
