// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Hex`]: addresses, data and bits in the debug text.

use std::fmt;

/// A number whose debug text is hexadecimal.
pub(crate) struct Hex<T>(pub(crate) T);

impl<T: fmt::LowerHex> fmt::Debug for Hex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}
