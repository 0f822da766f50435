// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the guest and the VMM change of a vector: its masks and its message. Each change begins a
//! revision, see [`control`](super::control).

mod export;
mod lease;

use std::sync::Arc;

use irq_routing::{MsiMessage, Platform};

use super::Inner;
use super::arming::{Start, Task};
use super::control::{Arm, Control, Masks};
use super::trigger::Kind;
use crate::VectorError;
use crate::sync::atomic::Ordering;

impl Inner {
    /// Closes the vector for one more reason.
    pub(crate) fn add_mask(&self, mask: Masks) {
        self.add_mask_locked(&mut self.control.lock(), mask);
    }

    fn add_mask_locked(&self, control: &mut Control, mask: Masks) {
        let was_open = control.masks.is_none();
        control.masks = control.masks.with(mask);
        if was_open {
            self.close(control);
        }
        control.park_if_masked();
    }

    /// The guest masks it.
    pub(crate) fn mask(&self) {
        self.add_mask(Masks::GUEST);
    }

    /// A reset. In one step, so that a vector that is unmasked meanwhile is not left to a caller
    /// that does not arm it.
    pub(crate) fn reset(&self) {
        let mut control = self.control.lock();
        self.add_mask_locked(&mut control, Masks::GUEST);
        self.clear_pending_locked(&control);
        control.message = MsiMessage::default();
    }

    /// Disarms the vector and closes its gate. When this returns nothing is injected. The GSI stays
    /// the vector's.
    pub(super) fn close(&self, control: &mut Control) {
        self.unbind(control, Control::disarm);
        self.dead.store(false, Ordering::Relaxed);
    }

    /// Closes the gate of a vector, unless its notifier was handed out, and takes its irqfd off in
    /// this way.
    pub(super) fn unbind(&self, control: &mut Control, unbind_irqfd: fn(&mut Control)) {
        // Before the irqfd is taken off: a trigger in flight may be about to signal the vector's
        // own notifier, and what it signals is injected still.
        if !self.outlet.is_shared() {
            self.gate.close();
        }
        unbind_irqfd(control);
        // While the translation blocks the message, the notifier is not bound, and its signal waits
        // there.
        if self.table.translates() && self.outlet.take_own_signal() {
            drop(self.gate.enter());
        }
    }

    /// One reason less for the vector to be closed. Returns what is left to be done without the
    /// lock.
    pub(super) fn remove_mask(self: &Arc<Self>, mask: Masks) -> Start {
        self.remove_mask_locked(&mut self.control.lock(), mask)
    }

    fn remove_mask_locked(self: &Arc<Self>, control: &mut Control, mask: Masks) -> Start {
        if !control.masks.has(mask) {
            return Start::Nothing;
        }
        control.masks = control.masks.without(mask);
        if control.masks == Masks::PAUSE && matches!(self.outlet.kind(), Kind::Own | Kind::Shared) {
            // As if it had not been masked meanwhile: it keeps its GSI until it is resumed.
            control.unpark();
        }
        self.start_if_open(control)
    }

    /// An access of the guest unmasks it, with this message.
    pub(super) fn begin_unmask_with(self: &Arc<Self>, message: MsiMessage, access: u64) -> Start {
        let mut control = self.control.lock();
        if !control.masks.has(Masks::GUEST) {
            return Start::Nothing;
        }
        control.message = message;
        control.access = access;
        self.remove_mask_locked(&mut control, Masks::GUEST)
    }

    /// Begins to arm or open a vector of which nothing is armed or open, unless it is closed for a
    /// reason.
    pub(super) fn start_if_open(self: &Arc<Self>, control: &mut Control) -> Start {
        match control.masks.is_none() {
            true => self.start(control),
            false => Start::Nothing,
        }
    }

