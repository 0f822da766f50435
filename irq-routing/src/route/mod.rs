// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Plain values: GSIs, chips, pins, messages and [`Route`]s.

pub(crate) mod apic_message;
pub(crate) mod chip;
pub(crate) mod gsi;
pub(crate) mod kernel_entries;
pub(crate) mod pins;

use std::fmt;

use notify_core::RouteTarget;

use crate::{MsiMessage, Pin, Pins};

/// What a GSI is routed to: pins, or exactly one target that is not a pin.
///
/// A `Route` is valid by construction: combinations that KVM refuses cannot be expressed. In the
/// kernel's table it is one entry, or several for [`Pins`]. One such entry is a [`RouteTarget`],
/// which may also be one that KVM refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Route {
    /// Pins of interrupt controllers.
    Pins(Pins),
    /// A message.
    Msi(MsiMessage),
    /// A synthetic interrupt source of Hyper-V, passed to the kernel as it is.
    HvSint {
        /// The vCPU.
        vcpu: u32,
        /// The source.
        sint: u32,
    },
    /// An event channel of Xen, passed to the kernel as it is.
    XenEvtchn {
        /// The port.
        port: u32,
        /// The vCPU.
        vcpu: u32,
        /// The priority.
        priority: u32,
    },
}

/// What the kernel's table has for a GSI; see
/// [`RoutingTable::kernel_route`](crate::RoutingTable::kernel_route).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KernelRoute {
    /// The route, as it was committed, before any translation.
    Routed(Route),
    /// Nothing: the table's translation has blocked the message.
    Blocked,
    /// Nothing.
    Unrouted,
    /// Perhaps the route of a lease that was dropped. The next commit removes it.
    Stale,
    /// Unknown: no table was committed, or the VM panicked while it was given one.
    Unknown,
}

impl Route {
    /// A pin that it shares with these.
    pub(crate) fn shared_pin(&self, pins: Pins) -> Option<Pin> {
        match self {
            Self::Pins(own) => own
                .iter()
                .find(|pin| pins.iter().any(|other| other == *pin)),
            _ => None,
        }
    }

    /// The kernel's entry for a route that is not to pins.
    pub(crate) fn single_target(&self) -> Option<RouteTarget> {
        match *self {
            Self::Pins(_) => None,
            Self::Msi(message) => Some(RouteTarget::Msi(message)),
            Self::HvSint { vcpu, sint } => Some(RouteTarget::HvSint { vcpu, sint }),
            Self::XenEvtchn {
                port,
                vcpu,
                priority,
            } => Some(RouteTarget::XenEvtchn {
                port,
                vcpu,
                priority,
            }),
        }
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
