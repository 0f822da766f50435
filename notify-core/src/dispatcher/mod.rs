// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Handlers for many notifiers: an event loop for device threads (feature `dispatcher`).
//!
//! A [`Dispatcher`] calls a [`Handler`] when its notifier is signalled, and can poll it in between.
//! It also calls a closure while another file descriptor is readable
//! ([`DispatcherHandle::add_fd`]).
//!
//! The chapter [`device_thread`](crate::guide::device_thread) of the guide shows a device from
//! start to end. A VMM with a loop of its own needs no dispatcher: see
//! [`event_loops`](crate::event_loops).

mod backlog;
mod call;
#[allow(
    clippy::module_inception,
    reason = "the type that the folder is named after"
)]
mod dispatcher;
mod error;
#[cfg(all(test, loom))]
mod explored;
mod handle;
mod handler;
mod polling;
mod shared;
mod slot;
mod table;
mod token;
mod turn;
mod watch;

/// What the parts that loom explores are made of: the standard library's, or loom's.
mod sync {
    #[cfg(loom)]
    pub(super) use loom::{
        sync::atomic::{AtomicBool, Ordering},
        sync::{Condvar, Mutex, MutexGuard},
        thread::{ThreadId, current},
    };
    #[cfg(not(loom))]
    pub(super) use std::{
        sync::atomic::{AtomicBool, Ordering},
        sync::{Condvar, Mutex, MutexGuard},
        thread::{ThreadId, current},
    };

    /// The calling thread.
    pub(super) fn me() -> ThreadId {
        current().id()
    }
}

pub use dispatcher::{Dispatcher, DispatcherBuilder, Turn};
pub use error::Error;
pub use handle::DispatcherHandle;
pub use handler::{Failure, Handler, HandlerError, PollHandler, Progress, Reason};
pub use polling::PollLimits;
pub use token::Token;
pub use watch::Readiness;
