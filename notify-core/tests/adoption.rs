// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Which descriptors may become an [`EventNotifier`], and which not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::{epoll, fanotify, inotify, signal, signalfd, socket, timerfd};
use notify_core::{BorrowedEventFd, Error, EventFd, EventFdMode, EventNotifier, SysError};

#[track_caller]
fn expect_count(notifier: &EventNotifier, count: u64) {
    assert_eq!(notifier.consume().unwrap().map(u64::from), Some(count));
    assert_eq!(
        notifier.consume().unwrap(),
        None,
        "the counter was taken whole"
    );
}

#[test]
fn adoption_keeps_the_counter_and_sets_the_flags() {
    let foreign = EventFd::new(0).unwrap();
    foreign.write(5).unwrap();
    let notifier = EventNotifier::adopt_borrowed(&foreign).unwrap();
    let status = fcntl(&notifier, FcntlArg::F_GETFL).unwrap();
    assert_ne!(status & libc::O_NONBLOCK, 0);
    assert_eq!(
        fcntl(&notifier, FcntlArg::F_GETFD).unwrap(),
        libc::FD_CLOEXEC
    );
    expect_count(&notifier, 5);

    let empty = EventNotifier::adopt_borrowed(&EventFd::new(0).unwrap()).unwrap();
    assert_eq!(
        empty.consume().unwrap(),
        None,
        "adoption itself signals nothing"
    );

    let full = EventNotifier::new().unwrap();
    AsRef::<EventFd>::as_ref(&full).write(u64::MAX - 1).unwrap();
    expect_count(
        &EventNotifier::adopt(full.try_into().unwrap()).unwrap(),
        u64::MAX - 1,
    );
}

#[test]
fn adoption_finds_the_mode_where_the_kernel_tells() {
    for (flags, mode) in [
        (0, EventFdMode::Counter),
        (libc::EFD_SEMAPHORE, EventFdMode::Semaphore),
    ] {
        let notifier = EventNotifier::adopt_borrowed(&EventFd::new(flags).unwrap()).unwrap();
        assert!(
            [mode, EventFdMode::Unknown].contains(&notifier.mode()),
            "{:?}",
            notifier.mode()
        );
        let info = format!("/proc/self/fdinfo/{}", notifier.as_raw_fd());
        let told = std::fs::read_to_string(info).unwrap_or_default();
        assert_eq!(
            notifier.mode() != EventFdMode::Unknown,
            told.contains("eventfd-semaphore")
        );
    }
}

/// All other kinds of files behind a descriptor, as far as the kernel lets the test create them.
#[test]
fn adoption_refuses_all_other_kinds_of_file() {
    let mut others: Vec<(&str, OwnedFd)> = Vec::new();
    let (reader, writer) = std::io::pipe().unwrap();
    others.push(("pipe, read end", reader.into()));
    others.push(("pipe, write end", writer.into()));
    for kind in [socket::SockType::Stream, socket::SockType::Datagram] {
        let flags = socket::SockFlag::empty();
        let (one, _) = socket::socketpair(socket::AddressFamily::Unix, kind, None, flags).unwrap();
        others.push(("socket", one));
    }
    others.push(("file", tempfile()));
    others.push((
        "null",
        File::options()
            .read(true)
            .write(true)
            .open("/dev/null")
            .unwrap()
            .into(),
    ));
    others.push((
        "zero",
        File::options()
            .read(true)
            .write(true)
            .open("/dev/zero")
            .unwrap()
            .into(),
    ));
    others.push(("directory", File::open("/").unwrap().into()));
    let epoll = epoll::Epoll::new(epoll::EpollCreateFlags::empty()).unwrap();
    others.push(("epoll", epoll.0));
    for flags in [
        timerfd::TimerFlags::empty(),
        timerfd::TimerFlags::TFD_NONBLOCK,
    ] {
        let timer = timerfd::TimerFd::new(timerfd::ClockId::CLOCK_MONOTONIC, flags).unwrap();
        others.push(("timerfd", timer.into()));
    }
    let signals = signalfd::SignalFd::new(&signal::SigSet::empty()).unwrap();
    others.push(("signalfd", signals.as_fd().try_clone_to_owned().unwrap()));
    let inotify = inotify::Inotify::init(inotify::InitFlags::empty()).unwrap();
    others.push(("inotify", inotify.into()));
    let fanotify = fanotify::Fanotify::init(
        fanotify::InitFlags::FAN_CLASS_CONTENT,
        fanotify::EventFFlags::O_RDWR,
    );
    others.extend(fanotify.map(|fd| ("fanotify", fd.into())));
    others.extend(raw_syscalls());

    for (kind, fd) in others {
        let number = fd.as_raw_fd();
        let rejected = EventNotifier::adopt(fd).expect_err(kind);
        assert!(
            matches!(rejected.error, Error::NotEventFd { fd, .. } if fd == number),
            "{kind}: {}",
            rejected.error
        );
        assert_eq!(rejected.value.as_raw_fd(), number, "{kind} comes back");
    }
}

