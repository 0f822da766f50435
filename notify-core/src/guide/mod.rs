// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Guide: how a VMM uses the types of this crate.
//!
//! | chapter | what it shows |
//! |---|---|
//! | [`which_type`] | which type does which job: notifier, pair, dispatcher, vrings, port |
//! | [`device_thread`] | a device with a thread of its own: handler, pause, polling, shutdown |
//! | [`vhost_device`] | a device in the kernel or in a vhost-user daemon: start, stop, death, migration |
//! | [`threads`] | per type: which calls block, on what, for how long; locks, signals, fork |
//!
//! Three more pages, each for one question:
//!
//! | page | the question |
//! |---|---|
//! | [`event_loops`](crate::event_loops) | How does the event loop that my VMM already has watch a notifier? |
//! | [`ports`](crate::ports) | How do I implement [`Vm`](crate::Vm) over a hypervisor layer of my own? |
//! | [`system_calls`](crate::system_calls) | What must my seccomp filter allow, per operation? |
//!
//! The examples run without `/dev/kvm`: they use `SimVm` of the crate `notify-sim`, which does in
//! memory what KVM does. In a VMM the first line is `KvmVm::try_from(&vm_fd)?` instead, and the
//! rest stays as it is.
//!
//! The other crates have guides of their own: interrupts are in `irqfd`, the routing table is in
//! `irq-routing`, doorbells are in `ioeventfd`.

pub mod device_thread;
pub mod threads;
pub mod vhost_device;
pub mod which_type;
