// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Interrupt controllers in the kernel, and their pins.

use std::fmt;

use crate::{Error, Platform};

/// An interrupt controller in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum IrqChip {
    /// x86: the first 8259A.
    PicMaster,
    /// x86: the second 8259A, cascaded into the first.
    PicSlave,
    /// x86: the I/O APIC.
    IoApic,
    /// arm64: the distributor. Pin n is SPI n, whose INTID is n + 32.
    Gic,
    /// riscv64: the APLIC.
    Aplic,
}

impl IrqChip {
    /// Returns the kernel's number of the chip (`KVM_IRQCHIP_*`).
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::PicMaster | Self::Gic | Self::Aplic => 0,
            Self::PicSlave => 1,
            Self::IoApic => 2,
        }
    }

    /// The greatest number of pins (`KVM_IRQCHIP_NUM_PINS` and the like). A VM may have created
    /// fewer; its table accepts routes to the others all the same.
    #[must_use]
    pub(crate) const fn pins(self) -> u16 {
        match self {
            Self::PicMaster | Self::PicSlave => 8,
            Self::IoApic => 24,
            Self::Gic => 988,
            Self::Aplic => 1024,
        }
    }

    /// Whether a VM of this platform has the chip in the kernel.
    #[must_use]
    pub(crate) const fn is_in(self, platform: Platform) -> bool {
        matches!(
            (self, platform),
            (
                Self::PicMaster | Self::PicSlave | Self::IoApic,
                Platform::X86
            ) | (Self::Gic, Platform::Arm64Gic)
                | (Self::Aplic, Platform::Riscv64Aia)
        )
    }

    /// Whether one VM may have both.
    pub(crate) const fn is_beside(self, other: Self) -> bool {
        match self {
            Self::PicMaster | Self::PicSlave | Self::IoApic => other.is_in(Platform::X86),
            Self::Gic => other.is_in(Platform::Arm64Gic),
            Self::Aplic => other.is_in(Platform::Riscv64Aia),
        }
    }
}

impl fmt::Display for IrqChip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PicMaster => "PIC master",
            Self::PicSlave => "PIC slave",
            Self::IoApic => "IOAPIC",
            Self::Gic => "GIC",
            Self::Aplic => "APLIC",
        })
    }
}

/// One pin of an interrupt controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pin {
    chip: IrqChip,
    number: u16,
}

impl Pin {
    /// Creates the pin of this number, counted from 0.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchPin`].
    pub fn new(chip: IrqChip, number: u32) -> Result<Self, Error> {
        match u16::try_from(number) {
            Ok(number) if number < chip.pins() => Ok(Self { chip, number }),
            _ => Err(Error::NoSuchPin { chip, pin: number }),
        }
    }

    /// Returns its chip.
    #[must_use]
    pub const fn chip(self) -> IrqChip {
        self.chip
    }

    /// Returns its number on the chip.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.number as u32
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} pin {}", self.chip, self.number)
    }
}
