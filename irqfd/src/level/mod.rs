// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`LevelLine`]: a level-triggered interrupt line, which devices share.
//!
//! Locks are taken in this order: the registry of an [`EoiExits`] (shared), a line, then the routing table or
//! the VMM's own controller. Notifiers are signalled out of a line's lock.

mod binding;
mod builder;
mod controller;
mod exits;
mod held;
mod irq;
mod irq_builder;
mod kernel;
mod members;
mod message;

use std::fmt;
use std::sync::Arc;

use irq_routing::{Gsi, Line, MsiMessage};
use notify_core::EventNotifier;

use crate::Error;
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::{Mutex, MutexGuard};
pub use builder::LevelLineBuilder;
pub use controller::Controller;
use controller::OnController;
pub use exits::EoiExits;
pub use irq::LevelIrq;
pub use irq_builder::LevelIrqBuilder;
use kernel::Kernel;
use members::{Level, Member, Members, Place};
use message::{Entry, Message};

/// A level-triggered interrupt line: the wired-OR of the devices on it. Clones share it.
///
/// A device is on it by a [`LevelIrq`]. The line is high while any of them asserts; when the guest ends the
/// interrupt (EOI), those that want to know are told, once each, and one that still asserts is heard again.
///
/// What stands behind it depends on the machine:
///
/// | the machine | the level | EOIs |
/// |---|---|---|
/// | pins in the kernel | KVM_IRQ_LINE for the VMM's devices, resampling irqfds for exported ones | the kernel's, which signals by itself |
/// | a split irqchip: the GSI has a message | KVM_IRQ_LINE or an irqfd, which send the message | KVM_EXIT_IOAPIC_EOI, reported to [`EoiExits`] |
/// | the VMM's own controller | [`Controller::set_level`] | reported to [`EoiExits`] or [`on_eoi`](Self::on_eoi) |
///
/// No other GSI may lead to the pins of one that has a line ([`irq_routing::DrivenLine`]). A GSI of the wiring that is
/// led to other pins while it is high leaves the old ones high.
///
/// The line goes with its last handle, a [`LevelIrq`] being one. Dropping it issues no ioctl by itself. Two
/// handles are equal if they are of one line.
///
/// ```
/// use std::sync::Arc;
/// use irq_routing::{Platform, RoutingTable, Wiring};
/// use irqfd::{LevelIrq, LevelLine};
/// use notify_core::sim::SimVm;
///
/// const IOAPIC: u32 = 2;
/// let vm = Arc::new(SimVm::builder().build()); // or a KvmVm
/// let table = RoutingTable::builder(vm.clone()).platform(Platform::X86).build()?;
/// table.wire_all(&Wiring::pc())?;
///
/// let line = LevelLine::builder(table.line(10)?).build()?;
/// let disk = line.join()?; // a device of the VMM
/// let card = LevelIrq::builder(&line).exported().build()?; // one that another process has
/// let high = || vm.ioapic().is_some_and(|ioapic| ioapic.irr == 1 << 10);
///
/// disk.assert()?;
/// if let Some(trigger) = card.trigger() {
///     trigger.notify()?; // the other process
/// }
/// vm.guest_eoi(IOAPIC, 10);
/// assert!(high()); // the disk asserts still
///
/// // The card is told, and has nothing more to say; the disk has been served.
/// let told = card.resample().map(|resample| resample.consume()).transpose()?.flatten();
/// assert_eq!(told.map(u64::from), Some(1));
/// disk.deassert()?;
/// assert!(!high());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct LevelLine {
    inner: Arc<Inner>,
}

/// What the clones of a line share.
struct Inner {
    number: Number,
    /// The vector whose EOI ends an interrupt of this line, or [`NO_VECTOR`]: written under the lock, and read
    /// without it to find out which lines an EOI may concern.
    ended_by: AtomicU32,
    state: Mutex<State>,
}

/// By what a line is known.
#[derive(Debug, Clone, Copy)]
enum Number {
    Gsi(Gsi),
    /// Of the VMM's own controller.
    Pin(u32),
}

const NO_VECTOR: u32 = u32::MAX;

#[derive(Debug)]
struct State {
    members: Members,
    way: Way,
}

/// Who carries the level to the guest, and hears of EOIs.
#[derive(Debug)]
enum Way {
    Kernel(Kernel),
    Message(Message),
    Controller(OnController),
}

impl LevelLine {
    /// A line of a GSI: one that leads to pins in the kernel, or on a split irqchip one that has a message.
    #[must_use = "a builder does nothing"]
    pub fn builder(line: Line) -> LevelLineBuilder {
        LevelLineBuilder::new(line)
    }

    /// A line to a pin of the VMM's own interrupt controller, of a machine that has none in the kernel, or a split
    /// irqchip whose VMM keeps the state of its IOAPIC itself. It starts low; nothing is called.
    ///
    /// The controller is called with the line's lock held; see [`Controller`].
    pub fn on_controller(pin: u32, controller: Arc<dyn Controller>, exits: &EoiExits) -> Self {
        let way = Way::Controller(OnController::new(pin, controller));
        let line = Self::new(Number::Pin(pin), way);
        exits.register(&line.inner);
        line
    }

