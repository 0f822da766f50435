// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Vector`]: one message-signalled interrupt of a device.

mod builder;
mod changes;
mod committer;
mod control;
mod device;
mod export;
mod exported;
mod gate;
mod internal;
mod message;
mod opened;
mod pending;
mod state;

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};

use irq_routing::{Gsi, GsiLease, MsiMessage, Registration, RoutingTable};
use notify_core::{Capability, EventNotifier, MsiOutcome};

use crate::queue::{ArmQueue, Shared};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use crate::{Error, Rejected};

pub use builder::VectorBuilder;
use committer::Start;
pub(crate) use committer::{Outcome, Task, run};
use control::Control;
pub use device::Dead;
pub(crate) use device::Device;
use exported::Exported;
use gate::{Gate, Pass};
use message::SharedMessage;
pub(crate) use opened::Opened;
pub(crate) use pending::signal_moved;
pub use state::{Triggered, VectorState};

/// One message-signalled interrupt of a device (MSI or MSI-X). Clones share it.
///
/// The guest writes its message, masks and unmasks it; the device triggers it, from any thread,
/// without a lock. There are two ways to use one:
///
/// - *internal*, as it starts: the VMM's own code triggers it. It injects the message
///   (KVM_SIGNAL_MSI), and needs no eventfd, no GSI and no route. To mask, unmask or retarget it is
///   to write to memory.
/// - *exported* ([`export`](Self::export)): its notifier was handed out, to vhost, VFIO or another
///   process. A GSI, a route and an irqfd are taken the first time that it is unmasked. Masking
///   takes the irqfd off and leaves the GSI, with its route, to the table. Unmasking takes it back
///   without a commit, unless the table has needed it for another vector meanwhile. A VM that has
///   more unmasked vectors than GSIs should give them a queue, which tries those again that got
///   none.
///
/// Where the kernel has no KVM_SIGNAL_MSI, a vector is exported from the start.
///
/// # What is promised
///
/// - A trigger while the vector is masked is kept, and delivered once when it is unmasked. More of
///   them merge into one.
/// - When [`mask`](Self::mask) has returned, no injection starts or completes until the vector is
///   unmasked. (One that the guest's local APIC has already taken is served all the same, as on
///   hardware.)
/// - The message that is injected is one that was set, never a mixture of two.
///
/// # Translated messages
///
/// Where the routing table translates messages, they are translated when they are set, when the
/// vector is unmasked or exported, and by [`RoutingTable::retranslate`]; never by a trigger or a
/// mask. No lock of the vector is held then. A caller of these must not hold a lock that the
/// translation takes. While the translation blocks the message of an exported vector, nothing is
/// armed and signals stay in its notifier ([`VectorState::Blocked`]); a trigger of an internal one
/// is lost, as by an IOMMU.
///
/// A vector starts masked. Dropping the last clone takes the irqfd off and gives the GSI back;
/// failures are logged. Two handles are equal if they are of one vector.
///
/// ```
/// # use std::sync::Arc;
/// # use irq_routing::{MsiMessage, RoutingTable};
/// # use irqfd::{Triggered, Vector};
/// # use notify_core::sim::SimVm;
/// # let vm = Arc::new(SimVm::builder().build());
/// # vm.enable_lapic(0);
/// # let table = RoutingTable::new(vm.clone())?;
/// let vector = Vector::builder(&table).build()?;
/// vector.set_message(MsiMessage::new(0xfee0_0000, 0x40));
/// assert_eq!(vector.trigger()?, Triggered::Kept);
///
/// vector.unmask()?;
/// assert_eq!(vm.pending_vectors(0), [0x40]);
///
/// // Another process signals it from now on.
/// let notifier = vector.export()?;
/// notifier.notify()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Vector {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    table: RoutingTable,
    queue: Option<Arc<Shared>>,
    device: Arc<Device>,
    number: Option<u16>,
    gate: Gate,
    /// What triggers of an internal vector send: the message as the table translates it.
    sent: SharedMessage,
    /// The errno with which the kernel refused the message, or 0.
    refusal: AtomicI32,
    /// Whether an exported vector is dead, for triggers.
    dead: AtomicBool,
    exported: Exported,
    control: Mutex<Control>,
    /// Where the table translates messages, it says when the translation has changed.
    registration: OnceLock<Registration>,
}

