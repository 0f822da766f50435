// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Threads, locks and what may block.
//!
//! Notifiers, the dispatcher and its handles, [`KvmVm`] and [`KvmVcpu`] are `Send + Sync`.
//! [`Vrings`] is if its back-end is. "Never" means: the call makes only system calls that return at
//! once, and waits for no other thread.
//!
//! # Notifiers
//!
//! [`EventNotifier`] and [`NotifierPair`] have no lock.
//!
//! | call | blocks | for how long |
//! |---|---|---|
//! | `notify`, `try_notify`, `add` | only if the counter is full *and* the open file is blocking | until another thread or process reads the counter |
//! | `consume` of a shared notifier | never, whatever another process did to the file's flags | |
//! | `consume` of a private notifier | never, if the declaration is true | else until the next signal |
//! | `wait` | yes | until a signal, or the timeout |
//! | `is_signalled` | never | |
//! | `mode`, the first time, of an eventfd made elsewhere | reads `/proc`; other first callers wait for it | one file read |
//! | `adopt`, `try_clone`, drop | never | |
//!
//! A notifier that this crate creates is non-blocking, so `notify` blocks only if another holder
//! has cleared `O_NONBLOCK` and filled the counter. A peer that shares the eventfd can do both. So
//! do not signal a peer's eventfd from a thread that must not stop. `EventFd::new(0)` of
//! vmm-sys-util is blocking: convert it, and call
//! [`declare_private`](crate::EventNotifier::declare_private), which sets the flag.
//!
//! `notify` and `consume` make one system call, allocate nothing and take no lock. A signal handler
//! may call them if it saves and restores errno, as for every system call. All calls of this table
//! retry after EINTR.
//!
//! If a notifier is bound as an irqfd, `notify` injects the interrupt before it returns (an MSI) or
//! leaves it to a thread of the kernel (a pin). Neither waits for the guest.
//!
//! # Dispatcher
//!
//! One lock for the table of handlers, and one for each handler's slot. No lock is held while a
//! handler, the failure callback or the drop of a handler runs.
//!
//! | call | blocks | for how long |
//! |---|---|---|
//! | `run` | yes | until `stop` |
//! | `run_once` | yes | until a handler has found work, at most the timeout |
//! | `add`, `add_handler`, `add_polled`, `add_fd`, `resume` | for a lock | one `epoll_ctl` of another thread |
//! | `pause`, `remove` | if another thread is calling the handler | until the handler returns |
//! | `pause`, `remove` inside the handler's own call | no; that call is the last one | |
//! | `stop` | never; one atomic store and one `write` | |
//! | drop | if another thread pauses or removes a handler | until that is done |
//!
//! `run` and `run_once` fail with `AlreadyRunning` instead of waiting for another thread that runs
//! the dispatcher. The documentation of `DispatcherHandle` lists the deadlocks to avoid; in short:
//!
//! - Do not call `pause` or `remove` with a lock held that the handler takes.
//! - Handlers of two dispatchers must not pause or remove each other.
//!
//! # Vrings
//!
//! [`Vrings`] has no lock; the calls that change it take `&mut self`. It is not on the data path.
//!
//! | call | blocks | for how long |
//! |---|---|---|
//! | `start`, `stop`, `set_pair` of a running ring, drop | yes | as long as the back-end's requests |
//! | `abandon` | never; makes no request | |
//! | `set_pair` of stopped rings, `failed`, `pair`, `backend` | never | |
//!
//! Requests to the kernel return soon. A vhost-user daemon may be silent for ever: keep a clone of
//! its socket, and end the wait by `UnixStream::shutdown` from another thread. Call `abandon`
//! before you drop the rings of a daemon that may be dead or silent.
//!
//! # The port
//!
//! [`KvmVm`] has no lock. The kernel serialises what must be.
//!
//! | call | blocks | for how long |
//! |---|---|---|
//! | `check_extension`, `platform`, `routing_claim`, `retire` | never | |
//! | `irqfd` that assigns | for the VM's locks in the kernel | short |
//! | `irqfd` that deassigns | yes | until injections that have begun are finished |
//! | `ioeventfd` | depends on the kernel | at most until no vCPU uses the old list of doorbells |
//! | `set_gsi_routing` | yes | until no injection uses the old table |
//! | `signal_msi`, `irq_line`, `irq_line_status` | never waits for the guest | |
//!
//! None of them waits until the guest has handled an interrupt, and none needs the vCPUs stopped.
//!
//! **A vCPU is different.** KVM carries out the requests of a vCPU one after the other, and KVM_RUN
//! is one of them. [`Vcpu::interrupt`] and the creation of a [`KvmVcpu`] (on x86) therefore block
//! while another thread runs the vCPU. Call them on the vCPU's own thread.
//!
//! An implementation of [`Vm`] is called from any thread at any time, also from `drop` and with
//! locks held. It must not call the upper crates.
//!
//! # The simulator
//!
//! `notify_sim::SimVm` has one mutex, which each call holds until it returns. No call waits for
//! anything else. Dropping a `DeliveryThread` waits for the reaction that is under way.
//!
//! # Fork
//!
//! | type | in a child process |
//! |---|---|
//! | [`EventNotifier`] | works: the counter is shared with the parent |
//! | dispatcher | each call but `stop` fails with `Inherited`; drop changes nothing for the parent |
//! | [`KvmVm`], [`KvmVcpu`] | each request fails with EIO: KVM serves the process that created the VM |
//! | `SimVm` | works, with a copy of the state |
//!
//! # When a VM is shut down
//!
//! 1. Stop the vCPU threads, then the device threads (`DispatcherHandle::stop`) and the back-ends.
//! 2. Call [`Vm::retire`]. From then on guards make no request when they are dropped, so they may
//!    be dropped in any order. New requests fail with [`Retired`].
//! 3. Drop the devices, and close all file descriptors of the VM and its vCPUs. KVM then frees what
//!    was registered.
//!
//! Without step 2 each guard makes its own requests, one after the other.
//!
//! # What is logged
//!
//! The crates log with the crate `log`, and nothing on the data path. This crate logs at the level
//! error, and only for the dispatcher:
//!
//! - a handler that failed and was removed, if `DispatcherBuilder::on_failure` is not set;
//! - a panic in the callback of `on_failure`, or in the drop of a handler.
//!
//! `irqfd` and `ioeventfd` log at the level error what a drop or an undo could not do, because no
//! caller gets that error. They log a warning for each vector that cannot be armed, once, and for
//! each doorbell that KVM had lost.
//!
//! # System calls per operation
//!
//! See [`system_calls`](crate::system_calls).
//!
//! [`EventNotifier`]: crate::EventNotifier
//! [`NotifierPair`]: crate::NotifierPair
//! [`Vrings`]: crate::vring::Vrings
//! [`KvmVm`]: crate::KvmVm
//! [`KvmVcpu`]: crate::KvmVcpu
//! [`Vm`]: crate::Vm
//! [`Vcpu::interrupt`]: crate::Vcpu::interrupt
//! [`Vm::retire`]: crate::Vm::retire
//! [`Retired`]: crate::Retired
