// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Kinds of machine, and which one a machine of this architecture is.
//!
//! The one file of the crate that asks for the architecture.

use std::fmt;

use crate::IrqChip;

/// Which interrupt controllers a machine has in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Platform {
    /// PICs, IOAPIC and local APICs (KVM_CREATE_IRQCHIP).
    #[cfg_attr(not(any(target_arch = "aarch64", target_arch = "riscv64")), default)]
    X86,
    /// Local APICs only (KVM_CAP_SPLIT_IRQCHIP): routes are messages, and the first GSIs belong to
    /// the IOAPIC in user space.
    X86Split,
    /// A GICv2 or GICv3.
    #[cfg_attr(target_arch = "aarch64", default)]
    Arm64Gic,
    /// An AIA.
    #[cfg_attr(target_arch = "riscv64", default)]
    Riscv64Aia,
}

impl Platform {
    /// How many of the lowest GSIs are not leased for messages, unless the caller knows better: those
    /// of the pins, whether they are wired or not.
    ///
    /// On x86 the timer in the kernel raises GSI 0 wherever it leads, and a split irqchip's EOI exits
    /// exist for the first GSIs alone. On arm64 and riscv64 GSI n is interrupt source n.
    #[must_use]
    pub const fn reserved_gsis(self) -> u32 {
        match self {
            Self::X86 | Self::X86Split => IrqChip::IoApic.pins() as u32,
            Self::Arm64Gic => IrqChip::Gic.pins() as u32,
            Self::Riscv64Aia => IrqChip::Aplic.pins() as u32,
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::X86 => "x86 irqchip",
            Self::X86Split => "x86 split irqchip",
            Self::Arm64Gic => "arm64 GIC",
            Self::Riscv64Aia => "riscv64 AIA",
        })
    }
}
