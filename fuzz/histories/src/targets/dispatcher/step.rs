// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Step`]: the operations.

use arbitrary::Arbitrary;

/// One operation, and the thread that carries it out: the next one if that thread is blocked.
#[derive(Debug, Clone, Arbitrary)]
pub struct Step {
    /// Which thread.
    pub by: u8,
    /// What it does.
    pub act: Act,
}

/// An operation of a thread that is in no call, or inside a call of a dispatcher.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub enum Act {
    /// Adds a handler for a source, perhaps one that can be polled.
    Add(u8, bool),
    /// Removes a handler.
    Remove(u8),
    /// Pauses a handler.
    Pause(u8),
    /// Resumes a handler.
    Resume(u8),
    /// Signals a source, so many times.
    Kick(u8, u8),
    /// Adds work to the ring of a handler that can be polled, and signals it if it wants that.
    Work(u8),
    /// The next call of this kind keeps the baton, and the steps go on inside it.
    Arm(u8, Moment),
    /// Runs a dispatcher for one turn.
    Turn(bool),
    /// Runs it with polling, until something was done.
    Poll(bool),
    /// Runs it until it is stopped.
    Run(bool),
    /// Stops it.
    Stop(bool),
    /// Returns from the innermost call of the thread: an error for 0, a panic for 1 (modulo 8).
    Return(u8),
    /// One that is rarer.
    Odd(Odd),
}

/// A call that says nothing, unless it is armed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Arbitrary)]
pub enum Moment {
    /// `begin_polling`.
    Begin,
    /// `poll`.
    Poll,
    /// `end_polling`.
    End,
}

/// An operation that is rarer.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub enum Odd {
    /// Takes the counter of a source.
    Consume(u8),
    /// The peer of a socket closes it.
    HangUp(u8),
    /// Drops a dispatcher, and makes another.
    Renew(bool),
    /// Uses a token with the other dispatcher.
    Foreign(u8),
}

/// How a call returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    Fine,
    Fails,
    Panics,
}

impl How {
    pub(super) fn of(number: u8) -> Self {
        match number % 8 {
            0 => Self::Fails,
            1 => Self::Panics,
            _ => Self::Fine,
        }
    }
}
