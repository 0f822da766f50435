// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`RoutingClaim`]: one routing table for each VM.

use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a VM has a routing table already: at most one owner has the claim of a VM.
///
/// KVM replaces the routing table of a VM whole, so two owners of the table would delete each
/// other's routes. An `irq_routing::RoutingTable` takes the claim of its VM when it is built, and
/// gives it back when its last handle and guard are dropped. An implementation of
/// [`Vm`](super::Vm) has a claim as a field (`RoutingClaim::default()`), and returns it from
/// [`Vm::routing_claim`](super::Vm::routing_claim).
#[derive(Debug, Default)]
pub struct RoutingClaim(AtomicBool);

impl RoutingClaim {
    /// Takes the claim. Returns `false` if it is taken already.
    #[must_use]
    pub fn take(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }

    /// Gives the claim back.
    pub fn release(&self) {
        self.0.store(false, Ordering::Release);
    }
}