impl Vector {
    /// A vector whose messages go through this table.
    pub fn builder(table: &RoutingTable) -> VectorBuilder<'_> {
        VectorBuilder::new(table)
    }

    /// Raises the interrupt, or keeps the trigger if the vector is masked. It waits for no other thread and
    /// allocates nothing. (What may hold up a signal to a notifier that is shared with a hostile
    /// process is said at [`EventNotifier::notify`].)
    ///
    /// The table's translation is not called: the message was translated when the vector was
    /// opened.
    ///
    /// # Errors
    ///
    /// [`Error::Signal`]: the kernel refuses the message that the guest has set, and the trigger is
    /// gone, as a write to nowhere is on a bus. The vector is [`Dead`](VectorState::Dead) until it
    /// is given another message, is unmasked anew, or a trigger succeeds. [`Error::Notify`]: the
    /// notifier, which somebody else shares, takes no signal.
    pub fn trigger(&self) -> Result<Triggered, Error> {
        self.inner.trigger()
    }

    /// The message that was set last.
    #[must_use]
    pub fn message(&self) -> MsiMessage {
        self.inner.control.lock().message
    }

    /// Sets the message, whole. If the vector is not masked, triggers go to the old one until this
    /// has begun and to the new one when it has returned; in between they are kept, or go to one of
    /// the two. The message that it has already changes nothing, but for a dead vector, which tries
    /// again.
    ///
    /// An armed vector stays armed while its route is exchanged, with one ioctl, on x86, without a
    /// queue or a translation, and if both messages are for one local APIC
    /// ([`ApicMessage::is_for_one_apic`](irq_routing::ApicMessage::is_for_one_apic)). Otherwise its
    /// irqfd is taken off first and bound again.
    ///
    /// # Errors
    ///
    /// Those of [`unmask`](Self::unmask), if the vector is not masked. The message is set all the
    /// same.
    pub fn set_message(&self, message: MsiMessage) -> Result<(), Error> {
        let start = self.inner.begin_set_message(message, 0);
        self.inner.carry_out(start)
    }

    /// Keeps triggers from now on. When this returns nothing is in flight. It waits for triggers
    /// that are in the middle of an injection, never for a commit.
    ///
    /// If the kernel does not let go of an irqfd, which is logged, its signals are injected still;
    /// its GSI and route then stay out of use.
    pub fn mask(&self) {
        self.inner.mask();
    }

    /// Lets triggers through, the one that was kept first.
    ///
    /// For an exported vector with a queue this only queues it. Otherwise its route is committed
    /// and its irqfd armed before this returns, unless another thread is about to do so.
    ///
    /// # Errors
    ///
    /// Internal: [`Error::Signal`], if the trigger that was kept is refused. Exported:
    /// [`Error::Dead`], with the reason inside ([`Error::Lease`], [`Error::Commit`], or one of
    /// [`IrqFdBuilder::assign`]); signals stay in the notifier. Either way the vector is unmasked
    /// and [`Dead`](VectorState::Dead), and no other vector is disturbed.
    ///
    /// [`IrqFdBuilder::assign`]: crate::IrqFdBuilder::assign
    pub fn unmask(&self) -> Result<(), Error> {
        let start = self.inner.begin_unmask();
        self.inner.carry_out(start)
    }

    /// Whether it is masked.
    #[must_use]
    pub fn is_masked(&self) -> bool {
        self.inner.control.lock().masked
    }

    /// Whether a trigger was kept. For an exported vector, whether its notifier is signalled and
    /// not armed.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.inner.is_pending()
    }

    /// Keeps a trigger, as a restored device does that had one. To be called while the vector is
    /// masked; otherwise it is a trigger.
    ///
    /// # Errors
    ///
    /// Those of [`trigger`](Self::trigger).
    pub fn restore_pending(&self) -> Result<(), Error> {
        self.trigger().map(drop)
    }

    /// Forgets a trigger that was kept.
    pub fn clear_pending(&self) {
        self.inner.clear_pending();
    }

    /// Masks it, and forgets its message and a trigger that was kept: a reset of the device. An
    /// exported vector stays exported.
    pub fn reset(&self) {
        self.inner.reset();
    }

    /// How far it is.
    #[must_use]
    pub fn state(&self) -> VectorState {
        self.inner.state()
    }

    /// Makes it one that somebody else signals, with a new notifier, and answers with the notifier.
    /// One that is exported already stays as it is. A trigger that was kept goes to the notifier.
    ///
    /// Whoever fills the notifier's counter while the vector is not armed is not heard of any more
    /// once it is armed, until [`trigger`](Self::trigger) or [`mask`](Self::mask) empties it.
    ///
    /// # Errors
    ///
    /// [`Error::Export`]: nothing has changed. If arming fails, [`state`](Self::state) says so.
    pub fn export(&self) -> Result<Arc<EventNotifier>, Error> {
        let (notifier, exchanged) = self.inner.export()?;
        self.inner.finish_exchange(exchanged);
        Ok(notifier)
    }

    /// Gives it another notifier, or makes it an exported one with this notifier; returns the old
    /// notifier if there was one. A signal that the old one has goes to the new one. A thread that
    /// is in the middle of [`trigger`](Self::trigger) is not waited for, since a peer that shares
    /// the old notifier may block it there: it triggers the new one when it goes on, so that one
    /// interrupt may come twice. It may also write to the old one once more. Who has the old one
    /// from elsewhere signals it in vain from now on.
    ///
    /// For a vector that is armed the new notifier is bound before the old one is taken off.
    ///
    /// # Errors
    ///
    /// [`Error::ExportSemaphore`], and for a vector that is armed [`Error::Deassign`] and those of
    /// [`IrqFdBuilder::assign`]; the old notifier is in use still, and the new one comes back
    /// inside. For a vector that is not armed nothing else can fail here: if the new notifier
    /// cannot be bound later, [`state`](Self::state) says so.
    ///
    /// [`IrqFdBuilder::assign`]: crate::IrqFdBuilder::assign
    pub fn replace_notifier(
        &self,
        notifier: Arc<EventNotifier>,
    ) -> Result<Option<Arc<EventNotifier>>, Rejected<Arc<EventNotifier>>> {
        let exchanged = self.inner.replace_notifier(notifier)?;
        Ok(self.inner.finish_exchange(exchanged))
    }

    /// Makes it internal again. The irqfd is taken off and the GSI given back; a signal that the
    /// notifier has is delivered, or kept if the vector is masked.
    ///
    /// # Errors
    ///
    /// [`Error::NoSignalMsi`]: the kernel cannot do without. [`Error::Signal`], as for
    /// [`trigger`](Self::trigger).
    pub fn unexport(&self) -> Result<(), Error> {
        let exchanged = self.inner.unexport()?;
        self.inner.carry_out(exchanged.start)
    }

    /// The GSI that it holds: that of an exported vector that is armed, or about to be. An internal
    /// one has none, and a masked one has left its own to the table.
    #[must_use]
    pub fn gsi(&self) -> Option<Gsi> {
        let control = self.inner.control.lock();
        control.lease().map(GsiLease::gsi)
    }

    /// The notifier of an exported vector.
    #[must_use]
    pub fn notifier(&self) -> Option<Arc<EventNotifier>> {
        self.inner.exported.get()
    }
}

