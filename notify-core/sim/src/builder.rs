// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`SimVmBuilder`]: the properties of a [`SimVm`](super::SimVm).

use notify_core::RoutingClaim;
use std::sync::Mutex;

use super::SimVm;
use super::interrupt::Stage;
use super::state::State;

/// The interrupt controllers of a simulated VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Profile {
    /// x86 with PIC, IOAPIC and local APICs in the kernel, as after KVM_CREATE_IRQCHIP.
    X86,
    /// x86 with only the local APICs in the kernel (KVM_CAP_SPLIT_IRQCHIP).
    ///
    /// This is also a VM of a kernel without PIC and IOAPIC (`CONFIG_KVM_IOAPIC=n`, Linux 6.17 and
    /// later). There KVM_CREATE_IRQCHIP fails, although KVM_CAP_IRQCHIP is 1, so a VM has the split
    /// irqchip or none. Every request of the port does the same as on other kernels.
    X86Split {
        /// The number of pins of the IOAPIC in user space.
        pins: u32,
    },
    /// arm64 with a GICv3 that is created and has its addresses; see [`SimVm::init_gic`].
    Arm64Gic {
        /// The number of shared interrupts, at most 988.
        spis: u32,
    },
    /// riscv64 with an AIA that is created; see [`SimVm::init_aia`].
    ///
    /// All its sources are edge-triggered.
    Riscv64Aia {
        /// The number of wired sources, at most 1023.
        sources: u32,
    },
    /// x86 with no interrupt controller in the kernel: doorbells only.
    None,
}

impl Profile {
    pub(super) fn is_x86(self) -> bool {
        matches!(self, Self::X86 | Self::X86Split { .. } | Self::None)
    }
}

/// Builds a [`SimVm`]; see [`SimVm::builder`].
///
/// ```
/// use notify_sim::{Profile, SimVm};
///
/// let vm = SimVm::builder().profile(Profile::X86Split { pins: 24 }).vcpus(4).build();
/// # drop(vm);
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct SimVmBuilder {
    profile: Profile,
    vcpus: usize,
    stage: Stage,
    resample_at_unmask: bool,
}

impl Default for SimVmBuilder {
    fn default() -> Self {
        Self {
            profile: Profile::X86,
            vcpus: 1,
            stage: Stage::Created,
            resample_at_unmask: true,
        }
    }
}

impl SimVmBuilder {
    /// Sets the interrupt controllers (default [`Profile::X86`]).
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// Sets the number of vCPUs (default 1). Their local APICs are switched off, as after reset.
    pub fn vcpus(mut self, vcpus: usize) -> Self {
        self.vcpus = vcpus;
        self
    }

    /// Leaves out the interrupt controllers of the profile, as before KVM_CREATE_DEVICE.
    ///
    /// Without them arm64 and riscv64 accept other requests than x86, and return other errors. An
    /// x86 profile becomes [`Profile::None`].
    pub fn without_irqchip(mut self) -> Self {
        self.stage = Stage::Absent;
        self
    }

    /// Sets whether a waiting IOAPIC pin is resampled when the guest unmasks it (default true).
    ///
    /// With true the resampling irqfds of the pin are signalled, as Linux does from 6.3 on. With
    /// false the interrupt is injected, as Linux 6.2 does.
    pub fn resample_at_unmask(mut self, resamples: bool) -> Self {
        self.resample_at_unmask = resamples;
        self
    }

    /// Creates the VM.
    #[must_use]
    pub fn build(self) -> SimVm {
        SimVm {
            claim: RoutingClaim::default(),
            state: Mutex::new(State::new(
                self.profile,
                self.vcpus,
                self.stage,
                self.resample_at_unmask,
            )),
        }
    }
}
