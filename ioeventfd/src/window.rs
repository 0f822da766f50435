// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Window`]: where a device in the kernel answers. The lists of x86 stand here, by name.

use std::fmt;
use std::io;

use notify_core::{Platform, Vm};

use crate::place::Place;
use crate::{Datamatch, IoAddress};

/// Addresses at which a device in the kernel answers, so that no doorbell may lie there.
///
/// Those of the irqchip are found out by [`Window::of_irqchip`]. A VMM knows best which other
/// devices its VM has; the lists here are those of a PC. What KVM places where the VMM says (an
/// arm64 GIC, zones of coalesced MMIO) is reserved with
/// [`DoorbellRegistry::reserve`](crate::DoorbellRegistry::reserve).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// After KVM_CREATE_IRQCHIP on x86: both PICs, the I/O APIC and the local APIC where they are
    /// after reset. Kernel source: `arch/x86/kvm/i8259.c`, `ioapic.h`, `lapic.c`.
    pub const X86_IRQCHIP: &'static [Self] = &[PIC_MASTER, PIC_SLAVE, ELCR, IOAPIC, LAPIC];

    /// With KVM_CAP_SPLIT_IRQCHIP on x86: the local APIC alone.
    pub const X86_SPLIT_IRQCHIP: &'static [Self] = &[LAPIC];

    /// After KVM_CREATE_PIT2 on x86: the timer, and the port of the speaker (which KVM leaves out
    /// if asked without KVM_PIT_SPEAKER_DUMMY). Kernel source: `arch/x86/kvm/i8254.h`.
    pub const X86_PIT: &'static [Self] = &[PIT, SPEAKER];

    /// The windows of the interrupt controllers that a VM has in the kernel: one of the lists
    /// above, or none. A VM whose irqchip is created later has none yet.
    ///
    /// # Errors
    ///
    /// Those of [`Vm::platform`]. If it is not supported, the VMM chooses a list.
    pub fn of_irqchip(vm: &dyn Vm) -> io::Result<&'static [Self]> {
        Ok(match vm.platform()? {
            Some(Platform::X86) => Self::X86_IRQCHIP,
            Some(Platform::X86Split) => Self::X86_SPLIT_IRQCHIP,
            // A GIC or an AIA is where the VMM has placed it.
            Some(Platform::Arm64Gic | Platform::Riscv64Aia) | None => &[],
        })
    }

    /// `size` bytes from `start` on, and what answers there, as an error is to say it ("the GIC").
    #[must_use]
    pub const fn new(start: IoAddress, size: u64, name: &'static str) -> Self {
        Self { start, size, name }
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

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({:#x} bytes from {} on)",
            self.name, self.size, self.start
        )
    }
}
