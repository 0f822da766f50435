// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Machine`]: a real VM in which interrupts arrive and stay (x86 only).

use std::io;
use std::sync::Arc;

use kvm_bindings::{
    KVM_CAP_X2APIC_API, KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE,
    KVM_X2APIC_API_USE_32BIT_IDS, kvm_enable_cap, kvm_ioapic_state, kvm_ioapic_state__bindgen_ty_1,
    kvm_irqchip, kvm_irqchip__bindgen_ty_1, kvm_lapic_state,
};
use kvm_ioctls::{Kvm, VcpuFd, VmFd};
use notify_core::KvmVm;

/// Spurious-interrupt vector register, and its bit that enables the local APIC.
const SVR: usize = 0xf0;
const SVR_ENABLE: u32 = 0x100;
/// The first of eight interrupt request registers, 16 bytes apart.
const IRR: usize = 0x200;

/// The interrupt request registers of the controllers: a bit for each pin that was raised.
///
/// An edge stays in a PIC when the line is lowered, and leaves the IOAPIC, whose pins are masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Requests {
    /// Of the first PIC. Its pin 2 shows the second PIC's requests.
    pub pic_master: u8,
    /// Of the second PIC.
    pub pic_slave: u8,
    /// Of the IOAPIC.
    pub ioapic: u32,
}

/// A real VM with a full irqchip and one vCPU that never runs: an interrupt that is delivered to
/// its local APIC stays in the request registers, where it can be read.
#[derive(Debug)]
pub struct Machine {
    vm_fd: VmFd,
    vcpu: VcpuFd,
    vm: Arc<KvmVm>,
}

impl Machine {
    /// Address of an MSI to the only vCPU; the vector is the message's data.
    pub const MSI_ADDRESS: u64 = 0xfee0_0000;

    /// Creates a VM with an irqchip, ready to take MSIs.
    ///
    /// # Errors
    ///
    /// Those of KVM.
    pub fn new() -> io::Result<Self> {
        let vm_fd = Kvm::new()?.create_vm()?;
        vm_fd.create_irq_chip()?;
        let vcpu = vm_fd.create_vcpu(0)?;
        let vm = KvmVm::try_from(&vm_fd).map_err(io::Error::other)?;
        let machine = Self {
            vm_fd,
            vcpu,
            vm: Arc::new(vm),
        };
        machine.clear()?;
        Ok(machine)
    }

    /// Creates a VM without any interrupt controller.
    ///
    /// # Errors
    ///
    /// Those of KVM.
    pub fn without_irqchip() -> io::Result<Arc<KvmVm>> {
        let vm_fd = Kvm::new()?.create_vm()?;
        Ok(Arc::new(KvmVm::try_from(&vm_fd).map_err(io::Error::other)?))
    }

    /// The VM as the crates see it.
    #[must_use]
    pub fn vm(&self) -> Arc<KvmVm> {
        Arc::clone(&self.vm)
    }

    /// The VM's own file descriptor.
    #[must_use]
    pub fn vm_fd(&self) -> &VmFd {
        &self.vm_fd
    }

    /// Lets messages name APIC ids of 32 bits. From then on the kernel refuses a table with a
    /// message of which any of the bits 32 to 39 of the address is set.
    ///
    /// # Errors
    ///
    /// Those of KVM_ENABLE_CAP.
    pub fn use_32bit_ids(&self) -> io::Result<()> {
        let mut capability = kvm_enable_cap {
            cap: KVM_CAP_X2APIC_API,
            ..kvm_enable_cap::default()
        };
        capability.args[0] = u64::from(KVM_X2APIC_API_USE_32BIT_IDS);
        Ok(self.vm_fd.enable_cap(&capability)?)
    }