    fn new(number: Number, way: Way) -> Self {
        let members = Members::default();
        let inner = Arc::new(Inner {
            number,
            ended_by: AtomicU32::new(NO_VECTOR),
            state: Mutex::new(State { members, way }),
        });
        Self { inner }
    }

    /// Its GSI; `None` for one of the VMM's own controller.
    #[must_use]
    pub fn gsi(&self) -> Option<Gsi> {
        match self.inner.number {
            Number::Gsi(gsi) => Some(gsi),
            Number::Pin(_) => None,
        }
    }

    /// The number of its pin at the VMM's own controller, or of its GSI.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.inner.number()
    }

    /// A device of the VMM's own, which does not want to be told of EOIs: a
    /// [`LevelIrq::builder`] with nothing else.
    ///
    /// # Errors
    ///
    /// Those of [`LevelIrqBuilder::build`].
    pub fn join(&self) -> Result<LevelIrq, Error> {
        Ok(LevelIrq::builder(self).build()?)
    }

    /// Whether the line is high, as far as this process knows: a signal that the kernel takes raises it unseen.
    #[must_use]
    pub fn is_asserted(&self) -> bool {
        self.inner.lock().members.level()
    }

    /// The guest has written the redirection entry of this line's pin, of an IOAPIC in user space: this is the
    /// message now, in the form of an MSI (bit 15 of the data for level-triggered), and whether it is masked. The
    /// entry starts masked, as after a reset.
    ///
    /// While it is masked nothing is injected: what the VMM's devices assert is remembered, signals of exported ones
    /// stay in their triggers, and the message is only remembered too. When it is not, a new message is committed to the
    /// routing table, and an interrupt is sent if the line is high and none is in service.
    ///
    /// If an interrupt is in service and the vector changes, or the entry turns edge-triggered, then the service ends
    /// as by an EOI, and all who want to know are told: the EOI of the old vector may never come. With an exported
    /// device on the line one may always be in service. An edge-triggered entry gets one message each time that the line
    /// rises while it is not masked, and nobody hears of EOIs; an exported device is told when it turns level-triggered again.
    ///
    /// # Errors
    ///
    /// [`Error::NoMessage`] for a line that has none. [`Error::Redirect`], [`Error::Assign`], [`Error::Deassign`],
    /// [`Error::SetLevel`] and the like: the entry is what it was.
    pub fn redirect(&self, message: MsiMessage, masked: bool) -> Result<(), Error> {
        self.inner.redirect(Entry { message, masked })
    }

    /// An interrupt of this line has ended, as the VMM knows that has the controller. Those who want to know are told,
    /// and a line that is still high calls again. Where the kernel hears of EOIs itself this does nothing.
    ///
    /// # Errors
    ///
    /// [`Error::SetLevel`]: the line does not call again, and tries with its next change of any kind. All were told.
    pub fn on_eoi(&self) -> Result<(), Error> {
        self.inner.on_eoi()
    }

    /// Sends the level anew, and tells all who want to know as an EOI does: after the state of a controller was
    /// restored or reset, which may have forgotten what it was told, and interrupts that were in service. At worst an
    /// interrupt is spurious.
    ///
    /// # Errors
    ///
    /// [`Error::SetLevel`]. All were told.
    pub fn resync(&self) -> Result<(), Error> {
        self.inner.resync()
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    fn number(&self) -> u32 {
        match self.number {
            Number::Gsi(gsi) => gsi.number(),
            Number::Pin(pin) => pin,
        }
    }

    /// Changes why a member holds the line up.
    fn set_level(&self, place: Place, change: impl FnOnce(&mut Level)) -> Result<(), Error> {
        let mut state = self.lock();
        let State { members, way } = &mut *state;
        let Some(member) = members.get(place) else {
            return Ok(());
        };
        let mut level = member.level;
        change(&mut level);
        if level == member.level {
            return Ok(());
        }
        way.admit_level(member)?;
        let before = members.set_level(place, level);
        let result = way.follow(members.level());
        if result.is_err() {
            members.set_level(place, before);
        }
        result
    }

    fn join(&self, mut member: Member) -> Result<Place, Error> {
        let mut state = self.lock();
        let State { members, way } = &mut *state;
        way.admit(members, &member)?;
        way.bind(&mut member)?;
        Ok(members.insert(member))
    }

    /// Takes a member off, or changes nothing.
    fn leave(&self, place: Place) -> Result<(), Error> {
        let mut state = self.lock();
        let State { members, way } = &mut *state;
        let before = members.set_level(place, Level::default());
        let result = way.follow(members.level());
        let result = result.and_then(|()| match members.get_mut(place) {
            Some(member) => way.unbind(member),
            None => Ok(()),
        });
        match result {
            Ok(()) => members.remove(place),
            Err(_) => {
                members.set_level(place, before);
                if let Err(error) = way.follow(members.level()) {
                    log::error!("a line is low that should be high: {error}");
                }
            }
        }
        result
    }

    /// Takes a member off whatever happens, and answers what did not work.
    fn forget(&self, place: Place) -> [Option<Error>; 2] {
        let mut state = self.lock();
        let State { members, way } = &mut *state;
        members.set_level(place, Level::default());
        let lowered = way.follow(members.level());
        let unbound = members
            .get_mut(place)
            .map_or(Ok(()), |member| way.unbind(member));
        if unbound.is_err() {
            way.keep();
        }
        members.remove(place);
        [lowered.err(), unbound.err()]
    }

    fn redirect(&self, new: Entry) -> Result<(), Error> {
        let mut state = self.lock();
        let State { members, way } = &mut *state;
        let Way::Message(message) = way else {
            let line = self.number();
            return Err(Error::NoMessage { line });
        };
        let ended = message.redirect(members, new)?;
        let vector = new.ended_by().map_or(NO_VECTOR, u32::from);
        self.ended_by.store(vector, Ordering::Release);
        let told = ended.then(|| members.told());
        drop(state);
        told.iter().for_each(|told| tell(told));
        Ok(())
    }

    fn end_of_vector(&self, vector: u8) -> Option<Result<(), Error>> {
        let vector = u32::from(vector);
        if self.ended_by.load(Ordering::Acquire) != vector {
            return None;
        }
        let state = self.lock();
        // The guest may have written the entry since.
        let is_it = self.ended_by.load(Ordering::Relaxed) == vector;
        is_it.then(|| Self::end(state))
    }

    fn end_of_pin(&self, pin: u32) -> Option<Result<(), Error>> {
        (self.number() == pin).then(|| self.on_eoi())
    }

    fn on_eoi(&self) -> Result<(), Error> {
        Self::end(self.lock())
    }

    fn end(mut state: MutexGuard<'_, State>) -> Result<(), Error> {
        let State { members, way } = &mut *state;
        let result = match way {
            Way::Kernel(_) => return Ok(()),
            Way::Message(message) => message.end(),
            Way::Controller(controller) => controller.end(members),
        };
        let told = members.told();
        drop(state);
        tell(&told);
        result
    }

    fn resync(&self) -> Result<(), Error> {
        let mut state = self.lock();
        let State { members, way } = &mut *state;
        let result = match way {
            Way::Kernel(kernel) => kernel.send(members.level()),
            Way::Message(message) => message.end(),
            Way::Controller(controller) => {
                let ended = controller.end(members);
                ended.and_then(|()| controller.send(members.level()))
            }
        };
        let told = members.told();
        drop(state);
        tell(&told);
        result
    }
}

