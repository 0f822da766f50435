// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Guide: doorbells of whole devices, step by step.
//!
//! Each chapter has examples that run on `SimVm`, a VM in memory of the crate `notify-sim`. With
//! KVM the VM is `Arc::new(KvmVm::try_from(&vm_fd)?)`, and exits come from `KVM_RUN`. Everything
//! else is the same.
//!
//! | chapter | read it if |
//! |---|---|
//! | [How a kick travels](kick) | you want the picture first |
//! | [Which type for which device](which_type) | you do not know where to start |
//! | [A virtio-mmio device](virtio_mmio) | your devices have QueueNotify at offset 0x50 |
//! | [A virtio-pci device](virtio_pci) | your devices have a notify capability, or a legacy port |
//! | [A BAR that moves](moving_bar) | your guests may write BARs |
//! | [A queue that vhost reads](vhost) | the kernel or another process serves the queue |
//! | [Without ioeventfds](without_ioeventfds) | kicks come as exits, always or sometimes |
//! | [A kick does not arrive](kick_does_not_arrive) | a queue hangs |
//!
//! Pages elsewhere:
//!
//! - [`system_calls`](crate::system_calls): the system calls of each operation, for filters.
//! - [`notify_core::ports`]: a VMM with a hypervisor layer of its own.
//! - [`notify_core::event_loops`]: how the VMM's event loop watches the notifiers.
//! - [`notify_core::vring`]: both ends of a queue, handed to vhost and taken back.

pub mod kick;
pub mod kick_does_not_arrive;
pub mod moving_bar;
pub mod vhost;
pub mod virtio_mmio;
pub mod virtio_pci;
pub mod which_type;
pub mod without_ioeventfds;
