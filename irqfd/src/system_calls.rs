// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The system calls of each operation, for system call filters.
//!
//! VMMs run their threads under seccomp filters that kill the process at a call that is not in
//! their list. These tables name the calls of each operation, by the thread on which a VMM calls
//! it. [`notify_core::system_calls`] describes how they are made, and names the calls of the
//! runtime, which come on top.
//!
//! A [`Vector`](crate::Vector) is internal, private or exported. It is exported too if a VMM gives
//! it an eventfd of its own ([`replace_notifier`](crate::VectorHandle::replace_notifier)), and the
//! VMM may declare that notifier [private](notify_core::EventNotifier::declare_private). A notifier
//! is shared as soon as these crates hand it out: by `export`, by `Binding::call` and by
//! `Binding::bind_call`.
//!
//! `msi::Capability` and a bare `Vector` make the same calls as `msix::Table`. Where a cell has a
//! dash there is no such operation.
#![doc = include_str!("system_calls.md")]
//!
//! # What the lists of two VMMs lack
//!
//! This compares the tables of all four crates with the lists of Firecracker (1.17.0-dev, commit
//! 81b38b9dad60 of 21 August 2026, x86-64 and musl) and Cloud Hypervisor (54.0, commit ae44c2971c83
//! of 22 August 2026). Both kill the process at any other call. A cell names the calls that would
//! have to be added for all operations of the tables on such an object on that thread. A VMM that
//! needs only some of the operations finds their calls above.
//!
//! - Firecracker has one list, `vmm`, for devices and for the VMM's own operations.
//! - Cloud Hypervisor's device threads have different lists. Here is what is in all of them.
//! - The calls of the runtime are not compared. Nor is what a VMM does before it installs its
//!   filters, such as making the `KvmVm`. A VMM may make an `ArmQueue` and a dispatcher before,
//!   too.
//!
#![doc = include_str!("system_calls_vmms.md")]
