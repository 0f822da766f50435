// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Handlers that change themselves while they are polled, or that another thread changes then.

use std::hint;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use notify_core::EventNotifier;
use notify_core::dispatcher::{
    Dispatcher, DispatcherHandle, Handler, HandlerError, PollHandler, Progress, Token, Turn,
};

use crate::ring::{Device, Ring, dispatcher, eager, open_window};
use crate::support::{PATIENCE, notifier, some, wait_until, while_it_runs};

/// A signal comes while another thread has taken the handler, and will give it back.
#[test]
fn a_signal_that_finds_the_handler_out_is_reported_again() {
    type Name = Arc<Mutex<Option<Token>>>;
    struct Resuming(Device, DispatcherHandle, Name, Arc<EventNotifier>);
    impl Handler for Resuming {
        fn handle(&mut self, signalled: NonZeroU64) -> Result<(), HandlerError> {
            self.0.handle(signalled)
        }
    }
    impl PollHandler for Resuming {
        fn poll(&mut self) -> Progress {
            self.0.poll()
        }
        fn begin_polling(&mut self) {
            self.0.begin_polling();
        }
        fn end_polling(&mut self) {
            self.0.end_polling();
            if let Some(token) = self.2.lock().unwrap().take() {
                self.1.resume(token).unwrap();
                self.3.notify().unwrap();
                thread::sleep(Duration::from_millis(50)); // the signal is found meanwhile
            }
        }
    }
    let mut limits = eager();
    limits.max = Duration::from_secs(3600);
    let dispatcher = dispatcher(limits);
    let (ring, kick, name) = (Arc::new(Ring::default()), notifier(), Name::default());
    let device = Device(Arc::clone(&ring));
    let handler = Resuming(
        device,
        dispatcher.handle(),
        Arc::clone(&name),
        Arc::clone(&kick),
    );
    let token = dispatcher
        .handle()
        .add_polled(Arc::clone(&kick), handler)
        .unwrap();
    open_window(&dispatcher, &ring, &kick);
    let told = ring.get(|ring| &ring.told);
    while_it_runs(&dispatcher, |handle| {
        wait_until(|| ring.suppressed.load(Ordering::SeqCst));
        *name.lock().unwrap() = Some(token);
        // A look is due, unless the resumed handler was quicker.
        handle.pause(token).unwrap();
        wait_until(|| ring.get(|ring| &ring.told) > told);
    });
}

/// Acts in its next poll.
struct Acting {
    device: Device,
    next: Arc<Mutex<Option<Act>>>,
}

type Act = Box<dyn FnOnce() + Send>;

impl Handler for Acting {
    fn handle(&mut self, signalled: NonZeroU64) -> Result<(), HandlerError> {
        self.device.handle(signalled)
    }
}

impl PollHandler for Acting {
    fn poll(&mut self) -> Progress {
        let progress = self.device.poll();
        if let Some(act) = self.next.lock().unwrap().take() {
            act();
        }
        progress
    }

    fn begin_polling(&mut self) {
        self.device.begin_polling();
    }

    fn end_polling(&mut self) {
        self.device.end_polling();
    }
}

/// On a busy host the time of a run may be over before it polls.
fn run_until_polled(dispatcher: &Dispatcher, next: &Mutex<Option<Act>>) {
    let start = Instant::now();
    while next.lock().unwrap().is_some() {
        assert!(start.elapsed() < PATIENCE, "it is not polled");
        let short = Some(Duration::from_millis(2));
        assert_eq!(dispatcher.run_once(short).unwrap(), Turn::TimedOut);
    }
}

/// Makes a handler act on itself in the first poll of its first window.
fn in_its_first_poll(
    dispatcher: &Dispatcher,
    act: impl FnOnce(&DispatcherHandle, Token) + Send + 'static,
) -> (Arc<Ring>, Token) {
    let (ring, kick, next) = (Arc::new(Ring::default()), notifier(), Arc::default());
    let acting = Acting {
        device: Device(Arc::clone(&ring)),
        next: Arc::clone(&next),
    };
    let handle = dispatcher.handle();
    let token = handle.add_polled(Arc::clone(&kick), acting).unwrap();
    ring.add(&kick);
    assert_eq!(
        dispatcher.run_once(Some(PATIENCE)).unwrap(),
        Turn::Worked(1)
    );
    *next.lock().unwrap() = Some(Box::new(move || act(&handle, token)));
    run_until_polled(dispatcher, &next);
    assert_eq!(ring.get(|ring| &ring.begins), 1);
    assert_eq!(ring.get(|ring| &ring.ends), 1);
    (ring, token)
}

#[test]
fn a_handler_that_removes_itself_in_a_poll_is_told_to_look() {
    let dispatcher = dispatcher(eager());
    let (told, removed) = channel();
    let act = move |handle: &DispatcherHandle, token| told.send(handle.remove(token)).unwrap();
    in_its_first_poll(&dispatcher, act);
    assert_eq!(removed.recv().unwrap().unwrap(), some(1));
}

