// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Notifiers`]: eventfds, each with the counter that it should have.

use std::fs;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use arbitrary::Arbitrary;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use notify_core::EventNotifier;

/// The counter has no room for more.
const FULL: u64 = u64::MAX - 1;

/// What a process does with an eventfd that it shares; the number selects it.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub enum Act {
    /// Signals it.
    Signal(u8),
    /// Reads it.
    Drain(u8),
    /// Fills its counter.
    Fill(u8),
    /// Makes it blocking.
    Block(u8),
}

struct Notifier {
    it: Arc<EventNotifier>,
    semaphore: bool,
    blocks: bool,
    count: u64,
    /// Whether a back-end was given it.
    shared: bool,
    /// Whether a process has read it that did not look at a ring.
    robbed: bool,
}

#[derive(Default)]
pub(super) struct Notifiers(Vec<Notifier>);

impl Notifiers {
    /// One that no other process has yet.
    pub(super) fn create(&mut self, semaphore: bool) -> usize {
        let builder = EventNotifier::builder().private(true).semaphore(semaphore);
        let it = Arc::new(builder.build().expect("descriptors"));
        self.push(it, semaphore, false)
    }

    /// One that other code has made.
    pub(super) fn adopt(&mut self, it: &Arc<EventNotifier>) -> usize {
        self.push(Arc::clone(it), false, true)
    }

    fn push(&mut self, it: Arc<EventNotifier>, semaphore: bool, shared: bool) -> usize {
        self.0.push(Notifier {
            it,
            semaphore,
            blocks: false,
            count: 0,
            shared,
            robbed: false,
        });
        self.0.len() - 1
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn get(&self, id: usize) -> &Arc<EventNotifier> {
        &self.0[id].it
    }

    pub(super) fn is_semaphore(&self, id: usize) -> bool {
        self.0[id].semaphore
    }

    /// Whether the device looks at its ring, or another process has prevented that.
    pub(super) fn wakes(&self, id: usize) -> bool {
        self.0[id].count > 0 || self.0[id].robbed
    }

    /// The number of an eventfd by its descriptor.
    pub(super) fn find(&self, descriptor: &impl AsRawFd) -> usize {
        let raw = descriptor.as_raw_fd();
        let found = self.0.iter().position(|other| other.it.as_raw_fd() == raw);
        found.expect("an eventfd of this history")
    }

    pub(super) fn share(&mut self, id: usize) {
        self.0[id].shared = true;
    }

    /// Another process has adopted it, which makes it non-blocking again.
    pub(super) fn adopted(&mut self, id: usize) {
        self.0[id].blocks = false;
    }

    /// Other code has signalled it, even if it was full.
    pub(super) fn signalled(&mut self, id: usize) {
        let Notifier {
            count,
            blocks,
            semaphore,
            ..
        } = &mut self.0[id];
        // One that blocks is emptied before, so that the write does not.
        if *blocks || *count == FULL {
            *count = if *semaphore {
                count.saturating_sub(1)
            } else {
                0
            };
        }
        *count += 1;
        self.0[id].robbed = false;
    }

    /// Other code has read it. Returns whether it was signalled.
    pub(super) fn taken(&mut self, id: usize) -> bool {
        let it = &mut self.0[id];
        let was = it.count != 0;
        it.count = if it.semaphore {
            it.count.saturating_sub(1)
        } else {
            0
        };
        was
    }

    pub(super) fn act(&mut self, act: Act) {
        let (Act::Signal(id) | Act::Drain(id) | Act::Fill(id) | Act::Block(id)) = act;
        let id = usize::from(id) % self.0.len();
        match act {
            Act::Signal(_) => self.signal(id),
            Act::Drain(_) => {
                let taken = self.0[id].it.consume().expect("it can be read");
                assert_eq!(taken.is_some(), self.taken(id));
                self.0[id].robbed = true;
            }
            Act::Fill(_) => {
                let room = FULL - self.0[id].count;
                if let Some(room) = std::num::NonZeroU64::new(room) {
                    assert!(self.0[id].it.add(room).expect("it has room"));
                    self.0[id].count = FULL;
                }
            }
            Act::Block(_) => {
                let it = &mut self.0[id];
                // A process that has none of it cannot.
                if it.shared {
                    fcntl(&*it.it, FcntlArg::F_SETFL(OFlag::O_RDWR)).expect("it is open");
                    it.blocks = true;
                }
            }
        }
    }

    /// Signals it, unless that would block.
    pub(super) fn signal(&mut self, id: usize) {
        let it = &mut self.0[id];
        if it.count < FULL {
            it.it.notify().expect("it is open");
            it.count += 1;
        }
    }

    /// Compares all counters with those of the kernel, or only whether they are signalled, which
    /// takes much less time.
    pub(super) fn compare(&self, exactly: bool) {
        for (id, it) in self.0.iter().enumerate() {
            match exactly {
                true => assert_eq!(counter(&it.it), it.count, "the counter of eventfd {id}"),
                false => {
                    let is_signalled = it.it.is_signalled().expect("it is open");
                    assert_eq!(is_signalled, it.count > 0, "eventfd {id}");
                }
            }
            assert!(!(it.shared && it.it.is_private()), "eventfd {id} is shared");
        }
    }
}

/// The counter, which stays as it is.
fn counter(notifier: &EventNotifier) -> u64 {
    let path = format!("/proc/self/fdinfo/{}", notifier.as_raw_fd());
    let text = fs::read_to_string(path).expect("procfs");
    let count = text
        .lines()
        .find_map(|line| line.strip_prefix("eventfd-count:"));
    let count = count.expect("an eventfd has one").trim();
    u64::from_str_radix(count, 16).expect("a number")
}
