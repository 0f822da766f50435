// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The GSI of a vector: taken from the table, or given to it.

use std::sync::Arc;

use irq_routing::GsiLease;
use notify_core::Rejected;

use crate::VectorError;
use crate::vector::Inner;
use crate::vector::control::{Arm, OwnGsi};
use crate::vector::trigger::Kind;

impl Inner {
    /// A GSI for it, under its device's name. It may wait for a commit. The error names no holders:
    /// there may be thousands, and a guest can cause this.
    pub(in crate::vector) fn free_gsi(&self) -> Result<GsiLease, VectorError> {
        let lease = self.table.lease_if_free();
        let lease = lease.map_err(|cause| VectorError::NoGsi {
            cause: Box::new(cause),
        })?;
        Ok(self.named(lease))
    }

    fn named(&self, lease: GsiLease) -> GsiLease {
        match self.device.name() {
            Some(name) => lease.named(Arc::clone(name)),
            None => lease,
        }
    }

    pub(crate) fn set_lease(&self, lease: GsiLease) -> Result<(), Rejected<GsiLease, VectorError>> {
        if *lease.table() != self.table {
            return Err(Rejected::new(VectorError::OtherTable, lease));
        }
        let mut control = self.control.lock();
        if matches!(control.arm, Arm::Arming | Arm::Armed(_)) {
            return Err(Rejected::new(VectorError::InUse, lease));
        }
        control.gsi = OwnGsi::Leased(self.named(lease));
        match self.outlet.kind() {
            Kind::Message | Kind::Nothing => control.park(),
            // It is about to be armed.
            _ if matches!(control.arm, Arm::Queued(_)) && control.masks.is_none() => {}
            _ => control.park_if_masked(),
        }
        Ok(())
    }
}
