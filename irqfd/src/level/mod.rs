// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`LevelLine`]: a level-triggered interrupt line, which devices share.
//!
//! Locks are taken in this order: a line, then the routing table or the VMM's own controller. The
//! registry of an [`EoiExits`] is released before a line is locked. Notifiers are signalled without
//! the line's lock.

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
/// A device joins the line and has a [`LevelIrq`]. The line is high while any device asserts. At
/// the guest's EOI each device that asked for EOIs is notified once, and if the line is still high
/// the guest is interrupted again.
///
/// How the level reaches the guest depends on the VM:
///
/// | the VM has | the level | EOIs |
/// |---|---|---|
/// | pins in the kernel | KVM_IRQ_LINE; for exported devices resampling irqfds | the kernel signals the resample notifiers |
/// | a split irqchip: the GSI has a message | KVM_IRQ_LINE and irqfds send the message | KVM_EXIT_IOAPIC_EOI, to [`EoiExits`] |
/// | the same, with a TDX guest ([`without_eois`](LevelLineBuilder::without_eois)) | each [`assert`](LevelIrq::assert) sends the message | none |
/// | an interrupt controller of the VMM's own | [`Controller::set_level`] | from the VMM, to [`EoiExits`] or [`on_eoi`](Self::on_eoi) |
///
/// A port other than KVM's may lack KVM_IRQ_LINE
/// ([`Vm::irq_line_status`](notify_core::Vm::irq_line_status) returns `Unsupported`). Then a GSI
/// with a message sends it by an irqfd of the line's own, which is bound when it is first needed,
/// and a pin in the kernel has no level ([`LevelError::NoIrqLine`](crate::LevelError::NoIrqLine)).
///
/// No other GSI can be routed to the pins of a line ([`irq_routing::DrivenLine`]). Use no other
/// driver of the GSI: an edge-triggered [`IrqFd`](crate::IrqFd) on it, or
/// [`inject::line`](crate::inject::line()), lowers the level of the VMM's devices. Rerouting a
/// wired GSI while it is high leaves its old pins high.
///
/// To save a VM, [`pause`](Self::pause) its lines; [`snapshot`](Self::snapshot) and
/// [`restore`](Self::restore) move a line to another VM. The guide has
/// [the order](crate::guide::snapshot), and a chapter about [lines](crate::guide::intx).
///
/// The line ends with its last handle or [`LevelIrq`]. That drop issues no ioctl, unless the last
/// device could not lower the line or the line has an irqfd of its own. Two handles are equal if
/// they are of one line.
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
    /// Starts a line on a GSI that is routed to pins in the kernel, or on a split irqchip has a
    /// message.
    #[must_use = "a builder does nothing"]
    pub fn builder(line: Line) -> LevelLineBuilder {
        LevelLineBuilder::new(line)
    }

    /// Creates a line to a pin of an interrupt controller of the VMM's own.
    ///
    /// For a VM without interrupt controllers in the kernel, or a split irqchip whose VMM keeps the
    /// state of its IOAPIC itself. The line starts low; the controller is not called. Later it is
    /// called with the line's lock held; see [`Controller`].
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

    /// Returns the number of its GSI, or of its pin at the VMM's own controller.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.inner.number()
    }

    /// Returns whether a device asserts. Signals that the kernel takes from a trigger are not seen.
    #[must_use]
    pub fn is_asserted(&self) -> bool {
        self.inner.lock().members.level()
    }

    /// Sets the redirection entry of this line's pin, which the guest has written to an IOAPIC in
    /// user space.
    ///
    /// The message has the form of an MSI, with bit 15 of the data set for level-triggered. The
    /// entry starts masked, as after a reset.
    ///
    /// While the entry is masked nothing is injected and nothing is committed. The levels of the
    /// VMM's devices are remembered, and signals of exported devices stay in their triggers. When
    /// it is unmasked, a new message is committed to the routing table. An interrupt is sent if the
    /// line is high and none is in service.
    ///
    /// If the vector changes while an interrupt is in service, or the entry turns edge-triggered,
    /// it is treated as an EOI: every device that asked for EOIs is notified, because the EOI of
    /// the old vector may never come. With an exported device on the line an interrupt may always
    /// be in service. An edge-triggered entry sends one message each time that the line rises while
    /// it is not masked. Its EOIs are not reported; exported devices are notified when it turns
    /// level-triggered again.
    ///
    /// The commit calls the table's translation, if there is one, while the line is locked. A
    /// thread that holds a lock which the translation takes must not use the line.
    ///
    /// # Errors
    ///
    /// [`LevelError::NoMessage`] for a line to pins. [`LevelError::Route`], [`LevelError::Arm`],
    /// [`LevelError::LevelRefused`] and other causes: the entry has not changed. Exported devices
    /// may have been notified.
    pub fn redirect(&self, message: MsiMessage, masked: bool) -> Result<(), LevelError> {
        self.inner.redirect(Entry { message, masked })
    }

    /// Reports an EOI of this line, for a VMM that has the interrupt controller.
    ///
    /// Devices that asked for EOIs are notified, and a line that is still high interrupts again.
    /// Where the kernel handles EOIs this does nothing.
    ///
    /// # Errors
    ///
    /// [`LevelError::LevelRefused`]: the devices were notified, and the line could not interrupt
    /// again. It retries with its next change of any kind.
    pub fn on_eoi(&self) -> Result<(), LevelError> {
        self.inner.on_eoi()
    }

    /// Sends the level of the VMM's devices again, if it is high.
    ///
    /// Call it where the VMM's own devices share a line to pins in the kernel with devices that
    /// asked for EOIs: each time that the notifier of one of the VMM's devices
    /// ([`join_resampled`](Self::join_resampled)) is signalled. When a guest unmasks an IOAPIC pin
    /// that waits, Linux 6.3 and later signals the resample notifiers instead of interrupting
    /// (`ioapic_write_indirect` in `arch/x86/kvm/ioapic.c`). It forgets the level of KVM_IRQ_LINE,
    /// and a device that does not assert again waits forever.
    ///
    /// Issues one ioctl if a device of the VMM's own asserts, else none. No device is notified. A
    /// line that was built [`without_eois`](LevelLineBuilder::without_eois) sends its message again
    /// if it is high. On any other line this does nothing.
    ///
    /// # Errors
    ///
    /// [`LevelError::LevelRefused`].
    pub fn reassert(&self) -> Result<(), LevelError> {
        self.inner.reassert()
    }

    /// Sends the level again, and notifies the devices that asked for EOIs, as an EOI does.
    ///
    /// Call it after restoring or resetting the interrupt controller, whose state may no longer
    /// match the line. At worst one interrupt is spurious. On arm64 no level is sent for exported
    /// devices: the pin has only theirs.
    ///
    /// # Errors
    ///
    /// [`LevelError::LevelRefused`]. The devices were notified.
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
