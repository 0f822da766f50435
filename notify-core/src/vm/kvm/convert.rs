// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! From the machine type of `kvm-ioctls`.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd};

use kvm_ioctls::VmFd;

use super::KvmVm;
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
