// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Which system calls the operations of a notifier make: each runs on a thread whose filter kills
//! the process at any other call. Trials run one after the other, because some count file
//! descriptors.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;
use std::time::Duration;

use kvm_test::{SystemCall, anywhere, jailed, open_fds, refuse};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use notify_core::{
    BorrowedEventFd, EventFd, EventFdMode, EventNotifier, Extension, IoEventFdRequest,
    IrqFdRequest, LineStatus, MsiMessage, MsiOutcome, RouteBuffer, Vm,
};

const WRITE: SystemCall = (libc::SYS_write, None);
const READ: SystemCall = (libc::SYS_read, None);
const PREADV2: SystemCall = (libc::SYS_preadv2, None);
const PPOLL: SystemCall = (libc::SYS_ppoll, None);
const GETFL: SystemCall = fcntl_of(libc::F_GETFL);
const SETFL: SystemCall = fcntl_of(libc::F_SETFL);

/// musl sets the flag once more.
const DUP: &[SystemCall] = if cfg!(target_env = "musl") {
    &[fcntl_of(libc::F_DUPFD_CLOEXEC), fcntl_of(libc::F_SETFD)]
} else {
    &[fcntl_of(libc::F_DUPFD_CLOEXEC)]
};

const fn fcntl_of(command: i32) -> SystemCall {
    (libc::SYS_fcntl, Some(command.cast_unsigned()))
}

fn main() -> ExitCode {
    kvm_test::main(vec![
        anywhere("an_eventfd_is_taken_without_a_call", taken),
        anywhere("a_borrowed_eventfd_is_duplicated_once", borrowed),
        anywhere("a_shared_notifier_is_read_by_preadv2", shared),
        anywhere("a_private_notifier_is_read_by_read", private),
        anywhere("a_declaration_makes_it_non_blocking", declared),
        anywhere("a_clone_is_shared", cloned),
        anywhere("the_mode_is_looked_at_once", mode),
        anywhere("a_mode_that_a_shortage_hides_is_looked_at_again", shortage),
        anywhere(
            "an_adoption_that_fails_does_not_change_the_open_file",
            flag_of_other_holders,
        ),
        anywhere("a_port_gets_an_eventfd_without_a_call", port),
    ])
}

fn count(notifier: &EventNotifier) -> Option<u64> {
    notifier.consume().unwrap().map(u64::from)
}

/// By value and by `Arc`, there and back.
fn taken() {
    let eventfd = EventFd::new(0).unwrap();
    let shared = Arc::new(EventFd::new(libc::EFD_NONBLOCK).unwrap());
    let fds = open_fds().unwrap();
    let numbers = (eventfd.as_raw_fd(), shared.as_raw_fd());
    let other = Arc::clone(&shared);
    let (owned, shared) = jailed(&[], move || {
        (EventNotifier::from(eventfd), EventNotifier::from(shared))
    });
    assert_eq!((owned.as_raw_fd(), shared.as_raw_fd()), numbers);
    assert_eq!(open_fds().unwrap(), fds);
    let flags = OFlag::from_bits_retain(fcntl(&owned, FcntlArg::F_GETFL).unwrap());
    assert!(!flags.contains(OFlag::O_NONBLOCK), "it stays as it was");

    let lent: i32 = jailed(&[], || AsRef::<EventFd>::as_ref(&shared).as_raw_fd());
    assert_eq!(lent, numbers.1);
    other.write(3).unwrap();
    assert_eq!(count(&shared), Some(3));
    // A shared notifier must be duplicated to be given away; then only this one is left.
    let (given, again) = jailed(DUP, || {
        let given = EventFd::try_from(shared).unwrap();
        (given, EventFd::try_from(EventNotifier::from(other)))
    });
    assert_ne!(given.as_raw_fd(), numbers.1);
    let again = again.unwrap();
    assert_eq!(again.as_raw_fd(), numbers.1);
    let given = jailed(&[], || EventFd::try_from(owned).unwrap());
    assert_eq!(given.as_raw_fd(), numbers.0);
}

fn borrowed() {
    let eventfd = EventFd::new(0).unwrap();
    let fds = open_fds().unwrap();
    let notifier = jailed(DUP, || EventNotifier::try_from(&eventfd).unwrap());
    assert_eq!(open_fds().unwrap(), fds + 1);
    eventfd.write(2).unwrap();
    assert_eq!(count(&notifier), Some(2));
}

fn shared() {
    let notifier = EventNotifier::new().unwrap();
    jailed(&[WRITE], || notifier.notify().unwrap());
    jailed(&[WRITE], || assert!(notifier.try_notify().unwrap()));
    jailed(&[PPOLL], || assert!(notifier.is_signalled().unwrap()));
    jailed(&[PREADV2], || assert_eq!(count(&notifier), Some(2)));
    jailed(&[PREADV2], || assert_eq!(count(&notifier), None));
    let once = Some(Duration::ZERO);
    jailed(&[PREADV2, PPOLL], || {
        assert_eq!(notifier.wait(once).unwrap(), None);
    });
}

