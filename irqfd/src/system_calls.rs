// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The system calls of each operation, for system call filters.
//!
//! VMMs run their threads under seccomp filters that kill the process at a call that is not in
//! their list. These tables name the calls of each operation, by the thread on which a VMM makes
//! it. [`notify_core::system_calls`] says how they are made, and names the calls of the runtime,
//! which come on top.
//!
//! A [`Vector`](crate::Vector) is internal, private or exported. A notifier that is exported is
//! shared as soon as these crates hand it out. A VMM that gives the vector an eventfd of its own
//! ([`replace_notifier`](crate::VectorHandle::replace_notifier)) and keeps that to itself declares
//! it [private](notify_core::EventNotifier::declare_private).
//!
//! `msi::Capability` and a bare `Vector` make the same calls as `msix::Table`.
#![doc = include_str!("system_calls.md")]
//!
//! # What the lists of two VMMs lack
//!
//! This compares the tables of `irqfd`, `irq-routing` and `ioeventfd` with the lists of Firecracker
//! (1.17.0-dev, commit 81b38b9dad60 of 21 August 2026, x86-64 and musl) and Cloud Hypervisor (54.0,
//! commit ae44c2971c83 of 22 August 2026). Both kill the process at any other call. A cell names
//! the calls that would have to be added for all operations on such an object on that thread.
//! Firecracker runs devices and its VMM thread under one list, `vmm`. Each device thread of Cloud
//! Hypervisor has a few calls more than the list here, which all of them have.
//!
#![doc = include_str!("system_calls_vmms.md")]
