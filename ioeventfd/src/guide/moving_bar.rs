// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A BAR that moves: the order of steps, and writes that exit in between.
//!
//! When the guest writes a BAR, the doorbells must follow. Meanwhile other vCPUs may kick at the
//! old or the new address, and no kick may be lost. [`relocate`](crate::DoorbellSet::relocate)
//! makes the move; the VMM passes exits to [`on_exit_write`](crate::DoorbellSet::on_exit_write).
//!
//! # The order of steps
//!
//! ```text
//!  thread of the vCPU that writes the BAR        a kick meanwhile by another vCPU
//!                                                at the old address   at the new address
//!  -----------------------------------------     ------------------   ------------------
//!  exit: write to the BAR register               kernel               exit: Emulate
//!    |
//!  1. set the BAR's memory slots, if any         kernel               exit: Emulate
//!    |
//!  2. relocate(old, size, new)
//!       exits match the new, then the old        kernel               exit: Resume
//!       KVM_IOEVENTFD, assign the new            kernel               kernel
//!       KVM_IOEVENTFD, deassign the old          exit: Resume         kernel
//!    |
//!  3. returns an Epoch; KVM_RUN again            exit: Resume         kernel
//!    :
//!  4. no vCPU can bring an old exit:
//!     vcpus_passed(epoch)                        exit: Emulate        kernel
//! ```
//!
//! - "kernel": KVM signals the notifier, without an exit to user space.
//! - "exit: Resume": the write exits, and `on_exit_write` signals the notifier.
//! - "exit: Emulate": the write is no kick; the VMM emulates it as any other write.
//!
//! Step 1 comes first because a memory slot that is set after a registration waits for a grace
//! period; see [Memory slots first](crate::DoorbellSet#memory-slots-first). In step 2 conflicting
//! doorbells, and with [`removals_first`](crate::DoorbellSet::removals_first) all of them, are
//! deassigned first. Then kicks at both addresses exit for a moment, with the result `Resume`.
//!
//! A driver that waits for the BAR write before it kicks uses the new address only. So a kick at
//! the old address is one that was made before the write, on a vCPU that has exited but has not yet
//! passed its write to the set.
//!
//! ```
//! use std::sync::Arc;
//! use ioeventfd::virtio::{Notification, NotifyCapability, PciModern, PciQueue};
//! use ioeventfd::{AfterExit, DoorbellRegistry, DoorbellSet, IoAddress, Window};
//! use notify_core::{Bus, EventNotifier};
//! use notify_sim::SimVm;
//!
//! const SIZE: u64 = 0x4000;
//! let (old, new) = (IoAddress::Mmio(0xfe00_8000), IoAddress::Mmio(0xfd00_0000));
//! # let vm = Arc::new(SimVm::builder().build());
//! # let registry = DoorbellRegistry::new(vm.clone(), Window::of_irqchip(&*vm)?);
//! # let set = DoorbellSet::new(&registry);
//! # let queue = Arc::new(EventNotifier::new()?);
//! let capability = NotifyCapability { offset: 0x3000, length: 0x1000, multiplier: 4 };
//! let layout = PciModern::new(capability, SIZE, Notification::Index)?;
//! let bells = layout.doorbells(old, [PciQueue::new(0, 0)])?;
//! let wanted = bells.into_iter().map(|bell| bell.signalling(queue.clone()));
//! set.apply(set.plan(wanted)?)?;
//!
//! // The guest writes the BAR.
//! let epoch = set.relocate(old, SIZE, new)?;
//!
//! // A kick at the new address signals in the kernel.
//! assert_eq!(vm.guest_write(Bus::Mmio, 0xfd00_3000, &[0, 0]).signalled, 1);
//! // A kick at the old address exits, and is not lost.
//! for exit in vm.guest_write(Bus::Mmio, 0xfe00_b000, &[0, 0]).exits {
//!     let next = set.on_exit_write(IoAddress::Mmio(exit.address), exit.bytes())?;
//!     assert_eq!(next, AfterExit::Resume);
//! }
//! assert_eq!(queue.consume()?.map(u64::from), Some(2));
//!
//! set.vcpus_passed(epoch)?;
//! let next = set.on_exit_write(IoAddress::Mmio(0xfe00_b000), &[0, 0])?;
//! assert_eq!(next, AfterExit::Emulate);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # When have all vCPUs passed?
//!
//! A vCPU has passed once it enters the guest after `relocate` has returned. Its earlier exit has
//! then been passed to the set. So let each vCPU thread count its entries, and compare later:
//!
//! ```
//! use std::sync::atomic::{AtomicU64, Ordering};
//!
//! /// For each vCPU, how often its thread has called KVM_RUN.
//! struct Entries(Vec<AtomicU64>);
//!
//! impl Entries {
//!     /// On the vCPU's thread, after the exit was handled and before KVM_RUN.
//!     fn enter(&self, vcpu: usize) {
//!         self.0[vcpu].fetch_add(1, Ordering::SeqCst);
//!     }
//!
//!     fn now(&self) -> Vec<u64> {
//!         self.0.iter().map(|count| count.load(Ordering::SeqCst)).collect()
//!     }
//!
//!     /// Whether each vCPU has entered the guest since.
//!     fn all_after(&self, before: &[u64]) -> bool {
//!         self.now().iter().zip(before).all(|(now, before)| now > before)
//!     }
//! }
//!
//! let entries = Entries(vec![AtomicU64::new(7), AtomicU64::new(7)]);
//! let moved_at = entries.now(); // after `relocate` has returned
//! entries.enter(0);
//! assert!(!entries.all_after(&moved_at));
//! entries.enter(1);
//! assert!(entries.all_after(&moved_at)); // now call `vcpus_passed`
//! ```
//!
//! A vCPU that stays in the guest for long delays this. That is harmless: until then the set only
//! matches a few more addresses. A VMM that can stop its vCPUs, for a snapshot for example, may
//! call `vcpus_passed` when all of them have stopped. A set remembers the last 64 changes. So if a
//! VMM never calls it, its memory does not grow, but a late write to an old address still counts as
//! a kick.
//!
//! # Errors
//!
//! | error | cause | what to do |
//! |---|---|---|
//! | [`Conflict`](crate::Error::Conflict) | the guest has placed the BAR over another device | nothing has moved: keep the old base as `from`; try again when the guest next writes the BAR of either device |
//! | [`NotMovable`](crate::Error::NotMovable) | the BAR would leave its address space | the same |
//! | [`NotUndone`](crate::Error::NotUndone) | an ioctl failed, and so did the undo | plan and apply again |
//! | others | an ioctl failed | nothing has moved; try again with the same `from` |
//!
//! # Sizing and 64-bit BARs
//!
//! Not every value of a BAR register is a base (PCI Local Bus 3.0, 6.2.5.1):
//!
//! - To size a BAR, the guest writes all ones, reads the size, and writes the base again.
//! - A 64-bit BAR is written in two halves. In between the register has a half of each base.
//!
//! For both, most guests clear Memory Space Enable in the PCI command register, and set it again
//! afterwards. While the bit is clear the device must not respond. So move the doorbells only when
//! the bit is set and the value is a base:
//!
//! | the guest | the VMM |
//! |---|---|
//! | clears the bit | calls [`stop`](crate::DoorbellSet::stop), and processes what is left over |
//! | writes the BAR while the bit is clear | keeps the value, and calls nothing |
//! | sets the bit | calls `relocate` if the base is another one, without an ioctl; then [`start`](crate::DoorbellSet::start), which registers the doorbells and kicks each queue once |
//! | writes a base while the bit is set | calls `relocate` at once, as above |
//! | writes all ones while the bit is set | keeps the value, and calls nothing |
//!
//! Old addresses match until `vcpus_passed`, after `stop` too. Pass it the latest epoch. If vhost
//! has the queues, the kicks of `start` make it process what `stop` has returned.
