// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The models.

use loom::sync::Arc;
use loom::sync::atomic::Ordering;
use loom::thread;

use super::*;
use crate::dispatcher::backlog::{Backlog, Served, Stop};

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
