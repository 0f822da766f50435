// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! MSI as the guest sees it: a capability in the configuration space, and up to 32 vectors.
//!
//! The VMM has a [`Capability`] for each device and passes the guest's accesses on. A device has
//! MSI, MSI-X ([`msix`](crate::msix)) or both, of which the guest enables one.

mod access;
mod capability;
mod foreign;
mod pause;
mod registers;
mod settings;
mod snapshot;

pub use capability::{Capability, CapabilityBuilder};
pub use foreign::Registers;
pub use snapshot::Snapshot;
