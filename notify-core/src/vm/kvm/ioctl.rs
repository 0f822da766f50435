// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The ioctls of a KVM VM. (That of a vCPU is in `interrupt_x86_64.rs`.)
//!
//! This folder and `notifier/fd.rs` are all that may hold `unsafe` code. `kvm-ioctls` cannot
//! express all of these requests (a width without a datamatch, for one), so they are here, over the
//! structs of `kvm-bindings`. Each wrapper takes a borrowed file descriptor, which may not be a VM:
//! KVM's request numbers are its own (type 0xAE), so another kind of file refuses them.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use kvm_bindings::{
    KVM_MSI_VALID_DEVID, KVMIO, kvm_ioeventfd, kvm_irq_level, kvm_irq_routing, kvm_irqfd, kvm_msi,
};
use nix::errno::Errno;
use nix::libc::Ioctl;

use crate::vm::flags::{IoEventFdFlags, IrqFdFlags};
use crate::vm::routes::halves;
use crate::{IoEventFdRequest, IrqFdAction, IrqFdRequest, MsiMessage, RouteBuffer};

/// Request numbers (`include/uapi/linux/kvm.h`), computed so that each architecture's own encoding
/// of direction and size applies. Their type is that of `ioctl`, which glibc and musl declare
/// differently.
mod number {
    use super::*;
    use nix::{request_code_none, request_code_readwrite, request_code_write};

    pub(super) const GET_API_VERSION: Ioctl = request_code_none!(KVMIO, 0x00);
    pub(super) const CHECK_EXTENSION: Ioctl = request_code_none!(KVMIO, 0x03);
    pub(super) const IRQ_LINE: Ioctl = request_code_write!(KVMIO, 0x61, size_of::<kvm_irq_level>());
    pub(super) const IRQ_LINE_STATUS: Ioctl =
        request_code_readwrite!(KVMIO, 0x67, size_of::<kvm_irq_level>());
    pub(super) const SET_GSI_ROUTING: Ioctl =
        request_code_write!(KVMIO, 0x6a, size_of::<kvm_irq_routing>());
    pub(super) const IRQFD: Ioctl = request_code_write!(KVMIO, 0x76, size_of::<kvm_irqfd>());
    pub(super) const IOEVENTFD: Ioctl =
        request_code_write!(KVMIO, 0x79, size_of::<kvm_ioeventfd>());
    pub(super) const SIGNAL_MSI: Ioctl = request_code_write!(KVMIO, 0xa5, size_of::<kvm_msi>());
}

mod raw {
    use super::*;

    nix::ioctl_write_int_bad!(get_api_version, number::GET_API_VERSION);
    nix::ioctl_write_int_bad!(check_extension, number::CHECK_EXTENSION);
    nix::ioctl_write_ptr_bad!(irq_line, number::IRQ_LINE, kvm_irq_level);
    nix::ioctl_readwrite_bad!(irq_line_status, number::IRQ_LINE_STATUS, kvm_irq_level);
    nix::ioctl_write_ptr_bad!(set_gsi_routing, number::SET_GSI_ROUTING, kvm_irq_routing);
    nix::ioctl_write_ptr_bad!(irqfd, number::IRQFD, kvm_irqfd);
    nix::ioctl_write_ptr_bad!(ioeventfd, number::IOEVENTFD, kvm_ioeventfd);
    nix::ioctl_write_ptr_bad!(signal_msi, number::SIGNAL_MSI, kvm_msi);
}

pub(super) fn get_api_version(fd: BorrowedFd<'_>) -> io::Result<i32> {
    // SAFETY: KVM_GET_API_VERSION takes the integer 0 and touches no memory of ours.
    Ok(unsafe { raw::get_api_version(fd.as_raw_fd(), 0) }?)
}

pub(super) fn check_extension(fd: BorrowedFd<'_>, capability: u32) -> io::Result<u32> {
    // SAFETY: KVM_CHECK_EXTENSION takes an integer and touches no memory of ours.
    let value = unsafe { raw::check_extension(fd.as_raw_fd(), capability.cast_signed()) }?;
    Ok(value.cast_unsigned())
}

pub(super) fn irqfd(fd: BorrowedFd<'_>, request: &IrqFdRequest<'_>) -> io::Result<()> {
    let resample = match request.action {
        IrqFdAction::AssignResample(resample) => resample.as_raw_fd().cast_unsigned(),
        _ => 0,
    };
    assign_irqfd(
        fd,
        &kvm_irqfd {
            fd: request.eventfd.as_raw_fd().cast_unsigned(),
            gsi: request.gsi,
            flags: IrqFdFlags::from(&request.action).bits(),
            resamplefd: resample,
            ..Default::default()
        },
    )
}