impl Way {
    fn follow(&mut self, level: bool) -> Result<(), Error> {
        match self {
            Self::Kernel(kernel) => kernel.follow(level),
            Self::Message(message) => message.follow(level),
            Self::Controller(controller) => controller.follow(level),
        }
    }

    fn admit(&self, members: &Members, new: &Member) -> Result<(), Error> {
        match self {
            Self::Kernel(kernel) => kernel.admit(members, new),
            Self::Message(_) | Self::Controller(_) => Ok(()),
        }
    }

    fn admit_level(&self, member: &Member) -> Result<(), Error> {
        match self {
            Self::Kernel(kernel) => kernel.admit_level(member),
            Self::Message(_) | Self::Controller(_) => Ok(()),
        }
    }

    fn bind(&self, member: &mut Member) -> Result<(), Error> {
        match self {
            Self::Kernel(kernel) => kernel.bind(member),
            Self::Message(message) => message.bind(member),
            Self::Controller(_) => Ok(()),
        }
    }

    fn unbind(&mut self, member: &mut Member) -> Result<(), Error> {
        match self.held() {
            Some(held) => binding::unbind(held.line(), member),
            None => Ok(()),
        }
    }

    fn keep(&mut self) {
        if let Some(held) = self.held() {
            held.keep();
        }
    }

    fn held(&mut self) -> Option<&mut held::Held> {
        match self {
            Self::Kernel(kernel) => Some(kernel.held()),
            Self::Message(message) => Some(&mut message.held),
            Self::Controller(_) => None,
        }
    }
}

/// Signals all of them. A signal that is there already is as good.
fn tell(notifiers: &[Arc<EventNotifier>]) {
    for notifier in notifiers {
        if let Err(error) = notifier.notify() {
            log::error!("the end of an interrupt cannot be told: {error}");
        }
    }
}

impl PartialEq for LevelLine {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}

impl Eq for LevelLine {}

impl fmt::Debug for LevelLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.inner.lock();
        f.debug_struct("LevelLine")
            .field("number", &self.inner.number)
            .field("members", &state.members)
            .field("way", &state.way)
            .finish()
    }
}