fn private() {
    let notifier = EventNotifier::builder().private(true).build().unwrap();
    assert!(notifier.is_private());
    jailed(&[WRITE], || notifier.notify().unwrap());
    jailed(&[READ], || assert_eq!(count(&notifier), Some(1)));
    jailed(&[READ], || assert_eq!(count(&notifier), None));
    jailed(&[], || notifier.declare_private().unwrap());
    jailed(&[], || notifier.declare_shared());
    jailed(&[PREADV2], || assert_eq!(count(&notifier), None));
}

fn declared() {
    let blocking = EventNotifier::from(EventFd::new(0).unwrap());
    jailed(&[GETFL, SETFL], || blocking.declare_private().unwrap());
    // Otherwise it would block for ever.
    jailed(&[READ], || assert_eq!(count(&blocking), None));
    let notifier = EventNotifier::new().unwrap();
    jailed(&[GETFL], || notifier.declare_private().unwrap());
    jailed(&[READ], || assert_eq!(count(&notifier), None));
}

fn cloned() {
    let notifier = EventNotifier::builder().private(true).build().unwrap();
    let clone = jailed(DUP, || notifier.try_clone().unwrap());
    assert!(!notifier.is_private() && !clone.is_private());
}

fn mode() {
    let made = EventNotifier::builder().semaphore(true).build().unwrap();
    let converted = EventNotifier::from(EventFd::new(libc::EFD_SEMAPHORE).unwrap());
    let mode = converted.mode();
    jailed(&[], || {
        assert_eq!(made.mode(), EventFdMode::Semaphore);
        assert_eq!(converted.mode(), mode);
    });
}

/// The limit of descriptors is reached for a while.
fn shortage() {
    let converted = EventNotifier::from(EventFd::new(libc::EFD_SEMAPHORE).unwrap());
    thread::scope(|scope| {
        scope.spawn(|| {
            refuse(libc::SYS_openat, None, libc::EMFILE).unwrap();
            // That of musl.
            #[cfg(target_arch = "x86_64")]
            refuse(libc::SYS_open, None, libc::EMFILE).unwrap();
            assert_eq!(converted.mode(), EventFdMode::Unknown);
        });
    });
    let adopted = EventNotifier::adopt_borrowed(&converted).unwrap();
    assert_eq!(converted.mode(), adopted.mode());
}

fn flag_of_other_holders() {
    let eventfd = EventNotifier::from(EventFd::new(0).unwrap());
    let before = fcntl(&eventfd, FcntlArg::F_GETFL).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let close_on_exec = Some(libc::F_SETFD.cast_unsigned());
            refuse(libc::SYS_fcntl, close_on_exec, libc::EPERM).unwrap();
            EventNotifier::adopt_borrowed(&eventfd).unwrap_err();
        });
    });
    assert_eq!(fcntl(&eventfd, FcntlArg::F_GETFL).unwrap(), before);
}

/// What a VMM may have: a method that takes an `&EventFd`.
#[derive(Debug, Default)]
struct Hypervisor(AtomicI32);

impl Hypervisor {
    fn register_irqfd(&self, fd: &EventFd, gsi: u32) -> io::Result<()> {
        assert_eq!(gsi, 5);
        self.0.store(fd.as_raw_fd(), Ordering::Relaxed);
        Ok(())
    }
}

impl Vm for Hypervisor {
    fn check_extension(&self, _: Extension) -> io::Result<u32> {
        Ok(0)
    }

    fn irqfd(&self, request: &IrqFdRequest<'_>) -> io::Result<()> {
        self.register_irqfd(&BorrowedEventFd::from(request.eventfd), request.gsi)
    }

    fn ioeventfd(&self, _: &IoEventFdRequest<'_>) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn set_gsi_routing(&self, _: &RouteBuffer) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn signal_msi(&self, _: &MsiMessage) -> io::Result<MsiOutcome> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn irq_line_status(&self, _: u32, _: bool) -> io::Result<LineStatus> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

fn port() {
    let (vm, notifier) = (Hypervisor::default(), EventNotifier::new().unwrap());
    let fds = open_fds().unwrap();
    jailed(&[], || {
        vm.irqfd(&IrqFdRequest::assign(notifier.as_fd(), 5))
            .unwrap();
    });
    assert_eq!(vm.0.load(Ordering::Relaxed), notifier.as_raw_fd());
    assert_eq!(open_fds().unwrap(), fds, "nothing was closed, either");
    notifier.notify().unwrap();
    assert_eq!(count(&notifier), Some(1));
}