/// Requests an irqfd with no eventfd, which every kernel refuses. The errno is that of its first
/// reason.
pub(super) fn irqfd_of_nothing(fd: BorrowedFd<'_>, flags: IrqFdFlags) -> io::Result<()> {
    assign_irqfd(
        fd,
        &kvm_irqfd {
            fd: u32::MAX,
            flags: flags.bits(),
            resamplefd: u32::MAX,
            ..Default::default()
        },
    )
}

fn assign_irqfd(fd: BorrowedFd<'_>, irqfd: &kvm_irqfd) -> io::Result<()> {
    // SAFETY: KVM_IRQFD reads one `kvm_irqfd`, which is borrowed for the call, and keeps no pointer
    // to it: the eventfds are looked up by number and referenced before the call returns.
    unsafe { raw::irqfd(fd.as_raw_fd(), irqfd) }?;
    Ok(())
}

pub(super) fn ioeventfd(fd: BorrowedFd<'_>, request: &IoEventFdRequest<'_>) -> io::Result<()> {
    let ioeventfd = kvm_ioeventfd {
        datamatch: request.datamatch.unwrap_or(0),
        addr: request.address,
        len: request.len,
        fd: request.eventfd.as_raw_fd(),
        flags: IoEventFdFlags::from(request).bits(),
        ..Default::default()
    };
    // SAFETY: KVM_IOEVENTFD reads one `kvm_ioeventfd`, which outlives the call, and keeps no
    // pointer to it: the eventfd is looked up by number and referenced before the call returns.
    unsafe { raw::ioeventfd(fd.as_raw_fd(), &ioeventfd) }?;
    Ok(())
}

pub(super) fn set_gsi_routing(fd: BorrowedFd<'_>, table: &RouteBuffer) -> io::Result<()> {
    let table = table.as_words().as_ptr().cast::<kvm_irq_routing>();
    // SAFETY: a `RouteBuffer` is the struct and its entries in one allocation of eight-byte words:
    // the alignment that the struct asks for, and as many entries behind it as `nr` states (both
    // are kept together by `RouteBuffer`, and tested below). The kernel only reads, during the
    // call.
    unsafe { raw::set_gsi_routing(fd.as_raw_fd(), table) }?;
    Ok(())
}

fn msi(message: &MsiMessage) -> kvm_msi {
    let [address_lo, address_hi] = halves(message.address);
    kvm_msi {
        address_lo,
        address_hi,
        data: message.data,
        flags: message.devid.map_or(0, |_| KVM_MSI_VALID_DEVID),
        devid: message.devid.unwrap_or(0),
        ..Default::default()
    }
}

pub(super) fn signal_msi(fd: BorrowedFd<'_>, message: &MsiMessage) -> io::Result<i32> {
    let msi = msi(message);
    // SAFETY: KVM_SIGNAL_MSI reads one `kvm_msi`, which outlives the call, and keeps no pointer.
    Ok(unsafe { raw::signal_msi(fd.as_raw_fd(), &msi) }?)
}

/// Whether KVM_SIGNAL_MSI reaches KVM, which refuses a flag that it does not know before it looks
/// further.
///
/// # Errors
///
/// EPERM if a system call filter stands in between, for instance.
pub(super) fn may_signal_msi(fd: BorrowedFd<'_>) -> io::Result<()> {
    let unknown = kvm_msi {
        flags: !KVM_MSI_VALID_DEVID,
        ..Default::default()
    };
    // SAFETY: as above.
    match unsafe { raw::signal_msi(fd.as_raw_fd(), &unknown) } {
        Err(Errno::EINVAL) | Ok(_) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

fn irq_level(gsi: u32, level: bool) -> kvm_irq_level {
    let mut line = kvm_irq_level {
        level: level.into(),
        ..Default::default()
    };
    line.__bindgen_anon_1.irq = gsi;
    line
}

pub(super) fn irq_line(fd: BorrowedFd<'_>, gsi: u32, level: bool) -> io::Result<()> {
    let line = irq_level(gsi, level);
    // SAFETY: KVM_IRQ_LINE reads one `kvm_irq_level`, which outlives the call, and keeps no
    // pointer.
    unsafe { raw::irq_line(fd.as_raw_fd(), &line) }?;
    Ok(())
}

pub(super) fn irq_line_status(fd: BorrowedFd<'_>, gsi: u32, level: bool) -> io::Result<i32> {
    let mut line = irq_level(gsi, level);
    // SAFETY: KVM_IRQ_LINE_STATUS reads and writes one `kvm_irq_level`, borrowed exclusively for
    // the call, and keeps no pointer.
    unsafe { raw::irq_line_status(fd.as_raw_fd(), &mut line) }?;
    // SAFETY: both fields of the union are plain 32-bit integers, for which every value is valid.
    Ok(unsafe { line.__bindgen_anon_1.status })
}

#[cfg(test)]
mod tests;
