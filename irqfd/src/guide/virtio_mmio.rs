// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A virtio-mmio device: one doorbell register, one level-triggered line.
//!
//! ```text
//!  QueueNotify 0x50      ──▶ doorbell (ioeventfd) ──▶ kick ──▶ device thread
//!  InterruptStatus 0x60  ◀── reasons ◀──────────────────────── 1: used buffer, 2: configuration
//!  InterruptACK 0x64     ──▶ reasons cleared ──▶ line low, if none is left
//!
//!  line            ┌───────────────────────────┐
//!        ──────────┘                           └─────────────────────
//!           assert ├▶ interrupt, status, ACK ──┤ deassert
//!                                              └▶ EOI: if the line is high, again
//! ```
//!
//! # The parts
//!
//! | part | type |
//! |---|---|
//! | kicks | `ioeventfd::virtio::mmio` makes the doorbells, a `DoorbellSet` registers them |
//! | the interrupt | [`LevelLine`] of the pin's GSI, and a [`LevelIrq`] of the device |
//! | InterruptStatus | the device's own: one number under a lock |
//!
//! The registers are in VIRTIO 1.3, 4.2.2. The level follows InterruptStatus: the line is high
//! while a bit is set. So hold one lock over the status and the call of [`assert`] or [`deassert`].
//! Otherwise a device thread may set a bit between the clearing of the last one and the `deassert`,
//! and the interrupt for it is lost.
//!
//! [`assert`] makes one KVM_IRQ_LINE if the line was low, else no system call.
//!
//! # The EOI
//!
//! The guest's driver acknowledges the device first, and the guest ends the interrupt (EOI)
//! afterwards. If the line is high at the EOI, the interrupt controller interrupts again. With pins
//! in the kernel this needs no code of the VMM. On a split irqchip the VMM gives the line
//! [`EoiExits`], passes on KVM_EXIT_IOAPIC_EOI, and calls [`redirect`]: see [`intx`](super::intx).
//!
//! # An example
//!
//! ```
//! use std::error::Error;
//! use std::sync::{Arc, Mutex, PoisonError};
//! use ioeventfd::virtio::{self, Notification};
//! use ioeventfd::{AfterExit, DoorbellRegistry, DoorbellSet, IoAddress, Window};
//! use irqfd::{EventNotifier, LevelError, LevelIrq, LevelLine, RoutingTable};
//! use notify_core::Bus;
//! use notify_sim::SimVm;
//!
//! const BASE: u64 = 0xd000_0000;
//! const STATUS: u64 = BASE + 0x60;
//! const ACK: u64 = BASE + 0x64;
//! const USED_BUFFER: u32 = 1;
//!
//! struct Disk {
//!     doorbells: DoorbellSet,
//!     kick: Arc<EventNotifier>,
//!     status: Mutex<u32>,
//!     irq: LevelIrq,
//! }
//!
//! impl Disk {
//!     /// On the device thread, after the used ring was written.
//!     fn interrupt(&self, reason: u32) -> Result<(), LevelError> {
//!         let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
//!         *status |= reason;
//!         self.irq.assert()
//!     }
//!
//!     /// On a vCPU thread, for KVM_EXIT_MMIO.
//!     fn write(&self, address: u64, data: &[u8]) -> Result<(), Box<dyn Error>> {
//!         if self.doorbells.on_exit_write(IoAddress::Mmio(address), data)? == AfterExit::Resume {
//!             return Ok(()); // a kick that KVM did not match
//!         }
//!         match (address, data.try_into().map(u32::from_le_bytes)) {
//!             (ACK, Ok(reasons)) => {
//!                 let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
//!                 *status &= !reasons;
//!                 if *status == 0 {
//!                     self.irq.deassert()?;
//!                 }
//!             }
//!             _ => { /* the other registers */ }
//!         }
//!         Ok(())
//!     }
//!
//!     fn read(&self, address: u64) -> u32 {
//!         match address {
//!             STATUS => *self.status.lock().unwrap_or_else(PoisonError::into_inner),
//!             _ => 0, // the other registers
//!         }
//!     }
//! }
//!
//! let vm = Arc::new(SimVm::builder().build()); // or a KvmVm
//! let registry = DoorbellRegistry::new(vm.clone(), Window::of_irqchip(&*vm)?); // one for the VM
//! let table = RoutingTable::new(vm.clone())?; // one for the VM
//!
//! // Pin 10 of the IOAPIC. Other devices at this pin join the same line.
//! let line = LevelLine::builder(table.line(10)?).build()?;
//! let kick = Arc::new(EventNotifier::new()?);
//! let doorbells = DoorbellSet::new(&registry);
//! let queue = virtio::mmio(BASE, [0], Notification::Index)?;
//! doorbells.apply(doorbells.plan(queue.into_iter().map(|it| it.signalling(kick.clone())))?)?;
//! let disk = Disk { doorbells, kick, status: Mutex::new(0), irq: line.join()? };
//!
//! // The guest kicks queue 0. No vCPU exit: the kick is signalled.
//! vm.guest_write(Bus::Mmio, BASE + 0x50, &0_u32.to_le_bytes());
//! // The device thread, when the kick is readable: serve the ring, then interrupt.
//! assert!(disk.kick.consume()?.is_some());
//! disk.interrupt(USED_BUFFER)?;
//! assert!(vm.ioapic().is_some_and(|ioapic| ioapic.irr == 1 << 10));
//!
//! // The guest's handler reads the status and acknowledges: the line is low.
//! assert_eq!(disk.read(STATUS), USED_BUFFER);
//! disk.write(ACK, &USED_BUFFER.to_le_bytes())?;
//! assert!(!line.is_asserted());
//! # Ok::<(), Box<dyn Error>>(())
//! ```
//!
//! # Reset, removal, save
//!
//! - A reset of the device (0 in Status): call `DoorbellSet::stop` and discard what is left over,
//!   clear the status, and `deassert`. At the next DRIVER_OK: `plan`, `apply` and `start`.
//! - Unplug: drop the `DoorbellSet` and the [`LevelIrq`]. The line stays as high as other devices
//!   hold it.
//! - Save: [`LevelLine::pause`] and [`LevelLine::snapshot`]. InterruptStatus is the device's own
//!   state. See [`snapshot`](super::snapshot).
//!
//! # Without a level
//!
//! Some VMMs describe the interrupt to the guest as edge-triggered. Then an [`IrqFd`](crate::IrqFd)
//! on the pin suffices: set the status, then signal the notifier. An edge that comes while the
//! guest has masked the pin is lost, as on hardware. A level is not, so it is the safer choice.
//!
//! [`assert`]: crate::LevelIrq::assert
//! [`deassert`]: crate::LevelIrq::deassert
//! [`redirect`]: crate::LevelLine::redirect
//! [`EoiExits`]: crate::EoiExits
//! [`LevelIrq`]: crate::LevelIrq
//! [`LevelLine`]: crate::LevelLine
//! [`LevelLine::pause`]: crate::LevelLine::pause
//! [`LevelLine::snapshot`]: crate::LevelLine::snapshot
