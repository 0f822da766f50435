// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Notifiers: one eventfd, and the two of a queue.

mod builder;
mod convert;
mod event_notifier;
pub(crate) mod fd;
mod pair;

pub use builder::EventNotifierBuilder;
pub use event_notifier::{EventNotifier, Mode};
pub use pair::{NotifierPair, NotifierPairBuilder};
