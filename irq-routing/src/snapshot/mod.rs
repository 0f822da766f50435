// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Snapshot`]: a table that outlives its machine.

mod error;
mod restore;
mod saved;
pub mod versioned;

pub use error::RestoreError;
use saved::{Saved, SavedGsi};

use crate::RoutingTable;
use crate::snapshot::versioned::Versioned;
use crate::table::slots::Slot;

/// What [`RoutingTable::snapshot`] writes, and the only version that [`RoutingTable::restore`]
/// reads.
const VERSION: u32 = 1;

/// In bytes: what is read from outside ends up in messages.
const LONGEST_NAME: usize = 128;

/// Whether a name can be restored.
fn is_fit(name: &str) -> bool {
    name.len() <= LONGEST_NAME && !name.contains(char::is_control)
}

/// The GSIs of a table and where they lead, for a machine that continues elsewhere.
///
/// It holds numbers and names only: no eventfd, no lease, nothing that is armed. With the feature
/// `serde` it can be written and read in any format. What is read is believed only as far as
/// [`RoutingTable::restore`] has checked it, so a snapshot may come from an untrusted place: lists
/// that are longer than any table are refused while they are read. Of a snapshot of a later version
/// the version is read, which is its first field, and nothing else; it cannot be restored, nor
/// written again. A format that is not self-describing (bincode, postcard) cannot skip the rest of
/// it: there, nothing that follows can be read.
///
/// ```
/// # use std::sync::Arc;
/// # use irq_routing::{MsiMessage, RoutingTable};
/// # use notify_sim::{CallKind, SimVm};
/// # let table = RoutingTable::new(Arc::new(SimVm::builder().build()))?;
/// let rx = table.lease_msi(MsiMessage::new(0xfee0_0000, 0x40))?;
/// let tx = table.lease_msi(MsiMessage::new(0xfee0_0000, 0x41))?;
/// let snapshot = table.snapshot();
///
/// let vm = Arc::new(SimVm::builder().build());
/// let restored = RoutingTable::new(vm.clone())?;
/// restored.restore(&snapshot)?;
/// assert_eq!(vm.calls(CallKind::SetGsiRouting), 1);
///
/// // Each device comes for its own, by number.
/// let claimed = restored.claim(rx.gsi().number())?;
/// assert_eq!(claimed.route(), rx.route());
/// // No device came for the other one: give it back.
/// assert_eq!(restored.unclaimed(), [tx.gsi()]);
/// for gsi in restored.unclaimed() {
///     drop(restored.claim(gsi.number())?);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(transparent)
)]
pub struct Snapshot(Versioned<Saved>);

impl RoutingTable {
    /// The table as it is committed: wiring, leases, and leases that are not claimed yet. GSIs
    /// in quarantine are left out, since nothing is armed in the machine that continues, and so are
    /// parked leases, which are not held. Messages are those of the devices, before any
    /// translation. If it is not decided yet what the table starts with, this asks the VM. Names
    /// that are longer than 128 bytes, or have control characters in them, are left out.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        // What the kernel has wired belongs to the table even if nothing was committed yet. Where
        // it cannot be found out, there is nothing of it that a table could have kept.
        let _ = self.shared().start();
        let platform = self.platform();
        let state = self.lock();
        let save = |(gsi, slot)| {
            let name = || {
                state
                    .slots
                    .name(gsi)
                    .filter(|name| is_fit(name))
                    .map(|name| name.to_string())
            };
            match slot {
                Slot::Free | Slot::Parked { .. } | Slot::Quarantined(_) => None,
                Slot::Wired { pins, .. } => Some(SavedGsi::wired(gsi, pins)),
                Slot::Leased { route, .. } | Slot::Unclaimed(route) => {
                    Some(SavedGsi::leased(gsi, route, name()))
                }
            }
        };
        Snapshot(Versioned::Known(Saved {
            version: VERSION,
            platform: platform.into(),
            gsis: state.slots.iter().filter_map(save).collect(),
        }))
    }
}
