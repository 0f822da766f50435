// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! MSI-X as the guest sees it: a table of vectors, pending bits, and the vectors of queues.
//!
//! The VMM has a [`Table`] for each device, and passes on what the guest writes to the region of
//! the table and to the Message Control register of the capability. The table masks and unmasks its
//! [`Vector`](crate::Vector)s accordingly. A [`Binding`] is the vector that the guest has chosen
//! for a queue. The guide has [a device](crate::guide::virtio_pci).

mod access;
mod binding;
mod control;
mod entry;
mod pause;
mod pba;
mod registers;
mod settings;
mod snapshot;
mod table;
mod users;

pub use binding::{BindCallError, Binding, NO_VECTOR};
pub use registers::Registers;
pub use snapshot::Snapshot;
pub use table::{Table, TableBuilder};
