// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The entries of one GSI in the kernel's table: those of a route, and those that KVM refuses.

use std::collections::BTreeSet;

use notify_core::RouteTarget;

use crate::{IrqChip, Pin, Platform, Route};

/// The content of one entry of a [`Dump`](crate::Dump), valid or not, or only its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DumpTarget {
    /// The entry as the kernel has it.
    Entry(RouteTarget),
    /// The dump has only the kind of the entry.
    Untold(EntryKind),
}

/// The kinds of entry that are not pins (`KVM_IRQ_ROUTING_*`).
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

/// Why KVM refuses the entries of a GSI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The platform has no chip of this number.
    NoSuchChip(u32),
    /// The chip has no pin of this number.
    NoSuchPin(IrqChip, u32),
    /// KVM takes no such entries on this platform.
    NoSuchKind(EntryKind),
    /// There are two entries for pins of this chip.
    TwoPinsOfOneChip(IrqChip),
    /// There are other entries beside one of this kind.
    NotAlone(EntryKind),
}

/// The entries that the kernel is given for a route.
pub(crate) fn of_route(route: &Route) -> impl Iterator<Item = RouteTarget> + use<> {
    let pins = match *route {
        Route::Pins(pins) => Some(pins),
        _ => None,
    };
    let pins = pins.into_iter().flat_map(|pins| pins.iter());
    pins.map(pin_target).chain(route.single_target())
}

/// The entry that routes a GSI to a pin.
pub(crate) fn pin_target(pin: Pin) -> RouteTarget {
    let (chip, pin) = (pin.chip().number(), pin.number());
    RouteTarget::Pin { chip, pin }
}

/// Why KVM refuses these entries of one GSI. Kernel source: `setup_routing_entry` in
/// `virt/kvm/irqchip.c`, and `kvm_set_routing_entry` of each architecture.
pub(crate) fn refusals(platform: Platform, targets: &[DumpTarget]) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    let mut chips = BTreeSet::new();
    let mut twice = BTreeSet::new();
    for target in targets {
        if let DumpTarget::Entry(RouteTarget::Pin { chip, pin }) = *target {
            let Some(known) = chip_of(platform, chip) else {
                refusals.push(Refusal::NoSuchChip(chip));
                continue;
            };
            if pin >= known.pins().into() {
                refusals.push(Refusal::NoSuchPin(known, pin));
            }
            if !chips.insert(known) && twice.insert(known) {
                refusals.push(Refusal::TwoPinsOfOneChip(known));
            }
        }
    }
    let mut kinds = targets.iter().filter_map(|target| target.kind());
    let unknown = kinds.clone().find(|kind| !kind.is_in(platform));
    refusals.extend(unknown.map(Refusal::NoSuchKind));
    if let (Some(kind), 2..) = (kinds.next(), targets.len()) {
        refusals.push(Refusal::NotAlone(kind));
    }
    refusals
}

impl DumpTarget {
    /// The kind, if it is not a pin.
    pub(crate) fn kind(self) -> Option<EntryKind> {
        match self {
            Self::Entry(RouteTarget::Msi(_)) => Some(EntryKind::Msi),
            Self::Entry(RouteTarget::HvSint { .. }) => Some(EntryKind::HvSint),
            Self::Entry(RouteTarget::XenEvtchn { .. }) => Some(EntryKind::XenEvtchn),
            Self::Entry(_) => None,
            Self::Untold(kind) => Some(kind),
        }
    }

    /// The pin, if the platform has it.
    pub(crate) fn pin(self, platform: Platform) -> Option<Pin> {
        match self {
            Self::Entry(RouteTarget::Pin { chip, pin }) => {
                Pin::new(chip_of(platform, chip)?, pin).ok()
            }
            _ => None,
        }
    }

    /// The route that consists of this entry: none if it is an invalid pin, or if the dump has only
    /// its kind.
    pub(crate) fn route(self, platform: Platform) -> Option<Route> {
        match self {
            Self::Entry(RouteTarget::Msi(message)) => Some(Route::Msi(message)),
            Self::Entry(RouteTarget::HvSint { vcpu, sint }) => Some(Route::HvSint { vcpu, sint }),
            Self::Entry(RouteTarget::XenEvtchn {
                port,
                vcpu,
                priority,
            }) => Some(Route::XenEvtchn {
                port,
                vcpu,
                priority,
            }),
            Self::Entry(_) => self.pin(platform).map(Route::from),
            Self::Untold(_) => None,
        }
    }
}

impl From<RouteTarget> for DumpTarget {
    fn from(target: RouteTarget) -> Self {
        Self::Entry(target)
    }
}

impl EntryKind {
    /// KVM's number.
    pub(crate) const fn number(self) -> u32 {
        match self {
            Self::Msi => 2,
            Self::S390Adapter => 3,
            Self::HvSint => 4,
            Self::XenEvtchn => 5,
        }
    }

    /// Whether KVM takes such entries on a platform.
    pub(crate) const fn is_in(self, platform: Platform) -> bool {
        match self {
            Self::Msi => true,
            Self::S390Adapter => false,
            Self::HvSint | Self::XenEvtchn => {
                matches!(platform, Platform::X86 | Platform::X86Split)
            }
        }
    }

    /// The name for people.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Msi => "a message",
            Self::S390Adapter => "an s390 adapter",
            Self::HvSint => "a Hyper-V interrupt source",
            Self::XenEvtchn => "a Xen event channel",
        }
    }
}

/// The chip that KVM gives this number.
pub(crate) fn chip_of(platform: Platform, number: u32) -> Option<IrqChip> {
    let chips: &[IrqChip] = match platform {
        Platform::X86 => &[IrqChip::PicMaster, IrqChip::PicSlave, IrqChip::IoApic],
        Platform::X86Split => &[],
        Platform::Arm64Gic => &[IrqChip::Gic],
        Platform::Riscv64Aia => &[IrqChip::Aplic],
    };
    chips.iter().find(|chip| chip.number() == number).copied()
}
