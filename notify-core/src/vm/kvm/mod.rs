// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`KvmVm`]: the port to a KVM VM.

#[cfg(feature = "kvm-ioctls")]
mod convert;
#[cfg_attr(target_arch = "x86_64", path = "interrupt_x86_64.rs")]
#[cfg_attr(not(target_arch = "x86_64"), path = "interrupt_elsewhere.rs")]
mod interrupt;
mod ioctl;
mod vcpu;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

pub use vcpu::KvmVcpu;

use super::{
    Extension, IoEventFdAction, IoEventFdRequest, IrqFdAction, IrqFdRequest, LineStatus,
    MsiMessage, MsiOutcome, Platform, Retired, RouteBuffer, RoutingClaim, Vm,
};
use crate::notifier::fd;
use crate::vm::flags::IrqFdFlags;
use crate::{Error, Rejected};

/// A KVM VM. Create one for each VM, and share it in an `Arc`.
///
/// # From what a VMM has
///
/// | the VMM has | conversion |
/// |---|---|
/// | `VmFd` of kvm-ioctls 0.25 | `KvmVm::try_from(&vm_fd)` (feature `kvm-ioctls`, on by default) |
/// | `VmFd` of any other version, or another type | [`KvmVm::duplicate`]`(&vm_fd)` |
/// | an `OwnedFd` to give away | [`KvmVm::from_fd`]`(fd)` |
///
/// The first two duplicate the file descriptor: the VMM keeps its own, and the VM stays open
/// while either is open. Where the VMM has another version of kvm-ioctls, set `default-features =
/// false`, so that Cargo builds no second copy.
///
/// Two `KvmVm`s over duplicates of one descriptor do not share their [`RoutingClaim`], so a second
/// routing table is not refused.
///
/// Dropping it closes its file descriptor. The VM lives on while a vCPU or another descriptor of it
/// is open, but its irqfds are removed when the last *VM* descriptor is closed. No method blocks on
/// a lock of this type.
///
/// Only the process that created a VM may use it: in a forked child every request fails with EIO.
///
/// # System calls
///
/// Creating a `KvmVm` asks KVM for all capabilities that never change, so that no operation of
/// these crates asks later. That is KVM_CHECK_EXTENSION eleven times, and KVM_GET_API_VERSION,
/// which a VM refuses.
///
/// The interrupt controllers may be created before or after. Two capabilities can change when one
/// is created, and are read at each call of [`check_extension`](Vm::check_extension):
/// [`Extension::MsiDevid`] until the VM has it, and [`Extension::X2ApicApi`].
///
/// ```no_run
/// use std::sync::Arc;
/// use notify_core::{Extension, KvmVm, Vm};
///
/// let kvm = kvm_ioctls::Kvm::new()?;
/// let vm_fd = kvm.create_vm()?;
/// vm_fd.create_irq_chip()?;
///
/// let vm: Arc<dyn Vm> = Arc::new(KvmVm::duplicate(&vm_fd)?); // any version of kvm-ioctls
/// assert_eq!(vm.check_extension(Extension::IrqRouting)?, 4096);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct KvmVm {
    fd: OwnedFd,
    retired: AtomicBool,
    claim: RoutingClaim,
    /// The capabilities that do not change, in the order of [`Extension::ALL`].
    constant: [u32; Extension::ALL.len()],
    /// [`Extension::MsiDevid`], once it is not 0.
    msi_devid: OnceLock<u32>,
}

