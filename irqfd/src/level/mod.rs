// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`LevelLine`]: a level-triggered interrupt line, which devices share.
//!
//! Locks are taken in this order: a line, then the routing table or the VMM's own controller. The
//! registry of an [`EoiExits`] is let go before a line is locked. Notifiers are signalled out of a
//! line's lock.

mod binding;
mod builder;
mod controller;
mod delivery;
mod driven_gsi;
mod entry;
mod error;
mod exits;
mod inner;
mod irq;
mod join;
mod kernel;
mod members;
mod message;
mod pause;
mod placeholder;
mod sender;
mod snapshot;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use irq_routing::{Line, MsiMessage};

pub use builder::LevelLineBuilder;
pub use controller::Controller;
use controller::OnController;
use delivery::Delivery;
use entry::Entry;
pub use error::{LevelError, NoResample};
pub use exits::EoiExits;
use inner::{Inner, Number};
pub use irq::LevelIrq;
pub use snapshot::LevelSnapshot;

/// A level-triggered interrupt line: the wired-OR of the devices on it. Clones share it.
///
/// A device is on it by a [`LevelIrq`]. The line is high while any of them asserts; when the guest
/// ends the interrupt (EOI), those that want to know are told, once each, and one that still
/// asserts is heard again.
///
/// What stands behind it depends on the machine:
///
/// | the machine | the level | EOIs |
/// |---|---|---|
/// | pins in the kernel | KVM_IRQ_LINE; for exported devices resampling irqfds | the kernel signals by itself |
/// | a split irqchip: the GSI has a message | KVM_IRQ_LINE and irqfds send the message | KVM_EXIT_IOAPIC_EOI, to [`EoiExits`] |
/// | the same, of a TDX guest ([`without_eois`](LevelLineBuilder::without_eois)) | each [`assert`](LevelIrq::assert) sends the message | none |
/// | the VMM's own controller | [`Controller::set_level`] | the VMM's, to [`EoiExits`] or [`on_eoi`](Self::on_eoi) |
///
/// A port other than KVM's may lack KVM_IRQ_LINE
/// ([`Vm::irq_line_status`](notify_core::Vm::irq_line_status) returns `Unsupported`). Then a GSI
/// with a message sends it by an irqfd of the line's own, which is bound when it is first needed,
/// and a pin in the kernel has no level ([`LevelError::NoIrqLine`](crate::LevelError::NoIrqLine)).
///
/// No other GSI may lead to the pins of one that has a line ([`irq_routing::DrivenLine`]). The
/// GSI itself should have no other driver: an edge-triggered [`IrqFd`](crate::IrqFd) on it, or
/// [`inject::line`](crate::inject::line()), lowers what the VMM's devices hold up. A GSI of the
/// wiring that is led to other pins while it is high leaves the old ones high.
///
/// While a VM is saved its lines are [paused](Self::pause); see there in which order.
/// [`snapshot`](Self::snapshot) and [`restore`](Self::restore) take a line to another VM.
///
/// The line goes with its last handle, a [`LevelIrq`] being one. Dropping it issues no ioctl,
/// unless the last device could not lower it or the line has an irqfd of its own. Two handles are
/// equal if they are of one line.
///
/// ```
/// use std::sync::Arc;
/// use irq_routing::{Platform, RoutingTable, Wiring};
/// use irqfd::{EventNotifier, LevelLine};
/// use notify_sim::SimVm;
///
/// const IOAPIC: u32 = 2;
/// let vm = Arc::new(SimVm::builder().build()); // or a KvmVm
/// let table = RoutingTable::builder(vm.clone()).wiring(Wiring::pc()).build()?;
///
/// let line = LevelLine::builder(table.line(10)?).build()?;
/// let disk = line.join()?; // a device of the VMM
/// // A device of another process, which has both notifiers too.
/// let (trigger, resample) = (Arc::new(EventNotifier::new()?), Arc::new(EventNotifier::new()?));
/// let card = line.join_exported(Some(trigger.clone()), resample.clone())?;
/// let high = || vm.ioapic().is_some_and(|ioapic| ioapic.irr == 1 << 10);
///
/// disk.assert()?;
/// trigger.notify()?; // the other process
/// vm.guest_eoi(IOAPIC, 10);
/// assert!(high()); // the disk asserts still
///
/// // The other process is notified, and has no further reason; the disk has been served.
/// assert_eq!(resample.consume()?.map(u64::from), Some(1));
/// disk.deassert()?;
/// assert!(!high());
/// # drop(card);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct LevelLine {
    inner: Arc<Inner>,
}

impl LevelLine {
    /// A line of a GSI: one that leads to pins in the kernel, or on a split irqchip one that has a
    /// message.
    #[must_use = "a builder does nothing"]
    pub fn builder(line: Line) -> LevelLineBuilder {
        LevelLineBuilder::new(line)
    }

