// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Every interleaving, within loom's limits, of a handler's call with its removal, its pause and
//! its return, and of a stop with a signal.
//!
//! Slot, backlog and stop are those of the dispatcher. An eventfd is a counter here, and epoll a
//! list of one entry that reports a signal once. To run it:
//!
//! ```sh
//! RUSTFLAGS='--cfg loom' cargo test -p notify-core --features dispatcher,loom \
//!     --test loom_dispatcher --release
//! ```
#![cfg(loom)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::num::NonZeroU64;

use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;
use notify_core::dispatcher::Error;
use notify_core::dispatcher::explored::{
    Backlog, GivenBack, Kicks, Served, Signals, Slot, Stop, Taken,
};

/// A file in an epoll instance with one waker: an eventfd, which the dispatcher reads, or another
/// kind, which the handler reads, one unit at a time.
#[derive(Debug, Clone)]
struct Kernel(Arc<(Mutex<State>, Condvar)>, File);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum File {
    EventFd,
    Other,
}

#[derive(Debug)]
struct State {
    count: u64,
    watched: bool,
    /// The result of epoll_wait.
    ready: bool,
    wake: bool,
}

impl Kernel {
    fn signal(&self) {
        let mut state = self.0.0.lock().unwrap();
        state.count += 1;
        state.ready |= state.watched;
        self.0.1.notify_all();
    }

    fn wake(&self) {
        self.0.0.lock().unwrap().wake = true;
        self.0.1.notify_all();
    }

    /// A handler reads one unit, if there is one.
    fn read(&self) -> bool {
        let count = &mut self.0.0.lock().unwrap().count;
        let read = *count > 0;
        *count -= u64::from(read);
        read
    }

    fn ensure_signal(&self) {
        if self.0.0.lock().unwrap().count == 0 {
            self.signal();
        }
    }

    /// epoll_wait: whether the eventfd is reported.
    fn wait(&self, block: bool) -> bool {
        let mut state = self.0.0.lock().unwrap();
        while block && !state.ready && !state.wake {
            state = self.0.1.wait(state).unwrap();
        }
        state.wake = false;
        std::mem::take(&mut state.ready)
    }
}

impl Signals for Kernel {
    fn watch(&self) -> Result<(), Error> {
        let mut state = self.0.0.lock().unwrap();
        assert!(!state.watched, "EEXIST");
        state.watched = true;
        state.ready = state.count > 0;
        self.0.1.notify_all();
        Ok(())
    }

    fn unwatch(&self) {
        let mut state = self.0.0.lock().unwrap();
        assert!(state.watched, "ENOENT");
        (state.watched, state.ready) = (false, false);
    }

    fn watch_again(&self) {
        let mut state = self.0.0.lock().unwrap();
        state.ready |= state.count > 0;
        self.0.1.notify_all();
    }

    fn stays_ready(&self) -> bool {
        self.1 == File::Other
    }

    fn take(&self) -> Result<Option<NonZeroU64>, Error> {
        if self.1 == File::Other {
            return Ok(None);
        }
        let count = std::mem::take(&mut self.0.0.lock().unwrap().count);
        Ok(NonZeroU64::new(count))
    }
}

/// The state of a handler: it counts, and knows whether it may run.
#[derive(Debug)]
struct Handler(Arc<World>);

impl Drop for Handler {
    fn drop(&mut self) {
        self.0.dropped.store(true, Ordering::SeqCst);
    }
}

#[derive(Debug)]
struct World {
    kernel: Kernel,
    running: AtomicBool,
    dropped: AtomicBool,
    handled: AtomicU64,
}

type TheSlot = Slot<Kernel, Handler>;

fn world() -> (Arc<World>, Arc<TheSlot>) {
    world_of(File::EventFd)
}

fn world_of(file: File) -> (Arc<World>, Arc<TheSlot>) {
    let state = State {
        count: 0,
        watched: false,
        ready: false,
        wake: false,
    };
    let kernel = Kernel(Arc::new((Mutex::new(state), Condvar::new())), file);
    kernel.watch().unwrap();
    let world = Arc::new(World {
        kernel: kernel.clone(),
        running: AtomicBool::new(false),
        dropped: AtomicBool::new(false),
        handled: AtomicU64::new(0),
    });
    let slot = Slot::new(kernel, Handler(Arc::clone(&world)));
    (world, Arc::new(slot))
}

