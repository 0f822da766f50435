// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! MSI-X as the guest sees it: a table of vectors, their pending bits, and what queues choose of
//! them.
//!
//! The VMM has a [`Table`] for each device, and hands it what the guest writes to the region of the
//! table and to the capability's Message Control register; the table masks and unmasks its
//! [`Vector`](crate::Vector)s accordingly. A [`Binding`] is a queue's choice among them.

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
