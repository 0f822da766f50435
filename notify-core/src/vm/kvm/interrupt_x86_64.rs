// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! KVM_INTERRUPT on x86-64.
//!
//! Kernel source: `kvm_vcpu_ioctl_interrupt` in `arch/x86/kvm/x86.c`.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use kvm_bindings::{KVMIO, kvm_interrupt};
use nix::libc::{self, c_ulong};

use super::ioctl;

/// The first number that is no vector.
const VECTORS: u32 = 256;

/// As in `ioctl.rs`.
const INTERRUPT: c_ulong = nix::request_code_write!(KVMIO, 0x86, size_of::<kvm_interrupt>());

mod raw {
    use super::*;

    nix::ioctl_write_ptr_bad!(interrupt, INTERRUPT, kvm_interrupt);
}

/// KVM refuses what is no vector before it does anything. Machines do not know the request (ENOTTY);
/// `/dev/kvm` refuses it as well, but has a version.
pub(super) fn check(fd: BorrowedFd<'_>) -> io::Result<()> {
    match interrupt(fd, VECTORS) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
        Err(error) => return Err(error),
        // Not reached: no kernel has so many vectors.
        Ok(()) => return Err(io::ErrorKind::Unsupported.into()),
    }
    match ioctl::get_api_version(fd) {
        Ok(_) => Err(io::Error::from_raw_os_error(libc::ENOTTY)),
        Err(_) => Ok(()),
    }
}

pub(super) fn interrupt(fd: BorrowedFd<'_>, vector: u32) -> io::Result<()> {
    let interrupt = kvm_interrupt { irq: vector };
    // SAFETY: KVM_INTERRUPT reads one `kvm_interrupt`, which outlives the call, and keeps no pointer.
    unsafe { raw::interrupt(fd.as_raw_fd(), &interrupt) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `strace -X raw` prints it.
    #[test]
    fn request_number_and_size() {
        assert_eq!(INTERRUPT, 0x4004_ae86);
        assert_eq!(size_of::<kvm_interrupt>(), 4);
    }
}
