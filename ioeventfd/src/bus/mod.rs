// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What KVM's bus knows of a doorbell: its address, which writes it takes, and what it conflicts
//! with.

mod address;
mod conflict;
mod datamatch;
mod place;
#[cfg(any(test, kani))]
mod proofs;
mod window;

pub use address::IoAddress;
pub(crate) use address::PAGE;
pub use conflict::Conflict;
pub use datamatch::{Datamatch, Width};
pub(crate) use place::{Place, last_value, written};
pub use window::Window;
