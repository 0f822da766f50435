// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Snapshot`]: the saved state of a capability.

use std::fmt;

use irq_routing::MsiMessage;
use irq_routing::versioned::{Form, Versioned};

use super::Capability;
use super::capability::State;
use super::registers::{LOW, MAX, Shape, UNALIGNED, Written, message_of};
use crate::hex::Hex;
use crate::vector::Opened;
use crate::{Dead, RestoreError, VectorError, VectorHandle, numbered};

/// What [`Capability::snapshot`] writes, and the only version that [`Capability::restore`] reads.
const VERSION: u32 = 2;

/// The saved state of a capability: what the guest wrote, and what is pending.
///
/// As that of [`msix`](crate::msix::Snapshot) it holds numbers only and may come from an untrusted
/// place: [`Capability::restore`] checks all of it. A later version is treated as there.
/// [`Registers`](super::Registers) is the form for other virtual machine monitors.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(transparent)
)]
pub struct Snapshot(Versioned<Saved>);

/// The written form. It changes with the version only.
#[derive(Clone, PartialEq, Eq)]
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
    extended_data: bool,
    enabled: bool,
    extended_data_enabled: bool,
    granted: u32,
    address: u64,
    /// The upper half is Extended Message Data, enabled or not.
    data: u32,
    masked: u32,
    pending: u32,
    /// What open vectors send, which is not what was written last if only the address was.
    sends: SavedMessage,
}

impl fmt::Debug for Saved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Saved")
            .field("version", &self.version)
            .field("vectors", &self.vectors)
            .field("wide", &self.wide)
            .field("maskable", &self.maskable)
            .field("extended_data", &self.extended_data)
            .field("enabled", &self.enabled)
            .field("extended_data_enabled", &self.extended_data_enabled)
            .field("granted", &self.granted)
            .field("address", &Hex(self.address))
            .field("data", &Hex(self.data))
            .field("masked", &Hex(self.masked))
            .field("pending", &Hex(self.pending))
            .field("sends", &self.sends)
            .finish()
    }
}

impl Form for Saved {
    const VERSION: u32 = VERSION;
}

/// It changes with the version only.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
struct SavedMessage {
    address: u64,
    data: u32,
}

impl fmt::Debug for SavedMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SavedMessage")
            .field("address", &Hex(self.address))
            .field("data", &Hex(self.data))
            .finish()
    }
}

impl Capability {
    /// Returns the saved state of a [paused](Self::pause) capability.
    ///
    /// As [`msix::Table::snapshot`](crate::msix::Table::snapshot).
    ///
    /// # Errors
    ///
    /// [`VectorError::NotPaused`].
    pub fn snapshot(&self) -> Result<Snapshot, VectorError> {
        let state = self.inner.state.lock();
        if !state.paused {
            return Err(VectorError::NotPaused);
        }
        let numbered = (0..).zip(&self.inner.vectors);
        let pending = |bits, (number, vector): (u32, &VectorHandle)| {
            bits | u32::from(vector.is_pending()) << number
        };
        let pending = numbered.fold(0, pending);
        Ok(Snapshot::of(self.inner.shape, &state, pending))
    }

    /// Replaces the registers and the pending bits by those of a snapshot.
    ///
    /// Returns the vectors that are open and dead. As
    /// [`msix::Table::restore`](crate::msix::Table::restore).
    ///
    /// # Errors
    ///
    /// [`RestoreError`]. The snapshot is checked first; on failure the capability has not changed.
    pub fn restore(&self, snapshot: &Snapshot) -> Result<Vec<Dead>, RestoreError> {
        let known = snapshot.0.known();
        let snapshot = known.map_err(|found| RestoreError::Version {
            found,
            known: VERSION,
        })?;
        let registers = self.check(snapshot)?;
        let mut opened = Opened::of(&self.inner.vectors);
        let mut state = self.inner.state.lock();
        let sends = MsiMessage {
            address: snapshot.sends.address,
            data: snapshot.sends.data,
            devid: state.devid,
        };
        self.inner.put_registers(&mut state, registers);
        state.sends = sends;
        for (number, vector) in (0..).zip(&self.inner.vectors) {
            vector.inner.reset();
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

    fn check(&self, snapshot: &Saved) -> Result<Written, RestoreError> {
        let shape = snapshot.shape(self.inner.shape.next);
        if shape != Some(self.inner.shape) {
            return Err(RestoreError::Form);
        }
        snapshot.check(self.inner.shape)
    }
}

impl Snapshot {
    pub(super) fn of(shape: Shape, state: &State, pending: u32) -> Self {
        let (registers, sends) = (state.registers, state.sends);
        Self(Versioned::Known(Saved {
            version: VERSION,
            vectors: shape.vectors(),
            wide: shape.wide,
            maskable: shape.maskable,
            extended_data: shape.extended,
            enabled: registers.enabled,
            extended_data_enabled: registers.extended_enabled,
            granted: 1 << registers.granted,
            address: registers.address,
            data: registers.data,
            masked: registers.masked,
            pending,
            sends: SavedMessage {
                address: sends.address,
                data: sends.data,
            },
        }))
    }

    /// The shape, the registers and the pending bits, which are those of a capability that can be.
    pub(super) fn parts(&self) -> Result<(Shape, Written, u32), RestoreError> {
        let known = self.0.known();
        let saved = known.map_err(|found| RestoreError::Version {
            found,
            known: VERSION,
        })?;
        let shape = saved.shape(0).ok_or(RestoreError::Form)?;
        Ok((shape, saved.check(shape)?, saved.pending))
    }
}

impl Saved {
    /// `None` for a number of vectors of which no device is capable.
    fn shape(&self, next: u8) -> Option<Shape> {
        let vectors = self.vectors;
        let fits = vectors.is_power_of_two() && vectors <= MAX as u32;
        Some(Shape {
            capable: log(fits.then_some(vectors)?),
            wide: self.wide,
            maskable: self.maskable,
            extended: self.extended_data,
            next,
        })
    }

    /// Returns the registers, if a capability of this shape can have them.
    fn check(&self, shape: Shape) -> Result<Written, RestoreError> {
        let (granted, vectors) = (self.granted, shape.vectors());
        if !granted.is_power_of_two() || granted > vectors {
            return Err(RestoreError::Granted { granted, vectors });
        }
        let high = if shape.wide { 0 } else { !u64::from(u32::MAX) };
        for address in [self.address, self.sends.address] {
            if address & (UNALIGNED | high) != 0 {
                return Err(RestoreError::Address {
                    vector: None,
                    address,
                });
            }
        }
        let (masked, pending) = (self.masked, self.pending);
        let may = if shape.maskable { shape.all() } else { 0 };
        if masked & !may != 0 || pending & !shape.all() != 0 {
            return Err(RestoreError::Bits { masked, pending });
        }
        if self.extended_data_enabled && !shape.extended {
            return Err(RestoreError::ExtendedData);
        }
        for (data, is_wide) in [
            (self.data, shape.extended),
            (self.sends.data, self.extended_data_enabled),
        ] {
            if !is_wide && data > LOW {
                return Err(RestoreError::Data { data });
            }
        }
        Ok(Written {
            enabled: self.enabled,
            granted: log(granted),
            address: self.address,
            data: self.data,
            extended_enabled: self.extended_data_enabled,
            masked,
        })
    }
}

/// The logarithm of a number of vectors that was checked: at most 5.
fn log(vectors: u32) -> u16 {
    u16::try_from(vectors.trailing_zeros()).unwrap_or(0)
}
