// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Why a vCPU came back to the host program.

use kvm_ioctls::VcpuExit;

use crate::layout::FINISH_PORT;

/// Why [`Vcpu::run`](crate::Vcpu::run) returned.
#[derive(Debug)]
#[non_exhaustive]
pub enum Exit<'a> {
    /// The guest wrote where there is no RAM.
    MmioWrite {
        /// The guest-physical address.
        address: u64,
        /// What it wrote, of 1, 2, 4 or 8 bytes.
        data: &'a [u8],
    },
    /// The guest reads where there is no RAM. It gets what is in `data` when the vCPU runs again.
    MmioRead {
        /// The guest-physical address.
        address: u64,
        /// What it is to read, of 1, 2, 4 or 8 bytes.
        data: &'a mut [u8],
    },
    /// The guest wrote to an I/O port.
    PortWrite {
        /// The port.
        port: u16,
        /// What it wrote, of 1, 2 or 4 bytes.
        data: &'a [u8],
    },
    /// The guest reads an I/O port. It gets what is in `data` when the vCPU runs again.
    PortRead {
        /// The port.
        port: u16,
        /// What it is to read, of 1, 2 or 4 bytes.
        data: &'a mut [u8],
    },
    /// The guest ended a level-triggered interrupt of an I/O APIC that the host program emulates.
    IoapicEoi(u8),
    /// The vCPU can take an interrupt, as
    /// [`Vcpu::request_interrupt_window`](crate::Vcpu::request_interrupt_window)
    /// wanted to know.
    InterruptWindow,
    /// The guest executed `hlt`, and KVM has no interrupt controller that could wake it.
    Halt,
    /// The program is done, and this is its code.
    Finished(u32),
    /// A [`VcpuStopper`](crate::VcpuStopper) asked for it.
    Stopped,
    /// An exception that nothing handled. Look at the registers by [`Vcpu::fd`](crate::Vcpu::fd).
    Shutdown,
    /// Whatever else KVM reports. No program of these idioms causes it.
    Other(VcpuExit<'a>),
}

impl<'a> From<VcpuExit<'a>> for Exit<'a> {
    fn from(exit: VcpuExit<'a>) -> Self {
        match exit {
            VcpuExit::MmioWrite(address, data) => Self::MmioWrite { address, data },
            VcpuExit::MmioRead(address, data) => Self::MmioRead { address, data },
            VcpuExit::IoOut(port, data) => match <[u8; 4]>::try_from(data) {
                Ok(code) if port == FINISH_PORT => Self::Finished(u32::from_le_bytes(code)),
                _ => Self::PortWrite { port, data },
            },
            VcpuExit::IoIn(port, data) => Self::PortRead { port, data },
            VcpuExit::IoapicEoi(vector) => Self::IoapicEoi(vector),
            VcpuExit::IrqWindowOpen => Self::InterruptWindow,
            VcpuExit::Hlt => Self::Halt,
            VcpuExit::Shutdown => Self::Shutdown,
            other => Self::Other(other),
        }
    }
}
