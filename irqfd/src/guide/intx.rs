// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! INTx and other level-triggered lines: shared lines, split irqchips, EOIs, redirections.
//!
//! # Level and EOI
//!
//! ```text
//!  disk        ┌──────────────┐                      asserts, and is served
//!        ──────┘              └───────────────────
//!  card            ┌──────────────────────────┐      asserts, and is served later
//!        ──────────┘                          └───
//!  line        ┌──────────────────────────────┐      high while any device asserts
//!        ──────┘              │               └───
//!              ▼              ▼               ▼
//!  guest       interrupt      EOI: again      EOI: the line is low, no interrupt
//! ```
//!
//! A [`LevelLine`] is high while any of its devices asserts. At the EOI the interrupt controller
//! interrupts again if the line is still high. So a device keeps the line up until the guest has
//! served it, and no interrupt is lost when two devices share a line.
//!
//! # Which way for which device
//!
//! | the device | how it joins | how it raises | how it lowers |
//! |---|---|---|---|
//! | the VMM's own code | [`join`] | [`assert`] | [`deassert`], when the driver has served it |
//! | the same, and it wants EOIs | [`join_resampled`] | [`assert`] | [`deassert`] |
//! | vhost, a daemon | [`join_exported`] | a signal of the trigger | the EOI; it signals again if there is still a reason |
//! | VFIO | [`PassthroughIntx`] | the same | the same |
//!
//! One line may have devices of all kinds on x86. On arm64 the interrupt controller has one level
//! for a pin: all devices are exported, or all are the VMM's own and want no EOIs. On riscv64 KVM
//! reports no EOIs.
//!
//! # Which line for which VM
//!
//! | interrupt controllers in the kernel | the line | EOIs come |
//! |---|---|---|
//! | all (KVM_CREATE_IRQCHIP, a GIC, an AIA) | `LevelLine::builder(table.line(gsi)?)` | to KVM, which signals the resample notifiers |
//! | local APICs (a split irqchip) | the same for a GSI with a message, with [`eoi_exits`] | as exits: [`EoiExits::on_vector`] |
//! | the same, a TDX guest | the same, with [`without_eois`] | never |
//! | none, or the VMM's own controller | [`LevelLine::on_controller`] | from the VMM: [`EoiExits::on_pin`] |
//!
//! # A line of a VM with pins in the kernel
//!
//! ```
//! use std::sync::Arc;
//! use irqfd::{EventNotifier, LevelLine, RoutingTable};
//! use notify_sim::SimVm;
//!
//! const IOAPIC: u32 = 2; // KVM's number of the chip
//! let vm = Arc::new(SimVm::builder().build()); // or a KvmVm
//! let table = RoutingTable::new(vm.clone())?; // one for the VM
//! let line = LevelLine::builder(table.line(10)?).build()?; // INTA# of a slot is routed to pin 10
//! let disk = line.join()?;
//! let resample = Arc::new(EventNotifier::new()?);
//! let card = line.join_exported(None, resample.clone())?; // with a new trigger
//! let trigger = card.trigger_notifier().ok_or("no trigger")?.clone(); // both go to the daemon
//!
//! disk.assert()?;
//! trigger.notify()?; // the daemon
//! let high = || vm.ioapic().is_some_and(|ioapic| ioapic.irr == 1 << 10);
//! vm.guest_eoi(IOAPIC, 10); // the guest
//! assert!(resample.consume()?.is_some()); // the daemon looks whether it has another reason
//! assert!(high()); // the disk still asserts: the guest is interrupted again
//! disk.deassert()?;
//! assert!(!high());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! When the guest moves a PCI device to another pin (a PIIX or ICH9 link register), drop the
//! [`LevelIrq`] and join the line of the new pin, then [`assert`] if the device asserted before.
//!
//! **Call [`reassert`] where devices are mixed.** If the VMM's own devices share a line with
//! devices that want EOIs, let one of the VMM's devices join with [`join_resampled`], watch its
//! notifier, and call [`reassert`] each time that it is signalled. Linux 6.3 and later forget the
//! level of KVM_IRQ_LINE when the guest unmasks the pin.
//!
//! # A split irqchip
//!
//! The IOAPIC is the VMM's. A pin is the GSI of the same number, and its redirection entry is a
//! message. KVM reports an EOI as KVM_EXIT_IOAPIC_EOI with the vector.
//!
//! ```text
//!  guest writes an entry ─▶ VMM's IOAPIC ─▶ LevelLine::redirect ─▶ route of the GSI
//!  device asserts        ─▶ line high    ─▶ message ─▶ local APIC ─▶ guest
//!  guest ends it (EOI)   ─▶ exit, vector ─▶ EoiExits::on_vector
//!                                             ├─▶ devices that want EOIs are signalled
//!                                             └─▶ line still high: the message again
//! ```
//!
//! ```
//! use std::sync::Arc;
//! use irqfd::{EoiExits, LevelLine, MsiMessage, RoutingTable};
//! use notify_sim::{Profile, SimVm};
//!
//! let vm = SimVm::builder().profile(Profile::X86Split { pins: 24 }).build();
//! let vm = Arc::new(vm); // or a KvmVm
//! vm.enable_lapic(0); // as a guest does when it boots
//! let table = RoutingTable::new(vm.clone())?; // one for the VM
//! let exits = EoiExits::default(); // one for the VM
//!
//! // Pin 10. Its entry is masked, as after a reset.
//! let lease = table.lease_exact(10)?;
//! lease.set_route(MsiMessage::default())?;
//! let line = LevelLine::builder(lease.into_line()?).eoi_exits(&exits).build()?;
//! let disk = line.join()?;
//! disk.assert()?;
//!
//! // The guest writes the entry: vector 0x51, level-triggered (bit 15), not masked.
//! line.redirect(MsiMessage::new(0xfee0_0000, 0x8051), false)?;
//! assert_eq!(vm.take_vector(0), Some(0x51));
//! vm.lapic_eoi(0); // the guest; the vCPU exits with KVM_EXIT_IOAPIC_EOI
//! assert_eq!(exits.on_vector(0x51), 1);
//! assert_eq!(vm.pending_vectors(0), [0x51]); // the disk was not served
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - The VMM turns a redirection entry into a message: the destination into address bits 12 to 19,
//!   the vector and the delivery mode into the data, with bit 15 for level-triggered.
//! - Call [`redirect`] at each write of an entry, also while it is masked: a masked entry is only
//!   remembered and costs no commit.
//! - Report EOI exits to [`EoiExits`] alone. It finds every line of that vector.
//! - Only GSIs below the number of pins have EOI exits; others fail with
//!   [`NoResample::NotReserved`](crate::NoResample::NotReserved).
//!
//! # The VMM's own controller
//!
//! A PIC, or an IOAPIC whose state the VMM keeps itself, implements [`Controller`]. The line calls
//! [`set_level`](crate::Controller::set_level) when its level changes, with the line's lock held.
//! The controller selects a vector, and the vCPU's thread injects it with
//! [`inject::vcpu`](crate::inject::vcpu()). Report EOIs with [`EoiExits::on_pin`] or
//! [`LevelLine::on_eoi`].
//!
//! # After a reset or a restore of the controllers
//!
//! [`resync`](crate::LevelLine::resync) sends the level again and signals the devices that want
//! EOIs. A restore of a whole VM has its own order: see [`snapshot`](super::snapshot).
//!
//! [`assert`]: crate::LevelIrq::assert
//! [`deassert`]: crate::LevelIrq::deassert
//! [`join`]: crate::LevelLine::join
//! [`join_exported`]: crate::LevelLine::join_exported
//! [`join_resampled`]: crate::LevelLine::join_resampled
//! [`eoi_exits`]: crate::LevelLineBuilder::eoi_exits
//! [`without_eois`]: crate::LevelLineBuilder::without_eois
//! [`reassert`]: crate::LevelLine::reassert
//! [`redirect`]: crate::LevelLine::redirect
//! [`Controller`]: crate::Controller
//! [`EoiExits`]: crate::EoiExits
//! [`EoiExits::on_pin`]: crate::EoiExits::on_pin
//! [`EoiExits::on_vector`]: crate::EoiExits::on_vector
//! [`LevelIrq`]: crate::LevelIrq
//! [`LevelLine`]: crate::LevelLine
//! [`LevelLine::on_controller`]: crate::LevelLine::on_controller
//! [`LevelLine::on_eoi`]: crate::LevelLine::on_eoi
//! [`PassthroughIntx`]: crate::vfio::PassthroughIntx
