// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A VM: its RAM, its interrupt controllers and its vCPUs.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use kvm_bindings::{
    KVM_CAP_SPLIT_IRQCHIP, KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE,
    kvm_enable_cap, kvm_irqchip,
};
use kvm_ioctls::{Kvm, VmFd};
use vm_memory::{Bytes, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

use crate::error::kvm;
use crate::ram::Ram;
use crate::shared::{Array, Slot, allocate};
use crate::{Error, Vcpu, cpuid, layout, long_mode, stop};

/// Which interrupt controllers KVM emulates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Irqchip {
    /// None: `hlt` makes [`Vcpu::run`] return, and the addresses of the APICs are MMIO.
    None,
    /// The local APICs. The host program emulates the I/O APIC:
    /// [`Exit::IoapicEoi`](crate::Exit::IoapicEoi) reports the EOIs of its level-triggered
    /// interrupts.
    Split {
        /// The number of pins of that I/O APIC: KVM scans the routes of these GSIs for
        /// level-triggered interrupts.
        pins: u32,
    },
    /// The local APICs, an I/O APIC of 24 pins and two PICs, with the usual routes between them.
    #[default]
    Full,
}

/// Builds a [`Machine`].
#[derive(Clone, Debug)]
pub struct MachineBuilder {
    irqchip: Irqchip,
    vcpus: u8,
    memory: u64,
    shared: bool,
}

impl MachineBuilder {
    /// Sets the interrupt controllers; default: all of them.
    pub fn irqchip(mut self, irqchip: Irqchip) -> Self {
        self.irqchip = irqchip;
        self
    }

    /// Sets the number of vCPUs; default: 1.
    pub fn vcpus(mut self, vcpus: u8) -> Self {
        self.vcpus = vcpus;
        self
    }

    /// Sets the size of the RAM in bytes; default: 4 MiB.
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = bytes;
        self
    }

    /// Backs the RAM by a memfd, so that another process can map it; default: private memory. The
    /// file descriptor is that of the only region of [`Machine::memory`].
    pub fn shared_memory(mut self) -> Self {
        self.shared = true;
        self
    }

    /// Creates the VM, and its vCPUs in the order of their APIC IDs, which count from 0.
    ///
    /// The vCPUs are separate because each vCPU goes to a thread of its own.
    ///
    /// # Errors
    ///
    /// [`Error::OpenKvm`] if there is no KVM; others if KVM refuses a request.
    pub fn build(self) -> Result<(Machine, Vec<Vcpu>), Error> {
        if self.vcpus > layout::MAX_VCPUS {
            return Err(Error::Layout("there is room for 15 vCPUs"));
        }
        stop::install_handler()?;

        let kvm_fd = Kvm::new().map_err(|errno| Error::OpenKvm(errno.into()))?;
        let vm = kvm_fd.create_vm().map_err(kvm("KVM_CREATE_VM"))?;
        // KVM needs both addresses before the first vCPU.
        vm.set_identity_map_address(layout::KVM_PRIVATE)
            .map_err(kvm("KVM_SET_IDENTITY_MAP_ADDR"))?;
        vm.set_tss_address(layout::KVM_PRIVATE as usize + 0x1000)
            .map_err(kvm("KVM_SET_TSS_ADDR"))?;
        let ram = Arc::new(Ram::new(vm, self.memory, self.shared)?);
        long_mode::write_tables(&ram.memory)?;
        create_irqchip(&ram.vm, self.irqchip)?;

        let cpuid = cpuid::supported(&kvm_fd)?;
        let vcpus = (0..self.vcpus)
            .map(|id| Vcpu::new(&ram, id, &cpuid, self.irqchip))
            .collect::<Result<_, _>>()?;
        let next = AtomicU64::new(layout::DATA);
        Ok((Machine { ram, next }, vcpus))
    }
}

/// A VM, without its vCPUs.
#[derive(Debug)]
pub struct Machine {
    ram: Arc<Ram>,
    /// The first address that belongs to no slot or array yet.
    next: AtomicU64,
}

impl Machine {
    /// Returns a builder: one vCPU, all interrupt controllers, 4 MiB of RAM.
    pub fn builder() -> MachineBuilder {
        MachineBuilder {
            irqchip: Irqchip::default(),
            vcpus: 1,
            memory: 0x40_0000,
            shared: false,
        }
    }

    /// The file descriptor of the VM.
    pub fn vm(&self) -> &VmFd {
        &self.ram.vm
    }

    /// The RAM of the guest.
    pub fn memory(&self) -> &GuestMemoryMmap {
        &self.ram.memory
    }

    /// Copies the RAM of another VM. vCPUs that run meanwhile see a mixture.
    ///
    /// # Errors
    ///
    /// If the other VM has more RAM.
    pub fn copy_ram(&self, from: &Self) -> Result<(), Error> {
        for region in from.ram.memory.iter() {
            let mut bytes = vec![0; region.len() as usize];
            from.ram
                .memory
                .read_slice(&mut bytes, region.start_addr())?;
            self.ram.memory.write_slice(&bytes, region.start_addr())?;
        }
        Ok(())
    }

    /// Copies the state of both PICs and of the I/O APIC of another VM.
    ///
    /// # Errors
    ///
    /// If KVM cannot read or write the state.
    pub fn copy_irqchips(&self, from: &Self) -> Result<(), Error> {
        for chip_id in [
            KVM_IRQCHIP_PIC_MASTER,
            KVM_IRQCHIP_PIC_SLAVE,
            KVM_IRQCHIP_IOAPIC,
        ] {
            let mut irqchip = kvm_irqchip {
                chip_id,
                ..Default::default()
            };
            let get = from.vm().get_irqchip(&mut irqchip);
            get.map_err(kvm("KVM_GET_IRQCHIP"))?;
            let set = self.vm().set_irqchip(&irqchip);
            set.map_err(kvm("KVM_SET_IRQCHIP"))?;
        }
        Ok(())
    }

    /// A variable of 8 bytes that host and guest share, 0 at first.
    ///
    /// # Errors
    ///
    /// When no RAM is left.
    pub fn slot(&self) -> Result<Slot, Error> {
        let address = allocate(&self.ram.memory, &self.next, layout::SLOT_SIZE)?;
        Ok(Slot::new(self.ram.memory.clone(), address))
    }

    /// `len` values of 8 bytes that host and guest share, all 0 at first.
    ///
    /// # Errors
    ///
    /// When not that much RAM is left.
    pub fn array(&self, len: u32) -> Result<Array, Error> {
        let address = allocate(&self.ram.memory, &self.next, u64::from(len) * 8)?;
        Ok(Array::new(self.ram.memory.clone(), address, len))
    }
}

fn create_irqchip(vm: &VmFd, irqchip: Irqchip) -> Result<(), Error> {
    match irqchip {
        Irqchip::None => Ok(()),
        Irqchip::Split { pins } => {
            let capability = kvm_enable_cap {
                cap: KVM_CAP_SPLIT_IRQCHIP,
                args: [u64::from(pins), 0, 0, 0],
                ..Default::default()
            };
            vm.enable_cap(&capability)
                .map_err(kvm("KVM_ENABLE_CAP(KVM_CAP_SPLIT_IRQCHIP)"))
        }
        Irqchip::Full => vm.create_irq_chip().map_err(kvm("KVM_CREATE_IRQCHIP")),
    }
}
