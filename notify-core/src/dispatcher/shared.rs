// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Shared`]: what the dispatcher and its handles share, and how handlers are called and dropped.

use std::any::Any;
use std::num::NonZeroU64;
use std::panic::{AssertUnwindSafe, catch_unwind};
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
    pub(super) registry: Arc<Registry>,
    pub(super) waker: Waker,
    pub(super) stop: Stop,
    /// Whether there ever was a handler that can be polled: without, nobody looks at a clock.
    pub(super) can_poll: AtomicBool,
    /// `None` once the dispatcher is gone.
    table: Mutex<Option<Table>>,
}

/// What a panic carries.
pub(super) type Payload = Box<dyn Any + Send>;

impl Shared {
    pub(super) fn new(id: u64, registry: Registry, waker: Waker) -> Self {
        Self {
            id,
            registry: Arc::new(registry),
            waker,
            stop: Stop::new(),
            can_poll: AtomicBool::new(false),
            table: Mutex::new(Some(Table::default())),
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
        let table = self.table();
        let table = table.as_ref().ok_or(Error::Gone)?;
        let found = table.get(token.key).filter(|_| token.dispatcher == self.id);
        found.map(Arc::clone).ok_or(Error::NoHandler { token })
    }

    /// Gives a handler back that was out. If it was to be paused or removed meanwhile, that is done now.
    /// Answers why it could not go on, if so: then it is still out.
    pub(super) fn put_back(&self, entry: &Entry, handler: Kind, kicks: Kicks) -> Option<Broken> {
        let (handler, kicks) = match entry.slot.leave(handler, kicks) {
            Left::Back => return None,
            Left::Drop(handler) => (handler, kicks),
            Left::EndPolling(mut handler) => {
                if let Err(payload) = guarded(|| handler.end_polling()) {
                    return Some(Broken { handler, payload });
                }
                // Once kicks are wanted, it is either taken back or to be dropped.
                match entry.slot.leave(handler, Kicks::WantedAgain) {
                    Left::Back => return None,
                    Left::Drop(handler) | Left::EndPolling(handler) => {
                        (handler, Kicks::WantedAgain)
                    }
                }
            }
        };
        report(self.dismiss(entry, handler, kicks));
        None
    }

    /// Drops a handler that is out, and gives up its name. Answers what that panicked with.
    pub(super) fn dismiss(
        &self,
        entry: &Entry,
        mut handler: Kind,
        kicks: Kicks,
    ) -> Result<(), Payload> {
        let ended = match kicks {
            Kicks::Suppressed => guarded(|| handler.end_polling()),
            Kicks::Wanted | Kicks::WantedAgain => Ok(()),
        };
        let dropped = guarded(|| drop(handler));
        if let Some(table) = self.table().as_mut() {
            table.free(entry.watched().key);
        }
        entry.slot.finish();
        ended.and(dropped)
    }

    /// Takes a handler out that cannot go on. Answers what is to be said about it.
    pub(super) fn fail(
        &self,
        entry: &Entry,
        handler: Kind,
        kicks: Kicks,
        signalled: Option<NonZeroU64>,
        reason: Reason,
    ) -> Box<Failure> {
        let pending = match entry.slot.abandon(kicks) {
            // What cannot be read stays where it is.
            true => entry.slot.removed().unwrap_or_default(),
            false => None,
        };
        // One that panicked is not asked for anything more.
        let kicks = match reason {
            Reason::Panic(_) => Kicks::WantedAgain,
            _ => kicks,
        };
        report(self.dismiss(entry, handler, kicks));
        let watched = entry.watched();
        Box::new(Failure {
            token: self.token(watched.key),
            notifier: Arc::clone(&watched.notifier),
            signalled,
            pending,
            reason,
        })
    }
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
