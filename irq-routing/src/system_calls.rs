// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The system calls of each operation, for system call filters.
//!
//! A test makes these tables; see [`notify_core::system_calls`] for how to read them, and for the
//! calls of the runtime, which come on top.
//!
//! A routing table may be used on any thread. A vCPU thread commits routes when its guest unmasks a
//! vector or writes another message.
#![doc = include_str!("system_calls.md")]
