// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Polling`]: the handlers that are polled, and for how long.
//!
//! As in QEMU's `util/aio-posix.c`, a handler joins at its first event. It leaves when no poll has
//! found work for it in a long time, and keeps its window for the next time.

mod hold_off;
mod window;

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::Failure;
use super::call::{Aim, Called};
use super::shared::Shared;
use super::sync::ThreadId;
use super::table::Entry;
use hold_off::HoldOff;
pub use window::PollLimits;
use window::PollWindow;

pub(super) struct Polling {
    limits: PollLimits,
    pub(super) mode: Mode,
    hold_off: HoldOff,
    members: Vec<Member>,
}

struct Member {
    /// A handler that was removed keeps neither its notifier nor its file descriptor.
    entry: Weak<Entry>,
    window: PollWindow,
    /// When it leaves, unless a poll finds work before.
    leaves: Option<Instant>,
}

/// The last request to the peers of the handlers, and whether the handlers have looked since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Kicks are suppressed.
    Suppressed,
    /// Kicks are wanted. A look since then found work, or there was none yet: there may be more.
    PollDue,
    /// Kicks are wanted, and a look since then found nothing: it is safe to block.
    MayBlock,
}

impl Polling {
    pub(super) fn new(limits: PollLimits) -> Self {
        Self {
            limits,
            mode: Mode::MayBlock,
            hold_off: HoldOff::default(),
            members: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// For how long it is worth polling from now on.
    pub(super) fn window(&self, now: Instant) -> Duration {
        if !self.hold_off.is_over(now) {
            return Duration::ZERO;
        }
        let lengths = self.members.iter().map(|member| member.window.length());
        lengths.max().unwrap_or_default()
    }

    /// Learns that nothing was found between two readings of the clock. Returns whether to poll on.
    pub(super) fn found_nothing(&mut self, before: Instant, now: Instant) -> bool {
        let gap = now.saturating_duration_since(before);
        !self.hold_off.polled(gap, now, &self.limits)
    }

    /// A handler had an event, which the dispatcher had waited for so long.
    pub(super) fn note_signal(&mut self, entry: &Arc<Entry>, waited: Duration) {
        if self.limits.max.is_zero() {
            return;
        }
        if entry.member().is_none() {
            if self.members.len() == self.members.capacity() {
                self.forget_removed();
            }
            entry.set_member(Some(self.members.len()));
            self.members.push(Member {
                entry: Arc::downgrade(entry),
                window: PollWindow::with_length(entry.window()),
                leaves: None,
            });
        }
        let member = entry.member().and_then(|place| self.members.get_mut(place));
        if let Some(member) = member {
            member.window.adjust(waited, &self.limits);
        }
    }

    /// Lets each handler look for work, once. Returns how many found some. The dispatcher has been
    /// waiting since `start`, and it is `now`.
    pub(super) fn poll_each(
        &mut self,
        shared: &Shared,
        me: ThreadId,
        aim: Aim,
        (start, now): (Instant, Instant),
        mut failed: impl FnMut(Failure),
    ) -> usize {
        let (mut place, mut worked) = (0, 0);
        while let Some(member) = self.members.get_mut(place) {
            let called = match member.entry.upgrade() {
                Some(entry) => shared.call_to_poll(&entry, me, aim),
                None => Called::Out,
            };
            match called {
                Called::Idle => place += 1,
                Called::Worked { .. } => {
                    let waited = now.saturating_duration_since(start);
                    member.window.adjust(waited, &self.limits);
                    member.leaves = now.checked_add(self.limits.idle);
                    worked += 1;
                    place += 1;
                }
                // The thread that has it, or has paused it, learns that there may be work. It
                // joins again at its next event.
                Called::Out => self.remove(place),
                Called::Failed(failure) => {
                    self.remove(place);
                    worked += 1;
                    failed(*failure);
                }
            }
        }
        worked
    }

    /// Removes those whose polls have found no work for long. Returns how many found work when they
    /// looked for the last time.
    pub(super) fn remove_idle(
        &mut self,
        shared: &Shared,
        me: ThreadId,
        now: Instant,
        mut failed: impl FnMut(Failure),
    ) -> usize {
        let (mut place, mut worked) = (0, 0);
        while let Some(member) = self.members.get_mut(place) {
            match member.leaves {
                None => member.leaves = now.checked_add(self.limits.idle),
                Some(leaves) if leaves <= now => {
                    let called = match member.entry.upgrade() {
                        Some(entry) => shared.call_to_poll(&entry, me, Aim::LastPoll),
                        None => Called::Out,
                    };
                    match called {
                        Called::Out | Called::Idle => self.remove(place),
                        // It was not idle after all.
                        Called::Worked { .. } => {
                            member.leaves = now.checked_add(self.limits.idle);
                            worked += 1;
                            place += 1;
                        }
                        Called::Failed(failure) => {
                            self.remove(place);
                            worked += 1;
                            failed(*failure);
                        }
                    }
                    continue;
                }
                Some(_) => {}
            }
            place += 1;
        }
        worked
    }

    fn remove(&mut self, place: usize) {
        let left = self.members.swap_remove(place);
        if let Some(entry) = left.entry.upgrade() {
            entry.set_window(left.window.length());
        }
        for (member, place) in [(Some(&left), None), (self.members.get(place), Some(place))] {
            if let Some(entry) = member.and_then(|member| member.entry.upgrade()) {
                entry.set_member(place);
            }
        }
    }

    /// Makes room. They leave anyhow when they are to be polled, but that may be never.
    fn forget_removed(&mut self) {
        self.members
            .retain(|member| member.entry.strong_count() > 0);
        for (place, member) in self.members.iter().enumerate() {
            if let Some(entry) = member.entry.upgrade() {
                entry.set_member(Some(place));
            }
        }
    }
}
