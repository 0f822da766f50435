// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The handlers: each call goes to the [`Baton`].

use std::num::NonZeroU64;
use std::panic::resume_unwind;
use std::sync::{Arc, Weak};

use notify_core::dispatcher::{
    Dispatcher, Error, Handler, HandlerError, PollHandler, PollLimits, Progress, Token,
};
use std::time::Duration;

use super::baton::Baton;
use super::model::{CALLS, Side, SourceKind};
use super::step::{How, Moment};

/// What each handler owns. It does not keep the baton alive, which owns the dispatchers.
pub(super) struct Own {
    baton: Weak<Baton>,
    number: usize,
}

impl Own {
    pub(super) fn new(baton: &Arc<Baton>, number: usize) -> Self {
        let baton = Arc::downgrade(baton);
        Self { baton, number }
    }

    fn handle(&self, signalled: Option<NonZeroU64>) -> Result<(), HandlerError> {
        let how = self.call(|baton| baton.handle(self.number, signalled));
        match outcome(how) {
            true => Ok(()),
            false => Err("fails".into()),
        }
    }

    fn moment(&self, moment: Moment) -> bool {
        outcome(self.call(|baton| baton.moment(self.number, moment)))
    }

    fn call(&self, call: impl FnOnce(&Arc<Baton>) -> How) -> How {
        let baton = self.baton.upgrade();
        let how = baton.and_then(|baton| baton.guarded(|| call(&baton)));
        how.unwrap_or(How::Fine)
    }
}

/// Whether it succeeds. The hook for panics is not called: that of libFuzzer ends the process.
fn outcome(how: How) -> bool {
    match how {
        How::Fine => true,
        How::Fails => false,
        How::Panics => resume_unwind(Box::new("panics")),
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ = outcome(self.call(|baton| baton.dropped(self.number)));
    }
}

struct Polled(Own);

impl Handler for Polled {
    fn handle(&mut self, signalled: NonZeroU64) -> Result<(), HandlerError> {
        self.0.handle(Some(signalled))
    }
}

impl PollHandler for Polled {
    fn poll(&mut self) -> Progress {
        let has_found = self.0.baton.upgrade().is_some_and(|baton| {
            let mut world = baton.lock();
            world.serve(self.0.number)
        });
        match (self.0.moment(Moment::Poll), has_found) {
            (false, _) => Progress::Failed("fails".into()),
            (true, true) => Progress::Made,
            (true, false) => Progress::None,
        }
    }

    fn begin_polling(&mut self) {
        self.0.moment(Moment::Begin);
    }

    fn end_polling(&mut self) {
        self.0.moment(Moment::End);
    }
}

/// Adds a handler. One that is rejected is dropped.
pub(super) fn add(
    side: &notify_core::dispatcher::DispatcherHandle,
    source: &SourceKind,
    is_polled: bool,
    own: Own,
) -> Result<Token, Error> {
    let added = match source {
        SourceKind::Socket(socket, _) => {
            let held = Arc::clone(socket);
            let closure = move |ready: notify_core::dispatcher::Readiness| {
                let baton = own.baton.upgrade();
                baton.inspect(|baton| baton.lock().ready(own.number, ready, &held));
                own.handle(None)
            };
            return Ok(side.add_fd(Arc::clone(socket), closure)?);
        }
        SourceKind::Notifier(notifier) if is_polled => {
            return Ok(side.add_polled(Arc::clone(notifier), Polled(own))?);
        }
        SourceKind::Notifier(notifier) => side.add(Arc::clone(notifier), move |signalled| {
            own.handle(Some(signalled))
        }),
    };
    Ok(added?)
}

/// A dispatcher. The first logs failures; the second has a callback, and few calls in a turn.
pub(super) fn side(side: usize, generation: usize, baton: Weak<Baton>) -> Side {
    // No window ends by itself, and a busy host does not hold it off.
    let mut limits = PollLimits::with_max(Duration::from_secs(3600));
    limits.grow = u32::MAX;
    limits.idle = Duration::MAX;
    limits.longest_gap = Duration::MAX;
    let mut builder = Dispatcher::builder().poll_limits(limits);
    if side == 1 {
        builder = builder.calls_per_turn(CALLS).on_failure(move |failure| {
            let call = |baton: Arc<Baton>| baton.guarded(|| baton.failed(side, failure));
            let how = baton.upgrade().and_then(call);
            let _ = outcome(how.unwrap_or(How::Fine));
        });
    }
    let dispatcher = Arc::new(builder.build().expect("it can be created"));
    Side {
        handle: dispatcher.handle(),
        dispatcher: Some(dispatcher),
        generation,
        stop: false,
        run: None,
        has_polled: false,
    }
}
