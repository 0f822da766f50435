// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Snapshot`]: a capability that outlives its machine.

use irq_routing::MsiMessage;
use irq_routing::versioned::{Form, Versioned};

use super::Capability;
use super::registers::{Registers, UNALIGNED, message_of};
use crate::vector::Opened;
use crate::{Dead, Quiesced, Vector, numbered};

/// What [`Capability::snapshot`] writes, and the only version that [`Capability::restore`] reads.
const VERSION: u32 = 1;

/// What the guest wrote to a capability, and what is pending, for a machine that continues
/// elsewhere.
///
/// It holds numbers only, as that of [`msix`](crate::msix::Snapshot) does, and is believed no
/// further than [`Capability::restore`] has checked it. A later version is read as there.
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
    vectors: u32,
    wide: bool,
    maskable: bool,
    enabled: bool,
    granted: u32,
    address: u64,
    data: u16,
    masked: u32,
    pending: u32,
    /// What open vectors send, which is not what was written last if only the address was.
    sends: SavedMessage,
}

impl Form for Saved {
    const VERSION: u32 = VERSION;
}

/// It changes with the version only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
struct SavedMessage {
    address: u64,
    data: u16,
}

/// Why a snapshot was not restored. The capability is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// It was written by a version whose form is not known.
    #[error("a snapshot of version {found}, where {VERSION} is known")]
    Version {
        /// The snapshot's version.
        found: u32,
    },

    /// It is of another number of vectors, of addresses of another width, or only one of the two
    /// has mask bits.
    #[error("a snapshot of a capability of another form")]
    Form,

    /// It grants a number of vectors that cannot be granted.
    #[error("the snapshot grants {granted} vectors of {vectors}")]
    Granted {
        /// How many it grants.
        granted: u32,
        /// How many the device is capable of.
        vectors: u32,
    },

    /// An address has bits set that are always zero.
    #[error("the snapshot has the address {address:#x}")]
    Address {
        /// The address.
        address: u64,
    },

    /// Mask or pending bits of vectors that the device does not have, or mask bits where there are
    /// none.
    #[error("the snapshot has the mask bits {masked:#x} and the pending bits {pending:#x}")]
    Bits {
        /// The mask bits.
        masked: u32,
        /// The pending bits.
        pending: u32,
    },
}

impl Capability {
    /// What the guest has written, and what is pending; to be taken as
    /// [`msix::Table::snapshot`](crate::msix::Table::snapshot) is.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let _quiesced = self.inner.queue.as_ref().map(|queue| queue.quiesce());
        self.save()
    }

    /// The same as [`snapshot`](Self::snapshot), while the capability's queue is quiesced.
    #[must_use]
    pub fn snapshot_quiesced(&self, _: &Quiesced<'_>) -> Snapshot {
        self.save()
    }

    fn save(&self) -> Snapshot {
        let state = self.inner.state.lock();
        let (shape, registers) = (self.inner.shape, state.registers);
        let numbered = (0..).zip(&self.inner.vectors);
        let pending = |bits, (number, vector): (u32, &Vector)| {
            bits | u32::from(vector.is_pending()) << number
        };
        Snapshot(Versioned::Known(Saved {
            version: VERSION,
            vectors: shape.vectors(),
            wide: shape.wide,
            maskable: shape.maskable,
            enabled: registers.enabled,
            granted: 1 << registers.granted,
            address: registers.address,
            data: registers.data,
            masked: registers.masked,
            pending: numbered.fold(0, pending),
            sends: SavedMessage {
                address: state.sends.address,
                // It came from a register of 16 bits.
                data: u16::try_from(state.sends.data).unwrap_or(0),
            },
        }))
    }

    /// Makes the capability what another one was, as
    /// [`msix::Table::restore`](crate::msix::Table::restore) does.
    ///
    /// # Errors
    ///
    /// Everything in the snapshot is checked before anything is done; on failure the capability is
    /// as it was. Otherwise returns the vectors that are open and dead.
    pub fn restore(&self, snapshot: &Snapshot) -> Result<Vec<Dead>, RestoreError> {
        let known = snapshot.0.known();
        let snapshot = known.map_err(|found| RestoreError::Version { found })?;
        let registers = self.check(snapshot)?;
        let sends = MsiMessage {
            address: snapshot.sends.address,
            data: u32::from(snapshot.sends.data),
            devid: self.inner.devid,
        };
        let mut opened = Opened::of(&self.inner.vectors);
        let mut state = self.inner.state.lock();
        self.inner.put_registers(&mut state, registers);
        state.sends = sends;
        for (number, vector) in (0..).zip(&self.inner.vectors) {
            vector.reset();
            if registers.open_bits() >> number & 1 != 0 {
                opened.unmask(vector, message_of(sends, registers.granted, number));
            }
        }
        drop(state);
        let numbered = (0..).zip(&self.inner.vectors);
        let pending = numbered.filter(|(number, _)| snapshot.pending >> number & 1 != 0);
        numbered::restore_pending(pending.map(|(_, vector)| vector));
        Ok(opened.run())
    }

    fn check(&self, snapshot: &Saved) -> Result<Registers, RestoreError> {
        let shape = self.inner.shape;
        let form = (snapshot.vectors, snapshot.wide, snapshot.maskable);
        if form != (shape.vectors(), shape.wide, shape.maskable) {
            return Err(RestoreError::Form);
        }
        let (granted, vectors) = (snapshot.granted, shape.vectors());
        if !granted.is_power_of_two() || granted > vectors {
            return Err(RestoreError::Granted { granted, vectors });
        }
        let high = if shape.wide { 0 } else { !u64::from(u32::MAX) };
        for address in [snapshot.address, snapshot.sends.address] {
            if address & (UNALIGNED | high) != 0 {
                return Err(RestoreError::Address { address });
            }
        }
        let (masked, pending) = (snapshot.masked, snapshot.pending);
        let may = if shape.maskable { shape.all() } else { 0 };
        if masked & !may != 0 || pending & !shape.all() != 0 {
            return Err(RestoreError::Bits { masked, pending });
        }
        Ok(Registers {
            enabled: snapshot.enabled,
            // At most 5.
            granted: u16::try_from(granted.trailing_zeros()).unwrap_or(0),
            address: snapshot.address,
            data: snapshot.data,
            masked,
        })
    }
}
