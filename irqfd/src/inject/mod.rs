// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Injects interrupts by ioctl (MSI, pin, vCPU vector), and returns whether they were delivered.
//!
//! | | ioctl | for |
//! |---|---|---|
//! | [`message`] | KVM_SIGNAL_MSI | a message that no GSI has |
//! | [`line`](line()) | KVM_IRQ_LINE | the level of a GSI |
//! | [`line_status`] | KVM_IRQ_LINE_STATUS | the level of a GSI, with the outcome |
//! | [`vcpu`](vcpu()) | KVM_INTERRUPT | a vector into one vCPU, from the VMM's own interrupt controller |
//!
//! What KVM reports is an [`Injected`]. What it refuses is an [`InjectError`], which names what is
//! missing. Any thread may call these functions (but see [`vcpu`](vcpu())). A call takes no lock
//! and allocates nothing, unless a line was not delivered: then it reads the cause from the routing
//! table. On arm64 and riscv64 a line reads its pin from the table, which has a lock.
//!
//! ```
//! # use std::sync::Arc;
//! # use irq_routing::{MsiMessage, RoutingTable};
//! # use irqfd::inject::{self, Injected};
//! # use notify_sim::SimVm;
//! let vm = Arc::new(SimVm::builder().build()); // or a KvmVm
//! vm.enable_lapic(0); // as a guest does when it boots
//! let table = RoutingTable::new(vm.clone())?; // one for the VM
//! let message = MsiMessage::new(0xfee0_0000, 0x40);
//! assert_eq!(inject::message(&table, message)?, Injected::Delivered(1));
//! let absent = MsiMessage::new(0xfee0_9000, 0x40);
//! assert_eq!(inject::message(&table, absent)?, Injected::NoListener);
//!
//! let line = table.line(20)?;
//! assert_eq!(inject::line_status(&line, true)?, Injected::Masked); // the guest has not set it up
//! inject::line(&line, false)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Which path an interrupt takes
//!
//! Choose by who raises the interrupt, not by the device's momentary state. Code of the VMM can
//! call KVM; a driver in the kernel (vhost, VFIO) or another process can only signal an eventfd. It
//! also depends on which interrupt controllers are in the kernel. A device whose interrupts are
//! raised in both ways takes both paths. (Until 2024 QEMU chose by whether the doorbells were
//! handled in the kernel, and took the path of the irqfd from its main loop too.)
//!
//! [`Vm::platform`](notify_core::Vm::platform) returns which controllers are in the kernel: all
//! (`X86`), the local APICs alone (`X86Split`), or none (`None`). A pin of the VMM's controller is
//! one of its PICs, or any pin if no controller is in the kernel. A PC connects a line to the PICs
//! and to the IOAPIC; where their rows differ it takes both paths.
#![doc = include_str!("paths.md")]
//!
//! - Edge at a pin: two calls of KVM_IRQ_LINE pulse the pin at once. The signal of an irqfd is
//!   handled by a thread of the kernel.
//! - Level at a pin: the VMM knows when its device was served, and lowers the line. An eventfd can
//!   only raise a line, so the guest's EOI lowers it and notifies the device, which signals again
//!   if it still has a reason.
//! - Message: code of the VMM needs no eventfd, no GSI and no route, and masks the vector in
//!   memory. For an eventfd the GSI has the message, which is injected in the context of the
//!   signaller. A message has no level and no EOI that could be reported. A device with a level
//!   sends one at each assertion.
//! - An IOAPIC's pin on a split irqchip: the IOAPIC is the VMM's, and its redirection entry is a
//!   message. KVM refuses resample eventfds there, and leaves the guest at the EOI instead.
//! - The VMM's controller: no eventfd is routed to it. The VMM waits for the signals, and the
//!   vCPU's thread injects between two runs what the controller selects. Without local APICs in the
//!   kernel that is so for messages too.
//!
//! On arm64 a pin has one level in the kernel, the one that was set last, so devices of both kinds
//! cannot share it. On riscv64 KVM reports no EOI of an APLIC, and a resample eventfd is never
//! signalled.

mod error;
mod line;
mod message;
mod outcome;
mod vcpu;
mod wired;

pub use error::InjectError;
pub(crate) use line::number as line_number;
pub use line::{line, line_status};
pub use message::message;
pub use outcome::Injected;
pub use vcpu::vcpu;
