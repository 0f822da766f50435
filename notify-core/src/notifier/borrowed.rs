// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`BorrowedEventFd`]: a borrowed file descriptor as an `&EventFd`.

use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};

use vmm_sys_util::eventfd::EventFd;

use super::fd;

/// A borrowed file descriptor that derefs to `&EventFd`.
///
/// Creating one makes no system call, and dropping it closes nothing.
///
/// For an implementation of [`Vm`](crate::Vm) over a VMM's own types. Requests hold a
/// [`BorrowedFd`], and a method such as `fn register_irqfd(&self, fd: &EventFd, gsi: u32)` takes an
/// `EventFd`.
///
/// ```
/// # use std::io;
/// use notify_core::{BorrowedEventFd, EventFd, IrqFdAction, IrqFdRequest};
///
/// # struct Hypervisor;
/// # impl Hypervisor {
/// #     fn register_irqfd(&self, fd: &EventFd, gsi: u32) -> io::Result<()> { Ok(()) }
/// #     fn unregister_irqfd(&self, fd: &EventFd, gsi: u32) -> io::Result<()> { Ok(()) }
/// # }
/// fn irqfd(vm: &Hypervisor, request: &IrqFdRequest<'_>) -> io::Result<()> {
///     let eventfd = BorrowedEventFd::from(request.eventfd);
///     match request.action {
///         IrqFdAction::Assign => vm.register_irqfd(&eventfd, request.gsi),
///         IrqFdAction::Deassign => vm.unregister_irqfd(&eventfd, request.gsi),
///         _ => Err(io::ErrorKind::Unsupported.into()),
///     }
/// }
/// # let notifier = notify_core::EventNotifier::new()?;
/// # use std::os::fd::AsFd;
/// # irqfd(&Hypervisor, &IrqFdRequest::assign(notifier.as_fd(), 5))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct BorrowedEventFd<'fd> {
    eventfd: ManuallyDrop<EventFd>,
    /// Keeps the number open.
    fd: BorrowedFd<'fd>,
}

impl<'fd> From<BorrowedFd<'fd>> for BorrowedEventFd<'fd> {
    /// Does not check that it is an eventfd.
    fn from(fd: BorrowedFd<'fd>) -> Self {
        Self {
            eventfd: fd::lend(fd),
            fd,
        }
    }
}

impl Deref for BorrowedEventFd<'_> {
    type Target = EventFd;

    fn deref(&self) -> &EventFd {
        &self.eventfd
    }
}

impl AsRef<EventFd> for BorrowedEventFd<'_> {
    fn as_ref(&self) -> &EventFd {
        self
    }
}

impl AsFd for BorrowedEventFd<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd
    }
}

impl fmt::Debug for BorrowedEventFd<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BorrowedEventFd").field(&self.fd).finish()
    }
}
