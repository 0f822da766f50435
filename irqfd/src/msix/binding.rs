// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Binding`]: the vector of a queue, and the eventfd that its back-end signals.

use std::error::Error as StdError;
use std::fmt;
use std::mem;
use std::sync::Arc;

use notify_core::EventNotifier;

use super::Table;
use super::users::Use;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU16, Ordering};
use crate::vector::signal_holding;
use crate::{Triggered, VectorError, VectorHandle};

/// The number that stands for no vector (VIRTIO 1.3, 4.1.5.1.2).
pub const NO_VECTOR: u16 = 0xffff;

/// The vector that the guest has chosen for a queue, or for changes of the configuration; or none.
///
/// It is the register `queue_msix_vector` or `config_msix_vector` of a virtio device. A number that
/// the table does not have binds to no vector, and reads back as [`NO_VECTOR`]. Without a vector,
/// triggers do nothing.
///
/// ```
/// # use std::sync::Arc;
/// # use irq_routing::RoutingTable;
/// # use irqfd::{Triggered, msix};
/// # use notify_sim::SimVm;
/// let vm = Arc::new(SimVm::builder().build()); // or a KvmVm
/// let routing = RoutingTable::new(vm)?; // one for the VM
/// let table = msix::Table::builder(&routing).vectors(2).build()?;
/// let queue = msix::Binding::new(&table);
/// assert_eq!(queue.trigger()?, None);
/// assert_eq!(queue.bind(1), 1);
/// // MSI-X is disabled, so the device uses its INTx pin.
/// assert_eq!(queue.trigger()?, Some(Triggered::Disabled));
/// assert_eq!(queue.bind(2), msix::NO_VECTOR);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # A queue that a vhost back-end serves
///
/// The back-end, a worker in the kernel or a vhost-user daemon, signals an eventfd: the *call* of
/// the queue. It starts with the one that [`call`](Self::call) returns. When the guest writes the
/// register, [`bind_call`](Self::bind_call) gives the back-end the call of the new vector, and
/// moves the signals that the old vector had pending. No signal is lost, whether the guest has
/// masked the old vector, masks it meanwhile, or moves the queue to no vector and back.
///
/// ```text
///  guest writes queue_msix_vector
///    │
///    ├─ find the new vector, export it if it is not
///    ├─ set_call: VHOST_SET_VRING_CALL ──▶ from here on the back-end signals the new call alone
///    ├─ take what is pending at the old vector (what KVM has injected there is served there)
///    └─ if there was a signal: signal the new call
/// ```
///
/// ```
/// # use std::io;
/// # use std::sync::Arc;
/// # use irq_routing::RoutingTable;
/// # use irqfd::{VectorHandle, msix};
/// # use notify_core::EventNotifier;
/// # use notify_sim::SimVm;
/// struct Backend { call: Arc<EventNotifier> }
///
/// impl Backend {
///     fn set_vring_call(&mut self, call: &Arc<EventNotifier>) -> io::Result<()> {
///         self.call = Arc::clone(call); // VHOST_SET_VRING_CALL
///         Ok(())
///     }
/// }
///
/// let vm = Arc::new(SimVm::builder().build()); // or a KvmVm
/// let routing = RoutingTable::new(vm)?; // one for the VM
/// let table = msix::Table::builder(&routing).vectors(2).build()?;
/// let _dead = table.set_control(true, false);
/// let queue = msix::Binding::new(&table);
/// queue.bind_call(0, |_| Ok::<_, io::Error>(()))?; // no back-end yet
/// let mut backend = Backend { call: queue.call()? };
///
/// // The guest has masked vector 0, the back-end signals, and the guest moves the queue.
/// backend.call.notify()?;
/// let number = queue.bind_call(1, |call| backend.set_vring_call(call))?;
/// assert_eq!(number, 1);
/// let pending: Vec<_> = table.vectors().iter().map(VectorHandle::is_pending).collect();
/// assert_eq!(pending, [false, true]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Two queues may share a vector. Which of them a signal belongs to is not known: if one of them
/// moves, a pending signal stays at the old vector and goes to the new one as well. So each use of
/// a vector must have a binding of its own.
///
/// With [`NO_VECTOR`] the back-end signals an eventfd of the binding, which holds its signals until
/// the queue gets a vector. The device sends no interrupt meanwhile. A snapshot of the table does
/// not contain these signals.
///
/// Dropping the binding gives the vector up, and moves nothing.
#[derive(Debug)]
pub struct Binding {
    table: Table,
    /// Read by triggers, without a lock. Written under the lock, together with `state.used`.
    number: AtomicU16,
    /// Held while the back-end is asked, so that moves take place one after the other. Before the
    /// locks of [`Use`] and of vectors; triggers do not take it.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    used: Use,
    /// What the back-end signals while there is no vector.
    holding: Option<Arc<EventNotifier>>,
    /// How many moves have taken a signal that is not in the new notifier yet.
    unsent: usize,
}

/// Why a queue was not moved to another vector. It is bound as before.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BindCallError<E> {
    /// The vector has no notifier, and none could be created ([`VectorError::Notifier`]).
    Call(VectorError),

    /// The back-end has not taken its new call.
    SetCall(E),
}

impl<E: fmt::Display> fmt::Display for BindCallError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(error) => write!(f, "cannot move a queue to another vector: {error}"),
            Self::SetCall(error) => {
                write!(
                    f,
                    "the back-end of a queue does not take another call: {error}"
                )
            }
        }
    }
}

/// The text has the back-end's error, so `source` continues with that error's own source.
impl<E: StdError> StdError for BindCallError<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Call(_) => None,
            Self::SetCall(error) => error.source(),
        }
    }
}

