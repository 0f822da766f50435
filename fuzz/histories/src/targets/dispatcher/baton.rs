// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Baton`]: one thread at a time takes the steps. The others sleep, and a thread that sleeps for
//! ever is found by its sleep.

use std::any::Any;
use std::cell::Cell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use kvm_test::PATIENCE;
use notify_core::dispatcher::Error;
use std::num::NonZeroU64;

use super::model::{RunKind, World};
use super::step::{How, Step};
use crate::quiet;

pub(super) const THREADS: usize = 3;

/// How often sleeping threads are looked at. Nothing waits for it unless the history hangs.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How many looks in a row must find that all threads sleep.
const LOOKS: u32 = 5;

pub(super) type Guard<'a> = MutexGuard<'a, World>;

/// What a removal or a pause returned, or panicked with.
pub(super) type Taken = Result<Result<Option<NonZeroU64>, Error>, Box<dyn Any + Send>>;

thread_local! {
    static ME: Cell<usize> = const { Cell::new(0) };
}

pub(super) fn me() -> usize {
    ME.get()
}

/// A thread.
#[derive(Default)]
pub(super) struct Thread {
    pub(super) place: Place,
    /// Whether it was seen asleep, where it is.
    pub(super) is_asleep: bool,
    /// What it does, the innermost last.
    pub(super) stack: Vec<Activity>,
    /// What it waits for, and the result once it has come back.
    pub(super) wait: Option<Wait>,
    pub(super) result: Option<Taken>,
    pub(super) has_ended: bool,
}

/// Where a thread is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Place {
    /// It has the baton, or waits for it.
    #[default]
    Here,
    /// It waits for another thread's handler.
    Blocked,
    /// It runs a dispatcher that has nothing to do.
    Free,
    /// It was blocked or free, and comes back by itself.
    Expected,
}

/// What a thread does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activity {
    /// It runs a dispatcher.
    Run(usize, RunKind),
    /// It is in a call of a handler, or of a callback.
    Call,
    /// It removes or pauses a handler, or drops a dispatcher.
    Takes,
}

/// A removal or a pause that waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wait {
    pub(super) handler: usize,
    /// Whether it is the removal that the handler goes for.
    pub(super) removes: bool,
    pub(super) until_gone: bool,
}

pub(super) struct Baton {
    world: Mutex<World>,
    /// One for each thread.
    changed: [Condvar; THREADS],
    ended: Condvar,
    stats: [OnceLock<File>; THREADS],
}

impl Baton {
    /// Carries out the steps.
    pub(super) fn run(steps: &[Step]) {
        let baton = Arc::new_cyclic(|weak| Self {
            world: Mutex::new(World::new(steps, weak)),
            changed: Default::default(),
            ended: Condvar::new(),
            stats: Default::default(),
        });
        let threads: Vec<_> = (0..THREADS)
            .map(|number| {
                let baton = Arc::clone(&baton);
                thread::spawn(move || baton.work(number))
            })
            .collect();
        let have_ended = baton.watch();
        if have_ended {
            for thread in threads {
                thread.join().expect("it catches its panics");
            }
        }
        let failure = baton.lock().failure.take();
        if let Some(failure) = failure {
            panic!("{failure}");
        }
        let baton = Arc::into_inner(baton).expect("no handler is left");
        baton
            .world
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .check_end();
    }

    fn work(self: &Arc<Self>, number: usize) {
        ME.set(number);
        let _quiet = quiet::begin();
        let stat = File::open("/proc/thread-self/stat").expect("/proc is mounted");
        let _ = self.stats[number].set(stat);
        self.guarded(|| {
            self.drive(number);
        });
        let mut world = self.lock();
        world.threads[number].has_ended = true;
        self.ended.notify_one();
    }

    /// Carries out a part of the model. A panic of it is a failure of the history.
    pub(super) fn guarded<R>(&self, act: impl FnOnce() -> R) -> Option<R> {
        let result = catch_unwind(AssertUnwindSafe(act));
        if result.is_err() {
            let why = format!("the model panicked: {}", quiet::last_message());
            self.end(self.lock(), why);
        }
        result.ok()
    }

