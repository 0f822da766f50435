// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The saved form: numbers and names, unchecked.
//!
//! These types are the format. They change only with its version, independently of the types that
//! they represent.

use std::fmt;

use crate::snapshot::versioned::Form;
#[cfg(feature = "serde")]
use crate::snapshot::versioned::at_most;
use crate::{Error, Gsi, IrqChip, MsiMessage, Pin, Pins, Platform, Route};

/// More than any table has, as in [`RoutingTableBuilder`](crate::RoutingTableBuilder).
#[cfg(feature = "serde")]
const MOST_GSIS: usize = crate::start::builder::MOST_GSIS as usize;

/// No platform routes a GSI to more.
#[cfg(feature = "serde")]
const MOST_PINS: usize = 3;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename = "Snapshot")
)]
pub(super) struct Saved {
    pub(super) version: u32,
    pub(super) platform: SavedPlatform,
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "at_most::<MOST_GSIS, _, _>")
    )]
    pub(super) gsis: Vec<SavedGsi>,
}

impl Form for Saved {
    const VERSION: u32 = super::VERSION;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case")
)]
pub(super) enum SavedPlatform {
    X86,
    X86Split,
    Arm64Gic,
    Riscv64Aia,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct SavedGsi {
    pub(super) gsi: u32,
    /// Whether it belongs to the VM's wiring.
    pub(super) wired: bool,
    pub(super) name: Option<String>,
    pub(super) route: Option<SavedRoute>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case")
)]
pub(super) enum SavedRoute {
    Pins(
        #[cfg_attr(
            feature = "serde",
            serde(deserialize_with = "at_most::<MOST_PINS, _, _>")
        )]
        Vec<SavedPin>,
    ),
    Msi {
        address: u64,
        data: u32,
        devid: Option<u32>,
    },
    HvSint {
        vcpu: u32,
        sint: u32,
    },
    XenEvtchn {
        port: u32,
        vcpu: u32,
        priority: u32,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct SavedPin {
    chip: SavedChip,
    pin: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case")
)]
enum SavedChip {
    PicMaster,
    PicSlave,
    IoApic,
    Gic,
    Aplic,
}

/// Addresses are in hex.
impl fmt::Debug for SavedRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pins(pins) => f.debug_tuple("Pins").field(pins).finish(),
            Self::Msi {
                address,
                data,
                devid,
            } => write!(
                f,
                "Msi {{ address: {address:#x}, data: {data:#x}, devid: {devid:x?} }}"
            ),
            Self::HvSint { vcpu, sint } => write!(f, "HvSint {{ vcpu: {vcpu}, sint: {sint} }}"),
            Self::XenEvtchn {
                port,
                vcpu,
                priority,
            } => write!(
                f,
                "XenEvtchn {{ port: {port}, vcpu: {vcpu}, priority: {priority} }}"
            ),
        }
    }
}

impl SavedGsi {
    pub(super) fn wired(gsi: Gsi, pins: Pins) -> Self {
        Self {
            gsi: gsi.number(),
            wired: true,
            name: None,
            route: Some(Route::Pins(pins).into()),
        }
    }

    pub(super) fn leased(gsi: Gsi, route: Option<Route>, name: Option<String>) -> Self {
        Self {
            gsi: gsi.number(),
            wired: false,
            name,
            route: route.map(SavedRoute::from),
        }
    }
}

impl SavedRoute {
    /// The route that it represents, if it is valid.
    pub(super) fn load(&self) -> Result<Route, Error> {
        Ok(match *self {
            Self::Pins(ref pins) => {
                let pins: Vec<Pin> = pins.iter().map(SavedPin::load).collect::<Result<_, _>>()?;
                Route::Pins(Pins::new(pins)?)
            }
            Self::Msi {
                address,
                data,
                devid,
            } => Route::Msi(MsiMessage {
                address,
                data,
                devid,
            }),
            Self::HvSint { vcpu, sint } => Route::HvSint { vcpu, sint },
            Self::XenEvtchn {
                port,
                vcpu,
                priority,
            } => Route::XenEvtchn {
                port,
                vcpu,
                priority,
            },
        })
    }
}

impl From<Route> for SavedRoute {
    fn from(route: Route) -> Self {
        match route {
            Route::Pins(pins) => Self::Pins(pins.iter().map(SavedPin::from).collect()),
            Route::Msi(MsiMessage {
                address,
                data,
                devid,
            }) => Self::Msi {
                address,
                data,
                devid,
            },
            Route::HvSint { vcpu, sint } => Self::HvSint { vcpu, sint },
            Route::XenEvtchn {
                port,
                vcpu,
                priority,
            } => Self::XenEvtchn {
                port,
                vcpu,
                priority,
            },
        }
    }
}

impl SavedPin {
    fn load(&self) -> Result<Pin, Error> {
        let chip = match self.chip {
            SavedChip::PicMaster => IrqChip::PicMaster,
            SavedChip::PicSlave => IrqChip::PicSlave,
            SavedChip::IoApic => IrqChip::IoApic,
            SavedChip::Gic => IrqChip::Gic,
            SavedChip::Aplic => IrqChip::Aplic,
        };
        Pin::new(chip, self.pin)
    }
}

impl From<Pin> for SavedPin {
    fn from(pin: Pin) -> Self {
        let chip = match pin.chip() {
            IrqChip::PicMaster => SavedChip::PicMaster,
            IrqChip::PicSlave => SavedChip::PicSlave,
            IrqChip::IoApic => SavedChip::IoApic,
            IrqChip::Gic => SavedChip::Gic,
            IrqChip::Aplic => SavedChip::Aplic,
        };
        let pin = pin.number();
        Self { chip, pin }
    }
}

impl SavedPlatform {
    pub(super) fn load(self) -> Platform {
        match self {
            Self::X86 => Platform::X86,
            Self::X86Split => Platform::X86Split,
            Self::Arm64Gic => Platform::Arm64Gic,
            Self::Riscv64Aia => Platform::Riscv64Aia,
        }
    }
}

impl From<Platform> for SavedPlatform {
    fn from(platform: Platform) -> Self {
        match platform {
            Platform::X86 => Self::X86,
            Platform::X86Split => Self::X86Split,
            Platform::Arm64Gic => Self::Arm64Gic,
            Platform::Riscv64Aia => Self::Riscv64Aia,
        }
    }
}
