// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! `?` on a rejected value returns only the error, and drops the value.
#![allow(clippy::unwrap_used)]

use std::cell::Cell;
use std::error::Error as StdError;
use std::rc::Rc;
use std::sync::{Arc, Weak};

use notify_core::{Error, Rejected, SysError};

/// A value that is neither `Send` nor `Sync`, and shows whether it is alive.
struct Value(
    #[expect(dead_code, reason = "keeps it alive")] Arc<()>,
    Rc<Cell<u32>>,
);

fn fails() -> (Rejected<Value>, Weak<()>) {
    let alive = Arc::new(());
    let weak = Arc::downgrade(&alive);
    let error = Error::from(Rejected::new(not_an_eventfd(), ()));
    (Rejected::new(error, Value(alive, Rc::default())), weak)
}

fn not_an_eventfd() -> Error {
    let file = std::fs::File::open("/dev/null").unwrap();
    let rejected = notify_core::EventNotifier::try_from(std::os::fd::OwnedFd::from(file));
    rejected.unwrap_err().error
}

#[test]
fn a_boxed_error_keeps_nothing_alive() {
    let (rejected, weak) = fails();
    let text = rejected.to_string();
    let boxed = (|| -> Result<(), Box<dyn StdError>> { Err(rejected)? })().unwrap_err();
    assert_eq!((boxed.to_string(), weak.strong_count()), (text, 0));
    assert!(boxed.is::<Error>());
}

#[test]
fn an_error_for_threads_keeps_nothing_alive() {
    let (rejected, weak) = fails();
    let convert = || -> Result<(), Box<dyn StdError + Send + Sync>> { Err(rejected)? };
    assert!(convert().unwrap_err().is::<Error>());
    assert_eq!(weak.strong_count(), 0);
}

#[cfg(feature = "anyhow")]
#[test]
fn anyhow_keeps_nothing_alive() {
    let (rejected, weak) = fails();
    let convert = || -> anyhow::Result<()> { Err(rejected)? };
    assert!(convert().unwrap_err().is::<Error>());
    assert_eq!(weak.strong_count(), 0);
}

#[test]
fn the_caller_gets_the_value_back() {
    let (rejected, weak) = fails();
    let value = rejected.value;
    value.1.set(7);
    assert_eq!((value.1.get(), weak.strong_count()), (7, 1));
}

#[test]
fn system_errors_compare_by_errno_and_then_by_kind() {
    use std::io::{Error as IoError, ErrorKind};
    let os = |errno| SysError::from(IoError::from_raw_os_error(errno));
    let other = |text: &'static str| SysError::from(IoError::new(ErrorKind::Unsupported, text));
    assert_eq!(os(libc::EBUSY), os(libc::EBUSY).clone());
    assert_ne!(os(libc::EBUSY), os(libc::EINVAL));
    assert_eq!(other("one"), other("another"));
    // EOPNOTSUPP has the same kind, and an errno as well.
    assert_ne!(os(libc::EOPNOTSUPP), other("one"));
    assert_eq!(os(libc::EBUSY).raw_os_error(), Some(libc::EBUSY));
    assert_eq!(other("one").raw_os_error(), None);
    assert_eq!(other("one").to_string(), "one");
    let shared = other("one");
    assert_eq!(IoError::from(shared.clone()).to_string(), "one");
    assert_eq!(IoError::from(shared).kind(), ErrorKind::Unsupported);
}
