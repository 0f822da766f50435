// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A device of the host that is passed through by VFIO.
//!
//! | the device's interrupt | what there is today |
//! |---|---|
//! | INTx | [`PassthroughIntx`]: complete |
//! | MSI-X, MSI | exported vectors, whose eventfds the VMM gives to VFIO |
//! | MSI-X that follows the guest | **not there yet**: no type opens and closes vectors of the host as the guest opens and closes its own |
//!
//! # INTx
//!
//! ```text
//!  device ─▶ VFIO masks it ─▶ trigger ─▶ KVM raises the line ─▶ guest
//!                                                                 │ EOI
//!  device ◀─ VFIO unmasks  ◀─ resample ◀─ KVM lowers the line ◀───┘
//! ```
//!
//! No thread of the VMM takes part where the pins are in the kernel. If the device still wants an
//! interrupt when it is unmasked, the circle begins anew.
//!
//! The VMM implements [`IntxDevice`]: four uses of VFIO_DEVICE_SET_IRQS. Its page has them for the
//! crate `vfio-ioctls`. Enable the interrupt when the guest has the device and uses INTx; disable
//! it when the guest sets INTX_DISABLE, or enables MSI or MSI-X.
//!
//! ```
//! # use std::io;
//! use std::sync::Arc;
//! use irqfd::vfio::{IntxDevice, PassthroughIntx};
//! use irqfd::{EventNotifier, LevelLine, RoutingTable};
//! use notify_sim::SimVm;
//!
//! #[derive(Debug)]
//! struct Card; // has the device's file descriptor
//!
//! impl IntxDevice for Card {
//!     fn mask(&self) -> io::Result<()> {
//!         Ok(()) // VFIO_IRQ_SET_ACTION_MASK
//!     }
//!     fn unmask(&self) -> io::Result<()> {
//!         Ok(()) // VFIO_IRQ_SET_ACTION_UNMASK
//!     }
//!     fn set_trigger(&self, _: Option<&EventNotifier>) -> io::Result<()> {
//!         Ok(()) // VFIO_IRQ_SET_ACTION_TRIGGER with an eventfd
//!     }
//!     fn set_unmask(&self, _: Option<&EventNotifier>) -> io::Result<()> {
//!         Ok(()) // VFIO_IRQ_SET_ACTION_UNMASK with an eventfd
//!     }
//! }
//!
//! let vm = Arc::new(SimVm::builder().build()); // or a KvmVm
//! let table = RoutingTable::new(vm)?; // one for the VM
//! let line = LevelLine::builder(table.line(11)?).build()?; // other devices may join it
//! let intx = PassthroughIntx::enable(&line, Arc::new(Card))?;
//!
//! // The guest sets INTX_DISABLE, or enables MSI-X.
//! intx.disable()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - On a split irqchip the line needs [`EoiExits`](crate::EoiExits), and an EOI is an exit.
//! - A line that was built [`without_eois`](crate::LevelLineBuilder::without_eois) (TDX) takes no
//!   such device; that method's page has the way out.
//! - On riscv64 KVM reports no EOI, so INTx cannot be passed through.
//! - Where the VMM has the interrupt controller, it also reads the trigger:
//!   [`LevelIrq::take_trigger`](crate::LevelIrq::take_trigger).
//!
//! # MSI-X by exported vectors
//!
//! The guest's accesses to the device's MSI-X table go to an [`msix::Table`](crate::msix::Table),
//! not to the device. Each vector is exported, and its eventfd is the trigger of the host's vector
//! of the same number.
//!
//! ```
//! use std::sync::Arc;
//! use irqfd::{Dead, RoutingTable, msix};
//! use notify_sim::SimVm;
//!
//! fn report(dead: &[Dead]) {
//!     dead.iter().for_each(|dead| eprintln!("{dead}"));
//! }
//!
//! let vm = Arc::new(SimVm::builder().build()); // or a KvmVm
//! vm.enable_lapic(0); // as a guest does when it boots
//! let routing = RoutingTable::new(vm.clone())?; // one for the VM
//! let table = msix::Table::builder(&routing).name("0000:01:00.0").vectors(2).build()?;
//! let triggers: Vec<_> = table.vectors().iter().map(|it| it.export()).collect::<Result<_, _>>()?;
//!
//! // The guest enables MSI-X (Message Control, bit 15): pass the access on, and look.
//! report(&table.config_write(2, &0x8000_u16.to_le_bytes()));
//! if table.is_enabled() {
//!     // VFIO_DEVICE_SET_IRQS, VFIO_PCI_MSIX_IRQ_INDEX, ACTION_TRIGGER, with these eventfds.
//! }
//! // It programs and unmasks vector 0.
//! report(&table.write(0, &0xfee0_0000_u64.to_le_bytes()));
//! report(&table.write(8, &0x41_u64.to_le_bytes()));
//!
//! triggers[0].notify()?; // VFIO
//! assert_eq!(vm.pending_vectors(0), [0x41]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What this gives: masks, pending bits, snapshots and retargeting work as for any exported vector,
//! and interrupts reach the guest without a thread of the VMM. While a vector is masked, signals
//! stay in its eventfd and are delivered once.
//!
//! What it does not give:
//!
//! - The host keeps all vectors of the device requested, also those that the guest has not opened.
//! - The device is not masked when the guest masks a vector: it goes on to signal the eventfd.
//!
//! # Posted interrupts
//!
//! A processor may post the interrupts of such a device to the vCPU. A mask ends that, because it
//! unbinds the irqfd. Linux 6.17 and 6.18 without the fix for CVE-2026-23198 do not end it:
//! interrupts go on after the mask, and on AMD hosts the kernel uses freed memory. On such a host
//! take the trigger out of VFIO before the vector is masked, or turn posted interrupts off.
//!
//! # Save and migrate
//!
//! A passed-through device has state that only its driver in VFIO can save. Stop it first (VFIO's
//! migration states), then pause and save the table or line as in [`snapshot`](super::snapshot).
//!
//! [`IntxDevice`]: crate::vfio::IntxDevice
//! [`PassthroughIntx`]: crate::vfio::PassthroughIntx