impl Inner {
    fn new(
        table: &RoutingTable,
        queue: Option<&ArmQueue>,
        device: Arc<Device>,
        number: Option<u16>,
    ) -> Self {
        Self {
            table: table.clone(),
            queue: queue.map(ArmQueue::shared),
            device,
            number,
            gate: Gate::new(),
            sent: SharedMessage::new(),
            refusal: AtomicI32::new(0),
            dead: AtomicBool::new(false),
            exported: Exported::new(),
            control: Mutex::new(Control::default()),
            registration: OnceLock::new(),
        }
    }

    /// Does what is left to be done for a change.
    fn carry_out(self: &Arc<Self>, start: Start) -> Result<(), Error> {
        let mut outcome = Outcome::default();
        match start {
            Start::Nothing => {}
            Start::Settle => {
                // Kept as it is, for a caller that wants to know why.
                return self.settle();
            }
            Start::Task(task) => run(std::slice::from_ref(&task), None, &mut outcome),
        }
        match outcome.finish().dead.pop() {
            Some(dead) => Err(Error::Dead(dead.reason)),
            None => Ok(()),
        }
    }

    /// Whether the kernel has KVM_SIGNAL_MSI.
    fn signals(&self) -> bool {
        let answer = self.table.vm().capability(Capability::SignalMsi);
        answer.is_ok_and(|answer| answer > 0)
    }

