// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The system calls of each operation, for system call filters.
//!
//! A test generates these tables; see [`notify_core::system_calls`] for how to read them, and for
//! the calls that the Rust runtime adds.
//!
//! A notifier that stays in the process may be declared
//! [private](notify_core::EventNotifier::declare_private), and is then read by `read` instead of
//! `preadv2`.
#![doc = include_str!("system_calls.md")]
