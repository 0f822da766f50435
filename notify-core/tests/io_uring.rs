// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Notifiers and other descriptors of a VMM in an io_uring: the example and the statements of the
//! guide `event_loops`. Ignored, with the reason, where there is no io_uring.
#![allow(
    clippy::unwrap_used,
    unsafe_code,
    unreachable_pub,
    reason = "a test fails by panicking; a request to an io_uring is unsafe; the example is public"
)]

#[path = "io_uring/example.rs"]
mod example;

use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::thread;

use io_uring::{IoUring, opcode, types};
use kvm_test::{Trial, anywhere};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use notify_core::EventNotifier;

fn main() -> ExitCode {
    let missing = IoUring::new(2).err();
    if let Some(why) = &missing {
        eprintln!("tests that need io_uring are ignored: {why}");
    }
    let trial = |name, run: fn()| -> Trial {
        let trial = anywhere(name, run).with_kind("io_uring");
        trial.with_ignored_flag(missing.is_some())
    };
    kvm_test::main(vec![
        trial("the_example_polls", the_example_polls),
        trial("the_example_reads", the_example_reads),
        trial("a_read_waits_for_a_signal", a_read_waits_for_a_signal),
        trial("an_epoll_instance_is_polled", an_epoll_instance_is_polled),
    ])
}

/// Signals the notifier `count` times from another thread while `wait` runs.
fn signalled<R>(kick: &EventNotifier, times: u32, wait: impl FnOnce() -> R) -> R {
    thread::scope(|scope| {
        scope.spawn(|| (0..times).for_each(|_| kick.notify().unwrap()));
        wait()
    })
}

fn the_example_polls() {
    let (mut ring, kick) = (IoUring::new(8).unwrap(), EventNotifier::new().unwrap());
    let kicks = signalled(&kick, 3, || example::polled(&mut ring, &kick).unwrap());
    assert_eq!(kicks, 3);
    assert!(!kick.is_signalled().unwrap());
}

fn the_example_reads() {
    let (mut ring, kick) = (IoUring::new(8).unwrap(), EventNotifier::new().unwrap());
    for times in 1..=3 {
        (0..times).for_each(|_| kick.notify().unwrap());
        assert_eq!(example::read(&mut ring, &kick).unwrap(), times);
        assert!(!kick.is_signalled().unwrap(), "it is taken");
    }
}

/// The notifier is non-blocking, and the request waits all the same.
fn a_read_waits_for_a_signal() {
    let (mut ring, kick) = (IoUring::new(8).unwrap(), EventNotifier::new().unwrap());
    let count = signalled(&kick, 1, || example::read(&mut ring, &kick).unwrap());
    assert_eq!(count, 1);
}

/// A descriptor like that of a queue of vectors.
fn an_epoll_instance_is_polled() {
    let (mut ring, kick) = (IoUring::new(8).unwrap(), EventNotifier::new().unwrap());
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
    epoll
        .add(&kick, EpollEvent::new(EpollFlags::EPOLLIN, 0))
        .unwrap();
    let poll = opcode::PollAdd::new(types::Fd(epoll.0.as_raw_fd()), libc::POLLIN as u32);
    let poll = poll.multi(true).build();
    // SAFETY: the request has no buffer.
    unsafe { ring.submission().push(&poll) }.unwrap();
    for _ in 0..3 {
        signalled(&kick, 1, || ring.submit_and_wait(1).unwrap());
        let done = ring.completion().next().unwrap();
        assert_eq!(done.result(), i32::from(libc::POLLIN));
        assert_eq!(kick.consume().unwrap().map(u64::from), Some(1));
        // If the request had ended, there would be a completion without the flag.
        assert!(io_uring::cqueue::more(done.flags()));
    }
}
