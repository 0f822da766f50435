// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A virtual processor.

use std::sync::Arc;

use kvm_bindings::{CpuId, KVM_MP_STATE_RUNNABLE, kvm_lapic_state, kvm_mp_state, kvm_regs};
use kvm_ioctls::VcpuFd;
use libc::{EAGAIN, EINTR};

use crate::error::kvm;
use crate::ram::Ram;
use crate::{Error, Exit, Irqchip, Program, VcpuStopper, cpuid, lapic, layout, long_mode};

/// A virtual processor. Its APIC ID is its index in the VM.
#[derive(Debug)]
pub struct Vcpu {
    pub(crate) fd: VcpuFd,
    id: u8,
    irqchip: Irqchip,
    stopper: VcpuStopper,
    ram: Arc<Ram>,
}

impl Vcpu {
    pub(crate) fn new(
        ram: &Arc<Ram>,
        id: u8,
        cpuid: &CpuId,
        irqchip: Irqchip,
    ) -> Result<Self, Error> {
        let fd = ram
            .vm
            .create_vcpu(u64::from(id))
            .map_err(kvm("KVM_CREATE_VCPU"))?;
        cpuid::set(&fd, cpuid, id)?;
        let mut sregs = fd.get_sregs().map_err(kvm("KVM_GET_SREGS"))?;
        long_mode::enter(&mut sregs, id);
        fd.set_sregs(&sregs).map_err(kvm("KVM_SET_SREGS"))?;
        Ok(Self {
            fd,
            id,
            irqchip,
            stopper: VcpuStopper::default(),
            ram: Arc::clone(ram),
        })
    }

    /// The index of this vCPU, which is its APIC ID, too.
    pub fn id(&self) -> u8 {
        self.id
    }

    /// The file descriptor of the vCPU.
    pub fn fd(&self) -> &VcpuFd {
        &self.fd
    }

    /// Returns a handle that makes this vCPU return from another thread.
    pub fn stopper(&self) -> VcpuStopper {
        self.stopper.clone()
    }

    /// Replaces the program by `program`, and starts at its first instruction.
    ///
    /// Pending interrupts stay pending. They are off until the program turns them on.
    ///
    /// # Errors
    ///
    /// If the program does not assemble or is longer than [`layout::CODE_SIZE`], or if KVM refuses
    /// the registers.
    pub fn load(&mut self, program: Program) -> Result<(), Error> {
        program.write(&self.ram.memory, self.id)?;
        let regs = kvm_regs {
            rip: layout::code(self.id),
            rsp: layout::stack_top(self.id),
            rflags: 1 << 1, // reserved, always 1
            ..Default::default()
        };
        self.fd.set_regs(&regs).map_err(kvm("KVM_SET_REGS"))?;
        // All vCPUs but the first would wait for a start-up IPI, and any of them may be in a `hlt`
        // of the previous program. Without an APIC in the kernel there is no such state.
        if self.irqchip != Irqchip::None {
            let runnable = kvm_mp_state {
                mp_state: KVM_MP_STATE_RUNNABLE,
            };
            self.fd
                .set_mp_state(runnable)
                .map_err(kvm("KVM_SET_MP_STATE"))?;
        }
        Ok(())
    }

    /// Runs the guest until it exits to the host program.
    ///
    /// # Errors
    ///
    /// If KVM cannot run the vCPU. A signal that is not from a [`VcpuStopper`] is no error: the
    /// vCPU runs on.
    #[allow(unsafe_code)]
    pub fn run(&mut self) -> Result<Exit<'_>, Error> {
        let fd = &raw mut self.fd;
        loop {
            let Some(_inside) = self.stopper.enter() else {
                return Ok(Exit::Stopped);
            };
            // SAFETY: `fd` is valid and exclusively borrowed: `self` is borrowed for longer than
            // the exit, and no other statement here uses `self.fd`. There is never a second exit:
            // the first ends the loop, and an error borrows nothing. Safe code could do the same,
            // if the borrow checker saw that a borrow that is returned from one arm is over in the
            // others.
            match unsafe { &mut *fd }.run() {
                Ok(exit) => return Ok(exit.into()),
                Err(errno) if matches!(errno.errno(), EINTR | EAGAIN) => {}
                Err(errno) => return Err(kvm("KVM_RUN")(errno)),
            }
        }
    }

    /// Makes KVM complete the access of the last exit, which it does on entry, and return before
    /// the guest executes an instruction.
    pub(crate) fn complete_access(&mut self) -> Result<(), Error> {
        self.fd.set_kvm_immediate_exit(1);
        let completed = match self.fd.run() {
            Ok(_) => Err(Error::Incomplete),
            Err(errno) if errno.errno() == EINTR => Ok(()),
            Err(errno) => Err(kvm("KVM_RUN")(errno)),
        };
        self.fd.set_kvm_immediate_exit(0);
        completed
    }

    /// Whether KVM_INTERRUPT may follow: at its last exit the vCPU could take an interrupt of a PIC
    /// that the host program emulates.
    pub fn is_ready_for_interrupt(&mut self) -> bool {
        self.fd.get_kvm_run().ready_for_interrupt_injection != 0
    }

    /// Requests an [`Exit::InterruptWindow`] as soon as the vCPU can take such an interrupt, or
    /// cancels the request.
    pub fn request_interrupt_window(&mut self, wanted: bool) {
        self.fd.get_kvm_run().request_interrupt_window = wanted.into();
    }

    /// The ticks of this vCPU's time-stamp counter in a millisecond.
    ///
    /// # Errors
    ///
    /// If the host has no stable time-stamp counter.
    pub fn tsc_khz(&self) -> Result<u32, Error> {
        self.fd.get_tsc_khz().map_err(kvm("KVM_GET_TSC_KHZ"))
    }

    /// Enables the local APIC as [`Asm::enable_lapic`](crate::Asm::enable_lapic) does, but without
    /// running the vCPU. A disabled one accepts no interrupts.
    ///
    /// # Errors
    ///
    /// If KVM does not emulate the local APIC.
    pub fn enable_lapic(&self) -> Result<(), Error> {
        let mut state = self.lapic()?;
        lapic::enable(&mut state);
        self.fd.set_lapic(&state).map_err(kvm("KVM_SET_LAPIC"))
    }

    /// The vectors that the local APIC has accepted and the vCPU has not taken, in ascending order.
    ///
    /// # Errors
    ///
    /// If KVM does not emulate the local APIC.
    pub fn pending_vectors(&self) -> Result<Vec<u8>, Error> {
        Ok(lapic::pending_vectors(&self.lapic()?))
    }

    fn lapic(&self) -> Result<kvm_lapic_state, Error> {
        self.fd.get_lapic().map_err(kvm("KVM_GET_LAPIC"))
    }
}
