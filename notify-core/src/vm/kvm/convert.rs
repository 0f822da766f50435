// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! From the types of `kvm-ioctls`.

use kvm_ioctls::{VcpuFd, VmFd};

use super::{KvmVcpu, KvmVm};
use crate::Error;

impl TryFrom<&VmFd> for KvmVm {
    type Error = Error;

    /// The same as [`KvmVm::duplicate`].
    fn try_from(vm: &VmFd) -> Result<Self, Error> {
        Self::duplicate(vm)
    }
}

impl TryFrom<&VcpuFd> for KvmVcpu {
    type Error = Error;

    /// The same as [`KvmVcpu::duplicate`].
    fn try_from(vcpu: &VcpuFd) -> Result<Self, Error> {
        Self::duplicate(vcpu)
    }
}
