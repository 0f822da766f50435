// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! How a dispatcher is created.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use mio::{Poll, Waker};

use super::shared::Shared;
use super::token::WAKER;
use super::turn::Loop;
use super::{Dispatcher, Error, Failure, PollLimits};

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

    /// How many handlers are called for a signal before the next look at what else is ready; 256 unless
    /// set, and at least 1. Within a turn, none is called twice.
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
    /// What it panics with unwinds through [`Dispatcher::run`], which can be called again. About a handler
    /// that fails as a run ends, when its polling ends, it is logged.
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

impl std::fmt::Debug for DispatcherBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DispatcherBuilder")
            .field("calls_per_turn", &self.calls_per_turn)
            .field("poll_limits", &self.poll_limits)
            .finish_non_exhaustive()
    }
}
