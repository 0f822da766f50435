// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A case, and the host that creates its VMs.

use crate::backend::{Backend, Irqchip, Sim, Spec};
#[cfg(target_arch = "x86_64")]
use kvm_test::kernel;

/// A behaviour of KVM, and a check that a VM has it.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) run: Box<dyn Fn(&Host) + Send>,
}

pub(crate) fn case(name: impl Into<String>, run: impl Fn(&Host) + Send + 'static) -> Case {
    Case {
        name: name.into(),
        run: Box::new(run),
    }
}

/// Creates VMs.
pub(crate) struct Host {
    make: fn(Spec) -> Box<dyn Backend>,
    /// Major and minor; `SimVm` counts as the newest.
    kernel: (u32, u32),
}

impl Host {
    pub(crate) fn sim() -> Self {
        Self {
            make: |spec| Box::new(Sim::new(spec)),
            kernel: (u32::MAX, 0),
        }
    }

    #[cfg(target_arch = "x86_64")]
    pub(crate) fn kvm() -> Self {
        Self {
            make: |spec| Box::new(crate::backend::Kvm::new(spec)),
            kernel: (kernel().0, kernel().1),
        }
    }

    /// Whether a rule that came with that kernel applies.
    pub(crate) fn is_linux_since(&self, major: u32, minor: u32) -> bool {
        self.kernel >= (major, minor)
    }

    pub(crate) fn machine(&self, irqchip: Irqchip, vcpus: u8) -> Box<dyn Backend> {
        (self.make)(Spec { irqchip, vcpus })
    }

    /// A VM with all interrupt controllers, and one vCPU that takes interrupts.
    pub(crate) fn vm(&self) -> Box<dyn Backend> {
        let vm = self.machine(Irqchip::Full, 1);
        vm.enable_lapic();
        vm
    }

    /// The same, but PICs and IOAPIC are left to user space (KVM_CAP_SPLIT_IRQCHIP).
    pub(crate) fn split(&self) -> Box<dyn Backend> {
        let vm = self.machine(Irqchip::Split, 1);
        vm.enable_lapic();
        vm
    }

    /// A VM without any interrupt controller.
    pub(crate) fn bare(&self) -> Box<dyn Backend> {
        self.machine(Irqchip::None, 1)
    }
}
