// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The time-stamp counter of the host, which guests see with an offset.

/// Reads the time-stamp counter.
#[must_use]
#[allow(unsafe_code)]
pub fn host_tsc() -> u64 {
    // SAFETY: the instruction reads a counter into registers, and every x86-64 processor has it.
    unsafe { std::arch::x86_64::_rdtsc() }
}
