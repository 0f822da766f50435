// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Session`]: a machine with its guest and its wiring, until it is replaced by another one.

use std::error::Error;
use std::sync::Arc;

use notify_core::KvmVm;
use tiny_guest::{Machine, Vcpu, VcpuStopper};
use vm_memory::GuestMemoryMmap;

use crate::guest::{Guest, Load};
use crate::vsock::Addresses;
use crate::wiring::Wiring;

/// A VM with one vCPU, which is elsewhere.
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

    /// Another machine, which goes on where this one is. No device may run.
    ///
    /// # Errors
    ///
    /// Those of KVM.
    pub fn resume_elsewhere(&self, vcpu: &mut Vcpu) -> Result<(Self, Vcpu), Box<dyn Error>> {
        let wiring = self.wiring.save();
        let state = vcpu.save()?;
        let (machine, mut vcpu) = machine()?;
        machine.copy_ram(&self.machine)?;
        vcpu.restore(&state)?;
        let guest = Guest::of(&machine)?;
        let session = Self::of(machine, guest, &vcpu)?;
        session.wiring.restore(&wiring)?;
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

    /// Makes the vCPU return.
    pub fn stop(&self) {
        self.stopper.stop();
    }
}

/// A VM whose RAM another process can map, and its vCPU.
fn machine() -> Result<(Machine, Vcpu), Box<dyn Error>> {
    let (machine, vcpus) = Machine::builder().shared_memory().build()?;
    let vcpu = vcpus.into_iter().next().ok_or("a machine without a vCPU")?;
    Ok((machine, vcpu))
}
