// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Injected`]: an interrupt that was injected.

use std::io;

use super::SimVm;
use notify_core::MsiMessage;

/// One input to an interrupt controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Injected {
    /// The GSI, if there was one.
    pub gsi: Option<u32>,
    /// The message, or the change of a pin.
    pub interrupt: Interrupt,
    /// Whether a controller took it.
    ///
    /// None does if the pin is masked, if the interrupt of a pin is pending already, or if a
    /// message has no destination. A message that merges with a pending one counts as taken. On
    /// riscv64 this is false for each message, because KVM does not report whether one was taken.
    pub taken: bool,
}

/// An MSI message, or a change of a pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Interrupt {
    /// An MSI message.
    Msi(MsiMessage),
    /// A pin was driven.
    Pin {
        /// The chip's number.
        chip: u32,
        /// The pin's number.
        pin: u32,
        /// The new level: true for high.
        level: bool,
    },
}

impl Injected {
    pub(super) fn new(gsi: Option<u32>, interrupt: Interrupt, result: i32) -> Self {
        Self {
            gsi,
            interrupt,
            taken: result > 0,
        }
    }
}

impl SimVm {
    /// Carries out all signals so far, and returns what was injected since the last `deliver`.
    ///
    /// That includes what other calls injected. All of it is kept until then, so a VM on which this
    /// is never called uses more and more memory.
    #[must_use]
    pub fn deliver(&self) -> Vec<Injected> {
        std::mem::take(&mut self.enter().injected)
    }

    /// A file that is readable when there may be signals to [`deliver`](Self::deliver).
    pub(super) fn readiness(&self) -> io::Result<std::os::fd::OwnedFd> {
        self.lock().irqfds.readiness()
    }
}
