// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Route`]: what one GSI leads to.

use std::fmt;

use notify_core::{RouteEntry, RouteTarget};

use crate::{Gsi, MsiMessage, Pin, Pins};

/// What a GSI leads to: pins, or exactly one thing that is no pin. KVM takes no other combination,
/// and none can be written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Route {
    /// Pins of interrupt controllers.
    Pins(Pins),
    /// A message.
    Msi(MsiMessage),
    /// A synthetic interrupt source of Hyper-V, carried through.
    HvSint {
        /// The vCPU.
        vcpu: u32,
        /// The source.
        sint: u32,
    },
    /// An event channel of Xen, carried through.
    XenEvtchn {
        /// The port.
        port: u32,
        /// The vCPU.
        vcpu: u32,
        /// The priority.
        priority: u32,
    },
}

impl Route {
    /// A pin that it has in common with these.
    pub(crate) fn shared_pin(&self, pins: Pins) -> Option<Pin> {
        match self {
            Self::Pins(own) => own
                .iter()
                .find(|pin| pins.iter().any(|other| other == *pin)),
            _ => None,
        }
    }

    /// The entry of a route that is no pin.
    pub(crate) fn single_entry(&self, gsi: Gsi) -> Option<RouteEntry> {
        let target = match *self {
            Self::Pins(_) => return None,
            Self::Msi(message) => RouteTarget::Msi(message),
            Self::HvSint { vcpu, sint } => RouteTarget::HvSint { vcpu, sint },
            Self::XenEvtchn {
                port,
                vcpu,
                priority,
            } => RouteTarget::XenEvtchn {
                port,
                vcpu,
                priority,
            },
        };
        Some(RouteEntry::new(gsi.number(), target))
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pins(pins) => pins.fmt(f),
            Self::Msi(message) => message.fmt(f),
            Self::HvSint { vcpu, sint } => write!(f, "SINT {sint} of vCPU {vcpu}"),
            Self::XenEvtchn {
                port,
                vcpu,
                priority,
            } => {
                write!(
                    f,
                    "event channel {port} of vCPU {vcpu}, priority {priority}"
                )
            }
        }
    }
}

/// The entry that leads a GSI to a pin.
pub(crate) fn pin_entry(gsi: Gsi, pin: Pin) -> RouteEntry {
    let (chip, pin) = (pin.chip().number(), pin.number());
    RouteEntry::new(gsi.number(), RouteTarget::Pin { chip, pin })
}

impl From<MsiMessage> for Route {
    fn from(message: MsiMessage) -> Self {
        Self::Msi(message)
    }
}

impl From<Pins> for Route {
    fn from(pins: Pins) -> Self {
        Self::Pins(pins)
    }
}

impl From<Pin> for Route {
    fn from(pin: Pin) -> Self {
        Self::Pins(pin.into())
    }
}
