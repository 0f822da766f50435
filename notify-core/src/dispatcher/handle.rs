// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`DispatcherHandle`]: operations on a dispatcher from any thread.

use std::fmt;
use std::num::NonZeroU64;
use std::os::fd::AsFd;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::call::end_polling;
use super::handler::{Closure, Kind};
use super::shared::Shared;
use super::slot::{Kicks, Signals, Taken};
use super::table::Entry;
use super::watch::{Latest, OnReady, SharedFd, Source, Watched};
use super::{Error, Handler, HandlerError, PollHandler, Readiness, Token};
use crate::{EventNotifier, Rejected};

/// Adds and removes handlers of a [`Dispatcher`](super::Dispatcher), and stops it.
///
/// Its methods may be called from any thread, and from inside a handler.
///
/// Cloning it is cheap. It does not keep the handlers alive, so a handler may own one. When the
/// dispatcher has been dropped, each method fails with [`Error::Gone`], except
/// [`stop`](Self::stop), which has no effect.
///
/// # Deadlocks
///
/// No lock is held while a handler runs. But [`remove`](Self::remove) and [`pause`](Self::pause)
/// block while another thread is calling their handler. So:
///
/// - Do not call them with a lock held that the handler takes.
/// - Handlers of two dispatchers must not remove or pause each other. If both do it at once, each
///   thread waits for the other's handler for ever. The same holds for
///   [`end_polling`](PollHandler::end_polling) and for the drop of a handler. Let one of the two
///   signal a notifier instead, whose handler on the other dispatcher does the removal.
///
/// Handlers of one dispatcher may remove and pause each other: they run on one thread.
#[derive(Clone)]
pub struct DispatcherHandle {
    pub(super) shared: Arc<Shared>,
}

impl DispatcherHandle {
    /// Adds a closure that is called for the signals of a notifier.
    ///
    /// A signal that is in the counter already counts. The notifier is held until the handler is
    /// removed.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyAdded`], [`Error::Watch`], [`Error::Full`], [`Error::Gone`],
    /// [`Error::Inherited`]; the closure comes back inside.
    pub fn add<F>(
        &self,
        notifier: Arc<EventNotifier>,
        handler: F,
    ) -> Result<Token, Rejected<F, Error>>
    where
        F: FnMut(NonZeroU64) -> Result<(), HandlerError> + Send + 'static,
    {
        let source = Source::from(notifier);
        self.insert(source, handler, |handler| {
            Kind::Plain(Box::new(Closure(handler)))
        })
    }

