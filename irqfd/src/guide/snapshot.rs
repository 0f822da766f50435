// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! How a VM is saved, restored and moved: the order of the steps, and formats of other VMMs.
//!
//! KVM may be about to inject an interrupt that is neither in a notifier nor in the state of an
//! interrupt controller. A pause waits for KVM, and the paused object keeps later interrupts. So
//! each interrupt is in one place: a controller's state, or the snapshot of a paused object.
//!
//! ```text
//!  save      stop vCPUs ─▶ stop back-ends ─▶ pause ─▶ save objects and controllers
//!  restore   routing table ─▶ build, join ─▶ pause ─▶ controllers ─▶ restore ─▶ GSIs, bindings
//!  go on     resume ─▶ arm what is queued ─▶ start back-ends ─▶ start vCPUs
//! ```
//!
//! # To save
//!
//! 1. Stop the vCPUs. Report the EOI exits with which they have stopped ([`EoiExits`]).
//! 2. Stop the back-ends: vhost, VFIO and device threads. The owner of an [`ArmQueue`] may go on.
//! 3. Pause tables, capabilities, bare vectors and lines. Deassign each [`IrqFd`].
//! 4. Save them and the interrupt controllers (KVM_GET_IRQCHIP, KVM_GET_LAPIC), in any order. Save
//!    [`number`](crate::msix::Binding::number) of each [`Binding`], and the routing table if its
//!    GSIs are to be the same. A signal that came while a queue had no vector is in the
//!    [`call`](crate::msix::Binding::call) of its binding: save whether that is signalled.
//!
//! Kicks that were not served are in the notifiers of the queues. Take each with
//! [`consume`](crate::EventNotifier::consume) and save the count, or save that the queue is to be
//! looked at once more. With a `Dispatcher` of `notify-core`, its `pause` returns the count.
//!
//! # To restore in another VM
//!
//! 1. Restore the routing table while it is empty, if it was saved.
//! 2. Build the objects, let the devices join their lines, and pause all of them.
//! 3. Restore the interrupt controllers (KVM_SET_IRQCHIP, KVM_SET_LAPIC).
//! 4. Restore the paused objects. To give vectors their old GSIs, call `set_lease` with leases from
//!    [`RoutingTable::claim`](crate::RoutingTable::claim) if the table was restored, otherwise from
//!    [`lease_exact`](crate::RoutingTable::lease_exact).
//! 5. Bind each [`Binding`] to its vector.
//! 6. Plan and apply the doorbells, at the saved place of the BAR, before the vCPUs start.
//!
//! # To go on, in the same VM or in the other one
//!
//! 1. Resume tables, capabilities and vectors in one [`ResumeBatch`]: one commit for those without
//!    a queue. Resume each line. Assign each [`IrqFd`].
//! 2. If there is an [`ArmQueue`], call [`run_pending`](crate::ArmQueue::run_pending). It waits for
//!    a round that is under way, arms what is queued, and returns the vectors that failed.
//! 3. Start the back-ends. KVM may inject a signal twice if it comes while an irqfd is assigned.
//! 4. Start the vCPUs.
//!
//! | object | pause | saved state | resume |
//! |---|---|---|---|
//! | MSI-X | [`Table::pause`](crate::msix::Table::pause) | [`msix::Snapshot`](crate::msix::Snapshot), or [`msix::Registers`](crate::msix::Registers) for another format | [`Table::resume_in`](crate::msix::Table::resume_in) |
//! | MSI | [`Capability::pause`](crate::msi::Capability::pause) | [`msi::Snapshot`](crate::msi::Snapshot), [`msi::Registers`](crate::msi::Registers) | [`Capability::resume_in`](crate::msi::Capability::resume_in) |
//! | a bare vector | [`Vector::pause`](crate::Vector::pause) | `message`, `is_masked`, `is_pending` | [`Vector::resume_in`](crate::Vector::resume_in) |
//! | a level-triggered line | [`LevelLine::pause`](crate::LevelLine::pause) | [`LevelSnapshot`](crate::LevelSnapshot) | [`LevelLine::resume`](crate::LevelLine::resume) |
//! | an [`IrqFd`] | [`IrqFd::deassign`](crate::IrqFd::deassign) | whether its notifier is signalled | [`IrqFdBuilder::assign`](crate::IrqFdBuilder::assign) |
//! | doorbells | none: they stay registered | the place of the BAR | none |
//!
//! Not saved: eventfds, what was exported, device ids, irqfds. The other VM makes its own.
//!
//! # A device with MSI-X and a line, from one VM to another
//!
//! ```
//! use std::sync::Arc;
//! use irqfd::{Dead, LevelIrq, LevelLine, ResumeBatch, RoutingTable, msix};
//! use notify_sim::SimVm;
//!
//! fn report(dead: &[Dead]) {
//!     dead.iter().for_each(|dead| eprintln!("{dead}"));
//! }
//!
//! /// The devices of a VM, always in the same order.
//! fn devices(vm: &Arc<SimVm>) -> Result<(msix::Table, LevelIrq), Box<dyn std::error::Error>> {
//!     let routing = RoutingTable::new(vm.clone())?;
//!     let net = msix::Table::builder(&routing).name("net0").vectors(2).build()?;
//!     let line = LevelLine::builder(routing.line(10)?).build()?;
//!     Ok((net, line.join()?))
//! }
//!
//! let vm = Arc::new(SimVm::builder().build()); // or a KvmVm
//! let (net, disk) = devices(&vm)?;
//! // The guest enables MSI-X, and programs and unmasks vector 0.
//! report(&net.set_control(true, false));
//! report(&net.write(0, &0xfee0_0000_u64.to_le_bytes()));
//! report(&net.write(8, &0x41_u64.to_le_bytes()));
//! disk.assert()?;
//!
//! // vCPUs and back-ends have stopped. With the feature `serde` both snapshots can be written.
//! net.pause();
//! disk.line().pause()?;
//! net.vectors()[0].trigger()?; // kept: the table is paused
//! let saved = (net.snapshot()?, disk.line().snapshot()?);
//! // With KVM: KVM_GET_IRQCHIP, and KVM_GET_LAPIC. `SimVm` cannot save local APICs.
//! let ioapic = vm.ioapic();
//!
//! // The other VM.
//! let vm = Arc::new(SimVm::builder().build());
//! let (net, disk) = devices(&vm)?;
//! net.pause();
//! disk.line().pause()?;
//! ioapic.into_iter().for_each(|ioapic| vm.set_ioapic(ioapic)); // KVM_SET_IRQCHIP
//! vm.enable_lapic(0); // with KVM: KVM_SET_LAPIC
//! report(&net.restore(&saved.0)?);
//! disk.line().restore(&saved.1)?;
//!
//! let mut batch = ResumeBatch::default(); // all devices of the VM: one commit
//! net.resume_in(&mut batch);
//! report(&batch.run());
//! disk.line().resume()?;
//! assert_eq!(vm.pending_vectors(0), [0x41]);
//! assert!(disk.is_asserted());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Live migration
//!
//! The steps are the same; only the memory goes ahead. Interrupts that are not yet delivered at the
//! source are in the snapshots, so the destination delivers each once. The source VM may go on if
//! the migration fails: resume as above. When the source is shut down instead, call
//! [`Vm::retire`](crate::Vm::retire) first: guards then issue no ioctl when they are dropped, in
//! any order.
//!
//! # Formats of other VMMs
//!
//! A VMM that adopts these crates can read what it has saved before. What every VMM saves of MSI-X
//! are the registers as the guest sees them: Message Control, the table's bytes, the pending bits.
//! [`msix::Registers`](crate::msix::Registers) is that, and converts from and to a snapshot;
//! [`msi::Registers`](crate::msi::Registers) does the same for MSI.
//!
//! This reads a state with entries, pending bits, two flags and GSIs, as Firecracker, Cloud
//! Hypervisor and crosvm have it in similar structures:
//!
//! ```
//! use std::sync::Arc;
//! use irqfd::{RoutingTable, msix};
//! use notify_sim::SimVm;
//!
//! struct SavedEntry {
//!     address_low: u32,
//!     address_high: u32,
//!     data: u32,
//!     vector_control: u32,
//! }
//!
//! struct SavedMsix {
//!     entries: Vec<SavedEntry>,
//!     pending: Vec<u64>,
//!     enabled: bool,
//!     function_masked: bool,
//!     gsis: Vec<u32>,
//! }
//!
//! fn registers(saved: &SavedMsix) -> msix::Registers {
//!     let words = saved.entries.iter().flat_map(|entry| {
//!         [entry.address_low, entry.address_high, entry.data, entry.vector_control]
//!     });
//!     let size = u16::try_from(saved.entries.len().saturating_sub(1)).unwrap_or(u16::MAX);
//!     msix::Registers {
//!         control: size
//!             | u16::from(saved.enabled) << 15
//!             | u16::from(saved.function_masked) << 14,
//!         table: words.flat_map(u32::to_le_bytes).collect(),
//!         pending: saved.pending.clone(),
//!     }
//! }
//!
//! let vm = Arc::new(SimVm::builder().build()); // or a KvmVm
//! let routing = RoutingTable::new(vm)?; // one for the VM
//!
//! // The state of a device with one vector, as it was read.
//! let entry = SavedEntry {
//!     address_low: 0xfee0_0000,
//!     address_high: 0,
//!     data: 0x41,
//!     vector_control: 0,
//! };
//! let saved = SavedMsix {
//!     entries: vec![entry],
//!     pending: vec![0],
//!     enabled: true,
//!     function_masked: false,
//!     gsis: vec![24],
//! };
//!
//! let table = msix::Table::builder(&routing).private_irqfd(true).vectors(1).build()?;
//! table.pause();
//! for dead in table.restore(&msix::Snapshot::try_from(&registers(&saved))?)? {
//!     eprintln!("{dead}");
//! }
//! // Only if the GSIs are to be the same.
//! for (number, gsi) in (0..).zip(&saved.gsis) {
//!     table.set_lease(number, routing.lease_exact(*gsi)?)?;
//! }
//! for dead in table.resume() {
//!     eprintln!("{dead}");
//! }
//! assert_eq!(table.vectors()[0].gsi().map(|gsi| gsi.number()), Some(24));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - To write such a state: `snapshot()?.registers()?`, and
//!   [`VectorHandle::gsi`](crate::VectorHandle::gsi) of each vector while the table is paused.
//!   Masked and internal vectors have no GSI: write any number.
//! - What is read is checked: a wrong length or a pending bit beyond the table is a
//!   [`RestoreError`](crate::RestoreError). Bits that mean nothing are dropped.
//! - A snapshot of a later version of the crate is refused; only its version can be read.
//!
//! [`ArmQueue`]: crate::ArmQueue
//! [`Binding`]: crate::msix::Binding
//! [`EoiExits`]: crate::EoiExits
//! [`IrqFd`]: crate::IrqFd
//! [`ResumeBatch`]: crate::ResumeBatch
