// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What a VMM sets up besides notifications: memory, devices, the state of controllers.

use std::io;
use std::ops::Range;

use super::bus::Device;
use super::interrupt::Chips;
use super::{IoApicState, PicState, SimVm};
use notify_core::Bus;

impl SimVm {
    /// Adds memory (end excluded): writes to it reach no doorbell.
    ///
    /// If two ranges overlap, the later one counts.
    pub fn add_ram(&self, range: Range<u64>) {
        self.lock().memory.push((range, true));
    }

    /// Adds read-only memory (end excluded).
    ///
    /// KVM looks for a doorbell before it exits, as if there were no memory.
    pub fn add_rom(&self, range: Range<u64>) {
        self.lock().memory.push((range, false));
    }

    /// Adds a zone of coalesced writes (KVM_REGISTER_COALESCED_MMIO), which swallows writes.
    ///
    /// It counts as a device on the bus.
    ///
    /// # Errors
    ///
    /// ENOSPC beyond 1000 devices that are not doorbells.
    pub fn add_coalesced(&self, bus: Bus, address: u64, len: u32) -> io::Result<()> {
        let mut state = self.lock();
        let len = len.into();
        state
            .doorbells
            .add_device(bus, address, len, Device::Coalesced)
    }

    /// Enables a vCPU's local APIC, as an operating system does when it boots.
    pub fn enable_lapic(&self, vcpu: usize) {
        self.enter()
            .chips
            .restore_lapic(|lapics| lapics.enable(vcpu, true));
    }

    /// Disables a vCPU's local APIC.
    pub fn disable_lapic(&self, vcpu: usize) {
        self.enter()
            .chips
            .restore_lapic(|lapics| lapics.enable(vcpu, false));
    }

    /// Sets the state of the PICs, master and slave (KVM_SET_IRQCHIP).
    pub fn set_pic(&self, [master, slave]: [PicState; 2]) {
        if let Some((_, pc)) = self.enter().chips.pc() {
            pc.pic.set_state(false, master);
            pc.pic.set_state(true, slave);
        }
    }

    /// Sets the state of the IOAPIC (KVM_SET_IRQCHIP): the way to unmask pins without a guest.
    ///
    /// ```
    /// use notify_core::{LineStatus, Vm};
    /// use notify_sim::SimVm;
    ///
    /// let vm = SimVm::builder().build();
    /// vm.enable_lapic(0);
    /// assert_eq!(vm.irq_line_status(20, true)?, LineStatus::Ignored, "masked");
    /// vm.irq_line_status(20, false)?;
    ///
    /// let mut ioapic = vm.ioapic().unwrap();
    /// ioapic.redirections[20] = 0x71; // edge-triggered, not masked, to the first vCPU
    /// vm.set_ioapic(ioapic);
    /// assert_eq!(vm.irq_line_status(20, true)?, LineStatus::Delivered(1));
    /// assert_eq!(vm.pending_vectors(0), [0x71]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set_ioapic(&self, ioapic: IoApicState) {
        if let Some((lapics, pc)) = self.enter().chips.pc() {
            pc.ioapic.set_state(lapics, ioapic);
            // So does the kernel, whichever chip it was.
            pc.pic.update();
        }
    }

    /// Enables 32-bit APIC IDs (KVM_CAP_X2APIC_API).
    ///
    /// From now on the high half of a message's address holds the upper bits of the destination,
    /// and its low byte must be 0.
    pub fn enable_x2apic_ids(&self) {
        self.enter().x2apic_ids = true;
    }

    /// Initialises the GIC (KVM_DEV_ARM_VGIC_CTRL_INIT): from now on irqfds can be bound.
    ///
    /// The first time, the routing table is overwritten with the identity. Later calls do nothing.
    pub fn init_gic(&self) {
        self.enter().initialise();
    }

    /// Initialises the AIA (KVM_DEV_RISCV_AIA_CTRL_INIT), as [`init_gic`](Self::init_gic) does the
    /// GIC.
    pub fn init_aia(&self) {
        self.enter().initialise();
    }

    /// Adds an ITS at an address (arm64), which takes messages in the 128 KiB from there.
    ///
    /// It refuses them with EBUSY until the guest has [enabled](Self::enable_its) it.
    pub fn add_its(&self, address: u64) {
        let mut state = self.enter();
        if let Chips::Gic(gic) = &mut state.chips
            && gic.add_its(address)
        {
            state.doorbells.reserve(1);
        }
    }

    /// Enables the ITS, as the guest does, and maps these events (device ID, number of the event).
    ///
    /// Messages of other events are blocked. A second call replaces the events of the first.
    ///
    /// ```
    /// use notify_core::{MsiMessage, MsiOutcome, Vm};
    /// use notify_sim::{Profile, SimVm};
    ///
    /// let vm = SimVm::builder().profile(Profile::Arm64Gic { spis: 64 }).build();
    /// vm.init_gic();
    /// vm.add_its(0x808_0000);
    /// vm.enable_its([(7, 3)]);
    /// let message = |event| MsiMessage::new(0x809_0040, event).with_devid(7);
    /// assert_eq!(vm.signal_msi(&message(3))?, MsiOutcome::Delivered(1));
    /// assert_eq!(vm.signal_msi(&message(4))?, MsiOutcome::Blocked);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn enable_its(&self, mapped: impl IntoIterator<Item = (u32, u32)>) {
        let mapped = mapped.into_iter().collect();
        if let Chips::Gic(gic) = &mut self.enter().chips {
            gic.enable_its(mapped);
        }
    }

    /// Sets the address of the first vCPU's IMSIC (riscv64); each later vCPU's is one page higher.
    ///
    /// Each takes the messages 1 to 255. A message that meets no IMSIC is lost, without an error.
    pub fn set_imsics(&self, address: u64) {
        if let Chips::Aplic(aplic) = &mut self.enter().chips {
            aplic.set_imsics(address);
        }
    }

    /// Sets whether a shared interrupt of the GIC is level-triggered (edge-triggered after reset).
    pub fn set_spi_level_triggered(&self, pin: u32, level_triggered: bool) {
        if let Chips::Gic(gic) = &mut self.enter().chips {
            gic.set_level_triggered(pin, level_triggered);
        }
    }
}
