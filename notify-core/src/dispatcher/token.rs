// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Token`]: the name of a handler.

use std::fmt;

#[cfg(not(target_pointer_width = "64"))]
compile_error!("a place and a generation of 32 bits each go into one word of 64 bits");

/// Names a handler of a dispatcher.
///
/// It is never used again in the process: the token of a removed handler names nothing, and another
/// dispatcher refuses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token {
    pub(super) dispatcher: u64,
    pub(super) key: Key,
}

/// Prints for example `2.0@1`: the handler in place 2 of dispatcher 1, the first one there.
impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Key { place, generation } = self.key;
        write!(f, "{place}.{generation}@{}", self.dispatcher)
    }
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
