// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The system calls that the tables name.

use std::fmt;

use kvm_test::SystemCall;
use nix::libc::{self, c_long};

/// A system call, and the second argument if it matters: which ioctl, which command of fcntl.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) name: &'static str,
    /// The name of the call in a program that is linked with musl, if it is another one.
    pub(crate) musl: Option<&'static str>,
    kind: Kind,
    number: c_long,
    argument: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Fcntl,
    /// The fcntl that musl's wrappers add to a call that creates a file descriptor.
    MuslFcntl,
    Ioctl,
}

impl Call {
    const fn new(name: &'static str, number: c_long) -> Self {
        Self {
            name,
            musl: None,
            kind: Kind::Plain,
            number,
            argument: None,
        }
    }

    const fn libc(gnu: (&'static str, c_long), musl: (&'static str, c_long)) -> Self {
        let number = if cfg!(target_env = "musl") {
            musl.1
        } else {
            gnu.1
        };
        let mut call = Self::new(gnu.0, number);
        call.musl = Some(musl.0);
        call
    }

    const fn fcntl(name: &'static str, command: i32) -> Self {
        let mut call = Self::new(name, libc::SYS_fcntl);
        call.kind = Kind::Fcntl;
        call.argument = Some(command.cast_unsigned());
        call
    }

    const fn ioctl(name: &'static str, request: u32) -> Self {
        let mut call = Self::new(name, libc::SYS_ioctl);
        call.kind = Kind::Ioctl;
        call.argument = Some(request);
        call
    }

    /// Whether this program makes the call at all.
    pub(crate) fn is_of_this_libc(self) -> bool {
        self.kind != Kind::MuslFcntl || cfg!(target_env = "musl")
    }

    pub(crate) fn filter(self) -> SystemCall {
        (self.number, self.argument)
    }

    /// The number of the request, if it is an ioctl.
    pub(crate) fn request(self) -> Option<u32> {
        self.argument.filter(|_| self.kind == Kind::Ioctl)
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind, self.musl) {
            (Kind::Ioctl, _) => f.write_str(self.name),
            (Kind::Fcntl, _) => write!(f, "`fcntl` ({})", self.name),
            (Kind::MuslFcntl, _) => f.write_str("`fcntl` (F_SETFD, musl only)"),
            (Kind::Plain, None) => write!(f, "`{}`", self.name),
            (Kind::Plain, Some(musl)) => write!(f, "`{}` (musl: `{musl}`)", self.name),
        }
    }
}

pub(crate) const READ: Call = Call::new("read", libc::SYS_read);
pub(crate) const WRITE: Call = Call::new("write", libc::SYS_write);
pub(crate) const PREADV2: Call = Call::new("preadv2", libc::SYS_preadv2);
pub(crate) const WRITEV: Call = Call::new("writev", libc::SYS_writev);
pub(crate) const PPOLL: Call = Call::new("ppoll", libc::SYS_ppoll);
pub(crate) const POLL: Call = Call::new("poll", libc::SYS_poll);
pub(crate) const EVENTFD2: Call = Call::new("eventfd2", libc::SYS_eventfd2);
pub(crate) const CLOSE: Call = Call::new("close", libc::SYS_close);
pub(crate) const F_DUPFD_CLOEXEC: Call = Call::fcntl("F_DUPFD_CLOEXEC", libc::F_DUPFD_CLOEXEC);
pub(crate) const F_GETFL: Call = Call::fcntl("F_GETFL", libc::F_GETFL);
pub(crate) const F_SETFL: Call = Call::fcntl("F_SETFL", libc::F_SETFL);
pub(crate) const F_SETFD: Call = Call::fcntl("F_SETFD", libc::F_SETFD);
/// musl sets close-on-exec once more on what it opens or duplicates.
pub(crate) const MUSL_F_SETFD: Call = Call {
    kind: Kind::MuslFcntl,
    ..Call::fcntl("F_SETFD of musl", libc::F_SETFD)
};
pub(crate) const NEWFSTATAT: Call = Call::libc(
    ("newfstatat", libc::SYS_newfstatat),
    ("fstat", libc::SYS_fstat),
);
pub(crate) const OPENAT: Call = Call::libc(("openat", libc::SYS_openat), ("open", libc::SYS_open));
pub(crate) const STATX: Call = Call::libc(("statx", libc::SYS_statx), ("fstat", libc::SYS_fstat));
pub(crate) const LSEEK: Call = Call::new("lseek", libc::SYS_lseek);
pub(crate) const KCMP: Call = Call::new("kcmp", libc::SYS_kcmp);
pub(crate) const GETPID: Call = Call::new("getpid", libc::SYS_getpid);
pub(crate) const GETRANDOM: Call = Call::new("getrandom", libc::SYS_getrandom);
pub(crate) const EPOLL_CREATE1: Call = Call::new("epoll_create1", libc::SYS_epoll_create1);
pub(crate) const EPOLL_CTL: Call = Call::new("epoll_ctl", libc::SYS_epoll_ctl);
pub(crate) const EPOLL_WAIT: Call = Call::libc(
    ("epoll_wait", libc::SYS_epoll_wait),
    ("epoll_pwait", libc::SYS_epoll_pwait),
);
pub(crate) const TIMERFD_CREATE: Call = Call::new("timerfd_create", libc::SYS_timerfd_create);
pub(crate) const TIMERFD_SETTIME: Call = Call::new("timerfd_settime", libc::SYS_timerfd_settime);

