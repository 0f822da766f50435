// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Platform`]: the interrupt controllers that a VM has in the kernel.

use std::fmt;

/// Which interrupt controllers a VM has in the kernel.
///
/// The enum is closed: code that matches on it chooses chips, pins and routes, and has no right
/// default for an unknown platform. A new platform is a new major version of this crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Platform {
    /// PICs, IOAPIC and local APICs (KVM_CREATE_IRQCHIP).
    #[cfg_attr(not(any(target_arch = "aarch64", target_arch = "riscv64")), default)]
    X86,
    /// Local APICs only (KVM_CAP_SPLIT_IRQCHIP); the IOAPIC is in user space.
    ///
    /// All routes are messages. The first GSIs are those of the IOAPIC's pins.
    X86Split,
    /// A GICv2 or GICv3.
    #[cfg_attr(target_arch = "aarch64", default)]
    Arm64Gic,
    /// An AIA.
    #[cfg_attr(target_arch = "riscv64", default)]
    Riscv64Aia,
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
