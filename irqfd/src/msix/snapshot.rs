// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Snapshot`]: the saved state of a table.

use std::fmt;

#[cfg(feature = "serde")]
use irq_routing::versioned::at_most;
use irq_routing::versioned::{Form, Versioned};

use super::Table;
use super::entry::{Entry, UNALIGNED};
use crate::hex::Hex;
use crate::vector::Opened;
use crate::{Dead, RestoreError, VectorError, numbered};

/// What [`Table::snapshot`] writes, and the only version that [`Table::restore`] reads.
const VERSION: u32 = 2;

/// The saved state of a table: what the guest wrote, and what is pending.
///
/// It holds numbers only: no eventfd, no GSI, no device id, nothing of what was exported. With the
/// feature `serde` it can be written and read in any format. It may come from an untrusted place:
/// [`Table::restore`] checks all of it, and more than 2048 vectors are refused while they are read.
///
/// Of a snapshot of a later version only the version is read, its first field. It cannot be
/// restored, nor written again. A format that is not self-describing (bincode, postcard) cannot
/// skip the rest of it: there, nothing that follows can be read.
///
/// ```
/// # use std::sync::Arc;
/// # use irq_routing::RoutingTable;
/// # use irqfd::msix;
/// # use notify_sim::SimVm;
/// let vm = Arc::new(SimVm::builder().build()); // or a KvmVm
/// vm.enable_lapic(0); // as a guest does when it boots
/// let routing = RoutingTable::new(vm.clone())?; // one for the VM
/// let table = msix::Table::builder(&routing).vectors(4).build()?;
/// let _dead = table.write(0, &0xfee0_0000_u64.to_le_bytes());
/// let _dead = table.write(8, &0x41_u64.to_le_bytes());
/// let _dead = table.set_control(true, false);
/// table.pause(); // when vCPUs and back-ends have stopped
/// if let Some(vector) = table.vector(0) {
///     vector.trigger()?; // kept, because the table is paused
/// }
/// let snapshot = table.snapshot()?;
///
/// // In another VM.
/// let restored = msix::Table::builder(&routing).vectors(4).build()?;
/// restored.pause();
/// restored.restore(&snapshot)?;
/// for dead in restored.resume() {
///     eprintln!("{dead}");
/// }
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
pub(super) struct Saved {
    version: u32,
    pub(super) enabled: bool,
    pub(super) function_masked: bool,
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "at_most::<{ super::table::MAX }, _, _>")
    )]
    pub(super) vectors: Vec<SavedVector>,
}

impl Form for Saved {
    const VERSION: u32 = VERSION;
}

/// The written form of an entry. It changes with the version only.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct SavedVector {
    address: u64,
    data: u32,
    masked: bool,
    pub(super) pending: bool,
}

impl fmt::Debug for SavedVector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SavedVector")
            .field("address", &Hex(self.address))
            .field("data", &Hex(self.data))
            .field("masked", &self.masked)
            .field("pending", &self.pending)
            .finish()
    }
}

impl Saved {
    pub(super) fn check_addresses(&self) -> Result<(), RestoreError> {
        let addresses = self.vectors.iter().map(|saved| saved.address);
        let unaligned = addresses
            .enumerate()
            .find(|(_, address)| address & UNALIGNED != 0);
        match unaligned {
            Some((vector, address)) => Err(RestoreError::Address {
                vector: Some(vector),
                address,
            }),
            None => Ok(()),
        }
    }
}

impl SavedVector {
    pub(super) fn new(entry: Entry, pending: bool) -> Self {
        Self {
            address: entry.address,
            data: entry.data,
            masked: entry.masked,
            pending,
        }
    }

    pub(super) fn entry(&self) -> Entry {
        Entry {
            address: self.address,
            data: self.data,
            masked: self.masked,
        }
    }
}

impl Snapshot {
    pub(super) fn of(enabled: bool, function_masked: bool, vectors: Vec<SavedVector>) -> Self {
        Self(Versioned::Known(Saved {
            version: VERSION,
            enabled,
            function_masked,
            vectors,
        }))
    }

    pub(super) fn saved(&self) -> Result<&Saved, RestoreError> {
        let known = self.0.known();
        known.map_err(|found| RestoreError::Version {
            found,
            known: VERSION,
        })
    }
}

impl Table {
    /// Returns the saved state of a [paused](Self::pause) table.
    ///
    /// What is pending are triggers that were kept, and signals in the notifiers of exported
    /// vectors. Stop the back-ends first: a signal that comes after this call is not in the
    /// snapshot. The VM may go on afterwards: nothing is lost.
    ///
    /// Issues one system call for each exported vector, which reads its notifier; see
    /// [`is_pending`](crate::VectorHandle::is_pending).
    ///
    /// # Errors
    ///
    /// [`VectorError::NotPaused`].
    pub fn snapshot(&self) -> Result<Snapshot, VectorError> {
        let state = self.inner.state.lock();
        if !state.paused {
            return Err(VectorError::NotPaused);
        }
        let vectors = self.inner.vectors.iter().zip(&state.entries);
        let vectors = vectors.map(|(vector, entry)| SavedVector::new(*entry, vector.is_pending()));
        Ok(Snapshot::of(
            self.is_enabled(),
            self.inner.is_function_masked(),
            vectors.collect(),
        ))
    }

    /// Replaces the registers and the pending bits of the table by those of a snapshot.
    ///
    /// Signals that are in the notifiers of exported vectors are discarded. Exported vectors stay
    /// exported.
    ///
    /// On a paused table this opens no vector and returns an empty list; [`resume`](Self::resume)
    /// opens them. To restore many devices with one commit, pause each table, restore it, and
    /// resume all in one [`ResumeBatch`](crate::ResumeBatch). A table that is not paused opens its
    /// unmasked vectors now, and delivers what is pending. Returns the vectors that could not be
    /// opened.
    ///
    /// The snapshot has no device id: give the table its own ([`set_devid`](Self::set_devid))
    /// before the resume. It has no GSIs either: each vector takes a new one. To give a vector its
    /// old GSI, call [`set_lease`](Self::set_lease) between this and the resume, with a lease from
    /// [`lease_exact`](irq_routing::RoutingTable::lease_exact), or from
    /// [`claim`](irq_routing::RoutingTable::claim) if the routing table was restored as well. Then
    /// claim and drop those that [`unclaimed`](irq_routing::RoutingTable::unclaimed) still returns.
    ///
    /// Restore the local APICs (KVM_SET_LAPIC) before the vectors are resumed: it would overwrite
    /// the interrupts that the resume injects.
    ///
    /// # Errors
    ///
    /// [`RestoreError::Version`], [`RestoreError::Vectors`], [`RestoreError::Address`]. The
    /// snapshot is checked first; on failure the table has not changed.
    pub fn restore(&self, snapshot: &Snapshot) -> Result<Vec<Dead>, RestoreError> {
        let snapshot = snapshot.saved()?;
        self.check(snapshot)?;
        let mut opened = Opened::of(&self.inner.vectors);
        let mut state = self.inner.state.lock();
        self.inner.reset_vectors();
        self.inner
            .put_control(snapshot.enabled, snapshot.function_masked);
        state.entries = snapshot.vectors.iter().map(SavedVector::entry).collect();
        if self.inner.is_open() {
            let vectors = self.inner.vectors.iter().zip(&state.entries);
            for (vector, entry) in vectors.filter(|(_, entry)| !entry.masked) {
                opened.unmask(vector, state.message(*entry));
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
        match found == wanted {
            true => snapshot.check_addresses(),
            false => Err(RestoreError::Vectors { found, wanted }),
        }
    }
}