pub(crate) const KVM_GET_API_VERSION: Call = Call::ioctl("KVM_GET_API_VERSION", 0xae00);
pub(crate) const KVM_CHECK_EXTENSION: Call = Call::ioctl("KVM_CHECK_EXTENSION", 0xae03);
pub(crate) const KVM_IRQ_LINE: Call = Call::ioctl("KVM_IRQ_LINE", 0x4008_ae61);
pub(crate) const KVM_IRQ_LINE_STATUS: Call = Call::ioctl("KVM_IRQ_LINE_STATUS", 0xc008_ae67);
pub(crate) const KVM_SET_GSI_ROUTING: Call = Call::ioctl("KVM_SET_GSI_ROUTING", 0x4008_ae6a);
pub(crate) const KVM_IRQFD: Call = Call::ioctl("KVM_IRQFD", 0x4020_ae76);
pub(crate) const KVM_IOEVENTFD: Call = Call::ioctl("KVM_IOEVENTFD", 0x4040_ae79);
pub(crate) const KVM_SIGNAL_MSI: Call = Call::ioctl("KVM_SIGNAL_MSI", 0x4020_aea5);
pub(crate) const KVM_INTERRUPT: Call = Call::ioctl("KVM_INTERRUPT", 0x4004_ae86);
pub(crate) const KVM_GET_TSC_KHZ: Call = Call::ioctl("KVM_GET_TSC_KHZ", 0xaea3);

/// All calls: an operation with a wrong list is measured with them.
pub(crate) const ALL: [Call; 35] = [
    READ,
    WRITE,
    PREADV2,
    WRITEV,
    PPOLL,
    POLL,
    EVENTFD2,
    CLOSE,
    F_DUPFD_CLOEXEC,
    F_GETFL,
    F_SETFL,
    F_SETFD,
    MUSL_F_SETFD,
    NEWFSTATAT,
    OPENAT,
    STATX,
    LSEEK,
    KCMP,
    GETPID,
    GETRANDOM,
    EPOLL_CREATE1,
    EPOLL_CTL,
    EPOLL_WAIT,
    TIMERFD_CREATE,
    TIMERFD_SETTIME,
    KVM_GET_API_VERSION,
    KVM_CHECK_EXTENSION,
    KVM_IRQ_LINE,
    KVM_IRQ_LINE_STATUS,
    KVM_SET_GSI_ROUTING,
    KVM_IRQFD,
    KVM_IOEVENTFD,
    KVM_SIGNAL_MSI,
    KVM_INTERRUPT,
    KVM_GET_TSC_KHZ,
];

/// The calls that Rust's runtime and the C library make by themselves, and not in each run:
/// `notify-core/src/system_calls.rs` says when.
pub(crate) const RUNTIME: [SystemCall; 9] = [
    (libc::SYS_brk, None),
    (libc::SYS_mmap, None),
    (libc::SYS_mprotect, None),
    (libc::SYS_mremap, None),
    (libc::SYS_munmap, None),
    (libc::SYS_madvise, None),
    (libc::SYS_futex, None),
    (libc::SYS_clock_gettime, None),
    (libc::SYS_fcntl, Some(libc::F_GETFD.cast_unsigned())),
];
