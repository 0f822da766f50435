// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Kicks that the kernel does not send: those of exits, of `start` and `kick`, and those that move
//! because a queue has another notifier now.
//!
//! # A change may overtake a signal
//!
//! A peer that shares a notifier can make a signal block, so all signals are sent with no lock
//! held. So a change may *overtake* a signal: the notifier was looked up before the change, and is
//! signalled after the change has moved what was pending in it. Therefore every hand-over is
//! counted, under the lock of the table in which notifiers are looked up. A thread reads the count
//! with the notifier, and again after its signal. If both are the same, the signal came before the
//! hand-over, which found it. If not, the thread itself moves what is pending to the notifier that
//! the key has now, and checks again. The notifier may have had kicks of other keys too, and a read
//! takes all. So the set remembers the keys of a replaced notifier, and the thread moves the kicks
//! for all of them.
//!
//! # A change that fails
//!
//! Its new doorbells are removed again. Their notifiers may have got kicks meanwhile: from exits
//! since the change was published, and from the kernel. A notifier that the set did not have before
//! gives back what it has. A notifier that the set had for other queues keeps what it has, because
//! the count does not show which queue was kicked. Instead the queue's own notifier is signalled
//! once. A spurious kick is harmless; a lost one stops the queue for ever.

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
