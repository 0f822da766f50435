// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Notifiers: one eventfd, and the two of a queue.

#[cfg(feature = "vmm-sys-util")]
mod borrowed;
mod builder;
mod convert;
#[cfg(feature = "vmm-sys-util")]
mod convert_vmm;
mod event_notifier;
pub(crate) mod examine;
pub(crate) mod fd;
mod holder;
mod pair;
mod wait;

#[cfg(feature = "vmm-sys-util")]
pub use borrowed::BorrowedEventFd;
pub use builder::EventNotifierBuilder;
pub use event_notifier::{EventFdMode, EventNotifier};
pub use pair::NotifierPair;
