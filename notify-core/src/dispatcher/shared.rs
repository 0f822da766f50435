// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Shared`]: what the dispatcher and its handles share.

use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mio::{Registry, Waker};

use super::backlog::Stop;
use super::handler::{catch_panic, log_panic};
use super::table::{Entry, Table};
use super::token::Key;
use super::{Error, Token};

pub(super) struct Shared {
    /// No other dispatcher of this process has the same.
    pub(super) id: u64,
    /// The process that created it. A child shares the epoll instance.
    process: u32,
    pub(super) registry: Arc<Registry>,
    pub(super) waker: Waker,
    pub(super) stop: Stop,
    /// Whether there ever was a handler that can be polled. Without one, the clock is not read.
    pub(super) can_poll: AtomicBool,
    /// Whether what is pending when a handler fails is taken for a callback. Otherwise it stays in
    /// the counter.
    pub(super) hands_over: bool,
    /// `None` once the dispatcher is gone.
    table: Mutex<Option<Table>>,
}

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
            log_panic(catch_panic(|| drop(entry)));
        }
    }

    /// The handlers by token. No code of a handler is called, and none is dropped, with this
    /// locked.
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
}
