// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! How a line is paused and resumed.

use super::LevelLine;
use crate::LevelError;

impl LevelLine {
    /// Pauses the line, so that the state of the interrupt controllers can be saved. A line that is
    /// paused already stays so.
    ///
    /// KVM injects what an irqfd of a pin was signalled for from a thread of the kernel. Until that
    /// thread has run, the interrupt is neither in the eventfd nor in what KVM_GET_IRQCHIP and
    /// KVM_GET_LAPIC return. When `pause` has returned, nothing of this line is under way in the
    /// kernel. To save a VM, in this order:
    ///
    /// 1. Stop the vCPUs, and report the EOI exits with which they have stopped.
    /// 2. Stop the back-ends of the devices.
    /// 3. Pause each line. Deassign each [`IrqFd`](crate::IrqFd), on a pin or with a message:
    ///    [`IrqFd::deassign`](crate::IrqFd::deassign) waits for the kernel in the same way. Keep
    ///    the builder that it returns until the VM goes on.
    /// 4. KVM_GET_IRQCHIP, KVM_GET_LAPIC, [`snapshot`](Self::snapshot) of each line.
    ///
    /// To go on with the same VM, [`resume`](Self::resume) each line and
    /// [`assign`](crate::IrqFdBuilder::assign) each builder.
    ///
    /// A signal of an exported device is in the guest's interrupt controllers when this returns, or
    /// it stays in the trigger until the resume. Devices of the VMM stay on the line, and are
    /// notified of EOIs. Every call can be made while the line is paused, by any thread:
    ///
    /// - [`assert`](crate::LevelIrq::assert), [`deassert`](crate::LevelIrq::deassert): the level is
    ///   remembered. If the line was high in between only, the guest does not see it, unless the
    ///   redirection entry is edge-triggered.
    /// - A device joins: its trigger is bound at the resume, which fails if KVM refuses it.
    /// - A device leaves: it is off the line when that returns. The pin stays as it is until the
    ///   resume.
    /// - [`redirect`](Self::redirect): the entry is remembered. If that ends a service, the devices
    ///   are notified at once.
    /// - An EOI is reported ([`EoiExits`](crate::EoiExits), [`on_eoi`](Self::on_eoi)): the devices
    ///   are notified at once. A line that is still high interrupts again at the resume.
    /// - [`resync`](Self::resync), [`reassert`](Self::reassert): `resync` notifies devices at once.
    ///   The level is sent anew at the resume.
    /// - [`take_trigger`](crate::LevelIrq::take_trigger): the signal is taken, and is part of a
    ///   snapshot.
    ///
    /// Dropping a paused line lowers a pin in the kernel. A pin of the VMM's own controller keeps
    /// the level that it was given last.
    ///
    /// Blocks until the kernel has finished what it has under way: up to some milliseconds for each
    /// exported device, during which no other call of this line returns. Issues KVM_IRQFD once for
    /// each exported device, once for an irqfd of the line's own, and once more if the line has
    /// pins in the kernel and a device on it has an irqfd. Issues no ioctl for a line of the VMM's
    /// own controller.
    ///
    /// # Errors
    ///
    /// [`LevelError::Notifier`], [`LevelError::Arm`]: the line is not paused, and works as
    /// before. Lines that were paused before it stay paused until [`resume`](Self::resume).
    pub fn pause(&self) -> Result<(), LevelError> {
        self.inner.set_paused(true)
    }

    /// Takes [`pause`](Self::pause) back. Signals that wait in the triggers of exported devices are
    /// delivered, and the interrupt controllers get the level of the line. A line that is not
    /// paused stays as it is.
    ///
    /// If a vCPU has ended an interrupt of the line meanwhile, exported devices are notified now.
    ///
    /// Issues KVM_IRQFD once for each exported device, and with pins in the kernel once more;
    /// KVM_IRQ_LINE or [`Controller::set_level`](crate::Controller::set_level) if the level has
    /// changed, and KVM_SET_GSI_ROUTING if the redirection entry has. Blocks as
    /// [`pause`](Self::pause) does.
    ///
    /// # Errors
    ///
    /// [`LevelError::LevelRefused`], [`LevelError::NoIrqLine`], [`LevelError::Route`] and those of
    /// [`pause`](Self::pause): the line stays paused, and this can be called again.
    pub fn resume(&self) -> Result<(), LevelError> {
        self.inner.set_paused(false)
    }
}
