// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Two dispatchers under three threads: handlers are added, removed, paused, resumed, polled and
//! signalled, from inside each other's calls and from other threads, and they fail and panic.
//!
//! One thread at a time has the baton and takes the next step. Each call of the caller's code is a
//! place where the baton may go to another thread: a handler, its drop, its polls, the callback for
//! failures. A thread without the baton sleeps: it waits for its turn, or a dispatcher waits for
//! signals, or it waits for another thread's handler. The model says which, and when it wakes. So
//! the order of a history is that of its steps, and no thread waits for time to pass.
//!
//! The model says for which signals each call is, what each operation returns, and when it blocks.
//! At the end all signals are handled or returned, and no file descriptor is left.
//!
//! Left out, because the documentation forbids it: waits in a circle, by handlers of two
//! dispatchers that remove or pause each other. Left out, because the order is not the history's:
//! a dispatcher that waits for signals with no limit while it polls a handler, and two handlers of
//! one notifier of which one is being called while the other becomes ready.

mod acts;
mod baton;
mod calls;
mod changes;
mod end;
mod handlers;
mod model;
mod runs;
mod step;

pub use step::{Act, Moment, Odd, Step};

use crate::History;

/// See the module.
#[derive(Debug)]
pub enum Dispatchers {}

impl History for Dispatchers {
    type Step = Step;

    fn run(steps: &[Step]) {
        let before = end::open_files();
        baton::Baton::run(steps);
        let after = end::open_files();
        assert_eq!(after, before, "file descriptors are left open");
    }
}
