// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Whether KVM works on this host. Tests and programs use this crate, so that they all agree.

use std::fmt;
use std::io;

use kvm_bindings::KVM_API_VERSION;
use kvm_ioctls::Kvm;

/// Why there is no KVM.
#[derive(Debug)]
#[non_exhaustive]
pub enum NoKvm {
    /// `/dev/kvm` does not open.
    Open(io::Error),
    /// `/dev/kvm` opens, but is not KVM of the API version that every kernel since 2.6.22 has.
    NotKvm,
    /// KVM does not create a VM: EBUSY beside another hypervisor, for instance.
    CreateVm(io::Error),
}

impl fmt::Display for NoKvm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(error) => write!(f, "cannot open /dev/kvm: {error}"),
            Self::NotKvm => f.write_str("/dev/kvm opens, but is not KVM"),
            Self::CreateVm(error) => write!(f, "KVM_CREATE_VM: {error}"),
        }
    }
}

impl std::error::Error for NoKvm {}

/// Opens `/dev/kvm` and creates a VM, which is closed again.
///
/// # Errors
///
/// The missing part, as [`NoKvm`].
pub fn probe() -> Result<(), NoKvm> {
    let kvm = Kvm::new().map_err(|errno| NoKvm::Open(errno.into()))?;
    // Negative if the file does not know the request.
    if u32::try_from(kvm.get_api_version()) != Ok(KVM_API_VERSION) {
        return Err(NoKvm::NotKvm);
    }
    loop {
        match kvm.create_vm().map_err(io::Error::from) {
            // A pending signal ends the call; this does not mean that KVM fails.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            created => return created.map(drop).map_err(NoKvm::CreateVm),
        }
    }
}
