// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`IrqFd`]: an edge-triggered interrupt.

mod bound;
mod builder;
mod error;

mod taken;
mod target;

use std::io;
use std::sync::Arc;

use irq_routing::{Gsi, GsiLease, Line};
use notify_core::{EventNotifier, Rejected};

pub(crate) use bound::Bound;
pub use builder::IrqFdBuilder;
pub use error::IrqFdError;
pub(crate) use taken::Taken;
pub use target::IrqTarget;

/// An edge-triggered interrupt: each signal of a notifier pulses a GSI.
///
/// While it is bound, no other thread should read or watch the notifier: KVM takes every signal,
/// and waiters are not woken. (Before Linux 5.11 KVM leaves the count in the notifier, and waiters
/// are woken.) It keeps its notifier and its VM open: KVM silently removes an irqfd when the last
/// descriptor of either is closed.
///
/// Signals that arrive before the guest has handled the last one are merged. A signal for a masked
/// or unacknowledged *pin* is lost, as an edge is on the wire; for a message it is kept by the
/// local APIC.
///
/// # Drop
///
/// Unbinds the notifier, then gives the GSI back if it was leased. A failure is logged and keeps
/// the GSI out of use. Blocks for one KVM_IRQFD, which waits for injections that KVM has begun:
/// some 40 microseconds, more on a loaded host. Then the counter is zero, and later signals stay in
/// it.
///
/// # Snapshots
///
/// To save a VM, stop vCPUs and back-ends, [`deassign`](Self::deassign) the irqfd, keep the
/// builder, and read the state of the interrupt controllers afterwards. KVM injects interrupts of
/// pins from a thread of the kernel; before that they are neither in the notifier nor in that
/// state. `deassign` waits for that thread. Later signals stay in the notifier until the builder is
/// [assigned](IrqFdBuilder::assign) again.
///
/// # Translated messages
///
/// While the table's translation blocks the message of the GSI, the irqfd is unbound and signals
/// stay in the notifier: the kernel never has an irqfd on a GSI without a route.
/// [`RoutingTable::kernel_route`](irq_routing::RoutingTable::kernel_route) returns
/// [`Blocked`](irq_routing::KernelRoute::Blocked) then.
///
/// Kernel source: `virt/kvm/eventfd.c`, `kvm_irqfd_assign`.
///
/// ```
/// # use std::sync::Arc;
/// # use irq_routing::{MsiMessage, RoutingTable};
/// # use irqfd::IrqFd;
/// # use notify_sim::SimVm;
/// let vm = Arc::new(SimVm::builder().build()); // or a KvmVm
/// vm.enable_lapic(0); // as a guest does when it boots
/// let table = RoutingTable::new(vm.clone())?; // one for the VM
/// let irq = IrqFd::builder(table.lease_msi(MsiMessage::new(0xfee0_0000, 0x40))?).assign()?;
///
/// // The guest moves the interrupt to another vector: the irqfd stays as it is.
/// if let Some(lease) = irq.lease() {
///     lease.set_route(MsiMessage::new(0xfee0_0000, 0x41))?;
/// }
/// irq.notifier().notify()?;
/// assert_eq!(vm.pending_vectors(0), [0x41]);
///
/// // Off and on again, with the same GSI and notifier.
/// let irq = irq.deassign()?.assign()?;
/// drop(irq); // disarmed, then the GSI is given back
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping an irqfd disarms it"]
pub struct IrqFd {
    gsi: Gsi,
    notifier: Arc<EventNotifier>,
    bound: Bound,
    /// Until it is disarmed.
    armed: Option<Line>,
}

impl IrqFd {
    /// Starts an interrupt on a leased GSI, or on a line that devices share.
    pub fn builder(target: impl Into<IrqTarget>) -> IrqFdBuilder {
        IrqFdBuilder {
            target: target.into(),
            notifier: None,
        }
    }

    pub(crate) fn armed(line: Line, notifier: Arc<EventNotifier>, bound: Bound) -> Self {
        Self {
            gsi: line.gsi(),
            notifier,
            bound,
            armed: Some(line),
        }
    }

