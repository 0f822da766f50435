// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The operations. Numbers are taken modulo the size of what they select from.

use arbitrary::Arbitrary;
use notify_sim::CallKind;

use super::access::{At, Bytes};

/// One operation.
#[derive(Debug, Clone, Arbitrary)]
pub enum Step {
    /// The guest and its MSI-X table.
    Table(Table),
    /// The guest and its MSI capability.
    Msi(Msi),
    /// A device, or a peer that shares a notifier.
    Device(Device),
    /// Handing out and taking back.
    Vmm(Vmm),
    /// Pausing and resuming.
    Pause(Pause),
    /// A round of the queue.
    Run,
    /// Rare operations.
    Rare(Rare),
}

/// What the guest does to its MSI-X table.
#[derive(Debug, Clone, Arbitrary)]
pub enum Table {
    /// Clears the mask bit of an entry.
    Unmask(u8),
    /// Sets it.
    Mask(u8),
    /// Writes address and data of an entry, word by word; now and then an address that some kernels
    /// refuse.
    Program(u8, u8),
    /// Writes a likely value to a word of an entry.
    Word(u8, u8, u8),
    /// Writes two likely values at once, to one half of an entry or across two.
    Pair(u8, u8, u8, u8),
    /// Writes anything.
    Write(At, Bytes),
    /// Reads so many bytes.
    Read(At, u8),
    /// Reads so many bytes of the pending bits.
    Pba(At, u8),
    /// Enables the function, and nothing else.
    Enable,
    /// Writes Message Control.
    Control(u16),
    /// The same, by the bits.
    Set(bool, bool),
    /// Writes to the capability.
    Config(At, Bytes),
}

/// What the guest does to its MSI capability.
#[derive(Debug, Clone, Arbitrary)]
pub enum Msi {
    /// Enables it or not, and grants a number of vectors.
    Control(bool, u8),
    /// Writes a likely address.
    Address(u8),
    /// Writes the upper half of the address, if it has one.
    High(bool),
    /// Writes data.
    Data(u8),
    /// Writes the mask bits.
    Mask(u8),
    /// Writes anything.
    Write(At, Bytes),
    /// Reads so many bytes.
    Read(At, u8),
}

/// What a device or a peer does.
#[derive(Debug, Clone, Arbitrary)]
pub enum Device {
    /// Triggers a vector.
    Trigger(u8),
    /// Triggers it once more.
    Twice(u8),
    /// Triggers a queue.
    Queue(u8),
    /// Signals a notifier, in use or not.
    Signal(u8),
    /// Reads a notifier.
    Drain(u8),
    /// Fills a notifier's counter.
    Fill(u8),
}

/// What the VMM does to vectors.
#[derive(Debug, Clone, Arbitrary)]
pub enum Vmm {
    /// Exports a vector.
    Export(u8),
    /// Exports all vectors of one device.
    ExportAll(bool),
    /// Makes it internal, or private.
    Unexport(u8),
    /// Takes its notifier away.
    Take(u8),
    /// Gives it a new notifier.
    Replace(u8),
    /// Gives it an existing or former notifier, perhaps that of another vector.
    Share(u8, u8),
    /// Offers it a semaphore.
    Semaphore(u8),
    /// The guest moves a queue to another vector.
    Bind(u8, u16),
    /// The reset of a virtio device.
    Unbind(u8),
    /// Another device takes a GSI.
    Hold,
    /// Another device takes all GSIs.
    HoldAll,
    /// The other device returns one.
    Release,
    /// The other device gives one to a vector.
    Lease(u8),
    /// The guest renumbers its buses: the messages of one device have this id, or none.
    Devid(bool, u8),
}

/// Of the MSI-X table (true) or the MSI capability.
#[derive(Debug, Clone, Arbitrary)]
pub enum Pause {
    /// Pauses it.
    Pause(bool),
    /// Pauses it and takes a snapshot.
    Save(bool),
    /// Resumes it.
    Resume(bool),
    /// Resumes it in one of two batches.
    Join(bool, ResumeBatch),
    /// Resumes both in a batch, this one first, and runs that.
    Both(bool, ResumeBatch),
    /// Runs a batch, or drops it.
    Run(ResumeBatch, bool),
}

