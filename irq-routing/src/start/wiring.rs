// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Wiring`]: what a table starts with.

use crate::{Error, IrqChip, Pin, Pins, Platform};

/// The pins that a table starts with: a plain value, which the first commit gives to KVM.
///
/// KVM installs a default table when it creates its interrupt controllers. The first table that is
/// set replaces it, and pins that are not in that table are not wired any more. So a table starts
/// with one of these ([`RoutingTableBuilder::wiring`](crate::RoutingTableBuilder::wiring)):
///
/// | the VM | its wiring |
/// |---|---|
/// | a PC with ACPI, whose firmware tables are modelled on QEMU's | [`pc`](Self::pc) |
/// | x86, as KVM has wired it | [`kernel_default_x86`](Self::kernel_default_x86), the default |
/// | x86 with the IOAPIC in user space | [`none`](Self::none), the default there |
/// | arm64 | [`gic`](Self::gic) |
/// | riscv64 | [`aia`](Self::aia) |
///
/// ```
/// use std::sync::Arc;
/// use irq_routing::{MsiMessage, RoutingTable, Wiring};
/// use notify_sim::{CallKind, SimVm};
///
/// let vm = Arc::new(SimVm::builder().build());
/// let table = RoutingTable::builder(vm.clone()).wiring(Wiring::pc()).build()?;
/// let lease = table.lease_msi(MsiMessage::new(0xfee0_0000, 0x40))?;
/// assert_eq!(vm.calls(CallKind::SetGsiRouting), 1, "the wiring and the message");
///
/// let timer = table.route(table.gsi(0)?).map(|route| route.to_string());
/// assert_eq!(timer.as_deref(), Some("PIC master pin 0, IOAPIC pin 2"));
/// # Ok::<(), irq_routing::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Wiring {
    platform: Platform,
    lines: Vec<(u32, Pins)>,
}

impl Wiring {
    /// Returns the wiring of a PC, as QEMU installs it.
    ///
    /// GSIs 0 to 15 are routed to a pin of a PIC and to one of the IOAPIC, 16 to 23 to the IOAPIC
    /// alone.
    ///
    /// Two are special. The timer's GSI 0 is routed to pin 2 of the IOAPIC; the ACPI tables need an
    /// interrupt source override for it. GSI 2 has no route: its pin of the first PIC is the
    /// cascade of the second PIC, and its pin of the IOAPIC belongs to GSI 0.
    ///
    /// QEMU source: `kvm_pc_setup_irq_routing` in `hw/i386/kvm/ioapic.c`.
    #[must_use]
    pub fn pc() -> Self {
        let lines = (0..IrqChip::IoApic.pins()).filter(|gsi| *gsi != 2);
        Self::x86(lines, |gsi| if gsi == 0 { 2 } else { gsi })
    }

    /// Returns the wiring that KVM_CREATE_IRQCHIP installs.
    ///
    /// As [`pc`](Self::pc), but GSI n is always routed to pin n of the IOAPIC, GSI 2 included.
    ///
    /// A guest whose ACPI tables have the override of a PC gets no timer interrupt from the IOAPIC.
    ///
    /// Kernel source: `default_routing` in `arch/x86/kvm/irq.c`, formerly `irq_comm.c`.
    #[must_use]
    pub fn kernel_default_x86() -> Self {
        Self::x86(0..IrqChip::IoApic.pins(), |gsi| gsi)
    }

    /// Returns a wiring without pins. It is that of a split irqchip.
    ///
    /// The pins of a split irqchip are in user space, and the kernel refuses routes to them.
    #[must_use]
    pub fn none(platform: Platform) -> Self {
        Self {
            platform,
            lines: Vec::new(),
        }
    }

    /// Returns the wiring that KVM installs for a GIC with `spis` shared interrupts (SPIs).
    ///
    /// GSI n is routed to SPI n, whose INTID is n + 32. KVM installs it when the GIC is
    /// initialised, which replaces a table that was committed before; then call
    /// [`RoutingTable::recommit`](crate::RoutingTable::recommit) after it.
    ///
    /// Kernel source: `kvm_vgic_setup_default_irq_routing` in `arch/arm64/kvm/vgic/vgic-irqfd.c`.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchPin`] for more than 988, the most that a routing table can have.
    pub fn gic(spis: u32) -> Result<Self, Error> {
        Self::identity(Platform::Arm64Gic, IrqChip::Gic, 0..spis)
    }

    /// Returns the wiring that KVM installs for an AIA with `sources` wired sources.
    ///
    /// GSI n is routed to source n, from 0 to `sources`. Sources are numbered from 1, so a signal
    /// of GSI 0 is lost.
    ///
    /// Kernel source: `kvm_riscv_aia_aplic_init` in `arch/riscv/kvm/aia_aplic.c`, which counts
    /// source 0, and `kvm_riscv_setup_default_irq_routing`.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchPin`] for more than 1023, the most that an APLIC has.
    pub fn aia(sources: u32) -> Result<Self, Error> {
        Self::identity(Platform::Riscv64Aia, IrqChip::Aplic, 0..=sources)
    }

    fn x86(gsis: impl Iterator<Item = u16>, ioapic: impl Fn(u16) -> u16) -> Self {
        let line = |gsi: u16| {
            let pic = match gsi {
                0..8 => Some((IrqChip::PicMaster, gsi)),
                8..16 => Some((IrqChip::PicSlave, gsi - 8)),
                _ => None,
            };
            let pins = pic.into_iter().chain([(IrqChip::IoApic, ioapic(gsi))]);
            let pins = pins.filter_map(|(chip, pin)| Pin::new(chip, pin.into()).ok());
            Some((gsi.into(), Pins::new(pins).ok()?))
        };
        Self {
            platform: Platform::X86,
            lines: gsis.filter_map(line).collect(),
        }
    }

    fn identity(
        platform: Platform,
        chip: IrqChip,
        gsis: impl Iterator<Item = u32>,
    ) -> Result<Self, Error> {
        let line = |gsi| Pin::new(chip, gsi).map(|pin| (gsi, pin.into()));
        Ok(Self {
            platform,
            lines: gsis.map(line).collect::<Result<_, _>>()?,
        })
    }

    /// The platform that has these chips.
    pub(crate) fn platform(&self) -> Platform {
        self.platform
    }

    /// The GSIs and their pins, in the order of the GSIs.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (u32, Pins)> + '_ {
        self.lines.iter().copied()
    }
}
