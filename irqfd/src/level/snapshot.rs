// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`LevelSnapshot`]: a line that outlives its VM.

use std::fmt;

use irq_routing::MsiMessage;
use irq_routing::versioned::{Form, Versioned};

use super::delivery::Delivery;
use super::entry::Entry;
use super::inner::{Restored, State};
use super::members::{Level, Member};
use super::{LevelError, LevelLine};
use crate::hex::Hex;

/// What [`LevelLine::snapshot`] writes, and the only version that [`LevelLine::restore`] reads.
const VERSION: u32 = 1;

/// The state of a paused line, for a VM that continues elsewhere.
///
/// It holds numbers only: which devices assert, in the order in which they joined the line; the
/// level that the interrupt controllers were given last; and the redirection entry, where the line
/// has one. It is believed no further than [`LevelLine::restore`] has checked it. With the feature
/// `serde` it can be written and read in any format; a later version is read as one of
/// [`msix`](crate::msix::Snapshot).
///
/// It does not hold:
///
/// - what the kernel keeps: KVM_GET_IRQCHIP and KVM_GET_LAPIC return that;
/// - what waits in the trigger of an exported device, which is not bound while the line is paused:
///   the signal stays in the eventfd, and belongs to the device that signals it;
/// - whether an interrupt is in service. On a split irqchip KVM may have an EOI exit to make when
///   the VM is saved, and no ioctl returns that. A line that is high interrupts anew in the other
///   VM instead, so at most one interrupt is spurious.
///
/// ```
/// # use std::sync::Arc;
/// # use irq_routing::{Platform, RoutingTable, Wiring};
/// # use irqfd::LevelLine;
/// # use notify_sim::SimVm;
/// # fn line(vm: &Arc<SimVm>) -> Result<LevelLine, Box<dyn std::error::Error>> {
/// #     let table = RoutingTable::builder(vm.clone()).wiring(Wiring::pc()).build()?;
/// #     Ok(LevelLine::builder(table.line(10)?).build()?)
/// # }
/// let vm = Arc::new(SimVm::builder().build()); // or a KvmVm
/// let saved = line(&vm)?;
/// let disk = saved.join()?;
/// disk.assert()?;
///
/// // vCPUs and back-ends are stopped.
/// saved.pause()?;
/// let ioapic = vm.ioapic(); // KVM_GET_IRQCHIP, KVM_GET_LAPIC
/// let snapshot = saved.snapshot()?;
///
/// // In another VM, the devices of the same kinds in the same order.
/// let vm = Arc::new(SimVm::builder().build());
/// let restored = line(&vm)?;
/// let disk = restored.join()?;
/// restored.pause()?;
/// ioapic.into_iter().for_each(|ioapic| vm.set_ioapic(ioapic)); // KVM_SET_IRQCHIP, KVM_SET_LAPIC
/// restored.restore(&snapshot)?;
/// restored.resume()?;
/// assert!(disk.is_asserted());
/// assert!(vm.ioapic().is_some_and(|ioapic| ioapic.irr == 1 << 10));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(transparent)
)]
pub struct LevelSnapshot(Versioned<Saved>);

/// The written form. It changes with the version only.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename = "LevelSnapshot")
)]
struct Saved {
    version: u32,
    /// The level that the interrupt controllers were given last.
    level: bool,
    entry: Option<SavedEntry>,
    devices: Vec<SavedDevice>,
}

impl Form for Saved {
    const VERSION: u32 = VERSION;
}

/// The written form of a redirection entry. It changes with the version only.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
struct SavedEntry {
    address: u64,
    data: u32,
    masked: bool,
}

impl fmt::Debug for SavedEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SavedEntry")
            .field("address", &Hex(self.address))
            .field("data", &Hex(self.data))
            .field("masked", &self.masked)
            .finish()
    }
}

/// The written form of a device's level. It changes with the version only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
struct SavedDevice {
    asserted: bool,
    triggered: bool,
}

/// Why a snapshot was not restored. The line is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LevelRestoreError {
    /// It was written by a version whose form is not known.
    #[error(
        "the snapshot is of version {found}, and only {VERSION} is known; read it with another \
         release"
    )]
    #[non_exhaustive]
    Version {
        /// The snapshot's version.
        found: u32,
    },

    /// It is of a line with another number of devices.
    #[error(
        "the snapshot is of a line with {found} devices, and this one has {wanted}; join as many"
    )]
    #[non_exhaustive]
    Devices {
        /// How many devices the snapshot's line had.
        found: usize,
        /// How many devices the line has.
        wanted: usize,
    },

    /// Only one of the snapshot and the line has a redirection entry.
    #[error(
        "the snapshot has a redirection entry: {found}; the line has one: {wanted}; build the line \
         as the saved one was built"
    )]
    #[non_exhaustive]
    Entry {
        /// Whether the snapshot has one.
        found: bool,
        /// Whether the line has one.
        wanted: bool,
    },

    /// A device holds the line up as it cannot do on this line: by a trigger that the VMM has
    /// taken, where the kernel takes them or the device has none; or it asserts though it is
    /// exported, on arm64.
    #[error(
        "device {device} of the snapshot holds the line up in a way that it cannot on this line; \
         join the devices in the same order and kinds"
    )]
    #[non_exhaustive]
    Level {
        /// Which device, in the order in which they joined.
        device: usize,
    },

    /// The line is not paused, and its new state cannot be sent.
    #[error("cannot send the restored state of a line that is not paused: {0}")]
    Line(LevelError),
}

