// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`DispatcherHandle`]: what can be done to a dispatcher from anywhere.

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

/// Adds and removes handlers of a [`Dispatcher`](super::Dispatcher), and stops it: from any thread,
/// and from inside a handler.
///
/// Cloning it is cheap. It does not keep the handlers alive: once the dispatcher is dropped, each
/// method returns [`Error::Gone`]. So a handler may own one.
///
/// # Deadlocks
///
/// Nothing is locked while a handler runs. But [`remove`](Self::remove) and [`pause`](Self::pause)
/// wait for their handler to return, if another thread is calling it. So:
///
/// - Do not call them with a lock held that the handler takes.
/// - Handlers of two dispatchers must not remove or pause each other. If both do it at once, each
///   thread waits for the other's handler to return, for ever. The same holds for
///   [`end_polling`](PollHandler::end_polling) and for the drop of a handler. Let one of the two
///   signal a notifier instead whose handler, on the other dispatcher, does the removal.
///
/// Handlers of one dispatcher may remove and pause each other: they run on one thread.
#[derive(Clone)]
pub struct DispatcherHandle {
    pub(super) shared: Arc<Shared>,
}

impl DispatcherHandle {
    /// Calls a closure for the signals of a notifier, which is held until the handler is removed. A
    /// signal that is there already counts.
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
        let source = Source::Notifier(notifier);
        self.insert(source, handler, |handler| {
            Kind::Plain(Box::new(Closure(handler)))
        })
    }

    /// As [`add`](Self::add), for a type of its own or a `Box<dyn Handler>`.
    ///
    /// # Errors
    ///
    /// As for [`add`](Self::add).
    pub fn add_handler<H: Handler + 'static>(
        &self,
        notifier: Arc<EventNotifier>,
        handler: H,
    ) -> Result<Token, Rejected<H, Error>> {
        let source = Source::Notifier(notifier);
        self.insert(source, handler, |handler| Kind::Plain(Box::new(handler)))
    }

    /// As [`add`](Self::add), for a handler that can be polled. It is, from its first signal on,
    /// for as long as that pays.
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
        let source = Source::Notifier(notifier);
        self.insert(source, handler, |handler| Kind::Polled(Box::new(handler)))
    }

    /// Calls a closure while a file descriptor is readable, has an error, or its peer has hung up:
    /// a socket, a tap, a timerfd, the descriptor of another loop.
    ///
    /// `source` is held until the handler is removed, and must return the same descriptor each
    /// time. The dispatcher reads nothing from it. The closure is called once a turn as long as the
    /// descriptor is ready, also if it has read only part of what is there. A peer that has hung up
    /// leaves the descriptor ready for ever: remove the handler then.
    ///
    /// The closure must not block. Another thread may have read the data before it is called, so
    /// use a non-blocking descriptor. [`remove`](Self::remove) and [`pause`](Self::pause) wait for
    /// a call as they do for the handler of a notifier, and return `None`: data that was not read
    /// is still in the file, and the closure is called for it after [`resume`](Self::resume).
    ///
    /// Each call costs one system call more than that of a notifier (`epoll_ctl`).
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

    /// Takes a handler out and drops it. Afterwards the notifier's signals stay in its counter.
    ///
    /// When this returns, the handler is not running and will not run: if another thread is calling
    /// it, this waits until it has returned. Inside its own call it cannot wait; then that call is
    /// the last, and the handler is dropped when it returns.
    ///
    /// What was signalled is never dropped. It has been handled, or else it was taken from the
    /// counter and is handed back: it is the caller's now. (Of a semaphore's counter at most 65,536
    /// are taken; the rest stays in it.) A handler that was being polled may have suppressed the
    /// signal for its latest work, so then at least one is handed back: look at the ring once.
    /// Where polling ends only after this has returned, as inside the handler's own call, one is
    /// signalled then as well, and stays in the counter.
    ///
    /// # Errors
    ///
    /// [`Error::NoHandler`] if it was removed or has failed, by the time that this returns;
    /// [`Error::Gone`]; [`Error::Inherited`]; [`Error::Notifier`] if the counter cannot be read:
    /// then the handler is out all the same, and what is pending is still in the counter.
    ///
    /// # Panics
    ///
    /// If dropping the handler does, or [`PollHandler::end_polling`], and it happens here.
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

    /// Keeps a handler from being called until [`resume`](Self::resume). Signals meanwhile stay in
    /// the counter.
    ///
    /// The promises are those of [`remove`](Self::remove): when this returns, the handler is not
    /// running and will not run (inside its own call, that call is the last), and what was pending
    /// is handed back. What the caller does not deal with, it signals again, and then the handler
    /// will see it after `resume`. Where polling ends only after this has returned, as inside the
    /// handler's own call, one is signalled then: the handler looks again after `resume`.
    ///
    /// # Errors
    ///
    /// As for [`remove`](Self::remove).
    ///
    /// # Panics
    ///
    /// If [`PollHandler::end_polling`] does, and it happens here. The handler is then out for good.
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

    /// Lets a paused handler be called again. It is called at once for signals that came meanwhile.
    /// A handler that is not paused stays as it is.
    ///
    /// # Errors
    ///
    /// [`Error::NoHandler`], [`Error::Gone`], [`Error::Inherited`]; [`Error::Watch`], or
    /// [`Error::AlreadyAdded`] if the notifier has got another handler meanwhile: then it stays
    /// paused.
    pub fn resume(&self, token: Token) -> Result<(), Error> {
        if self.shared.find(token)?.slot.resume()? {
            Ok(())
        } else {
            Err(Error::NoHandler { token })
        }
    }

    /// Makes [`Dispatcher::run`](super::Dispatcher::run) return after the handler that it is
    /// calling, or else the next `run` at once. What is signalled and not yet handled stays so, for
    /// the next run.
    ///
    /// # Errors
    ///
    /// [`Error::Wake`]; none is known while the dispatcher lives.
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
