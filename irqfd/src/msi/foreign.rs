// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Registers`]: a snapshot as other virtual machine monitors have it.

use std::fmt;

use super::capability::State;
use super::registers::{CONTROL, ID, LONGEST, SHORTEST, Shape, Written, get};
use super::snapshot::Snapshot;
use crate::RestoreError;
use crate::hex::Hex;

/// The bytes of an MSI capability and its pending bits, for saved states of other formats.
///
/// Every virtual machine monitor saves them in some form. `Snapshot::try_from(&registers)` and
/// [`Snapshot::registers`] convert from and to a snapshot. The number
/// of vectors, the width of addresses, and whether there are mask bits and Extended Message Data
/// are in Message Control. Two things are not kept:
///
/// - The next pointer. A snapshot does not have it, and it is written as 0.
/// - What open vectors send, if only a part of a message was written since. The registers count, as
///   they are.
///
/// ```
/// # use std::sync::Arc;
/// # use irq_routing::RoutingTable;
/// # use irqfd::msi;
/// # use notify_sim::SimVm;
/// let vm = Arc::new(SimVm::builder().build()); // or a KvmVm
/// vm.enable_lapic(0); // as a guest does when it boots
/// let routing = RoutingTable::new(vm.clone())?; // one for the VM
/// // From a device that had no mask bits: enabled, vector 0x41, and an interrupt that is pending.
/// let capability = [0x05, 0x70, 0x81, 0x00, 0, 0, 0xe0, 0xfe, 0, 0, 0, 0, 0x41, 0];
/// let registers = msi::Registers { capability: capability.to_vec(), pending: 1 };
/// let snapshot = msi::Snapshot::try_from(&registers)?;
///
/// let msi = msi::Capability::builder(&routing).maskable(false).next(0x70).build()?;
/// msi.restore(&snapshot)?;
/// assert_eq!(vm.pending_vectors(0), [0x41]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Registers {
    /// The bytes of the capability as the guest reads them, from its ID on:
    /// [`Capability::len`](super::Capability::len) bytes.
    pub capability: Vec<u8>,

    /// The pending bits of all vectors, bit 0 for vector 0. They alone count. The register Pending
    /// Bits in the capability, if there is one, is ignored when a snapshot is made, and written as
    /// the guest reads it: it shows vectors only that are granted and not open. A virtual machine
    /// monitor that has saved nothing but this register passes its value here.
    pub pending: u32,
}

impl fmt::Debug for Registers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registers")
            .field("capability", &format_args!("{:02x?}", self.capability))
            .field("pending", &Hex(self.pending))
            .finish()
    }
}

impl TryFrom<&Registers> for Snapshot {
    type Error = RestoreError;

    /// Makes a snapshot of what another virtual machine monitor has saved.
    ///
    /// # Errors
    ///
    /// [`RestoreError::Length`], [`RestoreError::Id`], [`RestoreError::Reserved`], and
    /// [`RestoreError::Bits`] for pending bits of vectors that the device does not have. The
    /// registers may come from an untrusted place.
    fn try_from(registers: &Registers) -> Result<Self, RestoreError> {
        let (found, pending) = (&registers.capability, registers.pending);
        let shape = shape(found)?;
        let mut bytes = [0; LONGEST];
        for (place, byte) in bytes.iter_mut().zip(found) {
            *place = *byte;
        }
        let registers = Written::from_bytes(shape, &bytes);
        let shown = u32::from_le_bytes(get(&bytes, shape.mask() + 4));
        // What a capability cannot have was left out.
        let possible = registers.bytes(shape, shown);
        let mut compared = (0..).zip(found).zip(&possible);
        if let Some(((offset, found), _)) = compared.find(|((_, found), byte)| found != byte) {
            let found = *found;
            return Err(RestoreError::Reserved { offset, found });
        }
        if pending & !shape.all() != 0 {
            let masked = registers.masked;
            return Err(RestoreError::Bits { masked, pending });
        }
        let sends = registers.message(None);
        Ok(Self::of(
            shape,
            &State {
                registers,
                sends,
                ..State::default()
            },
            pending,
        ))
    }
}

/// Reads the shape, and checks what depends on nothing else.
fn shape(bytes: &[u8]) -> Result<Shape, RestoreError> {
    let found = bytes.len();
    let [id, next, low, high, ..] = *bytes else {
        let wanted = SHORTEST;
        return Err(RestoreError::Length { found, wanted });
    };
    if id != ID {
        return Err(RestoreError::Id { found: id });
    }
    let control = u16::from_le_bytes([low, high]);
    let shape = Shape::from_control(control, next).ok_or(RestoreError::Reserved {
        offset: CONTROL,
        found: low,
    })?;
    let wanted = shape.len();
    if found != wanted {
        return Err(RestoreError::Length { found, wanted });
    }
    Ok(shape)
}

impl Snapshot {
    /// Returns the snapshot as other virtual machine monitors save it.
    ///
    /// # Errors
    ///
    /// [`RestoreError::Version`] if the snapshot is of another version. A snapshot that was read
    /// may also hold what no capability could restore, which fails as
    /// [`restore`](super::Capability::restore) would.
    pub fn registers(&self) -> Result<Registers, RestoreError> {
        let (shape, registers, pending) = self.parts()?;
        let bytes = registers.bytes(shape, pending & registers.pending_bits());
        let capability = bytes.into_iter().take(shape.len()).collect();
        Ok(Registers {
            capability,
            pending,
        })
    }
}
