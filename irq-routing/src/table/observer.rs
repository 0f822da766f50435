// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Observer`]: is called for commits and vectors, for metrics.

use std::error::Error as StdError;
use std::fmt;

use crate::commit::failure::{discard, guarded};
use crate::table::shared::Shared;
use crate::{Error, RoutingTable};

/// Counts what happens to a routing table and to the vectors that use it.
///
/// Set it with [`RoutingTableBuilder::observer`](crate::RoutingTableBuilder::observer). All methods
/// have a default that does nothing. Triggers are not reported, and cost the same with an observer:
/// device code gets the outcome from `irqfd::VectorHandle::trigger`.
///
/// # Threads and locks
///
/// A method is called on the thread that has caused the event, before its call returns: a vCPU
/// that unmasks a vector, a thread that commits, the owner of an `irqfd::ArmQueue`. Neither the
/// table nor a vector is locked then. Other locks may be held:
///
/// - in a round of an `ArmQueue`: the lock that allows one round at a time;
/// - the lock of an `irqfd::msix::Binding` that is moved;
/// - the lock of an `irqfd::LevelLine` that commits its redirection entry.
///
/// Methods are called by many threads at once, and events of two threads come in any order.
///
/// An implementation counts or sends, and returns soon: the caller waits for it. It must not call
/// back into the table, a vector, a line, a device or a queue. It must not keep a handle to the
/// table: the table would never be freed. If it panics, the panic is dropped (the panic hook has
/// run), and the event has its effect.
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
    /// The kernel has taken a new table. Called once for each round of commits in which it has, by
    /// the thread that has carried out the round; other callers of the round may have returned.
    /// A commit that changes nothing issues no ioctl, and is not reported.
    fn committed(&self, commit: &Committed) {
        let _ = commit;
    }

    /// A commit was refused, by the kernel or by the table, and its caller gets this error. Called
    /// once for each call that fails, and for [`RoutingTable::commit_each`] once for each edit. A
    /// panic of the translation or of the VM is not reported.
    fn commit_refused(&self, error: &Error) {
        let _ = error;
    }

    /// A vector was closed and lets interrupts through now. A vector with an eventfd is armed; an
    /// internal one may send. Called each time: for an unmask, a resume, and a new message for
    /// which the vector was closed first. A new message for which it stays armed is not reported.
    /// Also called if the translation blocks the message.
    fn vector_opened(&self, vector: &ObservedVector<'_>) {
        let _ = vector;
    }

    /// A trigger that was kept while the vector was closed has become an interrupt when it was
    /// opened. Called after [`vector_opened`](Self::vector_opened). A signal in the notifier of an
    /// exported vector is delivered by the kernel, and is not reported.
    fn vector_delivered(&self, vector: &ObservedVector<'_>) {
        let _ = vector;
    }

    /// A vector cannot deliver: no GSI is free for it, the kernel refuses its route or its irqfd,
    /// or refuses the message of a trigger. Called for each attempt and each such trigger. The
    /// reason is an `irqfd::VectorError`. A vector that a panic has left dead may not be reported.
    fn vector_refused(&self, vector: &ObservedVector<'_>, reason: &(dyn StdError + 'static)) {
        let _ = (vector, reason);
    }
}

/// A table that the kernel has taken, with what one round of commits has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Committed {
    /// The entries of the table. A GSI that is routed to pins may have several.
    pub entries: usize,
    /// The edits of the round that are in force, also those that changed nothing.
    pub edits: usize,
    /// The KVM_SET_GSI_ROUTING that were issued, also those that failed: 1, unless the kernel has
    /// refused something.
    pub ioctls: usize,
}

/// The vector of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ObservedVector<'a> {
    /// The name of its device, or its own, if it was given one.
    pub name: Option<&'a str>,
    /// Its number in its device, unless it has none.
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
    /// Calls the observer with an event, if the table has one. For crates whose objects use the
    /// table. A panic of the observer is dropped.
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
