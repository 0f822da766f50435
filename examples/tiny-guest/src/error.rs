// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The errors of the host's side. Each text ends with its cause, so no error has a source.

use std::io;

/// Why a guest was not created, loaded or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no KVM here, or this user may not use it: a reason to skip a test, not to fail it.
    #[error("cannot open /dev/kvm: {0}")]
    OpenKvm(io::Error),
    /// KVM refused a request.
    #[error("{request} failed: {cause}")]
    Kvm {
        /// The request, by the name of its ioctl.
        request: &'static str,
        /// The errno it failed with.
        cause: io::Error,
    },
    /// The guest's last access has another part, which the host program has not seen yet.
    #[error("the guest's last access has another part")]
    Incomplete,
    /// The handler of the signal that stops vCPUs could not be installed.
    #[error("cannot install the handler of the signal that stops vCPUs: {0}")]
    Signal(io::Error),
    /// The requested VM does not fit the [layout](crate::layout).
    #[error("{0}")]
    Layout(&'static str),
    /// The RAM of the guest could not be allocated.
    #[error("cannot allocate the RAM of the guest: {0}")]
    Allocate(vm_memory::mmap::FromRangesError),
    /// The file behind the RAM of the guest could not be created.
    #[error("cannot create the file behind the RAM of the guest: {0}")]
    File(io::Error),
    /// An access by the host fell outside of the guest's RAM.
    #[error("access outside of the guest's RAM: {0}")]
    Access(vm_memory::GuestMemoryError),
    /// The program does not assemble.
    #[error("the program does not assemble: {0}")]
    Assemble(iced_x86::IcedError),
}

impl From<vm_memory::mmap::FromRangesError> for Error {
    fn from(error: vm_memory::mmap::FromRangesError) -> Self {
        Self::Allocate(error)
    }
}

impl From<vm_memory::GuestMemoryError> for Error {
    fn from(error: vm_memory::GuestMemoryError) -> Self {
        Self::Access(error)
    }
}

impl From<iced_x86::IcedError> for Error {
    fn from(error: iced_x86::IcedError) -> Self {
        Self::Assemble(error)
    }
}

/// Names the request that failed, for `map_err`.
pub(crate) fn kvm(request: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> Error {
    move |errno| Error::Kvm {
        request,
        cause: errno.into(),
    }
}
