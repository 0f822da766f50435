// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! One handler is called, for a signal or to look for work, and then given back, dropped or
//! reported.

use std::num::NonZeroU64;
use std::sync::Arc;

use super::handler::{Kind, Payload, catch_panic, log_panic};
use super::shared::Shared;
use super::slot::{GivenBack, Kicks};
use super::sync::ThreadId;
use super::table::Entry;
use super::{Failure, Progress, Reason};

/// The result of a call.
#[derive(Debug)]
pub(super) enum Called {
    /// The handler is not here, or not to be called.
    Out,
    /// There was nothing to do.
    Idle,
    /// It did something. Whether it may be polled is known for a signal only.
    Worked { can_poll: bool },
    /// It failed, and was removed and dropped.
    Failed(Box<Failure>),
}

/// Why a handler that can be polled is taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aim {
    /// It is polled, and kicks are suppressed.
    Poll,
    /// One look with kicks wanted, before the dispatcher blocks.
    LastPoll,
    /// Kicks are wanted, and there is no look: the dispatcher stops running.
    EndPolling,
}

impl Shared {
    /// Calls the handler for the signals that are there.
    pub(super) fn call_for_signals(&self, entry: &Arc<Entry>, me: ThreadId) -> Called {
        let Some((mut handler, kicks)) = entry.slot.take_out(me) else {
            return Called::Out;
        };
        // Read only now, so that the thread that takes a signal handles it.
        let (signalled, result) = match entry.watched().consume() {
            Ok(None) => return self.put_back_or_fail(entry, handler, kicks, Called::Idle),
            Ok(Some(signalled)) => {
                let handled = catch_panic(|| handler.handle(signalled));
                let handled = handled.map_err(Reason::Panic);
                (
                    Some(signalled),
                    handled.and_then(|result| result.map_err(Reason::Error)),
                )
            }
            Err(error) => (None, Err(Reason::Notifier(error))),
        };
        match result {
            Ok(()) => {
                let kicks = after_empty_poll(kicks);
                let can_poll = matches!(handler, Kind::Polled(_));
                self.put_back_or_fail(entry, handler, kicks, Called::Worked { can_poll })
            }
            Err(reason) => {
                Called::Failed(self.remove_failed(entry, handler, kicks, signalled, reason))
            }
        }
    }

    /// Lets the handler look for work.
    pub(super) fn call_to_poll(&self, entry: &Arc<Entry>, me: ThreadId, aim: Aim) -> Called {
        loop {
            // If it was to leave, another thread may have resumed it since. Then a look is due.
            if let Some(called) = self.try_to_poll(entry, me, aim) {
                return called;
            }
        }
    }

    /// The same; or `None`, without a look, if it was to be paused or removed first.
    fn try_to_poll(&self, entry: &Arc<Entry>, me: ThreadId, aim: Aim) -> Option<Called> {
        let Some((mut handler, kicks)) = entry.slot.take_out(me) else {
            return Some(Called::Out);
        };
        let looked = catch_panic(|| {
            let before = kicks;
            let kicks = match (aim, kicks) {
                (Aim::Poll, Kicks::Wanted | Kicks::WantedAgain) => {
                    entry.slot.mark_suppressed();
                    handler.begin_polling();
                    Kicks::Suppressed
                }
                (Aim::LastPoll | Aim::EndPolling, Kicks::Suppressed) => {
                    handler.end_polling();
                    Kicks::WantedAgain
                }
                _ => kicks,
            };
            let progress = match aim {
                Aim::EndPolling => return (kicks, Some(Progress::None)),
                // It may have removed itself in the call just made, which is then its last.
                _ if kicks != before && entry.slot.is_leaving() => return (kicks, None),
                Aim::Poll | Aim::LastPoll => handler.poll(),
            };
            match progress {
                Progress::None => (after_empty_poll(kicks), Some(progress)),
                // There may be more that has no signal.
                Progress::Made | Progress::Failed(_) => (kicks, Some(progress)),
            }
        });
        let (kicks, progress) = match looked {
            Ok(looked) => looked,
            Err(payload) => {
                // Whatever it asked of its peer, it has not looked since.
                let (kicks, reason) = (Kicks::Suppressed, Reason::Panic(payload));
                return Some(Called::Failed(
                    self.remove_failed(entry, handler, kicks, None, reason),
                ));
            }
        };
        let called = match progress {
            None => {
                let failed = |called: &Called| matches!(called, Called::Failed(_));
                let called = self.put_back_or_fail(entry, handler, kicks, Called::Out);
                return Some(called).filter(failed);
            }
            Some(Progress::None) => Called::Idle,
            Some(Progress::Made) => Called::Worked { can_poll: true },
            Some(Progress::Failed(error)) => {
                let reason = Reason::Error(error);
                return Some(Called::Failed(
                    self.remove_failed(entry, handler, kicks, None, reason),
                ));
            }
        };
        Some(self.put_back_or_fail(entry, handler, kicks, called))
    }

