// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The system calls of each operation, for system call filters.
//!
//! VMMs run their threads under seccomp filters that kill the process at a call that is not listed.
//! These tables name the system calls of each operation of this crate, by the thread on which a VMM
//! makes it. `irq-routing`, `ioeventfd` and `irqfd` have a page of the same name.
//!
//! A test makes the tables. It runs each operation under a filter that allows only the calls of the
//! row. Then it runs it again without each of them, which kills the process. The tables are those
//! of x86-64. A dash means that there is no such operation. If a program that is linked with musl
//! makes another call than one that is linked with glibc, the tables name both.
//!
//! # Calls of the runtime
//!
//! The Rust standard library and the C library make these calls by themselves. They are in no
//! table, and each operation may make them:
//!
//! | call | when |
//! |---|---|
//! | `brk`, `mmap`, `munmap`, `mremap`, `mprotect`, `madvise` | memory is allocated or freed |
//! | `futex` | a lock is held by another thread, or another thread waits for it |
//! | `clock_gettime` | there is a timeout, and the host's clock needs a system call |
//! | `fcntl` (F_GETFD) | before each `close`, in programs that are built with debug assertions |
//!
//! # Before the filter is installed
//!
//! A VMM can do these things before it installs the filter, which can then be smaller:
//!
//! - create the [`KvmVm`](crate::KvmVm), the routing table, the `ArmQueue` and the dispatcher;
//! - call [`mode`](crate::EventNotifier::mode) of each notifier that was converted from an
//!   `EventFd`;
//! - [declare](crate::EventNotifier::declare_private) private the notifiers that stay in the
//!   process.
//!
//! Every signal that a guest or a device waits for is a `write`. Only
//! [`wait`](crate::EventNotifier::wait) and [`is_signalled`](crate::EventNotifier::is_signalled)
//! poll. The dispatcher calls `getpid`, because a forked child must change nothing for its parent.
//!
//! The page of `irqfd` lists which calls the filters of Firecracker and Cloud Hypervisor lack.
#![doc = include_str!("system_calls.md")]