impl KvmVm {
    /// Takes ownership of the file descriptor of a VM, from any bindings.
    ///
    /// # Errors
    ///
    /// [`Error::NotVm`]; the file descriptor comes back inside.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, Rejected<OwnedFd>> {
        match Self::learn(fd.as_fd()) {
            Ok(constant) => Ok(Self {
                fd,
                retired: AtomicBool::new(false),
                claim: RoutingClaim::default(),
                constant,
                msi_devid: OnceLock::new(),
            }),
            Err(error) => {
                let (number, cause) = (fd.as_raw_fd(), error.into());
                Err(Rejected::new(Error::NotVm { fd: number, cause }, fd))
            }
        }
    }

    /// Duplicates the file descriptor of a VM, which the caller keeps.
    ///
    /// It takes the `VmFd` of any version of `kvm-ioctls`, and other types.
    ///
    /// # Errors
    ///
    /// [`Error::Duplicate`], also if the number is not open; [`Error::NotVm`], also in a forked
    /// child.
    pub fn duplicate(vm: &impl AsRawFd) -> Result<Self, Error> {
        Ok(Self::from_fd(fd::duplicate_raw(vm)?)?)
    }

    /// Both `/dev/kvm` and a VM have capabilities; only `/dev/kvm` has an API version.
    /// Returns the capabilities that do not change.
    fn learn(fd: BorrowedFd<'_>) -> io::Result<[u32; Extension::ALL.len()]> {
        ioctl::check_extension(fd, Extension::IoEventFd.number())?;
        if ioctl::get_api_version(fd).is_ok() {
            return Err(io::Error::from_raw_os_error(libc::ENOTTY));
        }
        let mut constant = [0; Extension::ALL.len()];
        for (place, capability) in constant.iter_mut().zip(Extension::ALL) {
            if capability.is_constant() {
                *place = ioctl::check_extension(fd, capability.number())?;
            }
        }
        Ok(constant)
    }

    /// The value of a capability that does not change.
    #[inline]
    fn constant(&self, capability: Extension) -> u32 {
        let known = self.constant.get(capability as usize);
        known.copied().unwrap_or_default()
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
    fn check_extension(&self, capability: Extension) -> io::Result<u32> {
        if capability.is_constant() {
            return Ok(self.constant(capability));
        }
        let ask = || ioctl::check_extension(self.fd.as_fd(), capability.number());
        match capability {
            Extension::MsiDevid => until_positive(&self.msi_devid, ask),
            _ => ask(),
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

    fn signal_msi(&self, message: &MsiMessage) -> io::Result<MsiOutcome> {
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

    fn irq_line_status(&self, gsi: u32, level: bool) -> io::Result<LineStatus> {
        let fd = self.live()?;
        if self.constant(Extension::IrqInjectStatus) == 0 {
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

    /// Assigns an irqfd of no eventfd, to see what KVM refuses.
    ///
    /// KVM looks for the interrupt controller before it looks at the eventfd, so the errno shows
    /// which of the two is missing. (riscv64 has no such check, so it always seems ready.) On x86
    /// an irqfd with a resample eventfd needs pins in the kernel, which a split irqchip lacks.
    fn platform(&self) -> io::Result<Option<Platform>> {
        let fd = self.live()?;
        let is_taken = |flags| found_controller(ioctl::irqfd_of_nothing(fd, flags));
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

/// Asks for a value until it is positive; from then on it does not change.
fn until_positive(known: &OnceLock<u32>, ask: impl FnOnce() -> io::Result<u32>) -> io::Result<u32> {
    if let Some(known) = known.get() {
        return Ok(*known);
    }
    match ask()? {
        0 => Ok(0),
        value => Ok(*known.get_or_init(|| value)),
    }
}

/// Whether KVM got as far as the eventfd when it refused an irqfd of nothing.
fn found_controller(refusal: io::Result<()>) -> io::Result<bool> {
    match refusal {
        Err(error) if error.raw_os_error() == Some(libc::EBADF) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EAGAIN)) => {
            Ok(false)
        }
        Err(error) => Err(error),
        Ok(()) => Err(io::ErrorKind::Unsupported.into()),
    }
}

impl AsRawFd for KvmVm {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl AsFd for KvmVm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_capability_that_comes_with_a_controller_is_asked_for_until_it_is_there() {
        let known = OnceLock::new();
        let mut asked = 0;
        for (value, expected) in [
            (Some(0), 0),
            (Some(0), 0),
            (Some(1), 1),
            (None, 1),
            (None, 1),
        ] {
            let ask = || {
                asked += 1;
                value.ok_or_else(|| io::ErrorKind::PermissionDenied.into())
            };
            assert_eq!(until_positive(&known, ask).unwrap(), expected);
        }
        assert_eq!(asked, 3);
        let refused = until_positive(&OnceLock::new(), || {
            Err(io::ErrorKind::PermissionDenied.into())
        });
        assert!(refused.is_err());
    }
}
