// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Observer`]: callbacks for metrics of commits and vectors.

use std::error::Error as StdError;
use std::fmt;

use crate::commit::failure::{discard, guarded};
use crate::table::shared::Shared;
use crate::{Error, RoutingTable};

/// Callbacks for metrics: commits of a routing table, and the vectors that use it.
///
/// Set it with [`RoutingTableBuilder::observer`](crate::RoutingTableBuilder::observer). All methods
/// have a default that does nothing. Triggers are not reported, and cost the same with an observer:
/// device code gets the outcome from `irqfd::VectorHandle::trigger`.
///
/// # Threads and locks
///
/// A method is called on the thread that has caused the event, before its call returns. That may be
/// a vCPU thread that unmasks a vector, a thread that commits, or the thread that runs an
/// `irqfd::ArmQueue`. Neither the table nor a vector is locked then. Other locks may be held:
///
/// - in a round of an `ArmQueue`: the lock that allows one round at a time;
/// - the lock of an `irqfd::msix::Binding` that is moved;
/// - the lock of an `irqfd::LevelLine` that commits its redirection entry.
///
/// Many threads call methods at once, and events of two threads come in any order.
///
/// An implementation must return soon, because the caller waits for it. It must not call back into
/// the table, a vector, a line, a device or a queue. It must not keep a handle to the table: the
/// table would never be freed. If it panics, the panic is dropped (the panic hook has run), and the
/// event takes effect all the same.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// use irq_routing::{Committed, MsiMessage, Observer, RoutingTable};
/// # use notify_sim::SimVm;
///
/// #[derive(Debug, Default)]
/// struct Metrics {
///     config_updates: AtomicUsize,
/// }
///
/// impl Observer for Metrics {
///     fn committed(&self, _: &Committed) {
///         self.config_updates.fetch_add(1, Ordering::Relaxed);
///     }
/// }
///
/// # let vm = Arc::new(SimVm::builder().build());
/// let metrics = Arc::new(Metrics::default());
/// let table = RoutingTable::builder(vm).observer(metrics.clone()).build()?;
/// let lease = table.lease_msi(MsiMessage::new(0xfee0_0000, 0x40))?;
/// assert_eq!(metrics.config_updates.load(Ordering::Relaxed), 1);
/// # Ok::<(), irq_routing::Error>(())
/// ```
pub trait Observer: fmt::Debug + Send + Sync {
    /// Is called when the kernel has taken a new table: once for each round of commits.
    ///
    /// The thread that has carried out the round calls it; other callers of the round may have
    /// returned. A commit that changes nothing issues no ioctl, and is not reported.
    fn committed(&self, commit: &Committed) {
        let _ = commit;
    }

    /// Is called when a commit was refused, by the kernel or by the table; its caller gets this
    /// error.
    ///
    /// Once for each call that fails, and for [`RoutingTable::commit_each`] once for each edit that
    /// fails. A panic of the translation or of the VM is not reported.
    fn commit_refused(&self, error: &Error) {
        let _ = error;
    }

    /// Is called when a closed vector has been opened.
    ///
    /// A vector with an eventfd is armed then; an internal one may send.
    ///
    /// That is after an unmask, a resume, and a new message for which the vector was closed first.
    /// A new message for which it stays armed is not reported. Also called if the translation
    /// blocks the message.
    fn vector_opened(&self, vector: &ObservedVector<'_>) {
        let _ = vector;
    }

    /// Is called when opening a vector has delivered a trigger that was kept while it was closed.
    ///
    /// Called after [`vector_opened`](Self::vector_opened). The kernel delivers a signal in the
    /// notifier of an exported vector, which is not reported.
    fn vector_delivered(&self, vector: &ObservedVector<'_>) {
        let _ = vector;
    }

    /// Is called when a vector cannot deliver; the reason is an `irqfd::VectorError`.
    ///
    /// For example no GSI is free for it, the kernel refuses its route or its irqfd, or refuses the
    /// message of a trigger. Called for each attempt and each such trigger. A vector that a panic
    /// has left dead may not be reported.
    fn vector_refused(&self, vector: &ObservedVector<'_>, reason: &(dyn StdError + 'static)) {
        let _ = (vector, reason);
    }
}

/// Counts of one round of commits whose table the kernel has taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Committed {
    /// The number of entries of the table. A GSI that is routed to pins may have several.
    pub entries: usize,
    /// The number of edits of the round that are in force, including those that changed nothing.
    pub edits: usize,
    /// The number of KVM_SET_GSI_ROUTING ioctls, including those that failed: 1, unless the kernel
    /// has refused something.
    pub ioctls: usize,
}

/// The vector that an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ObservedVector<'a> {
    /// The name of the vector or of its device, if it was given one.
    pub name: Option<&'a str>,
    /// Its number in its device, if it has one.
    pub number: Option<u16>,
}

impl<'a> ObservedVector<'a> {
    /// A vector with this name and number. For crates whose objects use the table.
    #[doc(hidden)]
    #[must_use]
    pub fn new(name: Option<&'a str>, number: Option<u16>) -> Self {
        Self { name, number }
    }
}

impl RoutingTable {
    /// Calls the observer with an event, if the table has one; a panic of it is dropped.
    ///
    /// For crates whose objects use the table.
    #[doc(hidden)]
    #[inline]
    pub fn observe(&self, event: impl FnOnce(&dyn Observer)) {
        self.shared().observe(event);
    }
}

impl Shared {
    /// Calls the observer, if there is one.
    #[inline]
    pub(crate) fn observe(&self, event: impl FnOnce(&dyn Observer)) {
        if let Some(observer) = &self.observer
            && let Err(failure) = guarded(|| event(&**observer))
        {
            discard(failure);
        }
    }
}