/// What the dispatcher does for a ready handler.
fn serve(world: &World, slot: &TheSlot) {
    let Some((handler, kicks)) = slot.take_out(thread::current().id()) else {
        return;
    };
    let count = match world.kernel.1 {
        File::EventFd => world.kernel.take().unwrap().map_or(0, u64::from),
        File::Other => u64::from(world.kernel.read()),
    };
    if count > 0 {
        assert!(!world.running.swap(true, Ordering::SeqCst));
        world.handled.fetch_add(count, Ordering::SeqCst);
        world.running.store(false, Ordering::SeqCst);
    }
    leave(world, slot, handler, kicks);
}

/// Suppression and the last look are reduced to kicks here.
fn settle(kernel: &Kernel, kicks: Kicks) {
    if kicks.look_due() {
        kernel.ensure_signal();
    }
}

fn leave(world: &World, slot: &TheSlot, mut handler: Handler, mut kicks: Kicks) {
    loop {
        match slot.give_back(handler, kicks) {
            GivenBack::Kept => return,
            GivenBack::EndPolling(back) => {
                settle(&world.kernel, kicks);
                (handler, kicks) = (back, Kicks::Wanted);
            }
            GivenBack::Drop(handler) => return dismiss(world, slot, handler, kicks),
        }
    }
}

fn dismiss(world: &World, slot: &TheSlot, handler: Handler, kicks: Kicks) {
    settle(&world.kernel, kicks);
    drop(handler);
    slot.mark_dropped();
}

fn remove(world: &World, slot: &TheSlot) -> Option<u64> {
    match slot.remove() {
        Taken::Handler(handler, kicks) => dismiss(world, slot, handler, kicks),
        Taken::Done => {}
        Taken::Gone => return None,
    }
    Some(slot.take_pending().unwrap().map_or(0, u64::from))
}

fn pause(world: &World, slot: &TheSlot) -> Option<u64> {
    let taken = match slot.pause() {
        Taken::Handler(handler, kicks) => {
            settle(&world.kernel, kicks);
            leave(world, slot, handler, Kicks::Wanted);
            slot.outcome()
        }
        taken => taken,
    };
    match taken {
        Taken::Done => Some(slot.take_pending().unwrap().map_or(0, u64::from)),
        Taken::Handler(..) | Taken::Gone => None,
    }
}

fn explore(test: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(test);
}

/// The thread that runs the dispatcher, for this many reports of the kernel.
fn runner(world: &Arc<World>, slot: &Arc<TheSlot>, reports: usize) -> thread::JoinHandle<()> {
    let (world, slot) = (Arc::clone(world), Arc::clone(slot));
    thread::spawn(move || {
        for _ in 0..reports {
            if world.kernel.wait(false) {
                serve(&world, &slot);
            }
        }
    })
}

#[test]
fn remove_against_a_running_handler() {
    explore(|| {
        let (world, slot) = world();
        world.kernel.signal();
        let running = runner(&world, &slot, 2);
        let signals = world.kernel.clone();
        let signaller = thread::spawn(move || signals.signal());

        let removed = remove(&world, &slot).unwrap();
        assert!(!world.running.load(Ordering::SeqCst), "it still runs");
        assert!(world.dropped.load(Ordering::SeqCst));
        let handled = world.handled.load(Ordering::SeqCst);
        running.join().unwrap();
        signaller.join().unwrap();
        assert_eq!(
            handled,
            world.handled.load(Ordering::SeqCst),
            "it ran again"
        );
        let left = world.kernel.take().unwrap().map_or(0, u64::from);
        assert_eq!(handled + removed + left, 2);
    });
}

#[test]
fn two_that_remove_the_same() {
    explore(|| {
        let (world, slot) = world();
        world.kernel.signal();
        let running = runner(&world, &slot, 1);
        let (other_world, other_slot) = (Arc::clone(&world), Arc::clone(&slot));
        let other = thread::spawn(move || {
            let removed = remove(&other_world, &other_slot);
            assert!(other_world.dropped.load(Ordering::SeqCst));
            removed
        });
        let removed = remove(&world, &slot);
        assert!(world.dropped.load(Ordering::SeqCst));
        running.join().unwrap();
        let removed = [removed, other.join().unwrap()];
        assert_eq!(removed.iter().flatten().count(), 1, "one of them did it");
        let removed: u64 = removed.into_iter().flatten().sum();
        assert_eq!(world.handled.load(Ordering::SeqCst) + removed, 1);
    });
}