#[test]
#[allow(
    unsafe_code,
    reason = "safe code cannot offer a closed file descriptor"
)]
fn a_closed_file_descriptor_is_refused_by_its_number() {
    use std::os::fd::{BorrowedFd, FromRawFd};
    const CLOSED: i32 = 987_654;
    let ebadf = |cause: &SysError| cause.raw_os_error() == Some(libc::EBADF);
    // SAFETY: not satisfied: this is the mistake that must be survived. No file has this number, so
    // nothing is closed or used by it.
    let (owned, borrowed) =
        unsafe { (OwnedFd::from_raw_fd(CLOSED), BorrowedFd::borrow_raw(CLOSED)) };
    let error = EventNotifier::adopt_borrowed(&borrowed).unwrap_err();
    assert!(
        matches!(&error, Error::Duplicate { fd: CLOSED, cause, .. } if ebadf(cause)),
        "{error:?}"
    );
    let rejected = EventNotifier::adopt(owned).unwrap_err();
    assert!(matches!(&rejected.error, Error::Examine { fd: CLOSED, cause, .. } if ebadf(cause)));
    let rejected = notify_core::KvmVm::from_fd(rejected.value).unwrap_err();
    assert!(matches!(&rejected.error, Error::NotVm { fd: CLOSED, cause, .. } if ebadf(cause)));
    std::mem::forget(rejected.value);
}

/// A call that a filter refuses says nothing about the file.
#[test]
fn a_jail_without_a_system_call_is_not_told_that_its_eventfd_is_none() {
    let calls = [libc::SYS_preadv2, libc::SYS_writev];
    let errnos = [libc::EPERM, libc::EACCES, libc::ENOSYS];
    for (call, errno) in calls
        .into_iter()
        .flat_map(|call| errnos.map(|errno| (call, errno)))
    {
        let jailed = std::thread::spawn(move || {
            let notifier = EventNotifier::new().unwrap();
            kvm_test::refuse(call, None, errno).unwrap();
            EventNotifier::adopt_borrowed(&notifier).unwrap_err()
        });
        let error = jailed.join().unwrap();
        let said = |cause: &SysError| cause.raw_os_error() == Some(errno);
        assert!(
            matches!(&error, Error::Examine { cause, .. } if said(cause)),
            "{error:?}"
        );
    }
}

/// A datagram that waits in a socket, bytes that wait in a pipe: the check must not take them.
#[test]
fn adoption_takes_nothing_from_what_it_refuses() {
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    std::io::Write::write_all(&mut writer, b"12345678").unwrap();
    let refused = EventNotifier::adopt_borrowed(&reader);
    assert!(matches!(refused, Err(Error::NotEventFd { .. })));
    let mut bytes = [0; 8];
    std::io::Read::read_exact(&mut reader, &mut bytes).unwrap();
    assert_eq!(&bytes, b"12345678");

    let (one, other) = std::os::unix::net::UnixDatagram::pair().unwrap();
    one.send(b"whole").unwrap();
    assert!(EventNotifier::adopt_borrowed(&other).is_err());
    assert_eq!(other.recv(&mut bytes).unwrap(), 5);
}

