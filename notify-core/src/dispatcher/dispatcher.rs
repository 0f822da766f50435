// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Dispatcher`]: handlers for many notifiers, on one thread; [`DispatcherBuilder`].

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use mio::{Poll, Waker};

use super::handler::log_panic;
use super::shared::Shared;
use super::slot::Taken;
use super::sync::{ThreadId, me};
use super::token::WAKER;
use super::turn::Loop;
use super::{DispatcherHandle, Error, Failure, PollLimits};

/// Calls a handler for each of many notifiers when it is signalled.
///
/// One thread at a time runs it, with [`run`](Self::run) or [`run_once`](Self::run_once); handlers
/// are added and removed through its [`handle`](Self::handle), from any thread and from inside
/// handlers.
///
/// - **Nothing is lost.** A signal is handled, or it is handed back to the caller that removes or
///   pauses the handler, or it stays in the notifier's counter. That holds for one that was there
///   before the handler was added, and whenever the dispatcher is stopped.
/// - **No handler starves.** In a turn, each handler is called at most once for a signal and once
///   to be polled, and those that are ready have their turns in order.
/// - **A failure stays with its handler.** One that returns an error or panics is removed and
///   reported ([`DispatcherBuilder::on_failure`]); the others go on.
/// - **Adaptive polling.** A [`PollHandler`](super::PollHandler) is polled for a while before the
///   thread blocks, by QEMU's rules ([`PollLimits`]), and once more after its
///   peer was told to signal again. While it polls, the dispatcher looks at the other notifiers
///   every few microseconds. Where another thread wants the processor as well, it blocks instead of
///   polling ([`PollLimits::longest_gap`](super::PollLimits::longest_gap)).
///
/// Other file descriptors have handlers too ([`DispatcherHandle::add_fd`]), which are called while
/// the descriptor is readable. All of the above holds for them, except that they are not polled,
/// and that the dispatcher reads nothing from them: what was not read stays in the file.
///
/// A notifier that is bound as an irqfd causes no calls: KVM takes its signals before any reader.
///
/// Dropping it drops all handlers. What is signalled stays in the counters of the notifiers, which
/// the dispatcher held by their `Arc`s; so does a look that is due to a handler that was polled, as
/// one signal. If another thread is removing or pausing a handler, the drop waits for it. A handler
/// must not own the dispatcher, or neither is ever dropped; it may own a handle.
///
/// It belongs to the process that created it. In a child of that process, calls fail with
/// [`Error::Inherited`], and dropping it drops the handlers alone: the parent's watches, notifiers
/// and peers are left as they are.
///
/// ```
/// use std::sync::Arc;
/// use notify_core::EventNotifier;
/// use notify_core::dispatcher::Dispatcher;
///
/// let dispatcher = Dispatcher::new()?;
/// let handle = dispatcher.handle();
/// let (kick, mut kicks) = (Arc::new(EventNotifier::new()?), 0);
/// let own = handle.clone();
/// let token = handle.add(Arc::clone(&kick), move |signalled| {
///     kicks += signalled.get();
///     if kicks == 3 {
///         own.stop()?;
///     }
///     Ok(())
/// })?;
///
/// let guest = Arc::clone(&kick);
/// let guest = std::thread::spawn(move || (0..3).try_for_each(|_| guest.notify()));
/// dispatcher.run()?;
/// guest.join().unwrap()?;
///
/// kick.notify()?;
/// let pending = handle.remove(token)?; // no handler was called for this one
/// assert_eq!(pending.map(u64::from), Some(1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Dispatcher {
    pub(super) shared: Arc<Shared>,
    /// Locked by the thread that runs it.
    pub(super) inner: Mutex<Loop>,
}

/// How [`Dispatcher::run_once`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Turn {
    /// So many calls found something to do.
    Worked(usize),
    /// The time ran out.
    TimedOut,
    /// It was asked to stop.
    Stopped,
}

impl Dispatcher {
    /// A dispatcher without handlers.
    ///
    /// # Errors
    ///
    /// [`Error::Create`].
    pub fn new() -> Result<Self, Error> {
        Self::builder().build()
    }

    /// A dispatcher with limits or a callback of its own.
    pub fn builder() -> DispatcherBuilder {
        DispatcherBuilder::new()
    }