    /// Unmasks every pin of the IOAPIC, edge-triggered: pin n delivers vector `first` + n.
    ///
    /// # Errors
    ///
    /// Those of KVM_SET_IRQCHIP.
    pub fn unmask_ioapic(&self, first: u8) -> io::Result<()> {
        let vectors = u64::from(first)..;
        let mut entries = vectors.map(|bits| kvm_ioapic_state__bindgen_ty_1 { bits });
        let ioapic = kvm_ioapic_state {
            base_address: 0xfec0_0000,
            redirtbl: std::array::from_fn(|_| entries.next().unwrap_or_default()),
            ..kvm_ioapic_state::default()
        };
        let chip = kvm_irqchip {
            chip_id: KVM_IRQCHIP_IOAPIC,
            pad: 0,
            chip: kvm_irqchip__bindgen_ty_1 { ioapic },
        };
        Ok(self.vm_fd.set_irqchip(&chip)?)
    }

    /// The vectors that were delivered since [`clear`](Self::clear), in ascending order.
    ///
    /// # Errors
    ///
    /// Those of KVM.
    pub fn delivered(&self) -> io::Result<Vec<u8>> {
        let lapic = self.vcpu.get_lapic()?;
        let requested = |vector: &u8| {
            let register = IRR + usize::from(vector / 32) * 16;
            read(&lapic, register) & (1 << (vector % 32)) != 0
        };
        Ok((0..=u8::MAX).filter(requested).collect())
    }

    /// The requests pending in the PICs and in the IOAPIC.
    ///
    /// # Errors
    ///
    /// Those of KVM.
    #[allow(unsafe_code, reason = "a chip's state is a union")]
    pub fn requests(&self) -> io::Result<Requests> {
        let [master, slave, ioapic] = [
            self.chip(KVM_IRQCHIP_PIC_MASTER)?,
            self.chip(KVM_IRQCHIP_PIC_SLAVE)?,
            self.chip(KVM_IRQCHIP_IOAPIC)?,
        ];
        // SAFETY: each request was for one chip, so KVM filled that part of the union. The fields
        // that are read are integers, for which any bytes are valid.
        let (pic_master, pic_slave, ioapic) = unsafe {
            (
                master.chip.pic.irr,
                slave.chip.pic.irr,
                ioapic.chip.ioapic.irr,
            )
        };
        Ok(Requests {
            pic_master,
            pic_slave,
            ioapic,
        })
    }

    fn chip(&self, chip_id: u32) -> io::Result<kvm_irqchip> {
        let mut chip = kvm_irqchip {
            chip_id,
            ..kvm_irqchip::default()
        };
        self.vm_fd.get_irqchip(&mut chip)?;
        Ok(chip)
    }

    /// The state of the local APIC (KVM_GET_LAPIC), as a VMM saves it.
    ///
    /// # Errors
    ///
    /// Those of KVM.
    pub fn lapic(&self) -> io::Result<kvm_lapic_state> {
        Ok(self.vcpu.get_lapic()?)
    }

    /// Replaces the state of the local APIC by that of another VM's (KVM_SET_LAPIC).
    ///
    /// # Errors
    ///
    /// Those of KVM.
    pub fn set_lapic(&self, lapic: &kvm_lapic_state) -> io::Result<()> {
        Ok(self.vcpu.set_lapic(lapic)?)
    }

    /// Clears the delivered interrupts.
    ///
    /// # Errors
    ///
    /// Those of KVM.
    pub fn clear(&self) -> io::Result<()> {
        let mut lapic = self.vcpu.get_lapic()?;
        let svr = read(&lapic, SVR);
        write(&mut lapic, SVR, svr | SVR_ENABLE);
        (0..8).for_each(|n| write(&mut lapic, IRR + n * 16, 0));
        Ok(self.vcpu.set_lapic(&lapic)?)
    }
}

fn read(lapic: &kvm_lapic_state, register: usize) -> u32 {
    let bytes = lapic.regs.iter().skip(register).take(4).rev();
    bytes.fold(0, |word, byte| word << 8 | u32::from(byte.cast_unsigned()))
}

fn write(lapic: &mut kvm_lapic_state, register: usize, value: u32) {
    let bytes = lapic.regs.iter_mut().skip(register);
    for (place, byte) in bytes.zip(value.to_le_bytes()) {
        *place = byte.cast_signed();
    }
}
