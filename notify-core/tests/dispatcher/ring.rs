// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A ring whose handler is polled. The other side follows virtio's rules: it adds, then it signals,
//! unless signals are suppressed.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use notify_core::EventNotifier;
use notify_core::dispatcher::{
    Dispatcher, Handler, HandlerError, PollHandler, PollLimits, Progress, Token, Turn,
};

use crate::support::{PATIENCE, notifier};

/// A ring in memory, reduced to counts, and the calls of its handler.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    pub(crate) added: AtomicU64,
    pub(crate) served: AtomicU64,
    /// VIRTQ_USED_F_NO_NOTIFY of virtio.
    pub(crate) suppressed: AtomicBool,
    pub(crate) begins: AtomicU64,
    pub(crate) ends: AtomicU64,
    pub(crate) polls: AtomicU64,
    pub(crate) found: AtomicU64,
    pub(crate) told: AtomicU64,
    pub(crate) fails: AtomicBool,
    pub(crate) panics_at_end: AtomicBool,
    /// How much is added just before kicks are wanted again.
    pub(crate) late: AtomicU64,
}

impl Ring {
    pub(crate) fn get(&self, which: impl Fn(&Self) -> &AtomicU64) -> u64 {
        which(self).load(Ordering::SeqCst)
    }

    /// The driver's side.
    pub(crate) fn add(&self, kick: &EventNotifier) {
        self.added.fetch_add(1, Ordering::SeqCst);
        if !self.suppressed.load(Ordering::SeqCst) {
            kick.notify().unwrap();
        }
    }

    pub(crate) fn serve(&self) -> bool {
        let added = self.added.load(Ordering::SeqCst);
        self.served.swap(added, Ordering::SeqCst) != added
    }
}

pub(crate) struct Device(pub(crate) Arc<Ring>);

impl Handler for Device {
    fn handle(&mut self, signalled: NonZeroU64) -> Result<(), HandlerError> {
        self.0.told.fetch_add(signalled.get(), Ordering::SeqCst);
        self.0.serve();
        Ok(())
    }
}

impl PollHandler for Device {
    fn poll(&mut self) -> Progress {
        self.0.polls.fetch_add(1, Ordering::SeqCst);
        if self.0.fails.load(Ordering::SeqCst) {
            return Progress::Failed("no ring there".into());
        }
        if self.0.serve() {
            self.0.found.fetch_add(1, Ordering::SeqCst);
            Progress::Made
        } else {
            Progress::None
        }
    }

    fn begin_polling(&mut self) {
        assert!(!self.0.suppressed.swap(true, Ordering::SeqCst), "twice");
        self.0.begins.fetch_add(1, Ordering::SeqCst);
    }

    fn end_polling(&mut self) {
        let late = self.0.late.swap(0, Ordering::SeqCst);
        self.0.added.fetch_add(late, Ordering::SeqCst);
        assert!(self.0.suppressed.swap(false, Ordering::SeqCst), "twice");
        self.0.ends.fetch_add(1, Ordering::SeqCst);
        assert!(!self.0.panics_at_end.load(Ordering::SeqCst), "at the end");
    }
}

/// A window of a second opens at the first event, so that no test depends on speed.
pub(crate) fn eager() -> PollLimits {
    let mut limits = PollLimits::with_max(Duration::from_secs(1));
    limits.grow = 1_000_000;
    limits.longest_gap = Duration::MAX; // a busy host does not hold it off
    limits
}

pub(crate) fn dispatcher(limits: PollLimits) -> Dispatcher {
    Dispatcher::builder().poll_limits(limits).build().unwrap()
}

pub(crate) fn ring(dispatcher: &Dispatcher) -> (Arc<Ring>, Arc<EventNotifier>, Token) {
    let (ring, kick) = (Arc::new(Ring::default()), notifier());
    let device = Device(Arc::clone(&ring));
    let token = dispatcher
        .handle()
        .add_polled(Arc::clone(&kick), device)
        .unwrap();
    (ring, kick, token)
}

/// Too many polls in one run for a handler's first window of 4 us.
pub(crate) const MANY: u64 = 500;

/// An event makes the handler one that is polled, and a second, late event opens its window, unless
/// it comes too late, or before the wait for it: then both are repeated. What was polled leaves its
/// signal behind, which is taken, too.
pub(crate) fn open_window(dispatcher: &Dispatcher, ring: &Ring, kick: &EventNotifier) {
    let quiet = || while dispatcher.run_once(Some(Duration::ZERO)).unwrap() != Turn::TimedOut {};
    let (mut is_open, mut time) = (false, Duration::from_micros(100));
    while !is_open {
        ring.add(kick);
        quiet();
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_micros(200));
                ring.add(kick);
            });
            assert!(matches!(
                dispatcher.run_once(Some(PATIENCE)).unwrap(),
                Turn::Worked(_)
            ));
        });
        quiet();
        let polls = ring.get(|ring| &ring.polls);
        assert_eq!(dispatcher.run_once(Some(time)).unwrap(), Turn::TimedOut);
        is_open = ring.get(|ring| &ring.polls) >= polls + MANY;
        time = (time * 2).min(Duration::from_secs(1));
    }
}