#[test]
fn a_borrowed_eventfd_is_duplicated() {
    let original = EventFd::new(0).unwrap();
    let lent = EventNotifier::from(original.try_clone().unwrap());
    let notifier = EventNotifier::adopt_borrowed(&lent).unwrap();
    assert_ne!(notifier.as_raw_fd(), lent.as_raw_fd());
    original.write(2).unwrap();
    expect_count(&notifier, 2);
}

fn tempfile() -> OwnedFd {
    let flags = nix::sys::memfd::MFdFlags::empty();
    nix::sys::memfd::memfd_create(c"not-an-eventfd", flags).unwrap()
}

/// File descriptors for which `nix` has no call; those that this kernel refuses are left out.
#[allow(unsafe_code, reason = "nix has no wrapper for these system calls")]
fn raw_syscalls() -> Vec<(&'static str, OwnedFd)> {
    use std::os::fd::FromRawFd;
    let no_id: libc::c_long = -1;
    let mut attr = [0u32; 32]; // perf_event_attr: a software event that counts task switches
    attr[0] = 1;
    attr[1] = 128;
    attr[2] = 3;
    let mut map = [0u32; 16]; // bpf_attr: an array map with one entry of four bytes
    map[..4].copy_from_slice(&[2, 4, 4, 1]);
    let mut ring = [0u8; 256]; // io_uring_params
    // SAFETY: each pointer is to a zero-padded array, larger than the struct that the kernel copies
    // from or to it during the call.
    let numbers = unsafe {
        [
            (
                "pidfd",
                libc::syscall(libc::SYS_pidfd_open, std::process::id(), 0),
            ),
            ("userfaultfd", libc::syscall(libc::SYS_userfaultfd, 1)),
            (
                "perf_event",
                libc::syscall(libc::SYS_perf_event_open, &raw mut attr, 0, no_id, no_id, 0),
            ),
            (
                "bpf map",
                libc::syscall(libc::SYS_bpf, 0, &raw mut map, size_of_val(&map)),
            ),
            (
                "io_uring",
                libc::syscall(libc::SYS_io_uring_setup, 1, &raw mut ring),
            ),
            ("memfd_secret", libc::syscall(libc::SYS_memfd_secret, 0)),
        ]
    };
    numbers
        .into_iter()
        .filter_map(|(kind, number)| Some((kind, i32::try_from(number).ok().filter(|n| *n >= 0)?)))
        // SAFETY: the kernel has just opened each number for us; no other code knows it.
        .map(|(kind, number)| (kind, unsafe { OwnedFd::from_raw_fd(number) }))
        .collect()
}

/// A conversion from `EventFd` checks nothing. A wrong `EventFd` causes errors later.
#[test]
fn what_is_no_eventfd_makes_errors_when_it_is_used() {
    let of = |fd: &dyn AsFd| {
        let eventfd = BorrowedEventFd::from(fd.as_fd());
        EventNotifier::try_from(&*eventfd).unwrap()
    };
    let refused = |error: Error| match error {
        Error::Consume { cause, .. } | Error::Notify { cause, .. } => cause.kind(),
        other => panic!("{other}"),
    };
    // It always has eight bytes, and a wait must not read them for ever.
    let zero = of(&File::open("/dev/zero").unwrap());
    assert_eq!(refused(zero.consume().unwrap_err()), ErrorKind::InvalidData);
    let ever = zero.wait(Some(Duration::MAX)).unwrap_err();
    assert_eq!(refused(ever), ErrorKind::InvalidData);
    zero.declare_private().unwrap();
    assert_eq!(refused(zero.consume().unwrap_err()), ErrorKind::InvalidData);

    let (ours, mut theirs) = std::io::pipe().unwrap();
    let pipe = of(&ours);
    pipe.declare_private().unwrap();
    assert_eq!(pipe.consume().unwrap(), None);
    std::io::Write::write_all(&mut theirs, &[1; 3]).unwrap();
    let short = pipe.consume().unwrap_err();
    assert_eq!(refused(short), ErrorKind::UnexpectedEof);
    assert!(matches!(pipe.notify(), Err(Error::Notify { .. })));
    drop(theirs);
    let end = pipe.wait(None).unwrap_err();
    assert_eq!(refused(end), ErrorKind::UnexpectedEof);
    assert_eq!(pipe.mode(), EventFdMode::Unknown);
}
