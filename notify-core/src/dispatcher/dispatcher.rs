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

/// An event loop: calls the handlers of many notifiers on one thread.
///
/// One thread at a time runs it, with [`run`](Self::run) or [`run_once`](Self::run_once). Handlers
/// are added and removed through its [`handle`](Self::handle), from any thread and from inside
/// handlers. No lock is held while a handler runs.
///
/// - **No signal is lost.** It is handled, or returned by the call that removes or pauses the
///   handler, or it stays in the notifier's counter. That also holds for a signal from before the
///   handler was added, and whenever the dispatcher is stopped.
/// - **No handler starves.** In a turn each handler is called at most once for a signal and once to
///   be polled. They are called in the order in which they became ready.
/// - **A failure concerns one handler.** A handler that returns an error or panics is removed and
///   reported ([`DispatcherBuilder::on_failure`]). The others are not affected.
/// - **Adaptive polling.** A [`PollHandler`](super::PollHandler) is polled for a while before the
///   thread blocks, by QEMU's rules ([`PollLimits`]). While it polls, the dispatcher looks at the
///   other notifiers every few microseconds. If another thread wants the processor as well, it
///   blocks instead of polling ([`PollLimits::longest_gap`](super::PollLimits::longest_gap)).
///
/// Other file descriptors have handlers too ([`DispatcherHandle::add_fd`]), which are called while
/// the descriptor is readable. They are not polled, and the dispatcher reads nothing from the
/// descriptor.
///
/// Do not add a notifier that is bound as an irqfd: KVM takes its signals before a handler does.
///
/// Dropping it drops all handlers. Signals stay in the counters of the notifiers. If a handler that
/// was polled may have suppressed a signal, its notifier is signalled once. The drop blocks while
/// another thread removes or pauses a handler. A handler must not own the dispatcher, or neither is
/// ever dropped; it may own a handle.
///
/// It belongs to the process that created it. In a child of that process, calls fail with
/// [`Error::Inherited`], except [`DispatcherHandle::stop`], which has no effect. Dropping it there
/// drops the handlers and changes nothing for the parent.
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
    /// This many calls found work to do.
    Worked(usize),
    /// The time ran out.
    TimedOut,
    /// It was asked to stop.
    Stopped,
}

impl Dispatcher {
    /// Creates a dispatcher without handlers.
    ///
    /// # Errors
    ///
    /// [`Error::Create`].
    pub fn new() -> Result<Self, Error> {
        Self::builder().build()
    }

    /// Returns a builder, to set limits or a callback.
    pub fn builder() -> DispatcherBuilder {
        DispatcherBuilder::new()
    }

    /// Returns a handle, which adds and removes handlers and stops the dispatcher.
    #[must_use]
    pub fn handle(&self) -> DispatcherHandle {
        DispatcherHandle {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Calls handlers on this thread until [`DispatcherHandle::stop`]; blocks in between.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyRunning`], also inside a handler; [`Error::Inherited`]; [`Error::Wait`].
    pub fn run(&self) -> Result<(), Error> {
        let mut running = self.start()?;
        while running.turns(None)? != Turn::Stopped {}
        Ok(())
    }

    /// Blocks until a handler has found work, at most for `timeout` (`None`: no limit).
    ///
    /// Calls the handlers of what is ready, once each, up to [`DispatcherBuilder::calls_per_turn`].
    /// For a thread that has a loop of its own.
    ///
    /// While the thread blocks, times are rounded up to milliseconds.
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
            // Else the turn had only handlers that are not to be called any more.
            if self.inner.is_all_done && deadline.is_some_and(|at| at <= Instant::now()) {
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

/// Creates a [`Dispatcher`] with limits or a callback.
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

    /// Sets how many handlers are called for signals in a turn (default 256, at least 1).
    ///
    /// Then the dispatcher looks again at what is ready. Within a turn no handler is called twice.
    pub fn calls_per_turn(mut self, calls: u32) -> Self {
        self.calls_per_turn = calls.max(1);
        self
    }

    /// Sets the limits of adaptive polling (default: those of QEMU).
    pub fn poll_limits(mut self, limits: PollLimits) -> Self {
        self.poll_limits = limits;
        self
    }

    /// Sets a callback for handlers that fail.
    ///
    /// It is called on the thread that runs the dispatcher, with no lock held, and may add another
    /// handler. By default the failure is logged, and signals that came meanwhile stay in the
    /// notifier's counter.
    ///
    /// A panic of the callback unwinds through [`Dispatcher::run`], which can be called again. If a
    /// handler fails when a run ends and its polling ends, a panic of the callback is logged
    /// instead.
    pub fn on_failure(mut self, callback: impl FnMut(Failure) + Send + 'static) -> Self {
        self.on_failure = Some(Box::new(callback));
        self
    }

    /// Creates the dispatcher, with three file descriptors: two of an epoll instance, and an
    /// eventfd.
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
    log::error!("handler {token} failed and was removed: {reason}");
}

impl fmt::Debug for DispatcherBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DispatcherBuilder")
            .field("calls_per_turn", &self.calls_per_turn)
            .field("poll_limits", &self.poll_limits)
            .finish_non_exhaustive()
    }
}
