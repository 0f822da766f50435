// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! From the types of `kvm-ioctls`.

use kvm_ioctls::{VcpuFd, VmFd};

use super::{KvmVcpu, KvmVm};
use crate::Error;

impl TryFrom<&VmFd> for KvmVm {
    type Error = Error;

    /// The same as [`KvmVm::duplicate_raw`].
    fn try_from(vm: &VmFd) -> Result<Self, Error> {
        Self::duplicate_raw(vm)
    }
}

impl TryFrom<&VcpuFd> for KvmVcpu {
    type Error = Error;

    /// The same as [`KvmVcpu::duplicate_raw`].
    fn try_from(vcpu: &VcpuFd) -> Result<Self, Error> {
        Self::duplicate_raw(vcpu)
    }
}
