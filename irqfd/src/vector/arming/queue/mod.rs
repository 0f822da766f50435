// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`ArmQueue`]: vectors that wait to be armed.

mod calls;
#[cfg(feature = "mio")]
mod event_source;
mod retry;
mod round;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::{Arc, Weak};

use irq_routing::RoutingTable;

use crate::VectorError;
use crate::sync::Mutex;
use crate::vector::Inner;

use calls::Calls;
pub use round::Round;

/// Arms private and exported vectors that the guest unmasks, in batches, off the vCPU's thread.
///
/// A driver programs its vectors one by one. Without a queue each unmask commits the whole routing
/// table on the vCPU's thread. With a queue it only enters the vector here. The owner of the queue
/// waits in any loop until the queue's file descriptor is readable, and calls
/// [`run_pending`](Self::run_pending): one commit for all that wait, then their irqfds. What is
/// unmasked meanwhile waits for the next round.
///
/// Any loop can watch the queue: the dispatcher of `notify-core` by `DispatcherHandle::add_fd`,
/// epoll by `AsFd`, event-manager and tokio by `AsRawFd`, mio by the feature `mio`, io_uring by
/// POLL_ADD. An edge-triggered loop needs one call of `run_pending` for each event. The guide
/// [`event_loops`](notify_core::event_loops) shows each of them with a notifier.
///
/// Until its irqfd is armed, signals of a vector stay in its notifier, and are delivered once when
/// it is. A vector that is masked again before its turn costs nothing.
///
/// A round returns the vectors that cannot be armed, and their state has the reason. If the reason
/// is temporary (no GSI is free, no memory, an interrupt controller that is not initialised yet),
/// the vector is retried: the descriptor becomes readable again after a millisecond at first, and
/// at most a second.
///
/// A round calls the table's translation, if there is one, while other rounds wait. So a thread
/// that holds a lock which the translation takes must not run a round.
///
/// # Drop
///
/// Runs a last round, and closes the descriptors. From then on a vector is armed by the thread that
/// unmasks it. Blocks as long as that round: one commit, and a KVM_IRQFD for each vector. Vectors
/// that cannot be armed in the last round are [`Dead`](crate::VectorState::Dead) until they are
/// unmasked again.
///
/// ```
/// # use std::sync::Arc;
/// # use irq_routing::{MsiMessage, RoutingTable};
/// # use irqfd::{ArmQueue, Vector};
/// # use notify_sim::{CallKind, SimVm};
/// # let vm = Arc::new(SimVm::builder().build());
/// # vm.enable_lapic(0);
/// # let table = RoutingTable::new(vm.clone())?;
/// let queue = ArmQueue::new(&table)?;
/// let vectors = (0x40..0x80).map(|vector| {
///     let new = Vector::builder(&table).queue(&queue).build()?;
///     new.set_message(MsiMessage::new(0xfee0_0000, vector))?;
///     new.export()?;
///     new.unmask()?;
///     Ok(new)
/// });
/// let vectors: Vec<Vector> = vectors.collect::<Result<_, irqfd::VectorError>>()?;
/// assert_eq!(vm.calls(CallKind::SetGsiRouting), 0);
///
/// // On the thread that polls the queue:
/// assert_eq!(queue.run_pending().armed, 64);
/// assert_eq!(vm.calls(CallKind::SetGsiRouting), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping it runs the last round"]
pub struct ArmQueue {
    shared: Arc<Shared>,
    calls: Arc<Calls>,
}

/// What vectors know of their queue.
pub(crate) struct Shared {
    table: RoutingTable,
    /// Gone with the owner, so that vectors keep no descriptor open.
    calls: Weak<Calls>,
    waiting: Mutex<Waiting>,
    /// One round at a time.
    round: Mutex<()>,
}

#[derive(Default)]
struct Waiting {
    vectors: Vec<Weak<Inner>>,
    /// Whether the owner is gone.
    closed: bool,
}

impl ArmQueue {
    /// Creates an empty queue for vectors whose messages go through this table.
    ///
    /// # Errors
    ///
    /// [`VectorError::Descriptors`].
    pub fn new(table: &RoutingTable) -> Result<Self, VectorError> {
        let calls = Calls::new().map_err(|error| VectorError::Descriptors {
            cause: error.into(),
        })?;
        let calls = Arc::new(calls);
        Ok(Self {
            shared: Arc::new(Shared {
                table: table.clone(),
                calls: Arc::downgrade(&calls),
                waiting: Mutex::default(),
                round: Mutex::default(),
            }),
            calls,
        })
    }

    /// Arms the vectors that wait.
    ///
    /// Any thread may call it at any time. Blocks while another thread runs a round, then for one
    /// commit and a KVM_IRQFD for each vector. If nothing waits it issues one read.
    pub fn run_pending(&self) -> Round {
        self.shared.run()
    }

    /// Returns how many vectors wait to be armed.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.waiting.lock().vectors.len()
    }

    pub(crate) fn table(&self) -> &RoutingTable {
        &self.shared.table
    }

    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }
}

/// Readable when [`ArmQueue::run_pending`] has something to do.
impl AsFd for ArmQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.calls.epoll.0.as_fd()
    }
}

/// The same descriptor, for loops that take numbers.
impl AsRawFd for ArmQueue {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl Drop for ArmQueue {
    fn drop(&mut self) {
        self.shared.waiting.lock().closed = true;
        self.shared.run_last();
    }
}

impl Shared {
    /// Enters a vector for the next round, unless the owner is gone.
    pub(crate) fn push(&self, vector: &Arc<Inner>) -> bool {
        let mut waiting = self.waiting.lock();
        if !waiting.closed {
            waiting.vectors.push(Arc::downgrade(vector));
        }
        !waiting.closed
    }

    /// The same in front of all others.
    pub(crate) fn push_first(&self, vector: &Arc<Inner>) -> bool {
        let mut waiting = self.waiting.lock();
        if !waiting.closed {
            waiting.vectors.insert(0, Arc::downgrade(vector));
        }
        !waiting.closed
    }

    /// Removes a vector's entry.
    pub(crate) fn remove(&self, vector: &Arc<Inner>) {
        let weak = Arc::downgrade(vector);
        let mut waiting = self.waiting.lock();
        waiting.vectors.retain(|entry| !entry.ptr_eq(&weak));
    }

    /// Wakes the owner after a delay, for a vector that has failed so often in a row.
    pub(crate) fn retry_later(&self, failures: u32) {
        if let Some(calls) = self.calls.upgrade() {
            calls.retry_later(failures);
        }
    }

    /// Wakes the owner.
    pub(crate) fn wake(&self) {
        if let Some(calls) = self.calls.upgrade() {
            calls.wake();
        }
    }
}

impl std::fmt::Debug for Calls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Calls").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ArmQueue").finish_non_exhaustive()
    }
}
