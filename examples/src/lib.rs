// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#![doc = include_str!("../../README.md")]
// The programs of this package, and the library that they share.

pub mod arguments;
#[cfg(target_arch = "x86_64")]
pub mod driver;
#[cfg(target_arch = "x86_64")]
pub mod halting;
pub mod interrupt;
pub mod program;
pub mod progress;
pub mod random;
pub mod width;
