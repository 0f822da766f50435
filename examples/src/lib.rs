// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#![doc = include_str!("../../README.md")]
// This package is its programs. The library is what they share, and compiles the code above.

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
