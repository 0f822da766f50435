// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Running out of file descriptors. Alone in its binary, because the limit is for the process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::os::fd::AsRawFd;
use std::sync::Arc;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use notify_core::{Error, EventNotifier, NotifierPair};
use vmm_sys_util::event::{EventConsumer, EventNotifier as EventWriter};

#[test]
fn each_creation_fails_with_what_it_wanted_and_leaves_nothing_open() {
    let survivor = Arc::new(EventNotifier::new().unwrap());
    let open = kvm_test::open_fds().unwrap();
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    // The lowest free number is used next; the limit allows it and none above: half a pair.
    let next = EventNotifier::new().unwrap().as_raw_fd();
    setrlimit(
        Resource::RLIMIT_NOFILE,
        u64::try_from(next + 1).unwrap(),
        hard,
    )
    .unwrap();

    let emfile = |error: &Error| error.raw_os_error() == Some(libc::EMFILE);
    let pair = NotifierPair::new().unwrap_err();
    assert!(
        matches!(&pair, Error::Create { .. } if emfile(&pair)),
        "{pair:?}"
    );
    let rest = EventNotifier::new().unwrap();
    let clone = survivor.try_clone().unwrap_err();
    assert!(
        matches!(&clone, Error::Duplicate { .. } if emfile(&clone)),
        "{clone:?}"
    );
    let borrowed = EventNotifier::adopt_borrowed(&*survivor).unwrap_err();
    assert!(matches!(&borrowed, Error::Duplicate { .. } if emfile(&borrowed)));
    let halves = <(EventConsumer, EventWriter)>::try_from(rest).unwrap_err();
    assert!(matches!(&halves.error, Error::Duplicate { .. } if emfile(&halves.error)));
    halves.value.notify().unwrap();
    drop(halves);

    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    assert_eq!(kvm_test::open_fds().unwrap(), open);
}
