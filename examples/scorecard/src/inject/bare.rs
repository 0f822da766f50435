// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The bare ioctls.
//!
//! They are written here because our crates must not be compared with themselves.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::libc::{Ioctl, c_int, ioctl};
use tiny_guest::kvm_bindings::{KVMIO, kvm_interrupt, kvm_irq_level, kvm_msi};
use tiny_guest::kvm_ioctls::VcpuFd;

const IRQ_LINE: Ioctl = nix::request_code_write!(KVMIO, 0x61, size_of::<kvm_irq_level>());
const IRQ_LINE_STATUS: Ioctl =
    nix::request_code_readwrite!(KVMIO, 0x67, size_of::<kvm_irq_level>());
const INTERRUPT: Ioctl = nix::request_code_write!(KVMIO, 0x86, size_of::<kvm_interrupt>());
const SIGNAL_MSI: Ioctl = nix::request_code_write!(KVMIO, 0xa5, size_of::<kvm_msi>());

fn checked(result: c_int) -> io::Result<c_int> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

pub(super) fn signal_msi(vm: BorrowedFd<'_>, address_lo: u32, data: u32) -> io::Result<c_int> {
    let message = kvm_msi {
        address_lo,
        data,
        ..kvm_msi::default()
    };
    // SAFETY: KVM_SIGNAL_MSI reads one `kvm_msi`, which outlives the call.
    checked(unsafe { ioctl(vm.as_raw_fd(), SIGNAL_MSI, &raw const message) })
}

pub(super) fn irq_line(vm: BorrowedFd<'_>, gsi: u32, level: u32) -> io::Result<c_int> {
    let line = irq_level(gsi, level);
    // SAFETY: KVM_IRQ_LINE reads one `kvm_irq_level`, which outlives the call.
    checked(unsafe { ioctl(vm.as_raw_fd(), IRQ_LINE, &raw const line) })
}

pub(super) fn irq_line_status(vm: BorrowedFd<'_>, gsi: u32, level: u32) -> io::Result<c_int> {
    let mut line = irq_level(gsi, level);
    // SAFETY: KVM_IRQ_LINE_STATUS reads and writes one `kvm_irq_level`, which is ours and outlives
    // the call.
    checked(unsafe { ioctl(vm.as_raw_fd(), IRQ_LINE_STATUS, &raw mut line) })?;
    // SAFETY: both fields of the union are integers of 32 bits, for which every value is valid.
    Ok(unsafe { line.__bindgen_anon_1.status })
}

fn irq_level(gsi: u32, level: u32) -> kvm_irq_level {
    let mut line = kvm_irq_level {
        level,
        ..kvm_irq_level::default()
    };
    line.__bindgen_anon_1.irq = gsi;
    line
}

pub(super) fn interrupt(vcpu: &VcpuFd, irq: u32) -> io::Result<c_int> {
    let interrupt = kvm_interrupt { irq };
    // SAFETY: KVM_INTERRUPT reads one `kvm_interrupt`, which outlives the call.
    checked(unsafe { ioctl(vcpu.as_raw_fd(), INTERRUPT, &raw const interrupt) })
}
