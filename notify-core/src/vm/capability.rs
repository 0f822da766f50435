// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What a machine can be asked to support.

use kvm_bindings as kvm;

/// A KVM capability that matters to notifications.
///
/// Kernel documentation: `Documentation/virt/kvm/api.rst`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Capability {
    /// An interrupt controller in the kernel.
    IrqChip,
    /// KVM_SET_GSI_ROUTING; the answer is the number of GSIs, and of routes.
    IrqRouting,
    /// KVM_IRQ_LINE_STATUS.
    IrqInjectStatus,
    /// KVM_IRQFD.
    IrqFd,
    /// KVM_IRQFD with a resample eventfd.
    IrqFdResample,
    /// KVM_IOEVENTFD.
    IoEventFd,
    /// An ioeventfd that matches a write of any width.
    IoEventFdAnyLength,
    /// KVM_CAP_IOEVENTFD_NO_LENGTH: such an ioeventfd may be matched by a faster path (x86).
    IoEventFdNoLength,
    /// KVM_SIGNAL_MSI.
    SignalMsi,
    /// Messages carry a device id (arm64 with an ITS).
    MsiDevid,
    /// The local APICs in the kernel, the IOAPIC in user space (x86).
    SplitIrqChip,
    /// Messages with 32-bit APIC ids (x86).
    X2ApicApi,
}

impl Capability {
    /// The number of variants.
    pub(super) const COUNT: usize = Self::X2ApicApi as usize + 1;

    /// Whether a machine's answer is the same for ever. Others change when a controller is created.
    pub(super) const fn is_constant(self) -> bool {
        matches!(
            self,
            Self::IrqRouting
                | Self::IrqInjectStatus
                | Self::IrqFd
                | Self::IoEventFd
                | Self::IoEventFdAnyLength
                | Self::IoEventFdNoLength
                | Self::SignalMsi
        )
    }

    /// KVM's number.
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
