// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The operations. Numbers are taken modulo what there is.

use arbitrary::Arbitrary;
use notify_core::sim::CallKind;

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
    /// A round of the queue.
    Run,
    /// What is rare.
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

/// An offset of an access.
#[derive(Debug, Clone, Arbitrary)]
pub enum At {
    /// Inside, or close behind.
    Near(u8),
    /// So many bytes before 2^64.
    End(u8),
    /// Anywhere.
    Far(u64),
}

impl At {
    /// The offset, where this many bytes are of interest.
    pub(super) fn offset(&self, len: u64) -> u64 {
        match *self {
            Self::Near(near) => u64::from(near) % (len + 4),
            Self::End(back) => u64::MAX - u64::from(back % 20),
            Self::Far(far) => far,
        }
    }
}

/// What an access writes.
#[derive(Debug, Clone, Arbitrary)]
pub enum Bytes {
    /// A byte.
    Byte(u8),
    /// Two.
    Half(u16),
    /// Four.
    Word(u32),
    /// Eight.
    Long(u64),
    /// Any number.
    Any(Vec<u8>),
}

impl Bytes {
    pub(super) fn to_vec(&self) -> Vec<u8> {
        match self {
            Self::Byte(byte) => vec![*byte],
            Self::Half(half) => half.to_le_bytes().to_vec(),
            Self::Word(word) => word.to_le_bytes().to_vec(),
            Self::Long(long) => long.to_le_bytes().to_vec(),
            Self::Any(bytes) => bytes.clone(),
        }
    }
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
    /// Signals a notifier, be it in use or not.
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
    /// Makes it internal.
    Unexport(u8),
    /// Gives it a new notifier.
    Replace(u8),
    /// Gives it a notifier that there is, or was, perhaps that of another one.
    Share(u8, u8),
    /// Offers it a semaphore.
    Semaphore(u8),
    /// The guest moves a queue to another vector.
    Bind(u8, u16),
    /// Another device takes a GSI.
    Hold,
    /// Another device takes all GSIs.
    HoldAll,
    /// It gives one back.
    Release,
    /// Forgets what is pending.
    Clear(u8),
}

/// What is rare.
#[derive(Debug, Clone, Arbitrary)]
pub enum Rare {
    /// A reset of one of the devices.
    Reset(bool),
    /// A snapshot of one of them.
    Snapshot(bool),
    /// The last snapshot is restored, into a fresh device or into the same.
    Restore(bool, Into),
    /// Requests fail: which kind, which of those from now on, how many, and whether for a while
    /// only.
    Fail(Kind, u8, u8, bool),
    /// What is rarer still.
    Whole(Whole),
}

/// What concerns all vectors.
#[derive(Debug, Clone, Arbitrary)]
pub enum Whole {
    /// The queue's owner goes.
    DropQueue,
    /// Fresh devices.
    Rebuild(Shape),
    /// Another VM, which refuses some addresses or not.
    Start(bool, Shape),
}

/// Where a snapshot is restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Arbitrary)]
pub enum Into {
    /// The device that there is.
    Same,
    /// A new one.
    Fresh,
}

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Arbitrary)]
pub enum Kind {
    /// KVM_SET_GSI_ROUTING.
    Routing,
    /// KVM_IRQFD that binds.
    Assign,
    /// KVM_IRQFD that takes off.
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

/// What devices are built with.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub struct Shape {
    /// Vectors of the table; a few values give many.
    pub vectors: u8,
    /// The logarithm of those of the capability.
    pub log: u8,
    /// Whether its addresses have 64 bits.
    pub wide: bool,
    /// Whether it has mask bits.
    pub maskable: bool,
    /// Whether vectors have a queue.
    pub queue: bool,
    /// Whether a driver has set both devices up.
    pub driven: bool,
}

impl Shape {
    pub(super) const FIRST: Self = Self {
        vectors: 3,
        log: 2,
        wide: true,
        maskable: true,
        queue: true,
        driven: true,
    };

    pub(super) fn table(self) -> usize {
        match self.vectors {
            250.. => 66,
            few => 1 + usize::from(few % 5),
        }
    }

    pub(super) fn log(self) -> u32 {
        match self.log {
            250.. => 5,
            few => u32::from(few % 4),
        }
    }
}

/// A value that a word of a message, or of Vector Control, is likely to have.
pub(super) fn likely(value: u8) -> u32 {
    const VALUES: [u32; 8] = [
        0xfee0_0000,
        0xfee0_0003,
        0xfee0_1000,
        0,
        1,
        2,
        0xffff_ffff,
        0xfee0_0000,
    ];
    match VALUES.get(usize::from(value % 24)) {
        Some(value) => *value,
        None => u32::from(0x40 + value % 16),
    }
}
