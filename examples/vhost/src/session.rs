// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Session`]: a VM with its guest and its wiring, until it is replaced by another one.

use std::error::Error;
use std::sync::Arc;

use notify_core::KvmVm;
use tiny_guest::{Machine, Vcpu, VcpuState, VcpuStopper};
use vm_memory::GuestMemoryMmap;

use crate::guest::{Guest, Load};
use crate::saved::SavedWiring;
use crate::vsock::Addresses;
use crate::wiring::Wiring;

/// A VM with one vCPU; the vCPU is kept elsewhere.
#[derive(Debug)]
pub struct Session {
    guest: Guest,
    wiring: Wiring,
    stopper: VcpuStopper,
    machine: Machine,
}

impl Session {
    /// A VM whose guest has not begun.
    ///
    /// # Errors
    ///
    /// Those of KVM.
    pub fn new(addresses: &Addresses, load: &Load) -> Result<(Self, Vcpu), Box<dyn Error>> {
        let (machine, mut vcpu) = machine()?;
        let guest = Guest::new(&machine, addresses)?;
        vcpu.load(guest.program(load)?)?;
        let session = Self::of(machine, guest, &vcpu)?;
        session.wiring.renew()?;
        Ok((session, vcpu))
    }

    /// Saves what another VM needs to go on. The vCPU and the back-end must have stopped.
    ///
    /// # Errors
    ///
    /// Those of KVM.
    pub fn save(&self, vcpu: &mut Vcpu, number: u32) -> Result<Saved, Box<dyn Error>> {
        // The order matters: see `Wiring::save`.
        let wiring = self.wiring.save(number)?;
        let vcpu = vcpu.save()?;
        Ok(Saved { wiring, vcpu })
    }

    /// Creates another VM, which goes on where this one was saved, with a copy of its RAM. Its
    /// MSI-X table is paused.
    ///
    /// # Errors
    ///
    /// Those of KVM.
    pub fn elsewhere(&self, saved: &Saved) -> Result<(Self, Vcpu), Box<dyn Error>> {
        let (machine, mut vcpu) = machine()?;
        machine.copy_ram(&self.machine)?;
        vcpu.restore(&saved.vcpu)?;
        let guest = Guest::of(&machine)?;
        let session = Self::of(machine, guest, &vcpu)?;
        session.wiring.restore(&saved.wiring)?;
        Ok((session, vcpu))
    }

    fn of(machine: Machine, guest: Guest, vcpu: &Vcpu) -> Result<Self, Box<dyn Error>> {
        let vm = Arc::new(KvmVm::try_from(machine.vm())?);
        Ok(Self {
            guest,
            wiring: Wiring::new(vm)?,
            stopper: vcpu.stopper(),
            machine,
        })
    }

    /// The guest.
    #[must_use]
    pub fn guest(&self) -> &Guest {
        &self.guest
    }

    /// The eventfds.
    #[must_use]
    pub fn wiring(&self) -> &Wiring {
        &self.wiring
    }

    /// The RAM.
    #[must_use]
    pub fn memory(&self) -> &GuestMemoryMmap {
        self.machine.memory()
    }

    /// Makes the vCPU's run return.
    pub fn stop(&self) {
        self.stopper.stop();
    }
}

/// A VM between two runs, without its RAM.
#[derive(Debug)]
pub struct Saved {
    wiring: SavedWiring,
    vcpu: VcpuState,
}

impl Saved {
    /// Where an interrupt was pending that the guest had not taken: in a masked vector, and in the
    /// local APIC.
    ///
    /// # Errors
    ///
    /// If the state of the table cannot be read.
    pub fn pending(&self) -> Result<[bool; 2], Box<dyn Error>> {
        let in_apic = !self.vcpu.pending_vectors().is_empty();
        Ok([self.wiring.is_pending()?, in_apic])
    }
}

/// A VM whose RAM another process can map, and its vCPU.
fn machine() -> Result<(Machine, Vcpu), Box<dyn Error>> {
    let (machine, vcpus) = Machine::builder().shared_memory().build()?;
    let vcpu = vcpus.into_iter().next().ok_or("a VM without a vCPU")?;
    Ok((machine, vcpu))
}
