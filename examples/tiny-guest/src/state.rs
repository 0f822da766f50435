// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`VcpuState`]: the state of a vCPU, to continue in another VM.

use kvm_bindings::{kvm_lapic_state, kvm_mp_state, kvm_regs, kvm_sregs, kvm_vcpu_events};

use crate::error::kvm;
use crate::{Error, Vcpu, lapic};

/// The registers of a vCPU and its local APIC, with the interrupts that it has not taken.
///
/// Floating-point registers, model-specific registers and the time-stamp counter are not included:
/// no phrase of [`Asm`](crate::Asm) depends on them, except those of time.
#[derive(Clone, Debug)]
pub struct VcpuState {
    regs: kvm_regs,
    sregs: kvm_sregs,
    lapic: kvm_lapic_state,
    events: kvm_vcpu_events,
    mp_state: kvm_mp_state,
}

impl VcpuState {
    /// The vectors that the local APIC had accepted and the vCPU had not taken, in ascending order.
    pub fn pending_vectors(&self) -> Vec<u8> {
        lapic::pending_vectors(&self.lapic)
    }
}

impl Vcpu {
    /// Reads the state, after completing the access for which [`Vcpu::run`] returned. The guest
    /// executes no instruction.
    ///
    /// Call this when nothing interrupts the vCPU any more: an interrupt that comes later is not in
    /// the state.
    ///
    /// # Errors
    ///
    /// If KVM cannot read it, or KVM does not emulate the local APIC.
    pub fn save(&mut self) -> Result<VcpuState, Error> {
        self.complete_access()?;
        Ok(VcpuState {
            regs: self.fd.get_regs().map_err(kvm("KVM_GET_REGS"))?,
            sregs: self.fd.get_sregs().map_err(kvm("KVM_GET_SREGS"))?,
            lapic: self.fd.get_lapic().map_err(kvm("KVM_GET_LAPIC"))?,
            events: self
                .fd
                .get_vcpu_events()
                .map_err(kvm("KVM_GET_VCPU_EVENTS"))?,
            mp_state: self.fd.get_mp_state().map_err(kvm("KVM_GET_MP_STATE"))?,
        })
    }

    /// Continues from the state of a vCPU with the same index whose RAM was copied.
    ///
    /// # Errors
    ///
    /// If KVM refuses it.
    pub fn restore(&mut self, state: &VcpuState) -> Result<(), Error> {
        // The base of the local APIC is in the special registers, so they come first.
        self.fd
            .set_sregs(&state.sregs)
            .map_err(kvm("KVM_SET_SREGS"))?;
        self.fd.set_regs(&state.regs).map_err(kvm("KVM_SET_REGS"))?;
        self.fd
            .set_lapic(&state.lapic)
            .map_err(kvm("KVM_SET_LAPIC"))?;
        self.fd
            .set_vcpu_events(&state.events)
            .map_err(kvm("KVM_SET_VCPU_EVENTS"))?;
        self.fd
            .set_mp_state(state.mp_state)
            .map_err(kvm("KVM_SET_MP_STATE"))
    }
}
