// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What can go wrong on the host's side.

use std::io;

/// Why a guest was not made, loaded or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no KVM here, or it is not for this user: a reason to skip a test, not to fail it.
    #[error("cannot open /dev/kvm")]
    OpenKvm(#[source] io::Error),
    /// KVM refused a request.
    #[error("{request} failed")]
    Kvm {
        /// The request, by the name of its ioctl.
        request: &'static str,
        /// The errno it failed with.
        source: io::Error,
    },
    /// The guest's last access has another part, which the host program has not seen yet.
    #[error("the guest's last access has another part")]
    Incomplete,
    /// The handler of the signal that stops vCPUs could not be installed.
    #[error("cannot install the handler of the signal that stops vCPUs")]
    Signal(#[source] io::Error),
    /// The machine that was asked for does not fit the [layout](crate::layout).
    #[error("{0}")]
    Layout(&'static str),
    /// The RAM of the guest could not be allocated.
    #[error("cannot allocate the RAM of the guest")]
    Allocate(#[from] vm_memory::mmap::FromRangesError),
    /// The file behind the RAM of the guest could not be created.
    #[error("cannot create the file behind the RAM of the guest")]
    File(#[source] io::Error),
    /// An access by the host fell outside of the guest's RAM.
    #[error("access outside of the guest's RAM")]
    Access(#[from] vm_memory::GuestMemoryError),
    /// The program does not assemble.
    #[error("the program does not assemble")]
    Assemble(#[from] iced_x86::IcedError),
}

/// Names the request that failed, for `map_err`.
pub(crate) fn kvm(request: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> Error {
    move |errno| Error::Kvm {
        request,
        source: errno.into(),
    }
}
