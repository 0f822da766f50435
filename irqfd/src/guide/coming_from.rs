// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! You come from Cloud Hypervisor, Firecracker, crosvm, OpenVMM, vm-device or QEMU.
//!
//! Most names were read in public sources of 2026. They may have changed since.
//!
//! # Names, side by side
//!
//! | these crates | Cloud Hypervisor | Firecracker |
//! |---|---|---|
//! | [`Vm`] | `hypervisor::Vm` | `KvmVm`, `VmFd` |
//! | [`EventNotifier`] | `EventFd` | `EventFd` |
//! | [`RoutingTable`], [`GsiLease`] | `gsi_msi_routes`, `SystemAllocator::allocate_gsi` | `VmCommon::interrupts`, `gsi_msi_allocator` |
//! | a commit | `set_gsi_routes` | `set_gsi_routes`, `update_batched` |
//! | [`Vector`] | `InterruptRoute` | `MsixVector` |
//! | the vectors of a device | `MsiInterruptGroup`, an `InterruptSourceGroup` | `MsixVectorGroup` |
//! | [`msix::Table`] | `MsixConfig` | `MsixConfig` |
//! | its [`write`](crate::msix::Table::write), [`read`](crate::msix::Table::read) | `write_table`, `read_table` | `write_table`, `read_table` |
//! | its [`config_write`](crate::msix::Table::config_write) | `set_msg_ctl` | `write_msg_ctl_register` |
//! | its [`pba_read`](crate::msix::Table::pba_read) | `read_pba` | `read_pba` |
//! | [`msi::Capability`] | `MsiConfig` | none |
//! | [`msix::Binding`] | `VirtioInterruptMsix` | `VirtioInterruptMsix` |
//! | [`trigger`] | `InterruptSourceGroup::trigger`, `VirtioInterrupt::trigger` | `VirtioInterrupt::trigger` |
//! | [`export`] | `InterruptSourceGroup::notifier` | `MsixVectorGroup::notifier` |
//! | [`LevelIrq`] | `LegacyUserspaceInterruptGroup` | `IrqTrigger` (edge) |
//! | [`Controller`], [`EoiExits`] | `InterruptController::service_irq`, `end_of_interrupt` | none: the irqchip is in the kernel |
//! | [`msix::Registers`] | `MsixConfigState` | `MsixConfigState` |
//! | a translation | `InterruptRemapping` | none |
//!
//! | these crates | crosvm | OpenVMM |
//! |---|---|---|
//! | [`EventNotifier`] | `Event` | `Event` of `pal_event` |
//! | [`RoutingTable`], [`GsiLease`] | `VmIrqRequest::AllocateOneMsi`, `AddMsiRoute` | `MsiTarget`, `MsiRoute` |
//! | a commit | one for each `AddMsiRoute` | `MsiRoute::enable` |
//! | [`Vector`] | `IrqfdGsi` | `MsiInterrupt` |
//! | [`msix::Table`] | `MsixConfig` | `MsixEmulator`, `MsixCapability` |
//! | its [`write`](crate::msix::Table::write), [`read`](crate::msix::Table::read) | `write_msix_table`, `read_msix_table` | `write_u32`, `read_u32` |
//! | its [`config_write`](crate::msix::Table::config_write) | `write_msix_capability` | `PciCapability::write` |
//! | its [`pba_read`](crate::msix::Table::pba_read) | `read_pba_entries` | `read_u32` |
//! | [`msix::Binding`] | `Interrupt`, with a vector for each queue | an `Interrupt` for each queue |
//! | [`trigger`] | `Interrupt::signal_used_queue` | `Interrupt::deliver` |
//! | [`export`] | `MsixConfig::get_irqfd` | `Interrupt::event` |
//! | [`LevelLine`], [`LevelIrq`] | `IrqLevelEvent`, `IrqEdgeEvent` | `LineSet`, `LineInterrupt` |
//! | [`Controller`], [`EoiExits`] | `IrqChip`, `broadcast_eoi` | `LineSetTarget` |
//! | [`msix::Registers`] | `MsixConfigSnapshot` | the saved state of `MsixEmulator` |
//!
//! | these crates | vm-device (rust-vmm) | QEMU |
//! |---|---|---|
//! | [`EventNotifier`] | `File`, `EventFd` | `EventNotifier` |
//! | [`EventNotifier::consume`] | `EventFd::read` | `event_notifier_test_and_clear` |
//! | [`RoutingTable`], [`GsiLease`] | `InterruptManager` | `kvm_irqchip_add_msi_route`, `kvm_irqchip_release_virq` |
//! | a commit | `InterruptSourceGroupMsi::modify` | `kvm_irqchip_commit_routes` |
//! | [`Vector`] | one index of an `InterruptSourceGroup` | a virq and an `EventNotifier` |
//! | [`msix::Table`] | none | `msix_init` |
//! | its [`write`](crate::msix::Table::write) | none | `msix_table_mmio_write` |
//! | its [`config_write`](crate::msix::Table::config_write) | none | `msix_write_config` |
//! | [`trigger`] | `InterruptSourceGroup::trigger` | `msix_notify`, `virtio_notify` |
//! | [`export`] | `InterruptSourceGroup::notifier` | `virtio_pci_set_guest_notifiers` |
//! | masks that reach an exported vector | `enable`, `disable` | `msix_set_vector_notifiers` |
//! | [`LevelIrq`] | an `InterruptSourceGroup` of one pin | `qemu_irq`, `pci_set_irq` |
//! | [`PassthroughIntx`] | none | `vfio_intx_enable_kvm` |
//! | [`msix::Registers`] | none | `msix_save`, `msix_load` |
//!
//! vm-device's traits for interrupts are a proposal that Cloud Hypervisor has taken over. If your
//! VMM has that shape, the next section fits.
//!
//! # A porting recipe
//!
//! Each step compiles and boots by itself. Stop after any of them.
//!
//! 1. **The VM.** Make one `Arc<dyn Vm>`: `KvmVm::try_from(&vm_fd)`, or [`KvmVm::duplicate`] for
//!    another version of kvm-ioctls, or an implementation over your layer ([`notify_core::ports`]).
//! 2. **Routes.** Make one [`RoutingTable`] where the VMM now keeps its map of routes. *Delete* the
//!    map, the GSI allocator, and every other call of KVM_SET_GSI_ROUTING. This step cannot be
//!    halved: two tables delete each other's routes.
//! 3. **MSI-X.** Replace the table of one device by an [`msix::Table`], and pass on its accesses as
//!    in [`virtio_pci`](super::virtio_pci). *Delete* the entries, the pending bits, mask handling
//!    and "inject pending after unmask". Print the [`Dead`] that accesses return.
//! 4. **Queues.** Give each queue an [`msix::Binding`]. *Delete* the arrays of queue vectors.
//! 5. **Eventfds.** Where vhost or VFIO needs one, use [`export`] or
//!    [`Binding::call`](crate::msix::Binding::call). A vector that only the VMM triggers needs
//!    none: *delete* its eventfd. If the filters of device threads lack KVM_SIGNAL_MSI, build the
//!    table with [`private_irqfd`](crate::msix::TableBuilder::private_irqfd).
//! 6. **The queue.** Put one [`ArmQueue`](crate::ArmQueue) into the event loop, so that unmasking
//!    does not commit on the vCPU's thread.
//! 7. **Lines.** Build a [`LevelLine`] for each pin, and let devices join. *Delete* the counters
//!    of assertions, resample loops, and the list of EOI listeners.
//! 8. **Doorbells.** Replace registrations of ioeventfds by a `DoorbellSet` for each device
//!    (`ioeventfd::guide`). *Delete* the code that moves them with a BAR.
//! 9. **Filters.** Compare [`system_calls`](crate::system_calls) with the VMM's seccomp lists.
//! 10. **Snapshots.** Pause, save, restore as in [`snapshot`](super::snapshot).
//!
//! # An `InterruptSourceGroup` over a table
//!
//! A VMM with that trait can keep its devices at first. Only the group changes:
//!
//! | the trait | over a [`Vector`] for each index |
//! |---|---|
//! | `create_group` | [`Vector::builder`], once for each index |
//! | `trigger(index)` | [`trigger`] |
//! | `notifier(index)` | [`export`]; duplicate the descriptor for an `EventFd` |
//! | `update(index, config, masked, ..)` | [`set_message`](crate::Vector::set_message); then [`mask`](crate::Vector::mask) or [`unmask`](crate::Vector::unmask) |
//! | `mask`, `unmask` | [`mask`](crate::Vector::mask), [`unmask`](crate::Vector::unmask) |
//! | `enable`, `disable` | [`enable`](crate::Vector::enable), [`disable`](crate::Vector::disable): they do not touch the guest's mask |
//! | `set_gsi` | nothing: routes are committed when they are needed |
//! | `set_notifier` | [`replace_notifier`](crate::VectorHandle::replace_notifier), [`take_notifier`](crate::VectorHandle::take_notifier) |
//!
//! ```
//! use std::sync::Arc;
//! use irqfd::{MsiMessage, RoutingTable, Vector, VectorError};
//! use notify_sim::SimVm;
//!
//! struct Group(Vec<Vector>);
//!
//! impl Group {
//!     fn update(&self, index: usize, low: u32, high: u32, data: u32, masked: bool)
//!     -> Result<(), VectorError> {
//!         let Some(vector) = self.0.get(index) else {
//!             return Ok(()); // the VMM's own error
//!         };
//!         if masked {
//!             vector.mask();
//!         }
//!         let address = u64::from(high) << 32 | u64::from(low);
//!         vector.set_message(MsiMessage::new(address, data))?;
//!         if !masked {
//!             vector.unmask()?;
//!         }
//!         Ok(())
//!     }
//! }
//!
//! let vm = Arc::new(SimVm::builder().build()); // or a KvmVm
//! vm.enable_lapic(0); // as a guest does when it boots
//! let routing = RoutingTable::new(vm.clone())?; // one for the VM
//! let group = Group((0..2).map(|_| Vector::builder(&routing).build()).collect::<Result<_, _>>()?);
//! group.update(1, 0xfee0_0000, 0, 0x41, false)?;
//! group.0[1].trigger()?;
//! assert_eq!(vm.pending_vectors(0), [0x41]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What behaves otherwise
//!
//! | there | here |
//! |---|---|
//! | a vector has a GSI from the start | it takes one when it is first armed; an internal one never |
//! | pending bits are set by the code that triggers | they are what the vector has kept, also what a peer signalled while it was masked |
//! | a refused route stays in the map and fails later commits too, or the VMM aborts | that vector is [`Dead`], all others go on |
//! | a mask may leave an injection in flight | when a mask has returned, nothing is in flight |
//!
//! # How to keep your saved state
//!
//! | from | read it by |
//! |---|---|
//! | Firecracker: `MsixConfigState` (`table_entries`, `pba_entries`, `masked`, `enabled`, `vectors`) | [`msix::Registers`]; the GSIs by [`set_lease`](crate::msix::Table::set_lease), if they are to be the same |
//! | Cloud Hypervisor: `MsixConfigState` (the same without GSIs), `MsiConfigState` | [`msix::Registers`], [`msi::Registers`] |
//! | crosvm: `MsixConfigSnapshot` (`irq_gsi_vec` instead of `vectors`) | [`msix::Registers`] |
//! | QEMU: the table's bytes and `(n + 7) / 8` bytes of pending bits; Message Control is in the configuration space | [`msix::Registers`]: make words of eight bytes of the pending bits |
//! | OpenVMM: address, data, control and a pending flag for each vector | [`msix::Registers`] |
//!
//! [`snapshot`](super::snapshot#formats-of-other-vmms) has the code. Keep reading the old format as
//! long as such states exist, and write [`msix::Snapshot`] or registers from now on. In a state of
//! Firecracker or Cloud Hypervisor the pending bits lack what was signalled in the eventfd of a
//! masked vector; it is lost.
//!
//! [`Controller`]: crate::Controller
//! [`Dead`]: crate::Dead
//! [`EoiExits`]: crate::EoiExits
//! [`EventNotifier`]: crate::EventNotifier
//! [`EventNotifier::consume`]: crate::EventNotifier::consume
//! [`GsiLease`]: crate::GsiLease
//! [`KvmVm::duplicate`]: crate::KvmVm::duplicate
//! [`LevelIrq`]: crate::LevelIrq
//! [`LevelLine`]: crate::LevelLine
//! [`PassthroughIntx`]: crate::vfio::PassthroughIntx
//! [`RoutingTable`]: crate::RoutingTable
//! [`Vector`]: crate::Vector
//! [`Vector::builder`]: crate::Vector::builder
//! [`Vm`]: crate::Vm
//! [`export`]: crate::VectorHandle::export
//! [`msi::Capability`]: crate::msi::Capability
//! [`msi::Registers`]: crate::msi::Registers
//! [`msix::Binding`]: crate::msix::Binding
//! [`msix::Registers`]: crate::msix::Registers
//! [`msix::Snapshot`]: crate::msix::Snapshot
//! [`msix::Table`]: crate::msix::Table
//! [`trigger`]: crate::VectorHandle::trigger
