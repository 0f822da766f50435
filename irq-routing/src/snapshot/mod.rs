// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Snapshot`]: a saved table.

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

/// In bytes: names from a snapshot end up in error messages.
const LONGEST_NAME: usize = 128;

/// Whether a name can be restored.
fn is_fit(name: &str) -> bool {
    name.len() <= LONGEST_NAME && !name.contains(char::is_control)
}

/// The GSIs of a table and their routes, saved for a VM that is restored elsewhere.
///
/// It holds numbers and names only: no eventfd, no lease, nothing that is armed. With the feature
/// `serde` it can be written and read in any format.
///
/// A snapshot may come from an untrusted source. Reading refuses lists that are longer than any
/// table, and [`RoutingTable::restore`] checks everything else before it does anything.
///
/// Of a snapshot with a later version only the version is read, which is its first field. It can be
/// neither restored nor written again. In a format that is not self-describing (bincode, postcard)
/// nothing that follows such a snapshot can be read.
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
/// // Each device claims its own, by number.
/// let claimed = restored.claim(rx.gsi().number())?;
/// assert_eq!(claimed.route(), rx.route());
/// // No device has claimed the other one: free it.
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
    /// Returns the table as committed: wiring, leases, and leases not yet claimed. No ioctl.
    ///
    /// Messages are those of the devices, before any translation. Left out are quarantined GSIs
    /// (nothing is armed in the restored VM), parked leases (they are not held), and names that are
    /// longer than 128 bytes or contain control characters. If it is not decided yet what the table
    /// starts with, this asks the VM.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        // The kernel's wiring belongs to the table even if nothing was committed yet. If the start
        // cannot be decided, the table has no wiring to save.
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
