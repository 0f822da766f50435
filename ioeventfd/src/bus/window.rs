// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Window`]: where a device in the kernel has its registers.

use std::fmt;
use std::io;

use notify_core::{Platform, Vm};

use super::{Datamatch, IoAddress, Place};

/// The registers of a device in the kernel, where no doorbell may lie.
///
/// KVM would register a doorbell there. It would then take the device's writes, or never ring.
///
/// | what KVM has on its bus | window |
/// |---|---|
/// | x86: PICs, I/O APIC, local APIC | [`of_irqchip`](Self::of_irqchip) |
/// | x86: the PIT | [`X86_PIT`](Self::X86_PIT) |
/// | arm64: a GICv3 with ITSs | [`gicv3`](Self::gicv3), with the addresses that the VMM chose |
/// | riscv64: an AIA | [`aia`](Self::aia), with the addresses that the VMM chose |
/// | anything else, such as zones of coalesced MMIO | [`new`](Self::new) |
///
/// Pass all windows to [`DoorbellRegistry::new`](crate::DoorbellRegistry::new), or later to
/// [`reserve`](crate::DoorbellRegistry::reserve).
///
/// ```
/// use std::sync::Arc;
/// use ioeventfd::{DoorbellRegistry, Window};
/// # use notify_sim::{Profile, SimVm};
/// # let vm = Arc::new(SimVm::builder().profile(Profile::Arm64Gic { spis: 32 }).build());
///
/// // An arm64 VM with four vCPUs, a GICv3 and an ITS.
/// let windows = Window::gicv3(0x0800_0000, &[(0x080a_0000, 4)], &[0x0808_0000]);
/// let registry = DoorbellRegistry::new(vm, &windows);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window {
    start: IoAddress,
    size: u64,
    name: &'static str,
}

const PIC_MASTER: Window = Window::new(IoAddress::Pio(0x20), 2, "the master PIC");
const PIC_SLAVE: Window = Window::new(IoAddress::Pio(0xa0), 2, "the slave PIC");
const ELCR: Window = Window::new(IoAddress::Pio(0x4d0), 2, "the PICs' edge/level register");
const IOAPIC: Window = Window::new(IoAddress::Mmio(0xfec0_0000), 0x100, "the I/O APIC");
const LAPIC: Window = Window::new(IoAddress::Mmio(0xfee0_0000), 0x1000, "the local APIC");
const PIT: Window = Window::new(IoAddress::Pio(0x40), 4, "the PIT");
const SPEAKER: Window = Window::new(IoAddress::Pio(0x61), 1, "the PIT's speaker port");

impl Window {
    /// After KVM_CREATE_IRQCHIP on x86: both PICs, the I/O APIC and the local APIC, at their
    /// addresses after reset. Kernel source: `arch/x86/kvm/i8259.c`, `ioapic.h`, `lapic.c`.
    pub const X86_IRQCHIP: &'static [Self] = &[PIC_MASTER, PIC_SLAVE, ELCR, IOAPIC, LAPIC];

    /// After KVM_CREATE_PIT2 on x86: the timer and the port of the speaker. (KVM has the second one
    /// only with KVM_PIT_SPEAKER_DUMMY.) Kernel source: `arch/x86/kvm/i8254.h`.
    pub const X86_PIT: &'static [Self] = &[PIT, SPEAKER];