#[test]
fn pause_and_resume_against_a_signal() {
    explore(|| {
        let (world, slot) = world();
        world.kernel.signal();
        let running = runner(&world, &slot, 2);
        let paused = pause(&world, &slot).unwrap();
        assert!(!world.running.load(Ordering::SeqCst), "it still runs");
        let handled = world.handled.load(Ordering::SeqCst);
        world.kernel.signal();
        thread::yield_now();
        assert_eq!(handled, world.handled.load(Ordering::SeqCst), "it ran");
        assert!(slot.resume().unwrap());
        running.join().unwrap();
        if world.kernel.wait(false) {
            serve(&world, &slot);
        }
        assert_eq!(world.handled.load(Ordering::SeqCst) + paused, 2);
    });
}

/// A handler that reads only part of the data is called again for the rest, whatever comes between.
#[test]
fn pause_and_resume_of_a_handler_that_reads_a_part() {
    explore(|| {
        let (world, slot) = world_of(File::Other);
        (0..2).for_each(|_| world.kernel.signal());
        let running = runner(&world, &slot, 2);
        assert_eq!(pause(&world, &slot), Some(0), "nothing is handed back");
        assert!(!world.running.load(Ordering::SeqCst), "it still runs");
        let handled = world.handled.load(Ordering::SeqCst);
        thread::yield_now();
        assert_eq!(handled, world.handled.load(Ordering::SeqCst), "it ran");
        assert!(slot.resume().unwrap());
        running.join().unwrap();
        while world.kernel.wait(false) {
            serve(&world, &slot);
        }
        assert_eq!(world.handled.load(Ordering::SeqCst), 2);
    });
}

/// The same, but the handler is removed: what it has not read is still there, and no handler is
/// called.
#[test]
fn removal_of_a_handler_that_reads_a_part() {
    explore(|| {
        let (world, slot) = world_of(File::Other);
        (0..2).for_each(|_| world.kernel.signal());
        let running = runner(&world, &slot, 2);
        assert_eq!(remove(&world, &slot), Some(0), "nothing is handed back");
        assert!(world.dropped.load(Ordering::SeqCst));
        let handled = world.handled.load(Ordering::SeqCst);
        running.join().unwrap();
        assert_eq!(
            handled,
            world.handled.load(Ordering::SeqCst),
            "it ran again"
        );
        assert!(!world.kernel.wait(false), "it is still watched");
        let left = world.kernel.0.0.lock().unwrap().count;
        assert_eq!(handled + left, 2);
    });
}

/// One thread resumes what another is about to pause: nothing is lost, and no thread waits for
/// ever.
#[test]
fn pause_against_resume() {
    explore(|| {
        let (world, slot) = world();
        world.kernel.signal();
        let running = runner(&world, &slot, 2);
        let other = Arc::clone(&slot);
        let resumer = thread::spawn(move || assert!(other.resume().unwrap()));
        let paused = pause(&world, &slot).unwrap();
        resumer.join().unwrap();
        running.join().unwrap();
        assert!(slot.resume().unwrap());
        if world.kernel.wait(false) {
            serve(&world, &slot);
        }
        assert_eq!(world.handled.load(Ordering::SeqCst) + paused, 1);
    });
}

/// The handler is polled, and its peer need not signal.
fn suppress(world: &World, slot: &TheSlot) {
    let (handler, kicks) = slot.take_out(thread::current().id()).unwrap();
    assert_eq!(kicks, Kicks::Wanted);
    slot.mark_suppressed();
    leave(world, slot, handler, Kicks::Suppressed);
}

/// The same with a handler whose peer need not signal: the look is due to the pausing thread, or to
/// the handler.
#[test]
fn pause_of_a_polled_handler_against_resume() {
    explore(|| {
        let (world, slot) = world();
        suppress(&world, &slot);
        let other = Arc::clone(&slot);
        let resumer = thread::spawn(move || assert!(other.resume().unwrap()));
        let paused = pause(&world, &slot).unwrap();
        resumer.join().unwrap();
        assert!(slot.resume().unwrap());
        let signalled = world.kernel.wait(false);
        let (handler, kicks) = slot.take_out(thread::current().id()).unwrap();
        assert!(
            paused > 0 || signalled || kicks != Kicks::Wanted,
            "the look is lost"
        );
        leave(&world, &slot, handler, kicks);
    });
}

/// Another thread pauses a handler while it is polled: the look is handed back at once.
#[test]
fn pause_of_a_handler_against_its_poll() {
    explore(|| {
        let (world, slot) = world();
        suppress(&world, &slot);
        let (polling, polled) = (Arc::clone(&world), Arc::clone(&slot));
        let runner = thread::spawn(move || {
            if let Some((handler, kicks)) = polled.take_out(thread::current().id()) {
                leave(&polling, &polled, handler, kicks);
            }
        });
        assert_eq!(pause(&world, &slot), Some(1));
        runner.join().unwrap();
        assert_eq!(pause(&world, &slot), Some(0), "once is enough");
    });
}