/// The work comes after the look that the handler had to take, and before kicks are wanted again.
#[test]
fn work_that_comes_while_a_handler_removes_itself_in_a_poll_has_a_signal() {
    let dispatcher = dispatcher(eager());
    let (ring, kick, next) = (Arc::new(Ring::default()), notifier(), Arc::default());
    let acting = Acting {
        device: Device(Arc::clone(&ring)),
        next: Arc::clone(&next),
    };
    let handle = dispatcher.handle();
    let token = handle.add_polled(Arc::clone(&kick), acting).unwrap();
    ring.add(&kick);
    let turn = dispatcher.run_once(Some(PATIENCE)).unwrap();
    assert_eq!(turn, Turn::Worked(1));
    let own = Arc::clone(&ring);
    let removes: Act = Box::new(move || {
        assert_eq!(handle.remove(token).unwrap(), some(1));
        own.serve();
        own.late.store(1, Ordering::SeqCst);
    });
    *next.lock().unwrap() = Some(removes);
    run_until_polled(&dispatcher, &next);
    assert_eq!(
        (ring.get(|ring| &ring.added), ring.get(|ring| &ring.served)),
        (2, 1)
    );
    assert_eq!(kick.consume().unwrap(), some(1));
}

/// The work comes after the handler's last look, and before kicks are wanted again.
#[test]
fn work_that_comes_while_a_handler_pauses_itself_in_a_poll_is_found_when_it_is_resumed() {
    let dispatcher = dispatcher(eager());
    let act = |handle: &DispatcherHandle, token| {
        handle.pause(token).unwrap();
    };
    let (ring, token) = in_its_first_poll(&dispatcher, act);
    ring.added.fetch_add(1, Ordering::SeqCst);
    dispatcher.handle().resume(token).unwrap();
    let turn = dispatcher.run_once(Some(PATIENCE)).unwrap();
    assert_eq!(turn, Turn::Worked(1));
    assert_eq!(ring.get(|ring| &ring.served), 2);
}

/// To the clock it looks as if the thread was preempted in a window without an end of its own.
#[test]
fn a_gap_between_two_looks_ends_the_polling() {
    let mut limits = eager();
    limits.max = Duration::from_secs(3600);
    limits.longest_gap = Duration::from_millis(500);
    let dispatcher = dispatcher(limits);
    let (ring, kick, next) = (Arc::new(Ring::default()), notifier(), Arc::default());
    let acting = Acting {
        device: Device(Arc::clone(&ring)),
        next: Arc::clone(&next),
    };
    dispatcher
        .handle()
        .add_polled(Arc::clone(&kick), acting)
        .unwrap();
    open_window(&dispatcher, &ring, &kick);
    while_it_runs(&dispatcher, |_| {
        wait_until(|| ring.suppressed.load(Ordering::SeqCst));
        let added = ring.get(|ring| &ring.added) + 1;
        let late = Arc::clone(&ring);
        let preempted: Act = Box::new(move || {
            thread::sleep(Duration::from_millis(600));
            late.late.store(1, Ordering::SeqCst);
        });
        *next.lock().unwrap() = Some(preempted);
        wait_until(|| ring.get(|ring| &ring.served) == added);
        wait_until(|| !ring.suppressed.load(Ordering::SeqCst));
        ring.add(&kick);
        wait_until(|| ring.get(|ring| &ring.served) == added + 1);
    });
}

/// Removes itself in one of its calls, and notes all of them.
struct Leaving {
    removal: Option<(DispatcherHandle, Arc<Mutex<Option<Token>>>)>,
    at: &'static str,
    calls: Arc<Mutex<Vec<&'static str>>>,
}

impl Leaving {
    fn call(&mut self, name: &'static str) {
        self.calls.lock().unwrap().push(name);
        if name == self.at
            && let Some((handle, token)) = self.removal.take()
        {
            let token = token.lock().unwrap().unwrap();
            assert_eq!(handle.remove(token).unwrap(), some(1));
        }
    }
}

impl Handler for Leaving {
    fn handle(&mut self, _: NonZeroU64) -> Result<(), HandlerError> {
        Ok(())
    }
}

impl PollHandler for Leaving {
    fn poll(&mut self) -> Progress {
        self.call("poll");
        Progress::None
    }

    fn begin_polling(&mut self) {
        self.call("begin");
    }

    fn end_polling(&mut self) {
        self.call("end");
    }
}