    /// Returns the windows of the interrupt controllers that a VM has in the kernel.
    ///
    /// That is [`X86_IRQCHIP`](Self::X86_IRQCHIP), or only the local APIC with
    /// KVM_CAP_SPLIT_IRQCHIP. The list is empty before the irqchip is created, and for arm64 and
    /// riscv64, where the VMM chose the addresses.
    ///
    /// # Errors
    ///
    /// Those of [`Vm::platform`]. If that is not supported, use
    /// [`X86_IRQCHIP`](Self::X86_IRQCHIP) for any x86 VM.
    pub fn of_irqchip(vm: &dyn Vm) -> io::Result<&'static [Self]> {
        Ok(match vm.platform()? {
            Some(Platform::X86) => Self::X86_IRQCHIP,
            Some(Platform::X86Split) => &[LAPIC],
            // The VMM chose the addresses of a GIC or an AIA.
            Some(Platform::Arm64Gic | Platform::Riscv64Aia) | None => &[],
        })
    }

    /// Creates a window of `size` bytes from `start`. `name` is for error texts: "the GIC".
    #[must_use]
    pub const fn new(start: IoAddress, size: u64, name: &'static str) -> Self {
        Self { start, size, name }
    }

    /// Returns the windows of a GICv3 (arm64).
    ///
    /// | parameter | addresses | size |
    /// |---|---|---|
    /// | `distributor` | KVM_VGIC_V3_ADDR_TYPE_DIST | 64 KiB |
    /// | `redistributors`: address and number of vCPUs | KVM_VGIC_V3_ADDR_TYPE_REDIST, or each KVM_VGIC_V3_ADDR_TYPE_REDIST_REGION | 128 KiB for each vCPU |
    /// | `itss` | KVM_VGIC_ITS_ADDR_TYPE | 128 KiB each, with the frame of GITS_TRANSLATER |
    ///
    /// Kernel source: `vgic_register_dist_iodev`, `vgic_register_redist_iodev` and
    /// `vgic_register_its_iodev` in `arch/arm64/kvm/vgic`.
    #[must_use]
    pub fn gicv3(distributor: u64, redistributors: &[(u64, u32)], itss: &[u64]) -> Vec<Self> {
        let mmio = |base, size, name| Self::new(IoAddress::Mmio(base), size, name);
        let redistributors = redistributors.iter().map(|(base, vcpus)| {
            mmio(
                *base,
                0x2_0000 * u64::from(*vcpus),
                "the GICv3 redistributors",
            )
        });
        let itss = itss.iter().map(|base| mmio(*base, 0x2_0000, "a GICv3 ITS"));
        let distributor = mmio(distributor, 0x1_0000, "the GICv3 distributor");
        [distributor]
            .into_iter()
            .chain(redistributors)
            .chain(itss)
            .collect()
    }

    /// Returns the windows of an AIA (riscv64).
    ///
    /// `aplic` is KVM_DEV_RISCV_AIA_ADDR_APLIC, of 16 KiB. `imsics` has the addresses of the vCPUs'
    /// IMSICs (KVM_DEV_RISCV_AIA_ADDR_IMSIC), of 4 KiB each.
    ///
    /// Kernel source: `kvm_riscv_aia_aplic_init` in `arch/riscv/kvm/aia_aplic.c`,
    /// `kvm_riscv_vcpu_aia_imsic_init` in `arch/riscv/kvm/aia_imsic.c`.
    #[must_use]
    pub fn aia(aplic: u64, imsics: &[u64]) -> Vec<Self> {
        let mmio = |base, size, name| Self::new(IoAddress::Mmio(base), size, name);
        let imsics = imsics.iter().map(|base| mmio(*base, 0x1000, "an IMSIC"));
        [mmio(aplic, 0x4000, "the APLIC")]
            .into_iter()
            .chain(imsics)
            .collect()
    }

    pub(crate) fn covers(&self, place: Place) -> bool {
        let (start, at) = (self.start.number(), place.address.number());
        // One for any write may not begin where the window ends either: see `Place::interferes`.
        let begins_at_its_end = place.datamatch == Datamatch::AnyWrite;
        self.start.bus() == place.address.bus()
            && self.size > 0
            && if start <= at {
                at - start < self.size || (begins_at_its_end && at - start == self.size)
            } else {
                start - at < place.size()
            }
    }
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Window")
            .field("start", &self.start)
            .field("size", &format_args!("{:#x}", self.size))
            .field("name", &self.name)
            .finish()
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({:#x} bytes from {} on)",
            self.name, self.size, self.start
        )
    }
}
