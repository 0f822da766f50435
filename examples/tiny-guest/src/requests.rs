// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The requests pending at the pins of KVM's I/O APIC and PICs.

use kvm_bindings::{
    KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, kvm_irqchip,
};

use crate::error::kvm;
use crate::{Error, Machine};

#[allow(unsafe_code)]
impl Machine {
    /// The pins of the I/O APIC that request an interrupt, one bit each. A level-triggered pin does
    /// so as long as it is high.
    ///
    /// # Errors
    ///
    /// If KVM does not emulate it.
    pub fn ioapic_requests(&self) -> Result<u32, Error> {
        let chip = self.irqchip(KVM_IRQCHIP_IOAPIC)?;
        // SAFETY: KVM was asked for an I/O APIC and has filled in this member of the union.
        Ok(unsafe { chip.chip.ioapic.irr })
    }

    /// The pins of both PICs that request an interrupt, one bit each. A level-triggered pin does so
    /// as long as it is high.
    ///
    /// # Errors
    ///
    /// If KVM does not emulate them.
    pub fn pic_requests(&self) -> Result<u16, Error> {
        let chips = [KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE];
        let [first, second] = chips.map(|id| self.irqchip(id));
        // SAFETY: KVM was asked for a PIC and has filled in this member of the union.
        let requests = |chip: kvm_irqchip| unsafe { chip.chip.pic.irr };
        Ok(u16::from_le_bytes([requests(first?), requests(second?)]))
    }

    fn irqchip(&self, chip_id: u32) -> Result<kvm_irqchip, Error> {
        let mut chip = kvm_irqchip {
            chip_id,
            ..Default::default()
        };
        let result = self.vm().get_irqchip(&mut chip);
        result.map_err(kvm("KVM_GET_IRQCHIP"))?;
        Ok(chip)
    }
}
