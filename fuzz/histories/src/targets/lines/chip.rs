// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Chip`]: an interrupt controller of the VMM's own, with one pin.

use std::io;
use std::sync::Mutex;

use irqfd::Controller;

/// Of all such controllers the one that depends most on its line: it interrupts only when it is
/// given a high level, and does not look at the pin at an EOI.
#[derive(Debug, Default)]
pub(super) struct Chip(Mutex<State>);

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    pub(super) level: bool,
    pub(super) requested: bool,
    pub(super) in_service: bool,
    /// How many calls there were.
    calls: u8,
    /// Which one of the next calls fails.
    fails: u8,
}

impl State {
    pub(super) fn set(&mut self, level: bool) {
        self.level = level;
        self.requested = level && !self.in_service;
    }
}

impl Chip {
    /// The registers.
    pub(super) fn state(&self) -> State {
        let state = *self.0.lock().expect("no panic in between");
        State {
            calls: 0,
            fails: 0,
            ..state
        }
    }

    pub(super) fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        change(&mut self.0.lock().expect("no panic in between"))
    }

    /// The `nth` call from now on fails; none if it is 0.
    pub(super) fn fail(&self, nth: u8) {
        self.change(|state| (state.calls, state.fails) = (0, nth));
    }

    /// How many calls there were since.
    pub(super) fn calls(&self) -> u8 {
        self.change(|state| state.calls)
    }

    /// The guest takes the interrupt. Returns whether there was one.
    pub(super) fn take(&self) -> bool {
        self.change(|state| {
            let taken = std::mem::take(&mut state.requested);
            state.in_service |= taken;
            taken
        })
    }

    /// The guest ends it. Returns whether there was one.
    pub(super) fn end(&self) -> bool {
        self.change(|state| std::mem::take(&mut state.in_service))
    }
}

impl Controller for Chip {
    fn set_level(&self, _: u32, level: bool) -> io::Result<()> {
        self.change(|state| {
            state.calls = state.calls.saturating_add(1);
            if state.calls == state.fails {
                return Err(io::Error::from_raw_os_error(super::ERRNO));
            }
            state.set(level);
            Ok(())
        })
    }
}
