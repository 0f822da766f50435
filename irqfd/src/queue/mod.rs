// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`ArmQueue`]: vectors that wait to be armed.

mod retry;
mod round;

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Weak};

use irq_routing::RoutingTable;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use notify_core::EventNotifier;

use crate::Error;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, MutexGuard};
use crate::vector::Inner;

use retry::Retry;
pub use round::Round;

/// What the epoll says when it is the queue's own notifier.
const READY: u64 = 0;
/// What it says when it is the timer.
const RETRY: u64 = 1;

/// Arms exported vectors for a guest that unmasks them, many at once and not on the guest's time.
///
/// A driver programs its vectors one by one, and each that is unmasked would want a commit of the
/// whole routing table, on the vCPU's thread. With a queue, unmasking only enters the vector here.
/// Whoever owns the queue waits until its file descriptor is readable, in whatever loop it has, and
/// calls [`run_pending`](Self::run_pending): one commit for all that wait, then their irqfds. What
/// is unmasked meanwhile waits for the next round, so the batches find their own size and no timer
/// is needed.
///
/// Until its irqfd is armed, signals of a vector stay in its notifier, and are delivered once when
/// it is. A vector that is masked again before its turn costs nothing.
///
/// A vector that cannot be armed is reported by the round, and its state says why. What may pass by
/// itself (no GSI is free, no memory, or an interrupt controller that is not initialised yet) is
/// tried again in the next round, and the descriptor becomes readable for it: after a millisecond
/// at first, and at most a second.
///
/// A round calls the table's translation, if there is one, while it keeps other rounds from being
/// run. So a thread that holds a lock which the translation takes must not run a round, nor
/// [`quiesce`](Self::quiesce) the queue or take a snapshot of a table that has it.
///
/// Dropping the queue runs it a last time; from then on a vector is armed by the thread that
/// unmasks it. Those that cannot be armed in the last round are [`Dead`](crate::VectorState::Dead)
/// until they are unmasked again.
///
/// ```
/// # use std::sync::Arc;
/// # use irq_routing::{MsiMessage, RoutingTable};
/// # use irqfd::{ArmQueue, Vector};
/// # use notify_core::sim::{CallKind, SimVm};
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
/// let vectors: Vec<Vector> = vectors.collect::<Result<_, irqfd::Error>>()?;
/// assert_eq!(vm.calls(CallKind::SetGsiRouting), 0);
///
/// // On the thread that polls the queue:
/// assert_eq!(queue.run_pending().armed, 64);
/// assert_eq!(vm.calls(CallKind::SetGsiRouting), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ArmQueue {
    shared: Arc<Shared>,
}

/// What vectors know of their queue.
pub(crate) struct Shared {
    table: RoutingTable,
    /// Readable when there is something to do.
    epoll: Epoll,
    ready: EventNotifier,
    /// Whether the owner was told since it took the vectors. It saves a system call for each
    /// vector.
    told: AtomicBool,
    waiting: Mutex<Waiting>,
    /// One round at a time.
    round: Mutex<()>,
    retry: Retry,
}

#[derive(Default)]
struct Waiting {
    vectors: Vec<Weak<Inner>>,
    /// Whether the owner is gone.
    closed: bool,
}

/// Keeps rounds from being run: [`ArmQueue::run_pending`] waits until it is dropped. Whoever has it
/// must not run one.
#[derive(Debug)]
#[must_use = "rounds are run again when it is dropped"]
pub struct Quiesced<'a> {
    _round: MutexGuard<'a, ()>,
}

impl ArmQueue {
    /// An empty queue for vectors whose messages go through this table.
    ///
    /// # Errors
    ///
    /// [`Error::Queue`].
    pub fn new(table: &RoutingTable) -> Result<Self, Error> {
        let create = || {
            let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
            let ready = EventNotifier::new().map_err(std::io::Error::other)?;
            epoll.add(&ready, EpollEvent::new(EpollFlags::EPOLLIN, READY))?;
            let retry = Retry::new(&epoll, RETRY)?;
            Ok((epoll, ready, retry))
        };
        let (epoll, ready, retry) = create().map_err(|source| Error::Queue { source })?;
        Ok(Self {
            shared: Arc::new(Shared {
                table: table.clone(),
                epoll,
                ready,
                told: AtomicBool::new(false),
                waiting: Mutex::default(),
                round: Mutex::default(),
                retry,
            }),
        })
    }

    /// Arms what waits. Any thread may call it at any time, with
    /// or without need. It waits for a round that another thread runs, and while [`Quiesced`].
    pub fn run_pending(&self) -> Round {
        self.shared.run()
    }

    /// Waits for the end of a round that is under way, and keeps others from being run: for a
    /// snapshot, between the first vector and the last.
    pub fn quiesce(&self) -> Quiesced<'_> {
        self.shared.quiesce()
    }

    /// How many vectors wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.waiting.lock().vectors.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
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
        self.shared.epoll.0.as_fd()
    }
}

impl Drop for ArmQueue {
    fn drop(&mut self) {
        self.shared.waiting.lock().closed = true;
        self.shared.run_last();
    }
}

impl Shared {
    pub(crate) fn quiesce(&self) -> Quiesced<'_> {
        Quiesced {
            _round: self.round.lock(),
        }
    }

    /// Enters a vector for the next round that there is, unless the owner is gone.
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

    /// Tells the owner after a while that a round is wanted for a vector, which has failed so often
    /// in a row.
    pub(crate) fn retry_later(&self, failures: u32) {
        self.retry.later(failures);
    }

    /// Tells the owner that a round is wanted soon.
    pub(crate) fn wake(&self) {
        if !self.told.swap(true, Ordering::AcqRel) {
            // The notifier is the queue's own, and a counter that cannot grow is signalled already.
            let _ = self.ready.notify();
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ArmQueue")
            .field("ready", &self.ready)
            .finish_non_exhaustive()
    }
}