impl LevelRestoreError {
    /// Returns the errno, if the cause is a system call.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::Line(error) => error.raw_os_error(),
            _ => None,
        }
    }
}

impl From<LevelError> for LevelRestoreError {
    fn from(error: LevelError) -> Self {
        Self::Line(error)
    }
}

impl LevelLine {
    /// Returns the state of the line, for [`restore`](Self::restore). Issues no ioctl.
    ///
    /// # Errors
    ///
    /// [`LevelError::NotPaused`]: [`pause`](Self::pause) the line first.
    pub fn snapshot(&self) -> Result<LevelSnapshot, LevelError> {
        let state = self.inner.lock();
        if !state.delivery.is_paused() {
            return Err(LevelError::NotPaused);
        }
        let devices = state.members.iter().map(|member| SavedDevice {
            asserted: member.level.asserted,
            triggered: member.level.triggered,
        });
        Ok(LevelSnapshot(Versioned::Known(Saved {
            version: VERSION,
            level: state.delivery.sent_level(),
            entry: state.delivery.entry().map(|entry| SavedEntry {
                address: entry.message.address,
                data: entry.message.data,
                masked: entry.masked,
            }),
            devices: devices.collect(),
        })))
    }

    /// Gives the line the state of a line of another VM. As many devices must have joined, in the
    /// same order; what they assert is overwritten.
    ///
    /// Restore the interrupt controllers first (KVM_SET_IRQCHIP, KVM_SET_LAPIC), then the lines,
    /// then assign each [`IrqFd`](crate::IrqFd). Pause a line before you restore it: then this
    /// issues no ioctl, and the line does not interrupt before [`resume`](Self::resume). The
    /// redirection entry is restored too: do not call [`redirect`](Self::redirect) for it.
    ///
    /// All devices that want to know of EOIs are notified once, as by [`resync`](Self::resync): a
    /// device may not have read its notifier in the first VM. An exported device that still has a
    /// reason triggers again; at worst one interrupt is spurious.
    ///
    /// # Errors
    ///
    /// All variants of [`LevelRestoreError`]. The snapshot is checked first; on failure the line
    /// has not changed.
    pub fn restore(&self, snapshot: &LevelSnapshot) -> Result<(), LevelRestoreError> {
        let known = snapshot.0.known();
        let saved = known.map_err(|found| LevelRestoreError::Version { found })?;
        let state = self.inner.lock();
        let restored = check(&state, saved)?;
        Ok(self.inner.restore(state, restored)?)
    }
}

fn check(state: &State, saved: &Saved) -> Result<Restored, LevelRestoreError> {
    let (found, wanted) = (saved.devices.len(), state.members.iter().len());
    if found != wanted {
        return Err(LevelRestoreError::Devices { found, wanted });
    }
    let entry = match (saved.entry, state.delivery.entry()) {
        (Some(saved), Some(own)) => Some(restored_entry(saved, own)),
        (None, None) => None,
        (found, wanted) => {
            let (found, wanted) = (found.is_some(), wanted.is_some());
            return Err(LevelRestoreError::Entry { found, wanted });
        }
    };
    let devices = saved.devices.iter().zip(state.members.iter());
    let refused = |(saved, member): (&SavedDevice, &Member)| {
        let takes_triggers = matches!(state.delivery, Delivery::Controller(_)) && member.exported;
        let asserts = saved.asserted && state.delivery.admit_level(member).is_err();
        asserts || saved.triggered && !takes_triggers
    };
    if let Some(device) = devices.map(refused).position(|refused| refused) {
        return Err(LevelRestoreError::Level { device });
    }
    let level = |saved: &SavedDevice| Level {
        asserted: saved.asserted,
        triggered: saved.triggered,
    };
    Ok(Restored {
        levels: saved.devices.iter().map(level).collect(),
        sent: saved.level,
        entry,
    })
}

/// A snapshot has no device id: that of the line stays.
fn restored_entry(saved: SavedEntry, own: Entry) -> Entry {
    Entry {
        message: MsiMessage {
            address: saved.address,
            data: saved.data,
            devid: own.message.devid,
        },
        masked: saved.masked,
    }
}
