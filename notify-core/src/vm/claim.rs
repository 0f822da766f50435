// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`RoutingClaim`]: one routing table for each VM.

use std::sync::atomic::{AtomicBool, Ordering};

/// The one claim to the routing table of a VM: at most one owner has it at a time.
///
/// KVM replaces the routing table of a VM as a whole, so two owners would delete each other's
/// routes. An `irq_routing::RoutingTable` takes the claim of its VM when it is built, and releases
/// it when its last handle and guard are dropped.
///
/// An implementation of [`Vm`](super::Vm) has a claim as a field (`RoutingClaim::default()`), and
/// returns it from [`Vm::routing_claim`](super::Vm::routing_claim). Neither method blocks.
#[derive(Debug, Default)]
pub struct RoutingClaim(AtomicBool);

impl RoutingClaim {
    /// Takes the claim. Returns `false` if another owner has it.
    #[must_use]
    pub fn take(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }

    /// Releases the claim.
    pub fn release(&self) {
        self.0.store(false, Ordering::Release);
    }
}
