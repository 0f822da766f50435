// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Handlers for many notifiers: the event loop of a VMM's device thread (feature `dispatcher`).
//!
//! A [`Dispatcher`] calls a [`Handler`] when its notifier is signalled, and may poll it in between.
//! It also calls a closure while another file descriptor is readable
//! ([`DispatcherHandle::add_fd`]). A VMM with a loop of its own needs no dispatcher: see
//! [`event_loops`](crate::event_loops).

#[cfg_attr(loom, allow(missing_docs, reason = "public for loom alone"))]
#[cfg_attr(not(loom), allow(unreachable_pub, reason = "public for loom alone"))]
mod backlog;
mod builder;
mod calls;
mod entry;
mod error;
mod failure;
mod handle;
mod handler;
mod hold_off;
mod polling;
mod readiness;
mod run;
mod shared;
#[cfg_attr(loom, allow(missing_docs, reason = "public for loom alone"))]
#[cfg_attr(not(loom), allow(unreachable_pub, reason = "public for loom alone"))]
mod slot;
#[cfg_attr(loom, allow(missing_docs, reason = "public for loom alone"))]
#[cfg_attr(not(loom), allow(unreachable_pub, reason = "public for loom alone"))]
mod stop;
mod sync;
mod table;
mod token;
mod turn;
mod watch;
mod window;

pub use builder::DispatcherBuilder;
pub use error::Error;
pub use failure::{Failure, Reason};
pub use handle::DispatcherHandle;
pub use handler::{Handler, HandlerError, PollHandler, Progress};
pub use readiness::Readiness;
pub use run::{Dispatcher, Turn};
pub use token::Token;
pub use window::{PollLimits, PollWindow};

/// The parts that loom explores, see `tests/loom_dispatcher.rs`.
#[cfg(loom)]
#[doc(hidden)]
pub mod explored {
    pub use super::backlog::{Backlog, Served};
    pub use super::slot::{Kicks, Left, Signals, Slot, Taken};
    pub use super::stop::Stop;
}
