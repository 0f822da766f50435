// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Shared`]: what the dispatcher and its handles share, and how handlers are called and dropped.

use std::any::Any;
use std::num::NonZeroU64;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mio::{Registry, Waker};

use super::entry::Entry;
use super::handler::Kind;
use super::slot::{Kicks, Left};
use super::stop::Stop;
use super::table::Table;
use super::token::Key;
use super::{Error, Failure, Reason, Token};

pub(super) struct Shared {
    /// No other dispatcher of this process has the same.
    pub(super) id: u64,
    /// The process that created it. A child shares the epoll instance.
    process: u32,
    pub(super) registry: Arc<Registry>,
    pub(super) waker: Waker,
    pub(super) stop: Stop,
    /// Whether there ever was a handler that can be polled: without, nobody looks at a clock.
    pub(super) can_poll: AtomicBool,
    /// Whether a callback is told what is pending when a handler fails. Otherwise it stays in the
    /// counter.
    hands_over: bool,
    /// `None` once the dispatcher is gone.
    table: Mutex<Option<Table>>,
}

/// What a panic carries.
pub(super) type Payload = Box<dyn Any + Send>;

impl Shared {
    pub(super) fn new(id: u64, registry: Registry, waker: Waker, hands_over: bool) -> Self {
        Self {
            id,
            process: process::id(),
            registry: Arc::new(registry),
            waker,
            stop: Stop::new(),
            can_poll: AtomicBool::new(false),
            hands_over,
            table: Mutex::new(Some(Table::default())),
        }
    }

    /// # Errors
    ///
    /// [`Error::Inherited`] in a child of the process that created the dispatcher.
    pub(super) fn check_process(&self) -> Result<(), Error> {
        match self.process == process::id() {
            true => Ok(()),
            false => Err(Error::Inherited),
        }
    }

    /// Drops the handlers in a child process, and does nothing else: notifiers, peers and watches
    /// are the parent's.
    pub(super) fn drop_inherited(&self) {
        // A thread that held the lock when the process was forked does not exist here.
        let table = self
            .table
            .try_lock()
            .ok()
            .and_then(|mut table| table.take());
        for entry in table.into_iter().flat_map(Table::into_entries) {
            report(guarded(|| drop(entry)));
        }
    }

    /// The handlers by name. Nobody calls code of a handler, or drops one, with this locked.
    pub(super) fn table(&self) -> MutexGuard<'_, Option<Table>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn can_poll(&self) -> bool {
        self.can_poll.load(Ordering::Relaxed)
    }

    pub(super) fn token(&self, key: Key) -> Token {
        Token {
            dispatcher: self.id,
            key,
        }
    }

    pub(super) fn find(&self, token: Token) -> Result<Arc<Entry>, Error> {
        self.check_process()?;
        if token.dispatcher != self.id {
            return Err(Error::OtherDispatcher { token });
        }
        let table = self.table();
        let table = table.as_ref().ok_or(Error::Gone)?;
        let found = table.get(token.key);
        found.map(Arc::clone).ok_or(Error::NoHandler { token })
    }

    /// Gives a handler back that was out. If it was to be paused or removed meanwhile, that is done now.
    /// Returns what its `end_polling` panicked with, if it did: then it is still out.
    pub(super) fn put_back(
        &self,
        entry: &Entry,
        mut handler: Kind,
        mut kicks: Kicks,
    ) -> Option<Broken> {
        loop {
            match entry.slot.leave(handler, kicks) {
                Left::Back => return None,
                Left::Settle(mut back) => {
                    if let Err(payload) = settle(entry, &mut back, kicks) {
                        return Some(Broken {
                            handler: back,
                            payload,
                        });
                    }
                    (handler, kicks) = (back, Kicks::Wanted);
                }
                Left::Drop(handler) => {
                    report(self.dismiss(entry, handler, kicks));
                    return None;
                }
            }
        }
    }

    /// Drops a handler that is out, and gives up its name. A look that is due is left in the
    /// counter. Returns what the handler panicked with.
    pub(super) fn dismiss(
        &self,
        entry: &Entry,
        mut handler: Kind,
        kicks: Kicks,
    ) -> Result<(), Payload> {
        let ended = settle(entry, &mut handler, kicks);
        if ended.is_err() {
            entry.watched().remind();
        }
        let dropped = guarded(|| drop(handler));
        if let Some(table) = self.table().as_mut() {
            table.free(entry.watched().key);
        }
        entry.slot.finish();
        ended.and(dropped)
    }

    /// Takes a handler out that cannot go on. Returns what the callback is told.
    pub(super) fn fail(
        &self,
        entry: &Entry,
        handler: Kind,
        kicks: Kicks,
        signalled: Option<NonZeroU64>,
        reason: Reason,
    ) -> Box<Failure> {
        let is_ours = entry.slot.abandon();
        // One that panicked is not asked for anything more.
        let kicks = match (&reason, kicks) {
            (Reason::Panic(_), Kicks::Suppressed) => Kicks::WantedAgain,
            _ => kicks,
        };
        report(self.dismiss(entry, handler, kicks));
        // What cannot be read stays where it is.
        let pending = match is_ours && self.hands_over {
            true => entry.slot.pending().unwrap_or_default(),
            false => None,
        };
        let watched = entry.watched();
        Box::new(Failure {
            token: self.token(watched.key),
            notifier: watched.notifier().map(Arc::clone),
            // What another descriptor is ready for is no count.
            signalled: signalled.filter(|_| watched.notifier().is_some()),
            pending,
            reason,
        })
    }
}

/// Lets the peer of a handler that is out signal again, and leaves a look that is due in the
/// counter.
pub(super) fn settle(entry: &Entry, handler: &mut Kind, kicks: Kicks) -> Result<(), Payload> {
    if kicks == Kicks::Suppressed {
        guarded(|| handler.end_polling())?;
    }
    if kicks.look_due() {
        entry.watched().remind();
    }
    Ok(())
}

/// A handler that panicked when it was to end its polling.
pub(super) struct Broken {
    pub(super) handler: Kind,
    pub(super) payload: Payload,
}

/// Calls code of a handler. What panics is never called again, so that nobody sees it half done.
pub(super) fn guarded<R>(call: impl FnOnce() -> R) -> Result<R, Payload> {
    catch_unwind(AssertUnwindSafe(call))
}

/// Says that a handler panicked which was on its way out, where nobody else could be told.
pub(super) fn report(dropped: Result<(), Payload>) {
    if let Err(payload) = dropped {
        let reason = Reason::Panic(payload);
        log::error!("a handler {reason} when it was dropped");
    }
}
