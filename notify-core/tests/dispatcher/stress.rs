// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Threads that add, remove, pause and signal many notifiers; no signal is lost.
//!
//! It takes two seconds, or STRESS_SECONDS.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use notify_core::EventNotifier;
use notify_core::dispatcher::{Dispatcher, DispatcherHandle, Token, Turn};

use crate::support::run;

const NOTIFIERS: usize = 1000;
const CHANGERS: u32 = 3;
const SIGNALLERS: u32 = 2;

/// One notifier, with its handler of the moment.
struct Place {
    notifier: Arc<EventNotifier>,
    signalled: AtomicU64,
    handled: Arc<AtomicU64>,
    /// Signals handed back by `remove` and `pause`.
    returned: AtomicU64,
    current: Mutex<Option<Current>>,
}

struct Current {
    token: Token,
    /// Whether the handler may be called: a call without permission is an error of the dispatcher.
    allowed: Arc<AtomicBool>,
}

struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap() % below
    }
}

impl Place {
    fn new() -> Self {
        let semaphore = EventNotifier::builder().semaphore(true);
        static MADE: AtomicU64 = AtomicU64::new(0);
        let notifier = match MADE.fetch_add(1, Ordering::Relaxed) % 10 {
            0 => semaphore.build(),
            _ => EventNotifier::new(),
        };
        Self {
            notifier: Arc::new(notifier.unwrap()),
            signalled: AtomicU64::new(0),
            handled: Arc::default(),
            returned: AtomicU64::new(0),
            current: Mutex::new(None),
        }
    }

    fn signal(&self) {
        self.signalled.fetch_add(1, Ordering::Relaxed);
        self.notifier.notify().unwrap();
    }

    fn add(
        &self,
        handle: &DispatcherHandle,
        calls: &Arc<AtomicU64>,
        wrong: &Arc<AtomicU64>,
    ) -> Current {
        let allowed = Arc::new(AtomicBool::new(true));
        let (may, handled) = (Arc::clone(&allowed), Arc::clone(&self.handled));
        let (calls, wrong) = (Arc::clone(calls), Arc::clone(wrong));
        let add = handle.add(Arc::clone(&self.notifier), move |signalled| {
            let before = may.load(Ordering::SeqCst);
            handled.fetch_add(signalled.get(), Ordering::Relaxed);
            calls.fetch_add(1, Ordering::Relaxed);
            std::hint::black_box((0..50).sum::<u32>());
            if !before || !may.load(Ordering::SeqCst) {
                wrong.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
        let token = add.unwrap();
        Current { token, allowed }
    }

    fn give_back(&self, pending: Option<std::num::NonZeroU64>) {
        let pending = pending.map_or(0, u64::from);
        self.returned.fetch_add(pending, Ordering::Relaxed);
    }
}

#[test]
fn no_signal_is_lost_and_no_removed_handler_is_called() {
    let seconds = std::env::var("STRESS_SECONDS").ok();
    let seconds = seconds.map_or(2, |seconds| seconds.parse().unwrap());
    let end = Instant::now() + Duration::from_secs(seconds);
    raise_file_limit();

    let dispatcher = Dispatcher::new().unwrap();
    let handle = dispatcher.handle();
    let places: Vec<Place> = (0..NOTIFIERS).map(|_| Place::new()).collect();
    let (calls, wrong) = (Arc::default(), Arc::default());
    let (changes, running_changers) = (AtomicU64::new(0), AtomicU64::new(CHANGERS.into()));
    let over = AtomicBool::new(false);
    for place in &places {
        *place.current.lock().unwrap() = Some(place.add(&handle, &calls, &wrong));
    }
    thread::scope(|scope| {
        for seed in 1..=SIGNALLERS {
            let places = &places;
            scope.spawn(move || {
                let mut random = Random(u64::from(seed) << 32 | 1);
                while Instant::now() < end {
                    for _ in 0..100 {
                        places[random.next(NOTIFIERS)].signal();
                    }
                    // On few processors, the other threads need to run as well.
                    thread::yield_now();
                }
            });
        }
        for seed in 1..=CHANGERS {
            let (places, handle, calls, wrong) = (&places, handle.clone(), &calls, &wrong);
            let (changes, running) = (&changes, &running_changers);
            scope.spawn(move || {
                let mut random = Random(u64::from(seed) << 40 | 7);
                while Instant::now() < end {
                    let place = &places[random.next(NOTIFIERS)];
                    let mut current = place.current.lock().unwrap();
                    changes.fetch_add(1, Ordering::Relaxed);
                    let Some(Current { token, allowed }) = &*current else {
                        *current = Some(place.add(&handle, calls, wrong));
                        continue;
                    };
                    if random.next(2) == 0 {
                        place.give_back(handle.remove(*token).unwrap());
                        allowed.store(false, Ordering::SeqCst);
                        *current = None;
                    } else {
                        place.give_back(handle.pause(*token).unwrap());
                        allowed.store(false, Ordering::SeqCst);
                        place.signal();
                        allowed.store(true, Ordering::SeqCst);
                        handle.resume(*token).unwrap();
                    }
                }
                running.fetch_sub(1, Ordering::SeqCst);
            });
        }
        // Stops and runs the dispatcher again all the time.
        scope.spawn(|| {
            while running_changers.load(Ordering::SeqCst) > 0 {
                thread::sleep(Duration::from_millis(1));
                handle.stop().unwrap();
            }
            // Before the last stop, so that no thread waits for one after it.
            over.store(true, Ordering::SeqCst);
            handle.stop().unwrap();
        });
        while !over.load(Ordering::SeqCst) {
            run(&dispatcher);
        }
    });
    while dispatcher.run_once(Some(Duration::ZERO)).unwrap() != Turn::TimedOut {}
    // The last stop may not have ended a run yet.
    while dispatcher.run_once(Some(Duration::ZERO)).unwrap() != Turn::TimedOut {}

    let mut sums = [0; 4];
    for (number, place) in places.iter().enumerate() {
        let left = match place.current.lock().unwrap().take() {
            Some(Current { token, .. }) => handle.remove(token).unwrap(),
            None => None,
        };
        assert_eq!(left, None, "everything was ready to be handled");
        let mut left = 0;
        while let Some(count) = place.notifier.consume().unwrap() {
            left += count.get();
        }
        let signalled = place.signalled.load(Ordering::Relaxed);
        let handled = place.handled.load(Ordering::Relaxed);
        let returned = place.returned.load(Ordering::Relaxed);
        assert_eq!(signalled, handled + returned + left, "of notifier {number}");
        for (sum, of) in sums.iter_mut().zip([signalled, handled, returned, left]) {
            *sum += of;
        }
        assert_eq!(Arc::strong_count(&place.notifier), 1);
    }
    let [signalled, handled, returned, left] = sums;
    let (calls, changes) = (calls.load(Ordering::Relaxed), changes.into_inner());
    println!(
        "{signalled} signals: {handled} handled in {calls} calls, {returned} handed back, \
         {left} left; {changes} changes"
    );
    assert_eq!(
        wrong.load(Ordering::Relaxed),
        0,
        "calls that were not allowed"
    );
    assert!(handled > 0 && returned > 0 && changes > 0);
}

/// A thousand notifiers need more files than a shell may allow.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(hard.min(4096)), hard).unwrap();
}