/// The call in which it removes itself is its last, but for the end of its polling.
#[test]
fn a_handler_that_removed_itself_as_its_polling_began_or_ended_was_polled_once_more() {
    for at in ["begin", "end"] {
        let dispatcher = dispatcher(eager());
        let (calls, name, kick) = (Arc::default(), Arc::default(), notifier());
        let leaving = Leaving {
            removal: Some((dispatcher.handle(), Arc::clone(&name))),
            at,
            calls: Arc::clone(&calls),
        };
        let handle = dispatcher.handle();
        let token = handle.add_polled(Arc::clone(&kick), leaving).unwrap();
        *name.lock().unwrap() = Some(token);
        kick.notify().unwrap();
        let turn = dispatcher.run_once(Some(PATIENCE)).unwrap();
        assert_eq!(turn, Turn::Worked(1));
        // On a busy host the time of a run may be over before it polls.
        let start = Instant::now();
        while handle.resume(token).is_ok() {
            assert!(start.elapsed() < PATIENCE, "it is not polled");
            let short = Some(Duration::from_millis(2));
            assert_eq!(dispatcher.run_once(short).unwrap(), Turn::TimedOut);
        }
        let calls = calls.lock().unwrap();
        let after = calls.iter().skip_while(|call| **call != at);
        assert!(!after.clone().any(|call| *call == "poll"), "{calls:?}");
    }
}

/// Where two threads and the handler of a race stand.
#[derive(Default)]
struct Race {
    ring: Arc<Ring>,
    /// The handler is in the end of its polling, and then the pause has begun.
    ended: AtomicBool,
    pausing: AtomicBool,
    /// How long the handler stays there.
    spins: AtomicU64,
}

struct Raced(Device, Arc<Race>);

impl Handler for Raced {
    fn handle(&mut self, signalled: NonZeroU64) -> Result<(), HandlerError> {
        self.0.handle(signalled)
    }
}

impl PollHandler for Raced {
    fn poll(&mut self) -> Progress {
        self.0.poll()
    }

    fn begin_polling(&mut self) {
        self.0.begin_polling();
    }

    /// Work comes late, and a thread pauses the handler.
    fn end_polling(&mut self) {
        let race = &self.1;
        race.ring.late.store(1, Ordering::SeqCst);
        self.0.end_polling();
        if race.spins.load(Ordering::SeqCst) > 0 {
            race.ended.store(true, Ordering::SeqCst);
            while !race.pausing.load(Ordering::SeqCst) {
                hint::spin_loop();
            }
            spin(race.spins.load(Ordering::SeqCst));
        }
    }
}

fn spin(count: u64) {
    (0..count).for_each(|_| hint::spin_loop());
}

/// A thread pauses the handler as its polling ends, and another one resumes it at once. The look
/// that was due was left out, and neither the pause nor the counter told of it.
#[test]
fn a_look_was_lost_if_the_handler_was_paused_and_resumed_as_its_polling_ended() {
    const TIME: Duration = Duration::from_secs(3);
    let dispatcher = dispatcher(eager());
    let (race, kick) = (Arc::new(Race::default()), notifier());
    let ring = &race.ring;
    let raced = Raced(Device(Arc::clone(ring)), Arc::clone(&race));
    let handle = dispatcher.handle();
    let token = handle.add_polled(Arc::clone(&kick), raced).unwrap();
    let quiet = || while dispatcher.run_once(Some(Duration::ZERO)).unwrap() != Turn::TimedOut {};
    // As `open_window`, but the work that comes late keeps the handler busy.
    for _ in 0..100 {
        kick.notify().unwrap();
        dispatcher.run_once(Some(PATIENCE)).unwrap();
        quiet();
    }
    let start = Instant::now();
    for round in (0..).take_while(|_| start.elapsed() < TIME) {
        // It is polled again.
        kick.notify().unwrap();
        quiet();
        race.spins.store(200, Ordering::SeqCst);
        thread::scope(|scope| {
            let pausing = scope.spawn(|| {
                while !race.ended.load(Ordering::SeqCst) {
                    hint::spin_loop();
                }
                race.pausing.store(true, Ordering::SeqCst);
                handle.pause(token).unwrap()
            });
            scope.spawn(|| {
                while !race.pausing.load(Ordering::SeqCst) {
                    hint::spin_loop();
                }
                spin(100 + round % 200);
                handle.resume(token).unwrap();
            });
            while !race.ended.load(Ordering::SeqCst) {
                dispatcher
                    .run_once(Some(Duration::from_micros(20)))
                    .unwrap();
            }
            let pending = pausing.join().unwrap();
            if pending.is_some() {
                kick.notify().unwrap();
            }
        });
        race.spins.store(0, Ordering::SeqCst);
        race.ended.store(false, Ordering::SeqCst);
        race.pausing.store(false, Ordering::SeqCst);
        handle.resume(token).unwrap();
        quiet();
        let (added, served) = (ring.get(|ring| &ring.added), ring.get(|ring| &ring.served));
        assert_eq!(added, served, "round {round}");
    }
}
