// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! How each system call is made to fail.

use nix::errno::Errno;

use super::ledger::Seen;
use crate::call::*;

/// How a call fails.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fault {
    pub(super) errno: Errno,
    /// Whether the kernel has done what was requested nevertheless.
    pub(super) done: bool,
}

const fn refused(errno: Errno) -> Fault {
    Fault { errno, done: false }
}

const fn done(errno: Errno) -> Fault {
    Fault { errno, done: true }
}

/// What a system call filter returns.
const FILTERED: Fault = refused(Errno::EPERM);

/// The errors of a call that a kernel or a filter returns; `None` for a call that is not known.
pub(super) fn faults(seen: &Seen) -> Option<Vec<Fault>> {
    use Errno::*;
    let call = seen.call?;
    Some(match call {
        // A call without an error.
        GETPID => vec![],
        READ | PREADV2 => vec![refused(EINTR), FILTERED],
        // The counter is full, so it holds this signal too.
        WRITE => vec![refused(EINTR), done(EAGAIN), FILTERED],
        WRITEV => vec![refused(EINTR), refused(EINVAL), FILTERED],
        PPOLL | POLL => vec![refused(EINTR), refused(ENOMEM), FILTERED],
        EVENTFD2 | F_DUPFD_CLOEXEC | EPOLL_CREATE1 | TIMERFD_CREATE => {
            vec![refused(EMFILE), refused(ENOMEM)]
        }
        // The descriptor is gone whatever the call returns.
        CLOSE => vec![done(EINTR), done(EIO)],
        F_GETFL | F_SETFL | F_SETFD | MUSL_F_SETFD | LSEEK | TIMERFD_SETTIME => vec![FILTERED],
        NEWFSTATAT | STATX => vec![refused(ENOMEM), FILTERED],
        OPENAT => vec![refused(ENOENT), refused(EMFILE), FILTERED],
        KCMP => vec![refused(ENOSYS), FILTERED],
        GETRANDOM => vec![refused(EINTR), FILTERED],
        EPOLL_CTL if seen.undoes => vec![done(ENOENT)],
        EPOLL_CTL => vec![refused(ENOSPC), refused(ENOMEM)],
        EPOLL_WAIT => vec![refused(EINTR)],
        KVM_GET_API_VERSION | KVM_GET_TSC_KHZ => vec![refused(ENOTTY), FILTERED],
        KVM_CHECK_EXTENSION => vec![refused(EINVAL), FILTERED],
        KVM_IRQ_LINE | KVM_IRQ_LINE_STATUS => vec![refused(EINVAL), refused(ENXIO)],
        KVM_SET_GSI_ROUTING => vec![refused(EINVAL), refused(ENOMEM), refused(E2BIG)],
        KVM_IRQFD if seen.undoes => vec![refused(EINVAL), refused(EBADF)],
        KVM_IRQFD => vec![refused(EINVAL), refused(EBUSY), refused(ENOMEM)],
        // The kernel had no memory to shrink its bus.
        KVM_IOEVENTFD if seen.undoes => vec![refused(EINVAL), done(ENOENT)],
        KVM_IOEVENTFD => vec![refused(EEXIST), refused(ENOSPC), refused(ENOMEM)],
        KVM_SIGNAL_MSI => vec![refused(EINVAL), refused(ENOMEM)],
        KVM_INTERRUPT => vec![refused(EEXIST), refused(EINTR), refused(ENXIO)],
        _ => return None,
    })
}
