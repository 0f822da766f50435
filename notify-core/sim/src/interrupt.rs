// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The interrupt controllers of a VM as one.

use std::io;

use super::arm64::Gic;
use super::ioapic::IoApic;
use super::lapic::{Lapics, Message};
use super::line::Source;
use super::pic::Pic;
use super::riscv64::Aplic;
use super::{Profile, errno};
use notify_core::MsiMessage;

/// The numbers of x86's chips (`arch/x86/include/uapi/asm/kvm.h`), which other hosts' headers lack.
pub(super) const PIC_MASTER: u32 = 0;
pub(super) const PIC_SLAVE: u32 = 1;
pub(super) const IOAPIC: u32 = 2;

/// The controllers of a PC, apart from the processors' own.
#[derive(Debug)]
pub(super) struct Pc {
    pub(super) pic: Pic,
    pub(super) ioapic: IoApic,
}

/// How far the VMM has come with a controller that it creates and then initialises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Absent,
    Created,
    Initialised,
}

#[derive(Debug)]
pub(super) enum Chips {
    None,
    /// A PC, or, without its two chips, a split irqchip.
    X86(Lapics, Option<Box<Pc>>),
    Gic(Gic),
    Aplic(Aplic),
}

impl Chips {
    pub(super) fn new(profile: Profile, vcpus: usize, stage: Stage) -> Self {
        let pc = || {
            Box::new(Pc {
                pic: Pic::default(),
                ioapic: IoApic::new(),
            })
        };
        match profile {
            Profile::X86 => Self::X86(Lapics::new(vcpus), Some(pc())),
            Profile::X86Split { .. } => Self::X86(Lapics::new(vcpus), None),
            Profile::Arm64Gic { spis } => Self::Gic(Gic::new(spis, vcpus, stage)),
            Profile::Riscv64Aia { sources } => Self::Aplic(Aplic::new(sources, vcpus, stage)),
            Profile::None => Self::None,
        }
    }

    pub(super) fn exist(&self) -> bool {
        match self {
            Self::None => false,
            Self::X86(..) => true,
            Self::Gic(gic) => gic.stage != Stage::Absent,
            Self::Aplic(aplic) => aplic.stage != Stage::Absent,
        }
    }

    /// Whether the VM has a routing table. arm64 does not ask for a GIC.
    pub(super) fn allow_routing(&self) -> bool {
        matches!(self, Self::Gic(_)) || self.exist()
    }

    /// Initialises a GIC or an AIA. Returns how many devices that puts on the bus; `None` if it is
    /// not there, or is initialised already.
    pub(super) fn initialise(&mut self) -> Option<usize> {
        let (stage, devices) = match self {
            Self::Gic(gic) => (&mut gic.stage, 0),
            Self::Aplic(aplic) => (&mut aplic.stage, 1 + aplic.vcpus),
            Self::None | Self::X86(..) => return None,
        };
        (*stage == Stage::Created).then(|| {
            *stage = Stage::Initialised;
            devices
        })
    }

    pub(super) fn lapics(&mut self) -> Option<&mut Lapics> {
        match self {
            Self::X86(lapics, _) => Some(lapics),
            _ => None,
        }
    }

    /// Changes a local APIC from outside, as KVM_SET_LAPIC does.
    pub(super) fn restore_lapic(&mut self, change: impl FnOnce(&mut Lapics)) {
        if let Self::X86(lapics, pc) = self {
            change(lapics);
            if let Some(pc) = pc {
                pc.ioapic.restore_rtc(lapics);
            }
        }
    }

    pub(super) fn pc(&mut self) -> Option<(&mut Lapics, &mut Pc)> {
        match self {
            Self::X86(lapics, Some(pc)) => Some((lapics, pc)),
            _ => None,
        }
    }

    /// The gate before every other check of an assignment.
    pub(super) fn allow_irqfd(&self, resample: bool) -> io::Result<()> {
        match self {
            Self::None => Err(errno(libc::EINVAL)),
            Self::X86(_, None) if resample => Err(errno(libc::EINVAL)),
            Self::Gic(gic) if gic.stage != Stage::Initialised => Err(errno(libc::EAGAIN)),
            _ => Ok(()),
        }
    }

    /// Changes a pin of a chip. Returns what the chip does; negative if it ignores the change.
    pub(super) fn set_pin(
        &mut self,
        chip: u32,
        pin: u32,
        (source, level): (Source, bool),
        status: bool,
    ) -> i32 {
        match self {
            Self::X86(lapics, Some(pc)) => match chip {
                PIC_MASTER => pc.pic.set(pin, source, level),
                PIC_SLAVE => pc.pic.set(pin + 8, source, level),
                _ => pc.ioapic.set(lapics, pin, (source, level), status),
            },
            Self::Gic(gic) => gic.set(pin, level),
            Self::Aplic(aplic) => aplic.set(pin, level),
            Self::None | Self::X86(_, None) => -1,
        }
    }

    /// How many took a message; negative for an errno.
    pub(super) fn message(&mut self, message: &MsiMessage, wide: bool) -> i32 {
        match self {
            Self::X86(lapics, _) => {
                lapics.deliver(Message::from_msi(message, wide), &mut Vec::new())
            }
            Self::Gic(gic) => gic.message(message),
            Self::Aplic(aplic) => aplic.message(message),
            Self::None => -1,
        }
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    #[test]
    fn chips_have_the_kernels_numbers() {
        use kvm_bindings::{KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE};
        assert_eq!(super::PIC_MASTER, KVM_IRQCHIP_PIC_MASTER);
        assert_eq!(super::PIC_SLAVE, KVM_IRQCHIP_PIC_SLAVE);
        assert_eq!(super::IOAPIC, KVM_IRQCHIP_IOAPIC);
    }
}
