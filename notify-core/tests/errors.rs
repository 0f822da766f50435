// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Errors: their text is complete, and a VMM can clone, compare and inspect them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::error::Error;
use std::io;
use std::os::fd::OwnedFd;

use notify_core::{EventNotifier, KvmVm, NotifierPair, Retired, SysError};

/// A report that prints an error and its sources must not print the errno twice.
#[track_caller]
fn expect_complete(error: &dyn Error, cause: &str) {
    let text = error.to_string();
    assert!(text.ends_with(cause), "{text}");
    assert!(error.source().is_none(), "{text}");
}

fn no_vm() -> notify_core::Error {
    let file = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    KvmVm::from_fd(file).unwrap_err().error
}

#[test]
fn the_text_ends_with_the_errno() {
    let error = no_vm();
    assert_eq!(error.raw_os_error(), Some(libc::ENOTTY));
    expect_complete(&error, &kvm_test::os_text(libc::ENOTTY));
    assert_eq!(error.clone(), error);
    assert_ne!(error, no_eventfd());
}

fn no_eventfd() -> notify_core::Error {
    let file = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    EventNotifier::adopt(file).unwrap_err().error
}

#[test]
fn an_error_without_a_system_call_has_no_errno() {
    assert_eq!(no_eventfd().raw_os_error(), None);
    expect_complete(&no_eventfd(), "Linux 5.8");
}

#[test]
fn what_an_error_holds_keeps_its_errno_and_text() {
    let errno = SysError::from(io::Error::from_raw_os_error(libc::EMFILE));
    assert_eq!(
        io::Error::from(errno.clone()).raw_os_error(),
        Some(libc::EMFILE)
    );
    let text = SysError::from(io::Error::other("no such ring"));
    let clone = text.clone();
    assert_ne!(errno, text);
    let shared = io::Error::from(text);
    assert_eq!(shared.to_string(), "no such ring");
    assert_eq!(shared.kind(), clone.kind());
}

/// Also if the error was kept, cloned and given back.
#[test]
fn a_refusal_of_a_vm_that_is_being_closed_is_recognised() {
    let kept = SysError::from(io::Error::from(Retired));
    let clone = kept.clone();
    assert!(Retired::caused(&kept.into()));
    assert!(Retired::caused(&clone.into()));
    assert!(!Retired::caused(&io::Error::other("something else")));
    assert!(!Retired::caused(&io::Error::from_raw_os_error(libc::EIO)));
}

#[test]
fn an_error_of_rings_has_the_errno_of_the_notifier_or_of_the_request() {
    use notify_core::vring::{VringBackend, VringError, Vrings};

    #[derive(Debug)]
    struct Refuses;
    impl VringBackend for Refuses {
        fn set_kick(&mut self, _: usize, _: &EventNotifier) -> io::Result<()> {
            Err(io::Error::from_raw_os_error(libc::EFAULT))
        }
        fn set_call(&mut self, _: usize, _: &EventNotifier) -> io::Result<()> {
            Ok(())
        }
        fn set_err(&mut self, _: usize, _: &EventNotifier) -> io::Result<()> {
            Ok(())
        }
        fn start(&mut self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn stop(&mut self, _: usize) -> io::Result<Vec<u32>> {
            Ok(Vec::new())
        }
    }

    let mut vrings = Vrings::new([NotifierPair::new().unwrap()]).unwrap();
    let error = vrings.start(Refuses).unwrap_err().error;
    assert_eq!(error.raw_os_error(), Some(libc::EFAULT));
    expect_complete(
        &error,
        "the kick eventfd of ring 0: Bad address (os error 14)",
    );
    let inner = VringError::from(no_vm());
    assert_eq!(inner.raw_os_error(), Some(libc::ENOTTY));
    expect_complete(&inner, "(os error 25)");
}

/// Addresses are in hex: in decimal they are of no use to a reader.
#[test]
fn debug_prints_addresses_in_hex() {
    use std::os::fd::AsFd;

    use notify_core::{Bus, IoEventFdRequest, MsiMessage, RouteEntry, RouteTarget};

    let message = MsiMessage::new(0xfee0_1000, 0x41).with_devid(0x10);
    let entry = RouteEntry::new(24, RouteTarget::Msi(message));
    let text = format!("{entry:?}");
    for part in ["gsi: 24", "0xfee01000", "0x41", "Some(0x10)"] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(entry.target.to_string(), message.to_string());
    let kick = EventNotifier::new().unwrap();
    let request = IoEventFdRequest::assign(kick.as_fd(), Bus::Mmio, 0xd000_0000, 2);
    let text = format!("{:?}", request.datamatch(Some(0x20)));
    for part in ["0xd0000000", "len: 2", "Some(0x20)"] {
        assert!(text.contains(part), "{text}");
    }
}