    /// As [`put_back`](Self::put_back); a handler that panics in that fails.
    fn put_back_or_fail(
        &self,
        entry: &Arc<Entry>,
        handler: Kind,
        kicks: Kicks,
        called: Called,
    ) -> Called {
        match self.put_back(entry, handler, kicks) {
            None => called,
            Some(broken) => {
                let (kicks, reason) = (Kicks::Suppressed, Reason::Panic(broken.payload));
                Called::Failed(self.remove_failed(entry, broken.handler, kicks, None, reason))
            }
        }
    }

    /// Gives a handler back that was out. If it was to be paused or removed meanwhile, this does
    /// that. Returns what its `end_polling` panicked with, if it did: then it is still out.
    pub(super) fn put_back(
        &self,
        entry: &Entry,
        mut handler: Kind,
        mut kicks: Kicks,
    ) -> Option<Broken> {
        loop {
            match entry.slot.give_back(handler, kicks) {
                GivenBack::Kept => return None,
                GivenBack::EndPolling(mut back) => {
                    if let Err(payload) = end_polling(entry, &mut back, kicks) {
                        return Some(Broken {
                            handler: back,
                            payload,
                        });
                    }
                    (handler, kicks) = (back, Kicks::Wanted);
                }
                GivenBack::Drop(handler) => {
                    log_panic(self.drop_handler(entry, handler, kicks));
                    return None;
                }
            }
        }
    }

    /// Drops a handler that is out, and frees its place in the table. A look that is due is left in
    /// the counter. Returns what the handler panicked with.
    pub(super) fn drop_handler(
        &self,
        entry: &Entry,
        mut handler: Kind,
        kicks: Kicks,
    ) -> Result<(), Payload> {
        let ended = end_polling(entry, &mut handler, kicks);
        if ended.is_err() {
            entry.watched().ensure_signal();
        }
        let dropped = catch_panic(|| drop(handler));
        if let Some(table) = self.table().as_mut() {
            table.free(entry.watched().key);
        }
        entry.slot.mark_dropped();
        ended.and(dropped)
    }

    /// Drops a handler that is out and has failed. Returns what the callback gets.
    pub(super) fn remove_failed(
        &self,
        entry: &Entry,
        handler: Kind,
        kicks: Kicks,
        signalled: Option<NonZeroU64>,
        reason: Reason,
    ) -> Box<Failure> {
        let is_ours = entry.slot.mark_failed();
        // No method of a handler that panicked is called again.
        let kicks = match (&reason, kicks) {
            (Reason::Panic(_), Kicks::Suppressed) => Kicks::WantedAgain,
            _ => kicks,
        };
        log_panic(self.drop_handler(entry, handler, kicks));
        // What cannot be read stays where it is.
        let pending = match is_ours && self.hands_over {
            true => entry.slot.take_pending().unwrap_or_default(),
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
pub(super) fn end_polling(entry: &Entry, handler: &mut Kind, kicks: Kicks) -> Result<(), Payload> {
    if kicks == Kicks::Suppressed {
        catch_panic(|| handler.end_polling())?;
    }
    if kicks.look_due() {
        entry.watched().ensure_signal();
    }
    Ok(())
}

/// A handler that panicked when it was to end its polling.
pub(super) struct Broken {
    pub(super) handler: Kind,
    pub(super) payload: Payload,
}

/// The last request to the peer, after the handler has found that there is no more work.
fn after_empty_poll(kicks: Kicks) -> Kicks {
    match kicks {
        Kicks::WantedAgain => Kicks::Wanted,
        other => other,
    }
}
