// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! eventfd(2) itself. No VM takes part, so these run once.

use std::fs;

use kvm_test::{Trial, anywhere};
use nix::errno::Errno::{self, EAGAIN, EINVAL, ENXIO};
use nix::poll::PollFlags;
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::event::{Event, FULL, errno};

/// How many bytes, or the error.
type Bytes = Result<usize, Errno>;

/// Counter, written value, result, counter afterwards.
const WRITES: [(&str, u64, u64, Bytes, u64); 7] = [
    ("write_0", 0, 0, Ok(8), 0),
    ("write_1", 0, 1, Ok(8), 1),
    ("write_the_most", 0, FULL, Ok(8), FULL),
    ("write_more_than_that", 0, u64::MAX, Err(EINVAL), 0),
    ("write_1_to_a_full_one", FULL, 1, Err(EAGAIN), FULL),
    ("write_0_to_a_full_one", FULL, 0, Ok(8), FULL),
    ("write_that_would_overflow", 2, FULL - 1, Err(EAGAIN), 2),
];

/// How many bytes are written, and the result.
const WRITE_SIZES: [(usize, Bytes); 4] = [
    (0, Err(EINVAL)),
    (4, Err(EINVAL)),
    (7, Err(EINVAL)),
    (8, Ok(8)),
];

const READ_SIZES: [(usize, Bytes); 5] = [
    (0, Err(EINVAL)),
    (4, Err(EINVAL)),
    (7, Err(EINVAL)),
    (8, Ok(8)),
    (16, Ok(8)),
];

/// Counter, and the events of poll(2).
const POLLS: [(&str, u64, PollFlags); 4] = [
    ("poll_at_0", 0, PollFlags::POLLOUT),
    ("poll_at_1", 1, PollFlags::POLLIN.union(PollFlags::POLLOUT)),
    (
        "poll_at_one_below_the_most",
        FULL - 1,
        PollFlags::POLLIN.union(PollFlags::POLLOUT),
    ),
    ("poll_at_the_most", FULL, PollFlags::POLLIN),
];

fn host(name: &str, run: impl FnOnce() + Send + 'static) -> Trial {
    anywhere(&format!("host::E_eventfd::{name}"), run)
}

fn left(event: &Event) -> u64 {
    match event.read() {
        Err(EAGAIN) => 0,
        count => count.unwrap(),
    }
}

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for (name, before, count, reply, after) in WRITES {
        trials.push(host(name, move || {
            let event = Event::at(before);
            assert_eq!(event.write(count), reply);
            assert_eq!(left(&event), after);
        }));
    }
    for (size, reply) in WRITE_SIZES {
        trials.push(host(&format!("write_of_{size}_bytes"), move || {
            assert_eq!(Event::new().write_bytes(&vec![0; size]), reply);
        }));
    }
    for (size, reply) in READ_SIZES {
        trials.push(host(&format!("read_of_{size}_bytes"), move || {
            assert_eq!(Event::at(7).read_bytes(&mut vec![0; size]), reply);
        }));
    }
    for (name, count, events) in POLLS {
        trials.push(host(name, move || {
            assert_eq!(Event::at(count).poll(), events);
        }));
    }
    trials.extend([
        host("read_takes_all", || {
            let event = Event::at(7);
            assert_eq!(event.read(), Ok(7));
            assert_eq!(event.read(), Err(EAGAIN));
        }),
        host("read_of_a_semaphore_takes_one", || {
            let event = Event::with(3, EfdFlags::EFD_SEMAPHORE);
            assert_eq!([event.read(), event.read(), event.read()], [Ok(1); 3]);
            assert_eq!(event.read(), Err(EAGAIN));
        }),
        host("duplicates_share_the_counter", || {
            let event = Event::at(7);
            assert_eq!(event.dup().read(), Ok(7));
            assert_eq!(event.read(), Err(EAGAIN));
        }),
        host("unknown_flags", || {
            let flags = EfdFlags::from_bits_retain(0x10);
            let made = EventFd::from_value_and_flags(0, flags).map(drop);
            assert_eq!(made, Err(EINVAL));
        }),
        host("proc_shows_the_counter", || {
            let event = Event::at(0x2a);
            let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", event.fd())).unwrap();
            let line = info.lines().find(|line| line.starts_with("eventfd-count:"));
            assert!(line.unwrap().trim_end().ends_with("2a"), "{info}");
            assert_eq!(event.read(), Ok(0x2a), "looking takes nothing");
        }),
        host("proc_does_not_open_it_again", || {
            let event = Event::new();
            let opened = fs::File::open(format!("/proc/self/fd/{}", event.fd()));
            assert_eq!(errno(opened.unwrap_err()), ENXIO);
        }),
    ]);
    trials
}