    /// Returns the GSI that the notifier raises.
    #[must_use]
    pub fn gsi(&self) -> Gsi {
        self.gsi
    }

    /// Returns the notifier that raises the interrupt.
    #[must_use]
    pub fn notifier(&self) -> &Arc<EventNotifier> {
        &self.notifier
    }

    /// Whether the table's translation blocks the message of the GSI. Then the kernel has no irqfd,
    /// and signals stay in the notifier; they are delivered when the message is let through.
    pub(crate) fn is_blocked(&self) -> bool {
        self.bound.is_blocked()
    }

    /// Takes the signal that its notifier has while the message is blocked.
    pub(crate) fn take_if_blocked(&self) -> Result<bool, notify_core::Error> {
        self.bound.take_if_blocked(&self.notifier)
    }

    /// Why it could not be bound again when its message was let through.
    pub(crate) fn lost(&self) -> Option<IrqFdError> {
        self.bound.lost()
    }

    /// Returns the lease of its GSI, which a transaction can reroute; `None` for a wired GSI.
    #[must_use]
    pub fn lease(&self) -> Option<&GsiLease> {
        self.armed.as_ref().and_then(Line::lease)
    }

    /// Unbinds the notifier, as the drop does, and returns an error if that fails.
    ///
    /// The builder that it returns has the notifier, now with a counter of zero, and the GSI with
    /// its route: the lease if there was one, else the line. Blocks as the drop does.
    ///
    /// # Errors
    ///
    /// [`IrqFdError::Deassign`]. The error returns the irqfd, still bound as far as is known.
    pub fn deassign(mut self) -> Result<IrqFdBuilder, Rejected<Self, IrqFdError>> {
        let Some(line) = self.armed.take() else {
            return Err(Rejected::new(self.not_armed(), self));
        };
        match self.disarm(&line) {
            // The route is released before what is registered, which is dropped with `self`.
            Ok(()) => Ok(IrqFdBuilder {
                target: IrqTarget::from_lease_of(line),
                notifier: Some(Arc::clone(&self.notifier)),
            }),
            Err(error) => {
                self.armed = Some(line);
                Err(Rejected::new(error, self))
            }
        }
    }

    /// Binds another notifier in place of its own: the new one first, so that the GSI is never
    /// without one. When this returns the old one has no effect, and its counter was zero.
    ///
    /// # Errors
    ///
    /// [`IrqFdError::Deassign`], and those of [`IrqFdBuilder::assign`]: its own notifier is bound
    /// still.
    pub(crate) fn replace_notifier(&mut self, new: &Arc<EventNotifier>) -> Result<(), IrqFdError> {
        let Some(line) = &self.armed else {
            return Err(self.not_armed());
        };
        let gsi = self.gsi;
        if let Err(error) = self.bound.assign(line, new, None) {
            return Err(IrqFdError::refused(&**line.table().vm(), gsi, error));
        }
        if let Err(error) = self.disarm(line) {
            if let Err(error) = self.bound.deassign(line, new) {
                log::error!(
                    "two notifiers are bound to GSI {gsi}, which is kept out of use when it is \
                     given back: {error}"
                );
                line.quarantine();
            }
            return Err(error);
        }
        self.notifier = Arc::clone(new);
        Ok(())
    }

    fn disarm(&self, line: &Line) -> Result<(), IrqFdError> {
        let result = self.bound.deassign(line, &self.notifier);
        result.map_err(|error| IrqFdError::not_unbound(self.gsi, error))
    }

    /// Not reached: only `deassign` and the drop take the line, and both consume the irqfd.
    fn not_armed(&self) -> IrqFdError {
        IrqFdError::not_unbound(self.gsi, io::ErrorKind::NotFound.into())
    }
}

impl Drop for IrqFd {
    fn drop(&mut self) {
        let Some(line) = self.armed.take() else {
            return;
        };
        if let Err(error) = self.disarm(&line) {
            log::error!("{error}; the GSI is kept out of use");
            line.quarantine();
        }
        // The line is released before what is registered.
    }
}