/// One of two batches.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub enum ResumeBatch {
    /// The one.
    One,
    /// The other.
    Other,
}

/// Rare operations.
#[derive(Debug, Clone, Arbitrary)]
pub enum Rare {
    /// A reset of one of the devices.
    Reset(bool),
    /// A snapshot of one of them, if it is paused.
    Snapshot(bool),
    /// The last snapshot is restored, into a fresh device or into the same.
    Restore(bool, Into),
    /// The table gets registers from another VMM: its own, with this difference.
    Import([Damage; 2]),
    /// Requests fail: the kind, the first one from now on, how many, and whether temporarily.
    Fail(Kind, u8, u8, bool),
    /// Rarer operations.
    Whole(Whole),
}

/// Operations on all vectors.
#[derive(Debug, Clone, Arbitrary)]
pub enum Whole {
    /// The queue's owner is dropped.
    DropQueue,
    /// New devices.
    Rebuild(Shape),
    /// Another VM, which refuses some addresses or not.
    Start(bool, Shape),
}

/// Where a snapshot is restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Arbitrary)]
pub enum Into {
    /// The existing device.
    Same,
    /// A new one.
    Fresh,
    /// A new one that is paused.
    Paused,
}

/// The difference in registers from another VMM.
#[derive(Debug, Clone, Arbitrary)]
pub enum Damage {
    /// Nothing.
    None,
    /// Bits of Message Control.
    Control(u16),
    /// A byte of the table.
    Byte(u8, u8),
    /// Bytes are missing at its end.
    Shorter(u8),
    /// It has more bytes.
    Longer(u8),
    /// It is of another size. A few values give many entries.
    Entries(u8),
    /// A word of the pending bits.
    Pending(u8, u64),
    /// Their number of words; more have this value.
    Words(u8, u8),
}

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Arbitrary)]
pub enum Kind {
    /// KVM_SET_GSI_ROUTING.
    Routing,
    /// KVM_IRQFD that binds.
    Assign,
    /// KVM_IRQFD that unbinds.
    Deassign,
    /// KVM_SIGNAL_MSI.
    Signal,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::Routing, Self::Assign, Self::Deassign, Self::Signal];

    pub(super) fn call(self) -> CallKind {
        match self {
            Self::Routing => CallKind::SetGsiRouting,
            Self::Assign => CallKind::IrqFdAssign,
            Self::Deassign => CallKind::IrqFdDeassign,
            Self::Signal => CallKind::SignalMsi,
        }
    }
}

/// The parameters of the devices.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub struct Shape {
    /// Vectors of the table; a few values give many.
    pub vectors: u8,
    /// The logarithm of the number of vectors of the capability.
    pub log: u8,
    /// Whether its addresses have 64 bits.
    pub wide: bool,
    /// Whether it has mask bits.
    pub maskable: bool,
    /// Whether vectors have a queue.
    pub queue: bool,
    /// Whether a driver has set both devices up.
    pub driven: bool,
    /// Whether vectors are private: those of the table in bit 0, of the capability in bit 1.
    pub private: u8,
}

impl Shape {
    pub(super) const FIRST: Self = Self {
        vectors: 3,
        log: 2,
        wide: true,
        maskable: true,
        queue: true,
        driven: true,
        private: 0,
    };

    pub(super) fn table(self) -> usize {
        match self.vectors {
            250.. => 66,
            few => 1 + usize::from(few % 5),
        }
    }

    pub(super) fn is_private(self, table: bool) -> bool {
        self.private & if table { 1 } else { 2 } != 0
    }

    pub(super) fn log(self) -> u32 {
        match self.log {
            250.. => 5,
            few => u32::from(few % 4),
        }
    }
}