impl Binding {
    /// Creates a binding to no vector.
    #[must_use]
    pub fn new(table: &Table) -> Self {
        Self {
            table: table.clone(),
            number: AtomicU16::new(NO_VECTOR),
            state: Mutex::new(State {
                used: Use::new(table, NO_VECTOR),
                holding: None,
                unsent: 0,
            }),
        }
    }

    /// Binds to the vector that the guest writes to the register. Returns what the register reads.
    ///
    /// For a queue that the VMM's own code serves, by [`trigger`](Self::trigger). The signals of a
    /// back-end are not moved; see [`bind_call`](Self::bind_call). A trigger that a masked vector
    /// keeps stays pending, and is delivered at the unmask. Blocks while another thread is in
    /// `bind_call`.
    ///
    /// When the guest resets a virtio device, bind each queue and the configuration to
    /// [`NO_VECTOR`]. The table keeps what the guest has written, and MSI-X stays enabled (VIRTIO
    /// 1.3, 4.1.5.1.2; [`Table::reset`] is for a reset of the PCI function). The back-end is
    /// stopped then, so there is no signal to move.
    pub fn bind(&self, number: u16) -> u16 {
        let mut state = self.state.lock();
        let next = Use::new(&self.table, number);
        self.switch(&mut state, next);
        self.number()
    }

    /// Binds a queue that a back-end serves, and moves its signals. Returns what the register
    /// reads.
    ///
    /// `set_call` gives the back-end its new call (VHOST_SET_VRING_CALL). It is called once, also
    /// if the queue has that vector already, so that a back-end that was restarted gets its call
    /// in the same way. It returns
    ///
    /// - `Ok` when the back-end signals the new call alone, or if no back-end runs: the next one
    ///   gets what [`call`](Self::call) returns then;
    /// - an error if the back-end still has the old call. If that is not known, as when a
    ///   connection broke, the back-end must not be used on; start another one.
    ///
    /// It may call [`number`](Self::number) and [`trigger`](Self::trigger) of this binding. Any
    /// other call of this binding from there blocks forever.
    ///
    /// When this returns, a signal of the back-end is at the new vector, or KVM has injected it at
    /// the old one. If the write to the new call fails, as under a system call filter, the new
    /// vector keeps the signal as a pending bit until its next unmask or resume.
    ///
    /// Do not replace or take back the notifier of either vector meanwhile. If two threads move the
    /// queue at once, a signal may be delivered at both vectors.
    ///
    /// Blocks as long as `set_call`, and while another thread moves the same queue. The last step
    /// writes to the new call without a lock; [`EventNotifier::notify`] describes what a hostile
    /// process that shares it can do.
    ///
    /// # Errors
    ///
    /// The queue has the vector that it had, and no signal was moved. The new vector may be
    /// exported all the same.
    pub fn bind_call<E>(
        &self,
        number: u16,
        set_call: impl FnOnce(&Arc<EventNotifier>) -> Result<(), E>,
    ) -> Result<u16, BindCallError<E>> {
        let mut state = self.state.lock();
        // Counted before the back-end signals there: a queue that leaves that vector meanwhile
        // leaves its signal behind.
        let next = Use::new(&self.table, number);
        let number = next.number();
        let call = next.call(&mut state.holding).map_err(BindCallError::Call)?;
        set_call(&call).map_err(BindCallError::SetCall)?;

        let before = self.switch(&mut state, next);
        if before.number() == number {
            return Ok(number);
        }
        let holding = state.holding.as_ref();
        let taken = match before.vector() {
            Some(_) => before.end(),
            // If it cannot be read it may be signalled.
            None => holding.is_some_and(|holding| !matches!(holding.consume(), Ok(None))),
        };
        // A signal that another move has taken may reach the old call only after this.
        if taken || state.unsent > 0 {
            state.unsent += 1;
            drop(state);
            let vector = self.table.vector(number);
            let signalled = match vector {
                Some(vector) => vector.inner.signal_moved(&call),
                None => signal_holding(&call),
            };
            if let Err(error) = signalled {
                let end = vector.map_or("is lost", |_| "is kept");
                log::error!("an interrupt of a queue that moves to another vector {end}: {error}");
                vector.inspect(|vector| vector.inner.keep_pending());
            }
            self.state.lock().unsent -= 1;
        }
        Ok(number)
    }

    /// Returns the eventfd that the queue's back-end has to signal.
    ///
    /// It is the notifier of the vector, which is exported now if it was not; or with [`NO_VECTOR`]
    /// one of the binding. For the start of a back-end: do not move the queue until the back-end
    /// has it. Blocks while another thread is in [`bind_call`](Self::bind_call).
    ///
    /// # Errors
    ///
    /// [`VectorError::Notifier`].
    pub fn call(&self) -> Result<Arc<EventNotifier>, VectorError> {
        let State { used, holding, .. } = &mut *self.state.lock();
        used.call(holding)
    }

    /// Returns what the guest reads: the vector's number or [`NO_VECTOR`].
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number.load(Ordering::Acquire)
    }

    /// The vector, if it is bound to one.
    fn vector(&self) -> Option<&VectorHandle> {
        self.table.vector(self.number())
    }

    /// Triggers the vector. Without a vector it does nothing and returns `None`.
    ///
    /// Waits for no other thread and allocates nothing. If another thread moves the queue
    /// meanwhile, the trigger may be at the old vector.
    ///
    /// # Errors
    ///
    /// Those of [`VectorHandle::trigger`].
    pub fn trigger(&self) -> Result<Option<Triggered>, VectorError> {
        self.vector().map(VectorHandle::trigger).transpose()
    }

    /// Uses another vector from now on. Returns the use of the old one.
    fn switch(&self, state: &mut State, next: Use) -> Use {
        self.number.store(next.number(), Ordering::Release);
        mem::replace(&mut state.used, next)
    }
}
