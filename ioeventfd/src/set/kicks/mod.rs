// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Kicks that do not come by the kernel: those of exits, of `start` and `kick`, and those that are
//! moved because a queue has another notifier now.
//!
//! # A change may overtake a signal
//!
//! A peer that shares a notifier can make a signal wait, so all signals are sent with no lock held.
//! So a change may *overtake* a signal: the notifier was looked up before the change, and is
//! signalled after the change has moved what was pending in it. Every hand-over is therefore
//! counted, under the lock of the table that notifiers are looked up in. A thread reads the count
//! with the notifier, and again after its signal. If the two are the same, the signal came before
//! the hand-over, which then found it. If not, the thread itself moves what is pending to the
//! notifier that the key has now, and looks again. The notifier may have had kicks of other keys
//! too, and a thread that takes one kick takes all. So the set remembers which keys a replaced
//! notifier stood for, and the thread moves the kicks for all of them.
//!
//! # A change that fails
//!
//! Its new doorbells are taken back. Kicks may have gone to their notifiers: by exits from the
//! moment at which the change was published, and by the kernel. A notifier that the set did not
//! have before gives back what it has. A notifier that the set had for other queues keeps what it
//! has, since the count does not say which queue was kicked; instead the queue's own notifier is
//! signalled once. To look at a queue once too often does no harm; once too rarely stops the queue
//! for good.

mod exit;
mod handover;
mod matcher;
mod owed;
mod replaced;
mod signal;
mod table;
#[cfg(test)]
mod tests;

pub use exit::AfterExit;
pub(super) use handover::{Handover, give, group_by_notifier};
pub(super) use matcher::{Matcher, Target};
pub(super) use owed::{Deferred, handovers_of_change, owed_after_undo};
pub(super) use replaced::Successors;
pub(super) use signal::Signal;
pub(super) use table::ExitTable;
