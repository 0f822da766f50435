// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Where a duplicate of a borrowed descriptor lands. The only test here, since it closes stdin.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::fd::{AsFd, AsRawFd};

use notify_core::EventNotifier;

/// `try_clone_to_owned`, by which `adopt_borrowed` and `KvmVm::duplicate` duplicated what has
/// `AsFd`, takes no number below 3, so that a daemon without standard streams does not print into
/// an eventfd.
#[test]
fn a_duplicate_is_no_standard_stream() {
    let eventfd = EventNotifier::new().unwrap();
    nix::unistd::close(0).unwrap();
    let notifier = EventNotifier::adopt_borrowed(&eventfd.as_fd()).unwrap();
    assert!(notifier.as_raw_fd() > 2, "it is {}", notifier.as_raw_fd());
}
