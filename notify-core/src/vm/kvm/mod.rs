// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`KvmVm`]: the port over a KVM virtual machine.

#[cfg(feature = "kvm-ioctls")]
mod convert;
#[cfg_attr(target_arch = "x86_64", path = "interrupt_x86_64.rs")]
#[cfg_attr(not(target_arch = "x86_64"), path = "interrupt_elsewhere.rs")]
mod interrupt;
mod ioctl;
mod vcpu;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

pub use vcpu::KvmVcpu;

use super::{
    Capability, IoEventFdAction, IoEventFdRequest, IrqFdAction, IrqFdRequest, LineStatus,
    MsiOutcome, MsiRequest, Platform, Retired, RouteBuffer, RoutingClaim, Vm,
};
use crate::vm::flags::IrqFdFlags;
use crate::{Error, Rejected};

/// A KVM virtual machine.
///
/// Dropping it closes its file descriptor; the machine itself lives on while a vCPU or another
/// descriptor of it is open, but its irqfds die with the last *machine* descriptor.
///
/// Only the process that created a machine may use it: in a forked child every request gives EIO.
///
/// ```no_run
/// use std::sync::Arc;
/// use notify_core::{Capability, KvmVm, Vm};
///
/// let kvm = kvm_ioctls::Kvm::new()?;
/// let vm_fd = kvm.create_vm()?;
/// vm_fd.create_irq_chip()?;
///
/// let vm: Arc<dyn Vm> = Arc::new(KvmVm::try_from(&vm_fd)?);
/// assert_eq!(vm.capability(Capability::IrqRouting)?, 4096);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct KvmVm {
    fd: OwnedFd,
    retired: AtomicBool,
    claim: RoutingClaim,
    /// The answers that will not change, as far as they were asked for.
    capabilities: [OnceLock<u32>; Capability::COUNT],
}

impl KvmVm {
    /// Takes over the file descriptor of a machine, whoever created it and by whatever bindings.
    ///
    /// # Errors
    ///
    /// [`Error::NotVm`]; the file descriptor comes back inside.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, Rejected<OwnedFd>> {
        match Self::check(fd.as_fd()) {
            Ok(()) => Ok(Self {
                fd,
                retired: AtomicBool::new(false),
                claim: RoutingClaim::default(),
                capabilities: [const { OnceLock::new() }; Capability::COUNT],
            }),
            Err(source) => {
                let number = fd.as_raw_fd();
                Err(Rejected::new(Error::NotVm { fd: number, source }, fd))
            }
        }
    }

    /// Both `/dev/kvm` and its machines know capabilities; only `/dev/kvm` knows the API's version.
    fn check(fd: BorrowedFd<'_>) -> io::Result<()> {
        ioctl::check_extension(fd, Capability::IoEventFd.number())?;
        match ioctl::get_api_version(fd) {
            Ok(_) => Err(io::Error::from_raw_os_error(libc::ENOTTY)),
            Err(_) => Ok(()),
        }
    }

    /// The answer for a capability, if it was asked for and will not change.
    #[inline]
    fn known(&self, capability: Capability) -> Option<u32> {
        let known = self.capabilities.get(capability as usize);
        known.and_then(OnceLock::get).copied()
    }

    #[inline]
    fn live(&self) -> Result<BorrowedFd<'_>, Retired> {
        if self.retired.load(Ordering::Acquire) {
            return Err(Retired);
        }
        Ok(self.fd.as_fd())
    }
}

impl Vm for KvmVm {
    fn capability(&self, capability: Capability) -> io::Result<u32> {
        if let Some(answer) = self.known(capability) {
            return Ok(answer);
        }
        let answer = ioctl::check_extension(self.fd.as_fd(), capability.number())?;
        let known = self.capabilities.get(capability as usize);
        match known.filter(|_| capability.is_constant()) {
            Some(known) => Ok(*known.get_or_init(|| answer)),
            None => Ok(answer),
        }
    }

    fn irqfd(&self, request: &IrqFdRequest<'_>) -> io::Result<()> {
        match (self.live(), request.action) {
            (Ok(fd), _) => ioctl::irqfd(fd, request),
            (Err(Retired), IrqFdAction::Deassign) => Ok(()),
            (Err(retired), _) => Err(retired.into()),
        }
    }

    fn ioeventfd(&self, request: &IoEventFdRequest<'_>) -> io::Result<()> {
        match (self.live(), request.action) {
            (Ok(fd), _) => ioctl::ioeventfd(fd, request),
            (Err(Retired), IoEventFdAction::Deassign) => Ok(()),
            (Err(retired), _) => Err(retired.into()),
        }
    }

    fn set_gsi_routing(&self, table: &RouteBuffer) -> io::Result<()> {
        ioctl::set_gsi_routing(self.live()?, table)
    }

    fn signal_msi(&self, message: &MsiRequest) -> io::Result<MsiOutcome> {
        let fd = self.live()?;
        match ioctl::signal_msi(fd, message) {
            Ok(0) => Ok(MsiOutcome::Blocked),
            Ok(taken) => Ok(MsiOutcome::Delivered(taken.cast_unsigned())),
            // The kernel's -1, "no destination", reaches user space as EPERM.
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
                ioctl::may_signal_msi(fd)?;
                Ok(MsiOutcome::Blocked)
            }
            Err(error) => Err(error),
        }
    }

    fn set_irq_line(&self, gsi: u32, level: bool) -> io::Result<LineStatus> {
        let fd = self.live()?;
        let told = match self.known(Capability::IrqInjectStatus) {
            Some(told) => told,
            None => self.capability(Capability::IrqInjectStatus)?,
        };
        if told == 0 {
            ioctl::irq_line(fd, gsi, level)?;
            return Ok(LineStatus::Unknown);
        }
        Ok(match ioctl::irq_line_status(fd, gsi, level)? {
            0 => LineStatus::Coalesced,
            delivered => {
                u32::try_from(delivered).map_or(LineStatus::Ignored, LineStatus::Delivered)
            }
        })
    }

    fn irq_line(&self, gsi: u32, level: bool) -> io::Result<()> {
        ioctl::irq_line(self.live()?, gsi, level)
    }

    /// KVM looks for the interrupt controller before it looks at the eventfd, so that an assignment
    /// of none tells which of the two is missing. (riscv64 has no such check, and says yes.) On x86
    /// an irqfd with a resample eventfd needs pins in the kernel, which a split irqchip lacks.
    fn platform(&self) -> io::Result<Option<Platform>> {
        let fd = self.live()?;
        let is_taken = |flags| told_by(ioctl::irqfd_of_nothing(fd, flags));
        if !is_taken(IrqFdFlags::empty())? {
            return Ok(None);
        }
        let usual = Platform::default();
        let is_split = usual == Platform::X86 && !is_taken(IrqFdFlags::RESAMPLE)?;
        Ok(Some(if is_split { Platform::X86Split } else { usual }))
    }

    fn routing_claim(&self) -> Option<&RoutingClaim> {
        Some(&self.claim)
    }

    fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }
}

/// What the refusal of an irqfd of nothing tells.
fn told_by(refusal: io::Result<()>) -> io::Result<bool> {
    match refusal {
        Err(error) if error.raw_os_error() == Some(libc::EBADF) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EAGAIN)) => {
            Ok(false)
        }
        Err(error) => Err(error),
        Ok(()) => Err(io::ErrorKind::Unsupported.into()),
    }
}

impl AsFd for KvmVm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
