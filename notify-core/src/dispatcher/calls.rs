// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Handlers called: for a signal, or to look for work.

use std::sync::Arc;

use super::entry::Entry;
use super::handler::Kind;
use super::shared::{Shared, guarded};
use super::slot::Kicks;
use super::sync::ThreadId;
use super::{Failure, Progress, Reason};

/// What a call came to.
#[derive(Debug)]
pub(super) enum Called {
    /// The handler is not here, or not to be called.
    Out,
    /// There was nothing to do.
    Idle,
    /// It did something. Whether it may be polled is said for a signal only.
    Worked { can_poll: bool },
    /// It could not go on, and is no more.
    Failed(Box<Failure>),
}

/// Why a handler is looked at that can be polled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aim {
    /// It is polled, and kicks are suppressed.
    Spin,
    /// One look with kicks wanted, before the dispatcher blocks.
    Settle,
    /// Kicks are wanted, and nobody looks.
    Rest,
}

impl Shared {
    /// Calls the handler for the signals that are there.
    pub(super) fn serve(&self, entry: &Arc<Entry>, me: ThreadId) -> Called {
        let Some((mut handler, kicks)) = entry.slot.enter(me) else {
            return Called::Out;
        };
        // Read only now: whoever takes a signal is the one who handles it.
        let (signalled, result) = match entry.watched().consume() {
            Ok(None) => return self.finish(entry, handler, kicks, Called::Idle),
            Ok(Some(signalled)) => {
                let handled = guarded(|| handler.handle(signalled));
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
                let kicks = looked(kicks);
                let can_poll = matches!(handler, Kind::Polled(_));
                self.finish(entry, handler, kicks, Called::Worked { can_poll })
            }
            Err(reason) => Called::Failed(self.fail(entry, handler, kicks, signalled, reason)),
        }
    }

    /// Lets the handler look for work.
    pub(super) fn look(&self, entry: &Arc<Entry>, me: ThreadId, aim: Aim) -> Called {
        let Some((mut handler, kicks)) = entry.slot.enter(me) else {
            return Called::Out;
        };
        let looked = guarded(|| {
            let kicks = match (aim, kicks) {
                (Aim::Spin, Kicks::Wanted | Kicks::WantedAgain) => {
                    entry.slot.suppressed();
                    handler.begin_polling();
                    Kicks::Suppressed
                }
                (Aim::Settle | Aim::Rest, Kicks::Suppressed) => {
                    handler.end_polling();
                    Kicks::WantedAgain
                }
                _ => kicks,
            };
            let progress = match aim {
                Aim::Rest => return (kicks, Progress::None),
                Aim::Spin | Aim::Settle => handler.poll(),
            };
            match progress {
                Progress::None => (looked(kicks), progress),
                // There may be more that has no signal.
                Progress::Made | Progress::Failed(_) => (kicks, progress),
            }
        });
        let (kicks, progress) = match looked {
            Ok(looked) => looked,
            Err(payload) => {
                // Whatever it has told its peer, nobody has looked since.
                let (kicks, reason) = (Kicks::Suppressed, Reason::Panic(payload));
                return Called::Failed(self.fail(entry, handler, kicks, None, reason));
            }
        };
        match progress {
            Progress::None => self.finish(entry, handler, kicks, Called::Idle),
            Progress::Made => self.finish(entry, handler, kicks, Called::Worked { can_poll: true }),
            Progress::Failed(error) => {
                let reason = Reason::Error(error);
                Called::Failed(self.fail(entry, handler, kicks, None, reason))
            }
        }
    }

    fn finish(&self, entry: &Arc<Entry>, handler: Kind, kicks: Kicks, called: Called) -> Called {
        match self.put_back(entry, handler, kicks) {
            None => called,
            Some(broken) => {
                let (kicks, reason) = (Kicks::Suppressed, Reason::Panic(broken.payload));
                Called::Failed(self.fail(entry, broken.handler, kicks, None, reason))
            }
        }
    }
}

/// What the peer was told, after the handler has found that there is no more work.
fn looked(kicks: Kicks) -> Kicks {
    match kicks {
        Kicks::WantedAgain => Kicks::Wanted,
        other => other,
    }
}
