// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`DumpEntry`]: one entry of a table, valid or not.

use crate::{IrqChip, MsiMessage, Pin, Platform, Route};

/// One entry of a [`Dump`](crate::Dump), as it was printed: valid or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DumpEntry {
    /// The GSI.
    pub gsi: u32,
    /// Where it leads.
    pub target: DumpTarget,
}

/// Where one entry of a [`Dump`](crate::Dump) leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DumpTarget {
    /// A pin of an interrupt controller.
    Pin {
        /// KVM's number of the chip.
        chip: u32,
        /// The pin's number.
        pin: u32,
    },
    /// A message.
    Msi(MsiMessage),
    /// A synthetic interrupt source of Hyper-V.
    HvSint {
        /// The vCPU.
        vcpu: u32,
        /// The source.
        sint: u32,
    },
    /// An event channel of Xen.
    XenEvtchn {
        /// The port.
        port: u32,
        /// The vCPU.
        vcpu: u32,
        /// The priority.
        priority: u32,
    },
    /// Something of which the dump tells no more.
    Untold(EntryKind),
}

/// The kinds of entry that are no pin (`KVM_IRQ_ROUTING_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EntryKind {
    /// A message.
    Msi,
    /// An adapter interrupt of s390.
    S390Adapter,
    /// A synthetic interrupt source of Hyper-V.
    HvSint,
    /// An event channel of Xen.
    XenEvtchn,
}

impl DumpEntry {
    /// An entry.
    #[must_use]
    pub const fn new(gsi: u32, target: DumpTarget) -> Self {
        Self { gsi, target }
    }

    /// The entries that the kernel is given for a route.
    pub(super) fn of_route(gsi: u32, route: &Route) -> impl Iterator<Item = Self> + use<> {
        DumpTarget::of_route(route).map(move |target| Self { gsi, target })
    }

    /// Pins first, by chip and then by GSI.
    pub(super) fn order(&self) -> (bool, u32, u32) {
        match self.target {
            DumpTarget::Pin { chip, .. } => (false, chip, self.gsi),
            _ => (true, 0, self.gsi),
        }
    }
}

impl DumpTarget {
    /// What the entries of a route lead to.
    pub(crate) fn of_route(route: &Route) -> impl Iterator<Item = Self> + use<> {
        let (pins, single) = match *route {
            Route::Pins(pins) => (Some(pins), None),
            Route::Msi(message) => (None, Some(Self::Msi(message))),
            Route::HvSint { vcpu, sint } => (None, Some(Self::HvSint { vcpu, sint })),
            Route::XenEvtchn {
                port,
                vcpu,
                priority,
            } => {
                let channel = Self::XenEvtchn {
                    port,
                    vcpu,
                    priority,
                };
                (None, Some(channel))
            }
        };
        let pins = pins.into_iter().flat_map(|pins| pins.iter());
        let pins = pins.map(|pin| Self::Pin {
            chip: pin.chip().number(),
            pin: pin.number(),
        });
        pins.chain(single)
    }

    /// What it is if it is no pin.
    pub(crate) fn kind(self) -> Option<EntryKind> {
        match self {
            Self::Pin { .. } => None,
            Self::Msi(_) => Some(EntryKind::Msi),
            Self::HvSint { .. } => Some(EntryKind::HvSint),
            Self::XenEvtchn { .. } => Some(EntryKind::XenEvtchn),
            Self::Untold(kind) => Some(kind),
        }
    }

    /// The pin, if the platform has it.
    pub(crate) fn pin(self, platform: Platform) -> Option<Pin> {
        match self {
            Self::Pin { chip, pin } => Pin::new(chip_of(platform, chip)?, pin).ok(),
            _ => None,
        }
    }

    /// The route that it alone makes: none if it is no valid pin, or if the dump tells too little.
    pub(crate) fn route(self, platform: Platform) -> Option<Route> {
        match self {
            Self::Pin { .. } => self.pin(platform).map(Route::from),
            Self::Msi(message) => Some(Route::Msi(message)),
            Self::HvSint { vcpu, sint } => Some(Route::HvSint { vcpu, sint }),
            Self::XenEvtchn {
                port,
                vcpu,
                priority,
            } => Some(Route::XenEvtchn {
                port,
                vcpu,
                priority,
            }),
            Self::Untold(_) => None,
        }
    }
}

impl EntryKind {
    /// KVM's number.
    pub(super) const fn number(self) -> u32 {
        match self {
            Self::Msi => 2,
            Self::S390Adapter => 3,
            Self::HvSint => 4,
            Self::XenEvtchn => 5,
        }
    }

    /// Whether machines of this kind take such entries.
    pub(crate) const fn is_in(self, platform: Platform) -> bool {
        match self {
            Self::Msi => true,
            Self::S390Adapter => false,
            Self::HvSint | Self::XenEvtchn => platform.is_x86(),
        }
    }

    /// In words.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Msi => "a message",
            Self::S390Adapter => "an s390 adapter",
            Self::HvSint => "a Hyper-V interrupt source",
            Self::XenEvtchn => "a Xen event channel",
        }
    }
}

/// The chips of a platform, in the order of KVM's numbers.
pub(crate) const fn chips(platform: Platform) -> &'static [IrqChip] {
    match platform {
        Platform::X86 => &[IrqChip::PicMaster, IrqChip::PicSlave, IrqChip::IoApic],
        Platform::X86Split => &[],
        Platform::Arm64Gic => &[IrqChip::Gic],
        Platform::Riscv64Aia => &[IrqChip::Aplic],
    }
}

/// The chip that KVM gives this number.
pub(crate) fn chip_of(platform: Platform, number: u32) -> Option<IrqChip> {
    let mut chips = chips(platform).iter();
    chips.find(|chip| chip.number() == number).copied()
}
