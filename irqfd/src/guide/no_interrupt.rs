// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! An interrupt does not arrive.
//!
//! Follow the signal. At each station there is something to look at:
//!
//! ```text
//!  device ──▶ notifier ──▶ vector ──────▶ GSI and route ──────▶ interrupt controller ──▶ guest
//!  Triggered  is_signalled VectorState    RoutingTable::explain  Injected
//!             is_pending   Dead
//! ```
//!
//! # Look first
//!
//! Print this for the vector in question. Most causes below show in one of its parts.
//!
//! ```
//! use std::sync::Arc;
//! use irqfd::{RoutingTable, VectorHandle, msix};
//! use notify_sim::SimVm;
//!
//! fn describe(routing: &RoutingTable, vector: &VectorHandle) -> String {
//!     let (state, message, pending) = (vector.state(), vector.message(), vector.is_pending());
//!     let way = vector.gsi().map_or("no GSI".to_owned(), |gsi| {
//!         format!("GSI {gsi}: {}", routing.explain(gsi))
//!     });
//!     format!("{state}; {message}; pending: {pending}; {way}")
//! }
//!
//! let vm = Arc::new(SimVm::builder().build()); // or a KvmVm
//! let routing = RoutingTable::new(vm)?;
//! let table = msix::Table::builder(&routing).name("net0").build()?;
//! let vector = &table.vectors()[0];
//! vector.export()?.notify()?;
//! // The guest has not enabled MSI-X. The signal is kept.
//! assert!(describe(&routing, vector).starts_with("masked; "));
//! assert!(describe(&routing, vector).ends_with("pending: true; no GSI"));
//!
//! // MSI-X is enabled. The message has vector 5, which no local APIC delivers.
//! let _dead = table.write(0, &0xfee0_0000_u64.to_le_bytes());
//! let _dead = table.write(8, &5_u64.to_le_bytes());
//! let _dead = table.set_control(true, false);
//! assert!(describe(&routing, vector).starts_with("armed; "));
//! assert!(describe(&routing, vector).contains("lost: vector 0x05 is below 16"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`RoutingTable::dump`](irq_routing::RoutingTable::dump) prints the whole table, for a bug
//! report. The program `routing` of the repository reads such a text and explains it.
//!
//! # By the outcome of a trigger
//!
//! | [`trigger`] returns | cause | cure |
//! |---|---|---|
//! | `Delivered` | a local APIC has it. The guest has interrupts off, or its handler finds nothing to do | look at the ring and its event suppression (VIRTIO_F_EVENT_IDX) |
//! | `Blocked` | no local APIC took it: no vCPU has this APIC id, it is switched off, or the translation blocks the message | compare `message()` with the APIC ids; more than 255 vCPUs need a translation ([`with_extended_destination`]) |
//! | `Signalled` | the notifier has it. Go on with the state of the vector | the next table |
//! | `Kept` | the vector is masked, paused, not armed yet, or without a notifier | the next table |
//! | `Disabled` | the guest has not enabled MSI-X or MSI: it uses INTx. Or the VMM has called [`Vector::disable`](crate::Vector::disable) | [`assert`] the device's line; [`enable`](crate::Vector::enable) the vector |
//! | `Dead` | the vector cannot deliver | the reason in its state |
//! | `MessageRefused` | KVM refuses the message of an internal vector | the text has message and errno |
//!
//! [`Binding::trigger`](crate::msix::Binding::trigger) returns `None` if the queue has no vector:
//! the guest wrote 0xffff, or after a restore the binding was not bound again.
//!
//! # By the state of a vector
//!
//! | [`state`] | delivers again when | cure |
//! |---|---|---|
//! | `Masked` | the guest unmasks it, or enables MSI-X | none, if the guest really has not. Otherwise the VMM does not pass on `write` or `config_write` |
//! | `Paused` | [`resume`](crate::msix::Table::resume) is called | call it also on the paths where saving fails |
//! | `Queued` | a round of the [`ArmQueue`] has armed it: see [`waiting`](crate::ArmQueue::waiting) | watch the queue's descriptor; an edge-triggered loop calls `run_pending` for each event |
//! | `Arming` | another thread's commit, or `run` of a [`ResumeBatch`], has ended | run the batch, or drop it |
//! | `Blocked` | the translation lets the message through | [`RoutingTable::retranslate`](irq_routing::RoutingTable::retranslate) after the IOMMU's table has changed |
//! | `NoNotifier` | [`replace_notifier`] is called, after `take_notifier` | give it the new eventfd, or `unexport` |
//! | `Dead(NoGsi)` | a GSI is free: the VM has some 4,050 for vectors | a queue retries; leave vectors internal where the VMM triggers them |
//! | `Dead(Route)` | KVM accepts the route | the text names the rule that is broken, or the errno |
//! | `Dead(Arm)` | KVM accepts the irqfd | `AlreadyBound`: the eventfd is on another GSI. `NotReady` (arm64): initialise the GIC |
//! | `Dead(MessageRefused)` | KVM accepts the message of an internal vector | the text has message and errno |
//! | `Dead(Panicked)` | the port or the translation does not panic any more | fix it, then unmask again |
//! | `Open` | nothing is missing: triggers inject the message | the outcome of the trigger |
//! | `Armed` | nothing is missing: the irqfd is bound | the next section |
//!
//! A dead vector is also returned by the access that opened it ([`Dead`](crate::Dead)) and by
//! [`run_pending`](crate::ArmQueue::run_pending), and is logged once. Print what they return.
//!
//! # The vector is armed, and nothing arrives
//!
//! | see | cause | cure |
//! |---|---|---|
//! | [`explain`] says "lost" | its text has the reason: vector below 16, no such APIC, no device id for an ITS, … | the guest's message, the VMM's translation, or [`devid`](crate::msix::TableBuilder::devid) |
//! | [`explain`] says "remappable format" | the guest uses an IOMMU that the VMM emulates | a translation: [`RoutingTableBuilder::translate`](irq_routing::RoutingTableBuilder::translate) |
//! | [`explain`] is right, the guest has nothing | KVM's table is not this one: other code calls KVM_SET_GSI_ROUTING | remove that code; one [`RoutingTable`](crate::RoutingTable) for a VM |
//! | the back-end signals, the vector does not see it | the back-end has another eventfd: that of an old vector | [`bind_call`](crate::msix::Binding::bind_call) instead of `bind`; after a restart give it [`call`](crate::msix::Binding::call) |
//! | the back-end's `write` fails with EAGAIN, or waits | its peer has filled the counter: KVM is not called for a write that fails | the vector's own `trigger`, or a mask, empties it |
//! | an event loop is woken by the notifier | before Linux 5.11 KVM leaves the count; later kernels do not wake waiters | do not watch a notifier that is bound |
//! | it works until a thread ends | the last descriptor of the VM was closed, or [`Vm::retire`](crate::Vm::retire) was called | keep the `KvmVm`: guards do so by themselves |
//!
//! # A level-triggered line
//!
//! | symptom | see | cause | cure |
//! |---|---|---|---|
//! | one interrupt, then none (split irqchip) | [`on_vector`] returns 0, or is not called | the EOI exit does not reach the line | one [`EoiExits`](crate::EoiExits) for the VM, given to each line; pass on KVM_EXIT_IOAPIC_EOI |
//! | one interrupt, then none (exported device) | its resample notifier [`is_signalled`](crate::EventNotifier::is_signalled) | the device does not read it | it reads it and triggers again if it still has a reason |
//! | one interrupt, then none (virtio-mmio) | the line [`is_asserted`](crate::LevelLine::is_asserted) is false, InterruptStatus is not 0 | the status and the line are not changed under one lock | [`virtio_mmio`](super::virtio_mmio) |
//! | none after the guest masked and unmasked the pin | Linux 6.3 and later, devices of both kinds share the line | the kernel forgets the level of KVM_IRQ_LINE | [`reassert`](crate::LevelLine::reassert) at each resample |
//! | none at all (split irqchip) | the entry is masked | [`redirect`](crate::LevelLine::redirect) was not called | call it at each write of an entry |
//! | none after a restore | the line | it is still paused | [`LevelLine::resume`](crate::LevelLine::resume); the order in [`snapshot`](super::snapshot) |
//! | none after a reset of the controllers | – | the line was not sent again | [`resync`](crate::LevelLine::resync) |
//! | an interrupt storm | the line stays asserted | the device does not deassert when it was served | `deassert` when the driver has acknowledged |
//! | the build fails with `NoResample` | the text | no EOI of this line would be reported | what the text says |
//!
//! # Interrupts by ioctl
//!
//! | [`Injected`](crate::inject::Injected) | meaning |
//! |---|---|
//! | `Delivered(n)` | n interrupt controllers took it |
//! | `Coalesced` | an interrupt of the pin is pending already: the guest sees one |
//! | `Masked` | the guest has masked the pin, or has not ended the last interrupt |
//! | `NoListener` | no vCPU has this APIC id, or its local APIC is off |
//! | `Untranslated` | the translation blocks the message |
//! | `NoLowLevel` | level 0 for a GSI with a message means nothing |
//! | `Untold` | KVM does not report it |
//! | `Queued` | the vCPU takes the vector when it runs next |
//! | `StillQueued` | the vCPU has not taken the last vector: offer this one again |
//!
//! # After a restore
//!
//! - Interrupts that the resume injects are gone: KVM_SET_LAPIC came after the resume. Restore the
//!   controllers first.
//! - Exported vectors are silent: the owner of the [`ArmQueue`] has not run a round yet, or the
//!   back-end has the eventfd of the old process.
//! - One device is silent: its table is still paused, or its bindings have no vector.
//!
//! # Count, before anything is lost
//!
//! An [`Observer`](irq_routing::Observer) is called for each vector that is opened, refused or
//! delivers a kept trigger, and for each commit. Count `vector_refused`: in a healthy VM it is 0.
//!
//! ```
//! use std::sync::Arc;
//! use std::sync::atomic::{AtomicUsize, Ordering};
//! use irq_routing::{ObservedVector, Observer, RoutingTable};
//! use notify_sim::SimVm;
//!
//! #[derive(Debug, Default)]
//! struct Refusals(AtomicUsize);
//!
//! impl Observer for Refusals {
//!     fn vector_refused(
//!         &self,
//!         vector: &ObservedVector<'_>,
//!         reason: &(dyn std::error::Error + 'static),
//!     ) {
//!         self.0.fetch_add(1, Ordering::Relaxed);
//!         eprintln!("{:?}, vector {:?}: {reason}", vector.name, vector.number);
//!     }
//! }
//!
//! let vm = Arc::new(SimVm::builder().build()); // or a KvmVm
//! let refusals = Arc::new(Refusals::default());
//! let routing = RoutingTable::builder(vm).observer(refusals.clone()).build()?;
//!
//! // The devices of the VM get clones of `routing`. Later:
//! assert_eq!(refusals.0.load(Ordering::Relaxed), 0, "{routing}");
//! # Ok::<(), irq_routing::Error>(())
//! ```
//!
//! # A kick does not arrive
//!
//! That is the other direction: see `ioeventfd::guide::kick_does_not_arrive`.
//!
//! [`ArmQueue`]: crate::ArmQueue
//! [`ResumeBatch`]: crate::ResumeBatch
//! [`assert`]: crate::LevelIrq::assert
//! [`explain`]: irq_routing::RoutingTable::explain
//! [`on_vector`]: crate::EoiExits::on_vector
//! [`replace_notifier`]: crate::VectorHandle::replace_notifier
//! [`state`]: crate::VectorHandle::state
//! [`trigger`]: crate::VectorHandle::trigger
//! [`with_extended_destination`]: crate::MsiMessage::with_extended_destination