    /// Adds a handler of a type of its own, or a `Box<dyn Handler>`; else as [`add`](Self::add).
    ///
    /// # Errors
    ///
    /// As for [`add`](Self::add).
    pub fn add_handler<H: Handler + 'static>(
        &self,
        notifier: Arc<EventNotifier>,
        handler: H,
    ) -> Result<Token, Rejected<H, Error>> {
        let source = Source::from(notifier);
        self.insert(source, handler, |handler| Kind::Plain(Box::new(handler)))
    }

    /// Adds a handler that can be polled; else as [`add`](Self::add).
    ///
    /// It is polled from its first signal on, for as long as that pays.
    ///
    /// # Errors
    ///
    /// As for [`add`](Self::add).
    pub fn add_polled<H: PollHandler + 'static>(
        &self,
        notifier: Arc<EventNotifier>,
        handler: H,
    ) -> Result<Token, Rejected<H, Error>> {
        self.shared.can_poll.store(true, Ordering::Relaxed);
        let source = Source::from(notifier);
        self.insert(source, handler, |handler| Kind::Polled(Box::new(handler)))
    }

    /// Adds a closure that is called while a file descriptor is readable.
    ///
    /// It is also called on an error, and when the peer has hung up. The descriptor can be a
    /// socket, a tap, a timerfd, or that of another loop.
    ///
    /// `source` is held until the handler is removed, and must return the same descriptor each
    /// time. The dispatcher reads nothing from it. The closure is called once a turn while the
    /// descriptor is ready, even if it has read only a part. A peer that has hung up leaves the
    /// descriptor ready for ever: remove the handler then.
    ///
    /// The closure must not block. Another thread may have read the data before it is called, so
    /// use a non-blocking descriptor.
    ///
    /// [`remove`](Self::remove) and [`pause`](Self::pause) wait for a call as they do for the
    /// handler of a notifier, and return `None`. Data that was not read stays in the file, and the
    /// closure is called for it after [`resume`](Self::resume).
    ///
    /// Each call costs one more system call than that of a notifier (`epoll_ctl`).
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use std::os::unix::net::UnixStream;
    /// use std::sync::Arc;
    /// use notify_core::dispatcher::{Dispatcher, Turn};
    ///
    /// let (ours, mut peer) = UnixStream::pair()?;
    /// ours.set_nonblocking(true)?;
    /// let (socket, dispatcher) = (Arc::new(ours), Dispatcher::new()?);
    /// let handle = dispatcher.handle();
    /// let token = handle.add_fd(Arc::clone(&socket), move |ready| {
    ///     let mut bytes = [0; 4];
    ///     let len = (&*socket).read(&mut bytes)?;
    ///     println!("{:?}, {ready:?}", &bytes[..len]);
    ///     Ok(())
    /// })?;
    ///
    /// peer.write_all(b"six by")?;
    /// assert_eq!(dispatcher.run_once(None)?, Turn::Worked(1)); // four bytes
    /// assert_eq!(dispatcher.run_once(None)?, Turn::Worked(1)); // and two
    /// handle.remove(token)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`add`](Self::add). [`Error::Watch`] with EPERM if epoll cannot watch the file, for
    /// example a regular file.
    pub fn add_fd<S, F>(&self, source: Arc<S>, handler: F) -> Result<Token, Rejected<F, Error>>
    where
        S: AsFd + Send + Sync + 'static,
        F: FnMut(Readiness) -> Result<(), HandlerError> + Send + 'static,
    {
        let source = Source::Fd(SharedFd::new(source), Latest::default());
        self.insert(source, handler, |handler| {
            Kind::Plain(Box::new(OnReady(handler)))
        })
    }

    fn insert<H>(
        &self,
        source: Source,
        handler: H,
        kind: impl FnOnce(H) -> Kind,
    ) -> Result<Token, Rejected<H, Error>> {
        if let Err(error) = self.shared.check_process() {
            return Err(Rejected::new(error, handler));
        }
        // An event that comes before the handler is in the table waits for the lock.
        let mut table = self.shared.table();
        let Some(table) = table.as_mut() else {
            return Err(Rejected::new(Error::Gone, handler));
        };
        let watch = || {
            let watched = Watched {
                key: table.next()?,
                source,
                registry: Arc::clone(&self.shared.registry),
            };
            watched.watch().map(|()| watched)
        };
        match watch() {
            Ok(watched) => {
                let key = watched.key;
                table.insert(key, Arc::new(Entry::new(watched, kind(handler))));
                Ok(self.shared.token(key))
            }
            Err(error) => Err(Rejected::new(error, handler)),
        }
    }

    /// Removes and drops a handler, and returns its pending signals.
    ///
    /// When this has returned, the handler is not running and will not run. It blocks while another
    /// thread is calling the handler. Inside the handler's own call it cannot wait: that call is
    /// then the last, and the handler is dropped when it returns.
    ///
    /// No signal is lost. It has been handled, or it was taken from the counter and is returned;
    /// the caller then has to handle it. Later signals stay in the counter. (Of a semaphore at most
    /// 65,536 are taken; the rest stays in the counter.)
    ///
    /// A handler that was being polled may have suppressed the signal for its latest work. Then at
    /// least one is returned: look at the ring once. If polling ends only after this has returned,
    /// as inside the handler's own call, one is also signalled then, and stays in the counter.
    ///
    /// # Errors
    ///
    /// - [`Error::NoHandler`] if the handler was removed or has failed by the time that this
    ///   returns;
    /// - [`Error::Gone`], [`Error::OtherDispatcher`], [`Error::Inherited`];
    /// - [`Error::Notifier`] if the counter cannot be read. The handler is removed all the same,
    ///   and pending signals are still in the counter.
    ///
    /// # Panics
    ///
    /// If the drop of the handler panics, or [`PollHandler::end_polling`], and this thread calls
    /// it.
    pub fn remove(&self, token: Token) -> Result<Option<NonZeroU64>, Error> {
        let entry = self.shared.find(token)?;
        match entry.slot.remove() {
            Taken::Handler(handler, kicks) => {
                if let Err(payload) = self.shared.drop_handler(&entry, handler, kicks) {
                    resume_unwind(payload);
                }
                entry.slot.take_pending()
            }
            Taken::Done => entry.slot.take_pending(),
            Taken::Gone => Err(Error::NoHandler { token }),
        }
    }

    /// Stops calling a handler until [`resume`](Self::resume), and returns its pending signals.
    ///
    /// Later signals stay in the counter. A paused handler stays paused, and its signals since then
    /// are taken and returned.
    ///
    /// When this has returned, the handler is not running and will not run; inside its own call,
    /// that call is the last. It blocks while another thread is calling the handler. What the
    /// caller does not handle of the returned signals, it signals again: the handler gets it after
    /// `resume`.
    ///
    /// If polling ends only after this has returned, as inside the handler's own call, one is
    /// signalled then: the handler looks again after `resume`.
    ///
    /// # Errors
    ///
    /// As for [`remove`](Self::remove).
    ///
    /// # Panics
    ///
    /// If [`PollHandler::end_polling`] panics, and this thread calls it. The handler is then
    /// removed.
    pub fn pause(&self, token: Token) -> Result<Option<NonZeroU64>, Error> {
        let entry = self.shared.find(token)?;
        let taken = match entry.slot.pause() {
            Taken::Handler(mut handler, kicks) => {
                if let Err(payload) = end_polling(&entry, &mut handler, kicks) {
                    // What is pending stays in the counter.
                    entry.slot.mark_failed();
                    let _ = self
                        .shared
                        .drop_handler(&entry, handler, Kicks::WantedAgain);
                    resume_unwind(payload);
                }
                // No look is due any more, so nothing of the handler is called.
                let _ = self.shared.put_back(&entry, handler, Kicks::Wanted);
                entry.slot.outcome()
            }
            taken => taken,
        };
        match taken {
            Taken::Done => entry.slot.take_pending(),
            Taken::Handler(..) | Taken::Gone => Err(Error::NoHandler { token }),
        }
    }

    /// Lets a paused handler be called again.
    ///
    /// It is called at once for signals that came meanwhile. A handler that is not paused stays as
    /// it is.
    ///
    /// # Errors
    ///
    /// [`Error::NoHandler`], [`Error::Gone`], [`Error::OtherDispatcher`], [`Error::Inherited`].
    /// With [`Error::Watch`], or [`Error::AlreadyAdded`] if the notifier has got another handler
    /// meanwhile, it stays paused.
    pub fn resume(&self, token: Token) -> Result<(), Error> {
        if self.shared.find(token)?.slot.resume()? {
            Ok(())
        } else {
            Err(Error::NoHandler { token })
        }
    }

    /// Makes [`Dispatcher::run`](super::Dispatcher::run) return.
    ///
    /// It returns after the handler that it is calling; if it does not run, the next `run` returns
    /// at once. Signals that are not handled yet stay for the next run. Never blocks.
    ///
    /// # Errors
    ///
    /// [`Error::Wake`]; not known to happen while the dispatcher lives.
    pub fn stop(&self) -> Result<(), Error> {
        self.shared.stop.request();
        let woken = self.shared.waker.wake();
        woken.map_err(|error| Error::Wake {
            cause: error.into(),
        })
    }
}

impl fmt::Debug for DispatcherHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DispatcherHandle").finish_non_exhaustive()
    }
}
