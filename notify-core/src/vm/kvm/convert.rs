// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! From the types of `kvm-ioctls`, which tell their file descriptors only as numbers.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd};

use kvm_ioctls::{VcpuFd, VmFd};

use super::{KvmVcpu, KvmVm};
use crate::Error;

impl TryFrom<&VmFd> for KvmVm {
    type Error = Error;

    /// Duplicates the machine's file descriptor, so that the machine stays open as long as both.
    ///
    /// # Errors
    ///
    /// [`Error::Duplicate`]; [`Error::NotVm`] in a forked child.
    fn try_from(vm: &VmFd) -> Result<Self, Error> {
        let fd = vm.as_raw_fd();
        // SAFETY: `vm` owns the number and keeps it open during this call.
        let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
        let owned = borrowed
            .try_clone_to_owned()
            .map_err(|source| Error::Duplicate { fd, source })?;
        Ok(Self::from_fd(owned)?)
    }
}

impl TryFrom<&VcpuFd> for KvmVcpu {
    type Error = Error;

    /// Duplicates the vCPU's file descriptor; see [`KvmVcpu::duplicate`].
    ///
    /// # Errors
    ///
    /// [`Error::Duplicate`]; [`Error::NotVcpu`] in a forked child.
    fn try_from(vcpu: &VcpuFd) -> Result<Self, Error> {
        // SAFETY: `vcpu` owns the number and keeps it open during this call.
        Self::duplicate(unsafe { BorrowedFd::borrow_raw(vcpu.as_raw_fd()) })
    }
}
