// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Registers`]: the state of a table in the form that every VMM has.

use std::fmt;

use super::Snapshot;
use super::control::{ENABLE, FUNCTION_MASK, message_control};
use super::entry::{ENTRY, Entry};
use super::snapshot::SavedVector;
use super::table::MAX;
use crate::RestoreError;
use crate::hex::Hex;

/// How many pending bits a word has.
const WORD: usize = 64;

/// The registers of an MSI-X table as the guest sees them, for saved states of other formats.
///
/// Every VMM saves them in some form. So the state of another program can be restored, or that of
/// the VMM from before it adopted this crate.
///
/// ```
/// # use std::sync::Arc;
/// # use irq_routing::RoutingTable;
/// # use irqfd::msix;
/// # use notify_sim::SimVm;
/// # let routing = RoutingTable::new(Arc::new(SimVm::builder().build()))?;
/// # let table = msix::Table::builder(&routing).vectors(2).build()?;
/// // Two entries, of which the second is masked and pending.
/// let entries: [[u32; 4]; 2] = [[0xfee0_0000, 0, 0x41, 0], [0xfee0_0000, 0, 0x42, 1]];
/// let words = entries.iter().flatten();
/// let registers = msix::Registers {
///     control: 0x8001, // enabled, two entries
///     table: words.flat_map(|word| word.to_le_bytes()).collect(),
///     pending: vec![1 << 1],
/// };
/// let snapshot = msix::Snapshot::try_from(&registers)?;
/// table.pause();
/// table.restore(&snapshot)?;
/// assert_eq!(table.snapshot()?.registers()?, registers);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// There are no GSIs. A VMM whose format has them reads each with
/// [`VectorHandle::gsi`](crate::VectorHandle::gsi) while the table is paused. Masked and internal
/// vectors have none: write any number. To restore, take each GSI with
/// [`RoutingTable::lease_exact`](irq_routing::RoutingTable::lease_exact), and give it to its vector
/// ([`Table::set_lease`](super::Table::set_lease)) after `restore` and before `resume`. The guide
/// has [an example](crate::guide::snapshot#formats-of-other-vmms).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Registers {
    /// Message Control (PCI Local Bus 3.0, 6.8.2.3): enable in bit 15, function mask in bit 14, and
    /// the number of entries less one in bits 0 to 10.
    pub control: u16,
    /// The table: for each entry 16 bytes, little-endian: address, upper address, data, Vector
    /// Control.
    pub table: Vec<u8>,
    /// The pending bit array. Missing words count as zero. Bits beyond the table must be zero.
    pub pending: Vec<u64>,
}

impl fmt::Debug for Registers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registers")
            .field("control", &Hex(self.control))
            .field("table", &format_args!("{:02x?}", self.table))
            .field("pending", &format_args!("{:x?}", self.pending))
            .finish()
    }
}

impl Snapshot {
    /// Returns the registers, with as many words of pending bits as the guest sees.
    ///
    /// # Errors
    ///
    /// [`RestoreError::Version`] if a later version has written the snapshot;
    /// [`RestoreError::Bytes`] and [`RestoreError::Address`] for a snapshot that no table has.
    pub fn registers(&self) -> Result<Registers, RestoreError> {
        let saved = self.saved()?;
        if saved.vectors.is_empty() {
            return Err(RestoreError::Bytes { bytes: 0 });
        }
        saved.check_addresses()?;
        let entries = saved.vectors.iter().map(|vector| vector.entry());
        let words = saved.vectors.chunks(WORD);
        let bits = |vectors: &[SavedVector]| {
            let bits = (0..).zip(vectors);
            bits.fold(0, |word, (bit, vector)| {
                word | u64::from(vector.pending) << bit
            })
        };
        Ok(Registers {
            control: message_control(saved.vectors.len(), saved.enabled, saved.function_masked),
            table: entries.flat_map(Entry::bytes).collect(),
            pending: words.map(bits).collect(),
        })
    }
}

/// Bits that mean nothing are dropped: the lowest two of an address, and the reserved ones of
/// Vector Control. Fails with [`RestoreError::Bytes`], [`RestoreError::Vectors`] or
/// [`RestoreError::Pending`].
impl TryFrom<&Registers> for Snapshot {
    type Error = RestoreError;

    fn try_from(registers: &Registers) -> Result<Self, RestoreError> {
        let bytes = registers.table.len();
        let (entries, rest) = registers.table.as_chunks::<ENTRY>();
        let wanted = entries.len();
        if !rest.is_empty() || !(1..=MAX).contains(&wanted) {
            return Err(RestoreError::Bytes { bytes });
        }
        let found = usize::from(registers.control) % MAX + 1;
        if found != wanted {
            return Err(RestoreError::Vectors { found, wanted });
        }
        let word = |index: usize| registers.pending.get(index).copied().unwrap_or(0);
        let is_pending = |vector: usize| word(vector / WORD) >> (vector % WORD) & 1 != 0;
        let words = registers.pending.len().min(MAX / WORD);
        if registers.pending.iter().skip(words).any(|word| *word != 0) {
            return Err(RestoreError::Pending { vector: MAX });
        }
        if let Some(vector) = (wanted..words * WORD).find(|vector| is_pending(*vector)) {
            return Err(RestoreError::Pending { vector });
        }
        let vectors = (0..).zip(entries);
        let vectors = vectors
            .map(|(number, bytes)| SavedVector::new(Entry::from_bytes(*bytes), is_pending(number)));
        Ok(Self::of(
            registers.control & ENABLE != 0,
            registers.control & FUNCTION_MASK != 0,
            vectors.collect(),
        ))
    }
}