    pub(super) fn lock(&self) -> Guard<'_> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, mut world: Guard<'_>, why: String) {
        world.fail(why);
        self.release(&world);
    }

    /// Lets all threads go, once the history is over.
    fn release(&self, world: &World) {
        if world.is_over {
            for side in &world.dispatchers {
                let _ = side.handle.stop();
            }
            self.changed.iter().for_each(Condvar::notify_all);
        }
    }

    fn wait<'a>(&self, world: Guard<'a>, me: usize) -> Guard<'a> {
        self.changed[me]
            .wait(world)
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn is_asleep(&self, thread: usize) -> bool {
        let mut bytes = [0; 512];
        let Some(stat) = self.stats[thread].get() else {
            return false;
        };
        // It has ended, or "17 (name) S ...".
        let len = stat.read_at(&mut bytes, 0).unwrap_or(0);
        let name = bytes[..len].iter().rposition(|byte| *byte == b')');
        name.is_none_or(|at| bytes[at + 1..].starts_with(b" S"))
    }

    /// Waits until all threads have ended. Returns whether they have: a history that hangs leaves
    /// them behind.
    fn watch(&self) -> bool {
        let (mut looks, mut seen, mut since) = (0, 0, Instant::now());
        let mut world = self.lock();
        loop {
            if world.threads.iter().all(|thread| thread.has_ended) {
                return true;
            }
            let waited = self.ended.wait_timeout(world, LOOK_EVERY);
            world = waited.unwrap_or_else(PoisonError::into_inner).0;
            if world.progress != seen {
                (looks, seen, since) = (0, world.progress, Instant::now());
                continue;
            }
            drop(world);
            let asleep = (0..THREADS).all(|thread| self.is_asleep(thread));
            world = self.lock();
            looks = if asleep { looks + 1 } else { 0 };
            if looks < LOOKS && since.elapsed() < PATIENCE {
                continue;
            }
            if world.is_over {
                return false;
            }
            let threads = world.threads.iter().map(|one| (one.place, &one.stack));
            let why = format!("it hangs: {:?}", threads.collect::<Vec<_>>());
            world.fail(why);
            self.release(&world);
            (looks, since) = (0, Instant::now());
        }
    }

    /// A thread comes from a dispatcher. Blocks until it has the baton.
    pub(super) fn arrive(&self, me: usize) -> Guard<'_> {
        self.arrive_with(me, |_| {})
    }

    /// As [`arrive`](Self::arrive). The model learns at once what the thread brings, before another
    /// step.
    pub(super) fn arrive_with(&self, me: usize, note: impl FnOnce(&mut World)) -> Guard<'_> {
        let mut world = self.lock();
        world.progress += 1;
        let was = std::mem::take(&mut world.threads[me].place);
        if was == Place::Here {
            world = self.settle(world, me);
            if !world.is_over {
                note(&mut world);
            }
        } else {
            if was != Place::Expected && !world.is_over {
                let stack = world.threads[me].stack.clone();
                world.fail(format!(
                    "thread {me} came back too early: {was:?} in {stack:?}"
                ));
            }
            if !world.is_over {
                note(&mut world);
            }
            self.changed[world.turn].notify_one();
            while world.turn != me && !world.is_over {
                world = self.wait(world, me);
            }
            world = self.settle(world, me);
        }
        self.release(&world);
        world
    }

    /// Blocks until the other threads sleep where they should.
    fn settle<'a>(&'a self, mut world: Guard<'a>, me: usize) -> Guard<'a> {
        while !world.is_over {
            let restless = world.threads.iter().position(|thread| {
                matches!(thread.place, Place::Blocked | Place::Free) && !thread.is_asleep
            });
            if let Some(restless) = restless {
                drop(world);
                let is_asleep = self.is_asleep(restless);
                if !is_asleep {
                    thread::yield_now();
                }
                world = self.lock();
                let thread = &mut world.threads[restless];
                thread.is_asleep = is_asleep && thread.place != Place::Here;
                continue;
            }
            let expected = |thread: &Thread| thread.place == Place::Expected;
            if !world.threads.iter().any(expected) {
                break;
            }
            world = self.wait(world, me);
        }
        if !world.is_over {
            world.compare_waits();
        }
        self.release(&world);
        world
    }

    /// Gives the baton to another thread.
    pub(super) fn pass(&self, mut world: Guard<'_>, me: usize, place: Place) {
        world.progress += 1;
        let thread = &mut world.threads[me];
        (thread.place, thread.is_asleep) = (place, false);
        let at = |world: &World, place| {
            let mut places = world.threads.iter();
            places.position(|thread| thread.place == place)
        };
        match at(&world, Place::Here).or_else(|| at(&world, Place::Expected)) {
            Some(next) => {
                world.turn = next;
                self.changed[next].notify_one();
            }
            None => world.fail("the model lets all threads sleep"),
        }
        self.release(&world);
    }

    /// A thread returns from a call to the dispatcher, which may have nothing to do.
    pub(super) fn leave(&self, mut world: Guard<'_>, me: usize) {
        world.progress += 1;
        if world.is_over {
            return self.release(&world);
        }
        let Some(&Activity::Run(side, kind)) = world.threads[me].stack.last() else {
            return;
        };
        match kind {
            _ if world.is_side_due(side) => {}
            RunKind::UntilStopped => self.pass(world, me, Place::Free),
            // It would wait.
            RunKind::Poll if world.has_called_none(side) => world.stop(side),
            RunKind::Poll | RunKind::Turn => {}
        }
    }

    /// Carries out this thread's steps, until one of them returns from the innermost call.
    pub(super) fn drive(self: &Arc<Self>, me: usize) -> How {
        loop {
            let mut world = self.lock();
            while world.turn != me && !world.is_over {
                world = self.wait(world, me);
            }
            world = self.settle(world, me);
            world.refresh();
            if world.is_over {
                return How::Fine;
            }
            world.progress += 1;
            let Some((by, act)) = world.next_step() else {
                world.is_over = true;
                self.release(&world);
                return How::Fine;
            };
            if by != me {
                world.turn = by;
                self.changed[by].notify_one();
                continue;
            }
            world.next = None;
            if let Some(how) = self.perform(world, me, act) {
                return how;
            }
        }
    }
}
