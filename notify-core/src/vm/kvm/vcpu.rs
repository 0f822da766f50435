// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`KvmVcpu`]: a vCPU of KVM.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use super::interrupt;
use crate::notifier::fd;
use crate::{Error, Rejected, Vcpu};

/// A vCPU of a KVM VM, to inject interrupts into it.
///
/// | the VMM has | conversion |
/// |---|---|
/// | `VcpuFd` of kvm-ioctls 0.25 | `KvmVcpu::try_from(&vcpu_fd)` (feature `kvm-ioctls`, on by default) |
/// | `VcpuFd` of any other version, or another type | [`KvmVcpu::duplicate`]`(&vcpu_fd)` |
/// | an `OwnedFd` to give away | [`KvmVcpu::from_fd`]`(fd)` |
///
/// Dropping it closes its file descriptor. Until then the vCPU and the memory of its VM stay.
/// (Irqfds do not: they end with the last descriptor of the *VM*.)
///
/// Creating one makes two requests to the vCPU (on x86), which block while the vCPU runs. So create
/// it before the vCPU runs, or on the thread of the vCPU. [`Vcpu`] states when to use it.
///
/// ```no_run
/// use notify_core::{KvmVcpu, Vcpu};
///
/// let kvm = kvm_ioctls::Kvm::new()?;
/// let vm_fd = kvm.create_vm()?; // without an irqchip: the VMM emulates one
/// let mut vcpu_fd = vm_fd.create_vcpu(0)?;
/// let vcpu = KvmVcpu::try_from(&vcpu_fd)?;
///
/// // On the vCPU's thread: its interrupt controller has vector 0x60 for the guest.
/// if vcpu_fd.get_kvm_run().ready_for_interrupt_injection != 0 {
///     vcpu.interrupt(0x60)?;
/// } else {
///     vcpu_fd.get_kvm_run().request_interrupt_window = 1;
/// }
/// vcpu_fd.run()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct KvmVcpu {
    fd: OwnedFd,
}

impl KvmVcpu {
    /// Takes ownership of a file descriptor of a vCPU, from any bindings.
    ///
    /// # Errors
    ///
    /// [`Error::NotVcpu`] on x86; the file descriptor comes back inside. On other architectures the
    /// descriptor is not checked.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, Rejected<OwnedFd>> {
        match interrupt::check(fd.as_fd()) {
            Ok(()) => Ok(Self { fd }),
            Err(error) => {
                let (number, cause) = (fd.as_raw_fd(), error.into());
                Err(Rejected::new(Error::NotVcpu { fd: number, cause }, fd))
            }
        }
    }

    /// Duplicates the file descriptor of a vCPU, which the caller keeps.
    ///
    /// It takes the `VcpuFd` of any version of `kvm-ioctls`, and other types.
    ///
    /// # Errors
    ///
    /// [`Error::Duplicate`], also if the number is not open; [`Error::NotVcpu`], also in a forked
    /// child.
    pub fn duplicate(vcpu: &impl AsRawFd) -> Result<Self, Error> {
        Ok(Self::from_fd(fd::duplicate_raw(vcpu)?)?)
    }
}

impl Vcpu for KvmVcpu {
    fn interrupt(&self, vector: u32) -> io::Result<()> {
        interrupt::interrupt(self.as_fd(), vector)
    }
}

impl AsRawFd for KvmVcpu {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl AsFd for KvmVcpu {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