    fn trigger(&self) -> Result<Triggered, Error> {
        loop {
            match self.gate.enter() {
                Some(pass) => {
                    if let Some(triggered) = self.inject(pass) {
                        return triggered;
                    }
                }
                None if self.device.is_enabled() => return Ok(Triggered::Kept),
                None => return Ok(Triggered::Disabled),
            }
        }
    }

    /// Sends the message or signals the notifier. Returns nothing if the notifier has been
    /// exchanged meanwhile: the new one wants the signal too.
    ///
    /// A write to a notifier may take as long as a peer likes that shares it, so the trigger is not
    /// in flight any more then, and nothing waits for it. What comes too late for the exchange,
    /// which reads the old notifier, sees the new one.
    fn inject(&self, pass: Pass<'_>) -> Option<Result<Triggered, Error>> {
        let Some(notifier) = self.exported.copy() else {
            let result = self.signal();
            drop(pass);
            return Some(result);
        };
        drop(pass);
        // For loom a call of the kernel belongs to the step before it; here another thread may run.
        #[cfg(loom)]
        crate::sync::thread::yield_now();
        let signalled = signal_anew(&notifier);
        if !self.exported.is(&notifier) {
            return None;
        }
        Some(match signalled {
            Ok(()) => Ok(self.signalled()),
            Err(source) => Err(Error::Notify { source }),
        })
    }

    /// What became of a trigger that went to the notifier.
    #[inline]
    fn signalled(&self) -> Triggered {
        if self.dead.load(Ordering::Relaxed) {
            Triggered::Dead
        } else if self.device.is_enabled() {
            Triggered::Signalled
        } else {
            Triggered::Disabled
        }
    }

    /// KVM_SIGNAL_MSI.
    fn signal(&self) -> Result<Triggered, Error> {
        let Some(message) = self.sent.load() else {
            return Ok(Triggered::Blocked);
        };
        match self.table.vm().signal_msi(&message.into()) {
            Ok(outcome) => {
                // What it was refused for has passed, if it was.
                if self.refusal.load(Ordering::Relaxed) != 0 {
                    self.refusal.store(0, Ordering::Relaxed);
                }
                Ok(match outcome {
                    MsiOutcome::Delivered(_) => Triggered::Delivered,
                    _ => Triggered::Blocked,
                })
            }
            Err(source) => {
                let errno = source.raw_os_error().unwrap_or(libc::EIO);
                self.refusal.store(errno, Ordering::Relaxed);
                Err(Error::Signal { message, source })
            }
        }
    }

    /// A GSI for it, under its device's name. It may wait for a commit.
    fn free_gsi(&self) -> Option<GsiLease> {
        let lease = self.table.lease_if_free()?;
        Some(match self.device.name() {
            Some(name) => lease.named(Arc::clone(name)),
            None => lease,
        })
    }

    /// Why there is no GSI for the vector. It names no holders: there may be thousands, and a guest
    /// can cause this.
    fn no_gsi(&self) -> Error {
        let source = irq_routing::Error::Exhausted {
            wanted: 1,
            leased: self.table.leased(),
            limit: self.table.limit(),
            holders: Vec::new(),
        };
        Error::Lease { source }
    }

    /// Why the kernel refused the message, if it did.
    fn refusal(&self) -> Option<io::Error> {
        let errno = self.refusal.load(Ordering::Relaxed);
        (errno != 0).then(|| io::Error::from_raw_os_error(errno))
    }
}

/// Signals the notifier. One that somebody has filled is emptied first: of a write that it refuses
/// KVM would not hear.
#[inline]
fn signal_anew(notifier: &EventNotifier) -> Result<(), notify_core::Error> {
    if notifier.try_notify()? {
        return Ok(());
    }
    notifier.consume()?;
    notifier.notify()
}

impl PartialEq for Vector {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}

impl Eq for Vector {}

impl fmt::Debug for Vector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vector")
            .field("message", &self.message())
            .field("state", &self.state())
            .field("pending", &self.is_pending())
            .field("notifier", &self.notifier())
            .finish_non_exhaustive()
    }
}
