// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
use std::error::Error;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};

use io_uring::{IoUring, cqueue, opcode, types};
use notify_core::EventNotifier;

/// Multishot POLL_ADD: one request, and a completion for each signal of the notifier.
pub fn polled(ring: &mut IoUring, kick: &EventNotifier) -> Result<u64, Box<dyn Error>> {
    let poll = opcode::PollAdd::new(types::Fd(kick.as_raw_fd()), libc::POLLIN as u32);
    let poll = poll.multi(true).build().user_data(7);
    // SAFETY: the request has no buffer.
    unsafe { ring.submission().push(&poll)? };
    let mut kicks = 0;
    while kicks < 3 {
        ring.submit_and_wait(1)?;
        for done in ring.completion() {
            assert_eq!(
                (done.user_data(), done.result()),
                (7, i32::from(libc::POLLIN))
            );
            kicks += kick.consume()?.map_or(0, u64::from);
            assert!(cqueue::more(done.flags()), "it has ended: submit it again");
        }
    }
    Ok(kicks)
}

/// READ: the completion returns the count, which is cleared.
pub fn read(ring: &mut IoUring, kick: &EventNotifier) -> Result<u64, Box<dyn Error>> {
    let count: &'static AtomicU64 = Box::leak(Box::default());
    let fd = types::Fd(kick.as_raw_fd());
    let read = opcode::Read::new(fd, count.as_ptr().cast(), 8).build();
    // SAFETY: the buffer has 8 bytes and is never freed. It is read only after the completion.
    unsafe { ring.submission().push(&read)? };
    ring.submit_and_wait(1)?;
    let done = ring.completion().next().ok_or("no completion")?;
    assert_eq!(done.result(), 8, "or minus an errno");
    Ok(count.load(Ordering::Relaxed))
}