    /// What adds and removes handlers, and stops the dispatcher.
    #[must_use]
    pub fn handle(&self) -> DispatcherHandle {
        DispatcherHandle {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Calls handlers on this thread until [`DispatcherHandle::stop`].
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyRunning`], also inside a handler; [`Error::Inherited`]; [`Error::Wait`].
    pub fn run(&self) -> Result<(), Error> {
        let mut running = self.start()?;
        while running.turns(None)? != Turn::Stopped {}
        Ok(())
    }

    /// Waits until something is signalled, for at most `timeout` (`None`: for ever), and calls the
    /// handlers of what is ready, once each, up to [`DispatcherBuilder::calls_per_turn`]. For a
    /// thread that has a loop of its own.
    ///
    /// Times are rounded up to milliseconds when the thread blocks.
    ///
    /// # Errors
    ///
    /// As for [`run`](Self::run).
    pub fn run_once(&self, timeout: Option<Duration>) -> Result<Turn, Error> {
        // A deadline beyond what the clock can express is as good as none.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        self.start()?.turns(deadline)
    }

    fn start(&self) -> Result<Running<'_>, Error> {
        self.shared.check_process()?;
        let inner = match self.inner.try_lock() {
            Ok(inner) => inner,
            // The callback about a failure panicked; no turn leaves anything half done.
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(Error::AlreadyRunning),
        };
        Ok(Running {
            shared: &self.shared,
            inner,
            me: me(),
        })
    }
}

/// The thread that runs the dispatcher. However the run ends, no kicks stay suppressed.
struct Running<'a> {
    shared: &'a Shared,
    inner: MutexGuard<'a, Loop>,
    me: ThreadId,
}

impl Running<'_> {
    /// Turns until something was done.
    fn turns(&mut self, deadline: Option<Instant>) -> Result<Turn, Error> {
        loop {
            if self.shared.stop.take() {
                return Ok(Turn::Stopped);
            }
            match self.inner.run_turn(self.shared, self.me, deadline)? {
                0 => {}
                worked => return Ok(Turn::Worked(worked)),
            }
            if deadline.is_some_and(|at| at <= Instant::now()) {
                return Ok(Turn::TimedOut);
            }
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.inner.end_polling(self.shared, self.me);
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        if self.shared.check_process().is_err() {
            return self.shared.drop_inherited();
        }
        let table = self.shared.table().take();
        for entry in table.iter().flat_map(|table| table.entries()) {
            match entry.slot.remove() {
                Taken::Handler(handler, kicks) => {
                    log_panic(self.shared.drop_handler(entry, handler, kicks));
                }
                // What is pending stays in the counter.
                Taken::Done | Taken::Gone => {}
            }
        }
    }
}

impl fmt::Debug for Dispatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatcher").finish_non_exhaustive()
    }
}

/// Creates a [`Dispatcher`] with limits or a callback of its own.
#[must_use]
pub struct DispatcherBuilder {
    calls_per_turn: u32,
    poll_limits: PollLimits,
    on_failure: Option<Box<dyn FnMut(Failure) + Send>>,
}

impl DispatcherBuilder {
    pub(super) fn new() -> Self {
        Self {
            calls_per_turn: 256,
            poll_limits: PollLimits::default(),
            on_failure: None,
        }
    }

    /// How many handlers are called for a signal before the next look at what else is ready; 256
    /// unless set, and at least 1. Within a turn, none is called twice.
    pub fn calls_per_turn(mut self, calls: u32) -> Self {
        self.calls_per_turn = calls.max(1);
        self
    }

    /// How adaptive polling tunes itself; as QEMU does unless set.
    pub fn poll_limits(mut self, limits: PollLimits) -> Self {
        self.poll_limits = limits;
        self
    }

    /// What is called about a handler that failed, on the thread that runs the dispatcher and with
    /// nothing locked: it may add another one. Unless set, the failure is logged, and the signals
    /// that came meanwhile stay in the notifier's counter.
    ///
    /// What it panics with unwinds through [`Dispatcher::run`], which can be called again. About a
    /// handler that fails as a run ends, when its polling ends, it is logged.
    pub fn on_failure(mut self, callback: impl FnMut(Failure) + Send + 'static) -> Self {
        self.on_failure = Some(Box::new(callback));
        self
    }

    /// Creates it. It takes three file descriptors: two of an epoll instance, and an eventfd to be
    /// woken by.
    ///
    /// # Errors
    ///
    /// [`Error::Create`].
    pub fn build(self) -> Result<Dispatcher, Error> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let create = |error: io::Error| Error::Create {
            cause: error.into(),
        };
        let poll = Poll::new().map_err(create)?;
        let waker = Waker::new(poll.registry(), WAKER).map_err(create)?;
        let registry = poll.registry().try_clone().map_err(create)?;
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let calls = self.calls_per_turn as usize;
        let hands_over = self.on_failure.is_some();
        let on_failure = self.on_failure.unwrap_or_else(|| Box::new(log_failure));
        Ok(Dispatcher {
            shared: Arc::new(Shared::new(id, registry, waker, hands_over)),
            inner: Mutex::new(Loop::new(poll, calls, self.poll_limits, on_failure)),
        })
    }
}

fn log_failure(failure: Failure) {
    let Failure { token, reason, .. } = failure;
    log::error!("handler {token} failed and was taken out: {reason}");
}

impl fmt::Debug for DispatcherBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DispatcherBuilder")
            .field("calls_per_turn", &self.calls_per_turn)
            .field("poll_limits", &self.poll_limits)
            .finish_non_exhaustive()
    }
}
