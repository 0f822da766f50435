// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Snapshot`]: a table that outlives its machine.

#[cfg(feature = "serde")]
use irq_routing::versioned::at_most;
use irq_routing::versioned::{Form, Versioned};

use super::Table;
use super::entry::{Entry, UNALIGNED};
use crate::vector::Opened;
use crate::{Dead, Quiesced, Vector, numbered};

/// What [`Table::snapshot`] writes, and the only version that [`Table::restore`] reads.
const VERSION: u32 = 2;

/// What the guest wrote to a table, and what is pending, for a machine that continues elsewhere.
///
/// It holds numbers only: no eventfd, no GSI, nothing of who exported what. With the feature
/// `serde` it can be written and read in any format. What is read is believed only as far as
/// [`Table::restore`] has checked it, so a snapshot may come from an untrusted place: more vectors
/// than a table has at most are refused while they are read. Of a snapshot of a later version the
/// version is read, which is its first field, and nothing else; it cannot be restored, nor written
/// again. A format that is not self-describing (bincode, postcard) cannot skip the rest of it:
/// there, nothing that follows can be read.
///
/// ```
/// # use std::sync::Arc;
/// # use irq_routing::RoutingTable;
/// # use irqfd::msix;
/// # use notify_core::sim::SimVm;
/// # let vm = Arc::new(SimVm::builder().build());
/// # vm.enable_lapic(0);
/// # let routing = RoutingTable::new(vm.clone())?;
/// let table = msix::Table::builder(&routing).vectors(4).build()?;
/// table.write(0, &0xfee0_0000_u64.to_le_bytes());
/// table.write(8, &0x41_u64.to_le_bytes());
/// if let Some(vector) = table.vector(0) {
///     vector.trigger()?;
/// }
/// let snapshot = table.snapshot();
///
/// let restored = msix::Table::builder(&routing).vectors(4).build()?;
/// restored.restore(&snapshot)?;
/// restored.set_control(true, false);
/// assert_eq!(vm.pending_vectors(0), [0x41]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(transparent)
)]
pub struct Snapshot(Versioned<Saved>);

/// The written form. It changes with the version only.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename = "Snapshot")
)]
struct Saved {
    version: u32,
    enabled: bool,
    function_masked: bool,
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "at_most::<{ super::table::MAX }, _, _>")
    )]
    vectors: Vec<SavedVector>,
}

impl Form for Saved {
    const VERSION: u32 = VERSION;
}

/// The written form of an entry. It changes with the version only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
struct SavedVector {
    address: u64,
    data: u32,
    masked: bool,
    pending: bool,
}

/// Why a snapshot was not restored. The table is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// It was written by a version whose form is not known.
    #[error("a snapshot of version {found}, where {VERSION} is known")]
    Version {
        /// The snapshot's version.
        found: u32,
    },

    /// It is of a table of another size.
    #[error("a snapshot of {found} vectors for a table of {wanted}")]
    Size {
        /// The snapshot's size.
        found: usize,
        /// The table's size.
        wanted: usize,
    },

    /// An address has bits set that are always zero.
    #[error("vector {vector} has the address {address:#x}")]
    Address {
        /// Which entry.
        vector: usize,
        /// Its address.
        address: u64,
    },
}

impl Table {
    /// What the guest has written, and what is pending: triggers that were kept, and signals of
    /// exported vectors that are not armed. (An armed one has none: KVM has injected it.)
    ///
    /// To be taken while vCPUs and devices stand still. A round of the
    /// [`ArmQueue`](crate::ArmQueue) that is under way is waited for. Whoever has quiesced the
    /// queue, as for more than one table, calls [`snapshot_quiesced`](Self::snapshot_quiesced);
    /// this would wait forever.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let _quiesced = self.inner.queue.as_ref().map(|queue| queue.quiesce());
        self.save()
    }

    /// The same as [`snapshot`](Self::snapshot), while the table's queue is quiesced.
    #[must_use]
    pub fn snapshot_quiesced(&self, _: &Quiesced<'_>) -> Snapshot {
        self.save()
    }

    fn save(&self) -> Snapshot {
        let state = self.inner.state.lock();
        let save = |(vector, entry): (&Vector, &Entry)| SavedVector {
            address: entry.address,
            data: entry.data,
            masked: entry.masked,
            pending: vector.is_pending(),
        };
        Snapshot(Versioned::Known(Saved {
            version: VERSION,
            enabled: self.is_enabled(),
            function_masked: self.is_function_masked(),
            vectors: self
                .inner
                .vectors
                .iter()
                .zip(&state.entries)
                .map(save)
                .collect(),
        }))
    }

    /// Makes the table what another one was. What it was before is forgotten; vectors that were
    /// exported stay so, and what was pending is pending for their notifiers. Vectors that are open
    /// then are opened as an access of the guest opens them, and what they had pending is
    /// delivered.
    ///
    /// The GSIs of exported vectors are not in the snapshot: each takes a new one. If the routing
    /// table was restored as well, [`drop_unclaimed`](irq_routing::RoutingTable::drop_unclaimed)
    /// gives back those that they had.
    ///
    /// # Errors
    ///
    /// Everything in the snapshot is checked before anything is done; on failure the table is as it
    /// was. Otherwise returns the vectors that are open and dead.
    pub fn restore(&self, snapshot: &Snapshot) -> Result<Vec<Dead>, RestoreError> {
        let known = snapshot.0.known();
        let snapshot = known.map_err(|found| RestoreError::Version { found })?;
        self.check(snapshot)?;
        let mut opened = Opened::of(&self.inner.vectors);
        let mut state = self.inner.state.lock();
        self.inner.vectors.iter().for_each(Vector::reset);
        self.inner
            .put_control(snapshot.enabled, snapshot.function_masked);
        let open = self.inner.is_open();
        let saved = snapshot.vectors.iter();
        for ((entry, vector), saved) in state.entries.iter_mut().zip(&self.inner.vectors).zip(saved)
        {
            *entry = Entry {
                address: saved.address,
                data: saved.data,
                masked: saved.masked,
            };
            if open && !saved.masked {
                opened.unmask(vector, self.inner.message(*entry));
            }
        }
        drop(state);
        let vectors = self.inner.vectors.iter().zip(&snapshot.vectors);
        let pending = vectors.filter(|(_, saved)| saved.pending);
        numbered::restore_pending(pending.map(|(vector, _)| vector));
        Ok(opened.run())
    }

    fn check(&self, snapshot: &Saved) -> Result<(), RestoreError> {
        let (found, wanted) = (snapshot.vectors.len(), self.inner.vectors.len());
        if found != wanted {
            return Err(RestoreError::Size { found, wanted });
        }
        let addresses = snapshot.vectors.iter().map(|saved| saved.address);
        let unaligned = addresses
            .enumerate()
            .find(|(_, address)| address & UNALIGNED != 0);
        match unaligned {
            Some((vector, address)) => Err(RestoreError::Address { vector, address }),
            None => Ok(()),
        }
    }
}
