// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! How a kick travels from the guest's driver to the device.
//!
//! ```text
//!  guest     driver: buffer on the ring, then a 16-bit store of the queue's index
//!              |       to  BAR 0xfe008000 + offset 0x3000 + notify_off 1 * multiplier 4
//!              |                                                       (1) virtio::PciModern
//!  ------------|------------------------------------------------------------------------------
//!  kernel      v
//!            exit of the vCPU: no memory slot is there
//!              |
//!              v
//!            I/O bus: address, width, value?  --- no --------------+   (2) DoorbellSet::apply,
//!              | yes                                               |       IoEventFd
//!              v                                                   |
//!            eventfd: counter + 1                                  |   (3) EventNotifier
//!              |          ^                                        |
//!              |          |                                        |
//!  ------------|----------|----------------------------------------|--------------------------
//!  VMM         |          |                                        v
//!              |          |                        KVM_EXIT_MMIO, KVM_EXIT_IO on the vCPU's thread
//!              |          |                                        |
//!              |          +---- EventNotifier::notify ---- DoorbellSet::on_exit_write   (4)
//!              v                                                   |
//!            handler: EventNotifier::consume, then the ring   (5)  +- AfterExit::Emulate: another
//!            (or a vhost worker, which reads the ring and not the counter)   register
//! ```
//!
//! 1. The driver computes the address from the notify capability and the queue's offset.
//!    [`virtio::PciModern`](crate::virtio::PciModern) computes the same address for the VMM.
//! 2. The vCPU exits to the kernel. KVM searches its I/O bus for a doorbell with this address,
//!    width and value. If there is one, the vCPU continues in the guest without an exit to user
//!    space.
//! 3. KVM adds one to the counter of the eventfd, which an [`EventNotifier`](crate::EventNotifier)
//!    holds. Two kicks before the counter is read are one wake-up, with a count of two.
//! 4. Without a match, the write exits to user space. That happens while a BAR moves, before a
//!    device is started, and for stores that KVM splits.
//!    [`on_exit_write`](crate::DoorbellSet::on_exit_write) applies the kernel's rules and signals
//!    the same notifier.
//! 5. The thread that polls the eventfd takes the count and serves the ring.
//!
//! # The cost
//!
//! An exit to user space costs the guest several times what a kick through an ioeventfd costs. The
//! program `doorbell` of the repository measures both: `cargo run --release --bin doorbell`.
