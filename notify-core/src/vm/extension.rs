// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Extension`]: the capabilities of KVM that matter here.

use kvm_bindings as kvm;

/// A KVM capability that matters to notifications.
///
/// Kernel documentation: `Documentation/virt/kvm/api.rst`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Extension {
    /// An interrupt controller in the kernel.
    IrqChip,
    /// KVM_SET_GSI_ROUTING. The value is the number of GSIs, and the limit of routes.
    IrqRouting,
    /// KVM_IRQ_LINE_STATUS.
    IrqInjectStatus,
    /// KVM_IRQFD.
    IrqFd,
    /// KVM_IRQFD with a resample eventfd.
    IrqFdResample,
    /// KVM_IOEVENTFD.
    IoEventFd,
    /// KVM_IOEVENTFD with a length of 0, which matches a write of any width.
    IoEventFdAnyLength,
    /// Such an ioeventfd may be matched by a faster path (x86).
    IoEventFdNoLength,
    /// KVM_SIGNAL_MSI.
    SignalMsi,
    /// MSI messages have a device ID (arm64 with an ITS).
    MsiDevid,
    /// Local APICs in the kernel, IOAPIC in user space (x86).
    SplitIrqChip,
    /// MSI messages with 32-bit APIC IDs (x86).
    X2ApicApi,
}

impl Extension {
    /// All of them, in the order of their declaration.
    pub(super) const ALL: [Self; 12] = [
        Self::IrqChip,
        Self::IrqRouting,
        Self::IrqInjectStatus,
        Self::IrqFd,
        Self::IrqFdResample,
        Self::IoEventFd,
        Self::IoEventFdAnyLength,
        Self::IoEventFdNoLength,
        Self::SignalMsi,
        Self::MsiDevid,
        Self::SplitIrqChip,
        Self::X2ApicApi,
    ];

    /// Whether the value never changes during the life of a VM. It is then a constant of the
    /// kernel, or of the type of the VM. Kernel source: `kvm_vm_ioctl_check_extension` of x86,
    /// arm64 and riscv64, and `kvm_vm_ioctl_check_extension_generic`.
    ///
    /// The others change when an interrupt controller is created: `MsiDevid` with an ITS of arm64,
    /// and, since Linux 7.0, a bit of `X2ApicApi` with a split irqchip of x86.
    pub(super) const fn is_constant(self) -> bool {
        !matches!(self, Self::MsiDevid | Self::X2ApicApi)
    }

    /// Returns KVM's number of the capability (KVM_CAP_*).
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::IrqChip => kvm::KVM_CAP_IRQCHIP,
            Self::IrqRouting => kvm::KVM_CAP_IRQ_ROUTING,
            Self::IrqInjectStatus => kvm::KVM_CAP_IRQ_INJECT_STATUS,
            Self::IrqFd => kvm::KVM_CAP_IRQFD,
            Self::IrqFdResample => kvm::KVM_CAP_IRQFD_RESAMPLE,
            Self::IoEventFd => kvm::KVM_CAP_IOEVENTFD,
            Self::IoEventFdAnyLength => kvm::KVM_CAP_IOEVENTFD_ANY_LENGTH,
            Self::IoEventFdNoLength => kvm::KVM_CAP_IOEVENTFD_NO_LENGTH,
            Self::SignalMsi => kvm::KVM_CAP_SIGNAL_MSI,
            Self::MsiDevid => kvm::KVM_CAP_MSI_DEVID,
            Self::SplitIrqChip => kvm::KVM_CAP_SPLIT_IRQCHIP,
            Self::X2ApicApi => kvm::KVM_CAP_X2APIC_API,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_the_place_of_its_declaration() {
        for (place, capability) in Extension::ALL.into_iter().enumerate() {
            assert_eq!(capability as usize, place);
        }
    }
}
