// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Hex`]: how `Debug` prints an address.

use std::fmt;

/// Prints in hex, with `0x`.
pub(crate) struct Hex<T>(pub(crate) T);

impl<T: fmt::LowerHex> fmt::Debug for Hex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}
