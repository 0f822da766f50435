// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`LevelSnapshot`]: the saved state of a line.

use std::fmt;

use irq_routing::MsiMessage;
use irq_routing::versioned::{Form, Versioned};

use super::delivery::Delivery;
use super::entry::Entry;
use super::inner::{Restored, State};
use super::members::{Level, Member};
use super::{LevelError, LevelLine};
use crate::RestoreError;
use crate::hex::Hex;

/// What [`LevelLine::snapshot`] writes, and the only version that [`LevelLine::restore`] reads.
const VERSION: u32 = 1;

/// The saved state of a paused line, for a VM that continues elsewhere.
///
/// It holds numbers only: which devices assert, in the order in which they joined the line; the
/// level that was sent last; and the redirection entry, where the line has one.
/// [`LevelLine::restore`] checks all of it, so it may come from an untrusted place. With the
/// feature `serde` it can be written and read in any format. A snapshot of a later version is
/// treated as that of [`msix`](crate::msix::Snapshot).
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
    /// The level that the interrupt controllers were given last, or may have of exported devices
    /// that have left since. If an edge is due, the other one than that of the devices.
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
            level: state.delivery.sent_level(&state.members),
            entry: state.delivery.entry().map(|entry| SavedEntry {
                address: entry.message.address,
                data: entry.message.data,
                masked: entry.masked,
            }),
            devices: devices.collect(),
        })))
    }

    /// Sets the state of the line to that of a line of another VM. As many devices must have
    /// joined, in the same order; what they assert is overwritten.
    ///
    /// Restore the interrupt controllers first (KVM_SET_IRQCHIP, KVM_SET_LAPIC), then the lines,
    /// then assign each [`IrqFd`](crate::IrqFd). Pause a line before you restore it: then this
    /// issues no ioctl, and the line does not interrupt before [`resume`](Self::resume). The
    /// redirection entry is restored too: do not call [`redirect`](Self::redirect) for it.
    ///
    /// All devices that asked for EOIs are notified once, as by [`resync`](Self::resync): a device
    /// may not have read its notifier in the first VM. An exported device that still has a
    /// reason triggers again; at worst one interrupt is spurious.
    ///
    /// # Errors
    ///
    /// [`RestoreError::Version`], [`RestoreError::Devices`], [`RestoreError::Entry`],
    /// [`RestoreError::Level`], [`RestoreError::Line`]. The snapshot is checked first; on failure
    /// the line has not changed. If it was not paused, devices may have been notified.
    pub fn restore(&self, snapshot: &LevelSnapshot) -> Result<(), RestoreError> {
        let known = snapshot.0.known();
        let saved = known.map_err(|found| RestoreError::Version {
            found,
            known: VERSION,
        })?;
        let state = self.inner.lock();
        let restored = check(&state, saved)?;
        Ok(self.inner.restore(state, restored)?)
    }
}

fn check(state: &State, saved: &Saved) -> Result<Restored, RestoreError> {
    let (found, wanted) = (saved.devices.len(), state.members.iter().len());
    if found != wanted {
        return Err(RestoreError::Devices { found, wanted });
    }
    let entry = match (saved.entry, state.delivery.entry()) {
        (Some(saved), Some(own)) => Some(restored_entry(saved, own)),
        (None, None) => None,
        (found, wanted) => {
            let (found, wanted) = (found.is_some(), wanted.is_some());
            return Err(RestoreError::Entry { found, wanted });
        }
    };
    let devices = saved.devices.iter().zip(state.members.iter());
    let refused = |(saved, member): (&SavedDevice, &Member)| {
        let takes_triggers = matches!(state.delivery, Delivery::Controller(_)) && member.exported;
        let asserts = saved.asserted && state.delivery.admit_level(member).is_err();
        asserts || saved.triggered && !takes_triggers
    };
    if let Some(device) = devices.map(refused).position(|refused| refused) {
        return Err(RestoreError::Level { device });
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
