// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Interrupts without an eventfd: the VMM's own code calls the kernel, and is told what came of it.
//!
//! | | ioctl | for |
//! |---|---|---|
//! | [`message`] | KVM_SIGNAL_MSI | a message that no GSI has |
//! | [`line`](line()) | KVM_IRQ_LINE | the level of a GSI |
//! | [`line_status`], [`gsi_status`] | KVM_IRQ_LINE_STATUS | the same, and what became of it |
//! | [`vcpu`](vcpu()) | KVM_INTERRUPT | a vector into one vCPU, from the VMM's own interrupt controller |
//!
//! [`choose`](choose()) says which of these, or of the irqfds, an interrupt should take, and why.
//!
//! All that the kernel answers stands in [`Injected`]; what it refuses is an
//! [`Error`](InjectError) that says what is missing. A call takes no lock and allocates
//! nothing, unless nothing came of a line: then the routing table is asked why. (On arm64 and
//! riscv64 the table, which has a lock, says which pin a line is.)
//!
//! ```
//! # use std::sync::Arc;
//! # use irq_routing::{MsiMessage, RoutingTable};
//! # use irqfd::inject::{self, Injected};
//! # use notify_core::sim::SimVm;
//! # let vm = Arc::new(SimVm::builder().build());
//! # vm.enable_lapic(0);
//! # let table = RoutingTable::new(vm.clone())?;
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

mod choose;
mod error;
mod line;
mod message;
mod outcome;
mod vcpu;
mod wired;

pub use choose::{Choice, Path, Signaller, Trigger, Wire, choose};
pub use error::InjectError;
pub(crate) use line::number as line_number;
pub use line::{gsi_status, line, line_status};
pub use message::message;
pub use outcome::Injected;
pub use vcpu::vcpu;