/// While the dispatcher's thread polls a handler, one thread removes it and another pauses it: the
/// look that is due is handed back, or left in the counter.
#[test]
fn removal_and_pause_of_a_polled_handler() {
    explore(|| {
        let (world, slot) = world();
        suppress(&world, &slot);
        let (polling, polled) = (Arc::clone(&world), Arc::clone(&slot));
        let runner = thread::spawn(move || {
            if let Some((handler, kicks)) = polled.take_out(thread::current().id()) {
                assert!(!polling.running.swap(true, Ordering::SeqCst));
                polling.running.store(false, Ordering::SeqCst);
                leave(&polling, &polled, handler, kicks);
            }
        });
        let (pausing, other) = (Arc::clone(&world), Arc::clone(&slot));
        let pauser = thread::spawn(move || pause(&pausing, &other));
        let removed = remove(&world, &slot).unwrap();
        assert!(!world.running.load(Ordering::SeqCst), "it still runs");
        assert!(world.dropped.load(Ordering::SeqCst));
        let paused = pauser.join().unwrap();
        runner.join().unwrap();
        let left = world.kernel.take().unwrap().map_or(0, u64::from);
        assert_eq!(removed + paused.unwrap_or(0) + left, 1);
    });
}

/// A handler removes itself while it is polled, and another thread removes it: the call in the poll
/// returns that a look is due, and a look is left for after the poll, too.
#[test]
fn a_handler_that_removes_itself_in_a_poll_against_a_removal() {
    explore(|| {
        let (world, slot) = world();
        suppress(&world, &slot);
        let (other_world, other) = (Arc::clone(&world), Arc::clone(&slot));
        let remover = thread::spawn(move || {
            let removed = remove(&other_world, &other);
            assert!(other_world.dropped.load(Ordering::SeqCst));
            removed
        });
        let own = slot
            .take_out(thread::current().id())
            .map(|(handler, kicks)| {
                let own = remove(&world, &slot);
                assert!(!world.dropped.load(Ordering::SeqCst), "it is in its poll");
                leave(&world, &slot, handler, kicks);
                own
            });
        let removed = remover.join().unwrap();
        let left = world.kernel.take().unwrap().map_or(0, u64::from);
        match own {
            Some(Some(own)) => assert_eq!((own, removed, left), (1, None, 1)),
            // The other thread was first, and waited for the poll.
            Some(None) | None => assert_eq!((removed, left), (Some(1), 0)),
        }
    });
}

/// A handler fails while it is polled, and another thread removes it: one of the two has the look.
#[test]
fn a_failure_against_a_removal() {
    explore(|| {
        let (world, slot) = world();
        suppress(&world, &slot);
        let (failing, failed) = (Arc::clone(&world), Arc::clone(&slot));
        let runner = thread::spawn(move || {
            let (handler, kicks) = failed.take_out(thread::current().id())?;
            let is_ours = failed.mark_failed();
            dismiss(&failing, &failed, handler, kicks);
            is_ours.then(|| failed.take_pending().unwrap().map_or(0, u64::from))
        });
        let removed = remove(&world, &slot);
        assert!(world.dropped.load(Ordering::SeqCst));
        let pending = runner.join().unwrap();
        assert_eq!(removed.or(pending), Some(1));
        assert_eq!(
            (removed.is_some(), pending.is_some()),
            (pending.is_none(), removed.is_none())
        );
        assert_eq!(world.kernel.take().unwrap(), None);
    });
}

/// A stop against a pending signal: the run ends, and the next run handles what it left.
#[test]
fn stop_against_a_pending_signal() {
    explore(|| {
        let (world, slot) = world();
        let stop = Arc::new(Stop::new());
        let signals = world.kernel.clone();
        let signaller = thread::spawn(move || signals.signal());
        let (request, waker) = (Arc::clone(&stop), world.kernel.clone());
        let stopper = thread::spawn(move || {
            request.request();
            waker.wake();
        });

        let mut backlog = Backlog::new();
        let mut turn = |block| {
            if world.kernel.wait(block) {
                backlog.push(());
            }
            backlog.serve_each_once(8, &stop, |()| {
                serve(&world, &slot);
                Served::Done
            });
        };
        // A run that is never woken is a deadlock, which loom reports.
        while !stop.take() {
            turn(true);
        }
        signaller.join().unwrap();
        stopper.join().unwrap();
        turn(false);
        assert_eq!(world.handled.load(Ordering::SeqCst), 1);
        assert!(!stop.take(), "a request ends one run");
    });
}
