// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Line`]: a vector of the model.

/// Address, data and device id.
pub(super) type Message = (u64, u32, Option<u32>);

/// How far the arming of a vector is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arm {
    /// Not armed: it is masked, paused, or has no notifier.
    Off,
    /// It waits for a round.
    Queued,
    /// It waits for a batch to be run.
    Batched,
    /// It is tried in this step.
    Tried,
    Armed,
    /// It is armed, and its GSI shall be routed to another message in this step.
    Moved,
    /// Whether the next round tries again.
    Dead {
        again: bool,
    },
}

/// What a trigger does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outlet {
    /// It sends the message.
    Message,
    /// It signals a notifier that was never handed out, if that is bound.
    Own(usize),
    /// It signals a notifier that was handed out.
    Shared(usize),
    /// It has no notifier any more.
    Nothing,
}

#[derive(Debug, Clone)]
pub(super) struct Line {
    /// The guest's registers let it send.
    pub(super) open: bool,
    pub(super) paused: bool,
    pub(super) sends: Message,
    /// A trigger is kept outside the notifier.
    pub(super) kept: bool,
    pub(super) outlet: Outlet,
    pub(super) arm: Arm,
    /// Its GSI, held or parked.
    pub(super) gsi: Option<usize>,
    /// The kernel has refused the last message that was sent directly.
    pub(super) refused: bool,
    /// Whether its queue has an owner.
    pub(super) queue: bool,
    /// Whether it was built with a queue.
    pub(super) built_with_queue: bool,
    /// Whether it was built with an irqfd of its own.
    pub(super) private: bool,
}

/// Whether some kernels refuse it.
pub(super) fn is_high((address, ..): Message) -> bool {
    address >> 32 & 0xff != 0
}

/// Whether it is an edge-triggered fixed interrupt for a single processor, by the id of its APIC
/// (Intel SDM volume 3, 12.11).
pub(super) fn has_one_target((address, data, _): Message) -> bool {
    // Without 32-bit ids this is a message to all, whatever the upper half of the address is.
    let broadcast = address >> 12 & 0xff == 0xff;
    data & 0x8700 == 0 && address & 0xc == 0 && !broadcast
}

impl Line {
    pub(super) fn new(queue: bool, outlet: Outlet) -> Self {
        Self {
            open: false,
            paused: false,
            sends: (0, 0, None),
            kept: false,
            outlet,
            arm: Arm::Off,
            gsi: None,
            refused: false,
            queue,
            built_with_queue: queue,
            private: outlet != Outlet::Message,
        }
    }

    /// Whether it may send.
    pub(super) fn is_active(&self) -> bool {
        self.open && !self.paused
    }

    /// The notifier that is bound, or shall be.
    pub(super) fn notifier(&self) -> Option<usize> {
        match self.outlet {
            Outlet::Own(at) | Outlet::Shared(at) => Some(at),
            Outlet::Message | Outlet::Nothing => None,
        }
    }

    /// The notifier that was handed out.
    pub(super) fn shared(&self) -> Option<usize> {
        match self.outlet {
            Outlet::Shared(at) => Some(at),
            _ => None,
        }
    }

    /// Whether its notifier is bound as an irqfd.
    pub(super) fn is_armed(&self) -> bool {
        matches!(self.arm, Arm::Armed | Arm::Moved)
    }

    /// Whether arming or rerouting is tried in this step.
    pub(super) fn is_tried(&self) -> bool {
        matches!(self.arm, Arm::Tried | Arm::Moved)
    }

    /// Whether a trigger is sent and not kept.
    pub(super) fn lets_through(&self) -> bool {
        match self.outlet {
            Outlet::Message => self.is_active() && self.arm == Arm::Off,
            Outlet::Own(_) => self.is_armed(),
            Outlet::Shared(_) => true,
            Outlet::Nothing => false,
        }
    }
}
