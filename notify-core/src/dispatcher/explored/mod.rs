// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Every interleaving, within loom's limits, of a handler's call with its removal, its pause and
//! its return, and of a stop with a signal.
//!
//! Slot, backlog and stop are those of the dispatcher. An eventfd is a counter here, and epoll a
//! list of one entry that reports a signal once. To run it:
//!
//! ```sh
//! RUSTFLAGS='--cfg loom' cargo test -p notify-core --features dispatcher,loom --release \
//!     --lib explored
//! ```
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod models;

use std::num::NonZeroU64;

use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use super::Error;
use super::slot::{GivenBack, Kicks, Signals, Slot, Taken};

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
