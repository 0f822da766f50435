// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Token`]: the name of a handler.

#[cfg(not(target_pointer_width = "64"))]
compile_error!("a place and a generation of 32 bits each go into one machine word");

/// Names a handler. It is never used again, by any dispatcher of the process: the token of a handler
/// that has gone names nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token {
    pub(super) dispatcher: u64,
    pub(super) key: Key,
}

/// Where a handler is in its dispatcher, as mio carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) place: u32,
    /// How many handlers had the place before.
    pub(super) generation: u32,
}

/// What the waker's events carry: no handler has this place.
pub(super) const WAKER: mio::Token = mio::Token(usize::MAX);

impl From<Key> for mio::Token {
    fn from(key: Key) -> Self {
        Self((key.generation as usize) << 32 | key.place as usize)
    }
}

impl From<mio::Token> for Key {
    #[expect(clippy::cast_possible_truncation, reason = "the halves of a word")]
    fn from(token: mio::Token) -> Self {
        Self {
            place: token.0 as u32,
            generation: (token.0 >> 32) as u32,
        }
    }
}