    /// A line to a pin of the VMM's own interrupt controller, of a machine that has none in the
    /// kernel, or a split irqchip whose VMM keeps the state of its IOAPIC itself. It starts low;
    /// nothing is called.
    ///
    /// The controller is called with the line's lock held; see [`Controller`].
    pub fn on_controller(pin: u32, controller: Arc<dyn Controller>, exits: &EoiExits) -> Self {
        let delivery = Delivery::Controller(OnController::new(pin, controller));
        let line = Self::new(Number::Pin(pin), delivery);
        exits.register(&line.inner);
        line
    }

    fn new(number: Number, delivery: Delivery) -> Self {
        let inner = Arc::new(Inner::new(number, delivery));
        Self { inner }
    }

    /// The number of its pin at the VMM's own controller, or of its GSI.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.inner.number()
    }

    /// Whether the line is high, as far as this process knows: a signal that the kernel takes
    /// raises it unseen.
    #[must_use]
    pub fn is_asserted(&self) -> bool {
        self.inner.lock().members.level()
    }

    /// The guest has written the redirection entry of this line's pin, of an IOAPIC in user space:
    /// this is the message now, in the form of an MSI (bit 15 of the data for level-triggered), and
    /// whether it is masked. The entry starts masked, as after a reset.
    ///
    /// While it is masked nothing is injected: what the VMM's devices assert is remembered, signals
    /// of exported ones stay in their triggers, and the message is only remembered too. When it is
    /// not, a new message is committed to the routing table, and an interrupt is sent if the line
    /// is high and none is in service.
    ///
    /// If an interrupt is in service and the vector changes, or the entry turns edge-triggered,
    /// then the service ends as by an EOI, and all who want to know are told: the EOI of the old
    /// vector may never come. With an exported device on the line one may always be in service. An
    /// edge-triggered entry gets one message each time that the line rises while it is not masked,
    /// and no EOI is reported; an exported device is told when it turns level-triggered again.
    ///
    /// The commit calls the table's translation, if there is one, while the line is locked: a
    /// thread that holds a lock which the translation takes must not use the line.
    ///
    /// # Errors
    ///
    /// [`LevelError::NoMessage`] for a line that has none. [`LevelError::Route`],
    /// [`LevelError::Arm`], [`LevelError::LevelRefused`] and the like:
    /// the entry is what it was. Exported devices may be told then, as the end of what they
    /// signalled meanwhile might not be heard of.
    pub fn redirect(&self, message: MsiMessage, masked: bool) -> Result<(), LevelError> {
        self.inner.redirect(Entry { message, masked })
    }

    /// An interrupt of this line has ended, as the VMM knows that has the controller. Those who
    /// want to know are told, and a line that is still high calls again. Where the kernel hears of
    /// EOIs itself this does nothing.
    ///
    /// # Errors
    ///
    /// [`LevelError::LevelRefused`]: the line does not call again, and tries with its next change
    /// of any kind. All were told.
    pub fn on_eoi(&self) -> Result<(), LevelError> {
        self.inner.on_eoi()
    }

    /// Says once more that the line is high, if it is. For a VMM whose own devices are on a line to
    /// pins in the kernel together with devices that are told of EOIs: it is to call this each time
    /// that one of its notifiers ([`join_resampled`](Self::join_resampled)) is signalled.
    ///
    /// When a guest unmasks an IOAPIC pin that waits, Linux tells all who resample the line instead
    /// of interrupting, and takes it that they raise the line again (6.3 and later,
    /// `ioapic_write_indirect` in `arch/x86/kvm/ioapic.c`). What KVM_IRQ_LINE has raised is
    /// forgotten with the rest, and a device that does not know of it waits for ever. One ioctl if
    /// a device of the VMM's own asserts, else none; no device is notified.
    ///
    /// A line that was built [`without_eois`](LevelLineBuilder::without_eois) sends its message
    /// again, if it is high. Anywhere else this does nothing, as the line calls again by itself.
    ///
    /// # Errors
    ///
    /// [`LevelError::LevelRefused`].
    pub fn reassert(&self) -> Result<(), LevelError> {
        self.inner.reassert()
    }

    /// Sends the level anew, and tells all who want to know as an EOI does: after the state of a
    /// controller was restored or reset, which may have forgotten what it was told, and interrupts
    /// that were in service. At worst an interrupt is spurious.
    ///
    /// # Errors
    ///
    /// [`LevelError::LevelRefused`]. All were told.
    pub fn resync(&self) -> Result<(), LevelError> {
        self.inner.resync()
    }
}

impl PartialEq for LevelLine {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}

impl Eq for LevelLine {}

/// By identity, as the comparison.
impl Hash for LevelLine {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.inner).hash(state);
    }
}

impl fmt::Debug for LevelLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.inner.lock();
        f.debug_struct("LevelLine")
            .field("number", &self.inner.number)
            .field("members", &state.members)
            .field("way", &state.delivery)
            .finish()
    }
}