    fn start(self: &Arc<Self>, control: &mut Control) -> Start {
        control.revision += 1;
        control.failures = 0;
        self.refusal.store(0, Ordering::Relaxed);
        self.dead.store(false, Ordering::Relaxed);
        match self.outlet.kind() {
            Kind::Message => {
                control.arm = Arm::Arming;
                return Start::OpenInternal {
                    revision: control.revision,
                };
            }
            Kind::Nothing => {
                control.park();
                return Start::Nothing;
            }
            Kind::Own | Kind::Shared => {}
        }
        // At once: until its turn comes, others that wait for a GSI may be served.
        control.unpark();
        if let Some(queue) = &self.queue
            && self.enter(control, None)
        {
            queue.wake();
            return Start::Nothing;
        }
        control.arm = Arm::Arming;
        Start::Task(Task::new(self, control))
    }

    /// Enters the vector in its queue, unless there is none or its owner is gone.
    pub(super) fn enter(
        self: &Arc<Self>,
        control: &mut Control,
        reason: Option<VectorError>,
    ) -> bool {
        let Some(queue) = &self.queue else {
            return false;
        };
        let entered = matches!(control.arm, Arm::Queued(_)) || queue.push(self);
        if entered {
            control.arm = Arm::Queued(reason);
        }
        entered
    }

    /// Gives it another message, for an access of the guest or, with 0, for another caller.
    pub(super) fn begin_set_message(self: &Arc<Self>, message: MsiMessage, access: u64) -> Start {
        let mut control = self.control.lock();
        // The same message once more is a second chance for a dead vector.
        if control.message == message && !self.is_dead(&control) {
            return Start::Nothing;
        }
        let old = std::mem::replace(&mut control.message, message);
        if !control.masks.is_none() {
            return Start::Nothing;
        }
        control.access = access;
        if matches!(control.arm, Arm::Armed(_)) && self.may_exchange(old, message) {
            control.revision += 1;
            return Start::Task(Task::new(self, &control));
        }
        self.close(&mut control);
        self.start(&mut control)
    }

    /// Whether the route of an armed vector may be exchanged, so that it need not be disarmed.
    ///
    /// KVM exchanges a route whole. Where interrupts of a device are posted to a running vCPU
    /// without KVM, a message that cannot be posted ends that, which kernels before 6.15 do not do
    /// in every case. So both messages must be of the kind that is posted. Whether that is so of
    /// translated messages is not known before they are translated. A queue's owner commits later:
    /// until then signals would go to the old message. On other architectures (arm64 before 6.16)
    /// the kernel does not move what a device injects directly.
    fn may_exchange(&self, old: MsiMessage, new: MsiMessage) -> bool {
        let is_x86 = matches!(self.table.platform(), Platform::X86 | Platform::X86Split);
        let commits_now = self.queue.is_none() && !self.table.translates();
        is_x86 && commits_now && is_posted(old) && is_posted(new)
    }

    fn is_dead(&self, control: &Control) -> bool {
        match control.arm {
            Arm::Dead(_) | Arm::Queued(Some(_)) => true,
            Arm::Off => self.refusal().is_some(),
            _ => false,
        }
    }

    /// The vector is dead from now on, for this reason, or until the queue's owner has tried again.
    /// Nothing stays armed.
    pub(super) fn kill(self: &Arc<Self>, control: &mut Control, reason: VectorError) {
        self.close(control);
        control.park();
        self.dead.store(true, Ordering::Relaxed);
        control.failures = control.failures.saturating_add(1);
        if !(reason.is_transient() && self.enter(control, Some(reason.clone()))) {
            control.arm = Arm::Dead(reason);
        } else if let Some(queue) = &self.queue {
            queue.retry_later(control.failures);
        }
    }
}

/// Whether a message on x86 is a fixed, edge-triggered interrupt for one local APIC by its id: the
/// kind that processors with posted interrupts deliver to a running vCPU without KVM.
fn is_posted(message: MsiMessage) -> bool {
    let MsiMessage { address, data, .. } = message;
    // Without 32-bit ids the lowest byte of the destination is all that counts.
    let to_all = address >> 12 & 0xff == 0xff;
    // Neither a logical destination (bit 2) nor the redirection hint (bit 3).
    let by_id = address & 0xc == 0;
    // Delivery mode 0 (bits 10 to 8), and edge-triggered (bit 15).
    let is_fixed_edge = data & 0x8700 == 0;
    by_id && !to_all && is_fixed_edge
}
