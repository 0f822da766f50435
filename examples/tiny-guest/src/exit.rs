// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Why a vCPU returned to the host program.

use kvm_ioctls::VcpuExit;

use crate::layout::FINISH_PORT;

/// Why [`Vcpu::run`](crate::Vcpu::run) returned.
#[derive(Debug)]
#[non_exhaustive]
pub enum Exit<'a> {
    /// The guest wrote to an address without RAM.
    MmioWrite {
        /// The guest-physical address.
        address: u64,
        /// The data that it wrote, of 1, 2, 4 or 8 bytes.
        data: &'a [u8],
    },
    /// The guest reads from an address without RAM. It gets the contents of `data` when the vCPU
    /// runs again.
    MmioRead {
        /// The guest-physical address.
        address: u64,
        /// The data that it reads, of 1, 2, 4 or 8 bytes.
        data: &'a mut [u8],
    },
    /// The guest wrote to an I/O port.
    PortWrite {
        /// The port.
        port: u16,
        /// The data that it wrote, of 1, 2 or 4 bytes.
        data: &'a [u8],
    },
    /// The guest reads an I/O port. It gets the contents of `data` when the vCPU runs again.
    PortRead {
        /// The port.
        port: u16,
        /// The data that it reads, of 1, 2 or 4 bytes.
        data: &'a mut [u8],
    },
    /// The guest sent the EOI of this vector, of a level-triggered pin of an I/O APIC that the host
    /// program emulates.
    IoapicEoi(u8),
    /// The vCPU can take an interrupt, after a call of
    /// [`Vcpu::request_interrupt_window`](crate::Vcpu::request_interrupt_window).
    InterruptWindow,
    /// The guest executed `hlt`, and KVM has no interrupt controller that could wake it.
    Halt,
    /// The program has finished with this code.
    Finished(u32),
    /// A [`VcpuStopper`](crate::VcpuStopper) stopped the vCPU.
    Stopped,
    /// An exception without a handler. [`Vcpu::fd`](crate::Vcpu::fd) gives access to the registers.
    Shutdown,
    /// Any other exit of KVM. No program of these phrases causes it.
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
