// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Guide: how a VMM uses these crates. Start here.
//!
//! ```text
//!  kick   guest ──────────▶ ioeventfd ──▶ host notifier ──▶ device
//!  call   guest ◀────────── irqfd ◀────── guest notifier ◀─ device
//!                             ▲
//!                             └─ routing table: from a GSI to a message or pins
//! ```
//!
//! | you have | chapter |
//! |---|---|
//! | a virtio-mmio device | [`virtio_mmio`] |
//! | a virtio-pci device, or another PCI device with MSI-X | [`virtio_pci`] |
//! | a device in the kernel (vhost) or in a daemon (vhost-user) | [`vhost_device`](notify_core::guide::vhost_device), and [`virtio_pci`] for its vectors |
//! | a device of the host that is passed through (VFIO) | [`passthrough`] |
//! | INTx, lines that devices share, an IOAPIC in user space | [`intx`] |
//! | an interrupt that does not arrive | [`no_interrupt`] |
//! | code of Cloud Hypervisor, Firecracker, crosvm, OpenVMM, vm-device or QEMU | [`coming_from`] |
//!
//! | you want to know | chapter |
//! |---|---|
//! | how a VM is saved, restored and moved to another host | [`snapshot`] |
//! | which calls block, which locks there are, what a thread may do | [`threads`] |
//! | what a seccomp filter must allow | [`system_calls`](crate::system_calls) |
//! | which path an interrupt takes, eventfd or ioctl | [`inject`](crate::inject) |
//! | how a virtio device is suspended (VIRTIO_F_SUSPEND) | [`suspend`](crate::suspend) |
//!
//! # Which type for which device
//!
//! | the device | its kicks | its calls | its queues |
//! |---|---|---|---|
//! | virtio-mmio, served by the VMM | `ioeventfd::DoorbellSet` with `virtio::mmio` | [`LevelIrq`](crate::LevelIrq) | `notify_core::dispatcher`, or the VMM's loop |
//! | virtio-pci, served by the VMM | `DoorbellSet` with `virtio::PciModern` | [`msix::Table`](crate::msix::Table), one [`Binding`](crate::msix::Binding) for each queue | the same |
//! | virtio-pci, served by vhost or a daemon | the same | the same, with [`bind_call`](crate::msix::Binding::bind_call) | `notify_core::vring::Vrings` |
//! | a PCI device with MSI only | `IoEventFd`, or exits | [`msi::Capability`](crate::msi::Capability) | the VMM's |
//! | a PCI device with INTx | the same | [`LevelLine`](crate::LevelLine), [`LevelIrq`](crate::LevelIrq) | the VMM's |
//! | passed through by VFIO | the device's own registers | [`vfio::PassthroughIntx`](crate::vfio::PassthroughIntx), exported [`Vector`](crate::Vector)s | the device's |
//! | at an edge-triggered pin: a serial port, a timer | exits | [`IrqFd`](crate::IrqFd), or [`inject::line`](crate::inject::line()) | none |
//! | the VMM's own interrupt controller | exits | [`Controller`](crate::Controller), [`inject::vcpu`](crate::inject::vcpu()) | none |
//!
//! # What there is one of
//!
//! | for each | object | crate |
//! |---|---|---|
//! | VM | [`KvmVm`](crate::KvmVm), or another [`Vm`](crate::Vm), in an `Arc` | `notify-core` |
//! | VM | [`RoutingTable`](crate::RoutingTable): clone it for each device | `irq-routing` |
//! | VM | `DoorbellRegistry`: clone it for each device | `ioeventfd` |
//! | VM | [`ArmQueue`](crate::ArmQueue), if any vector is exported or private | `irqfd` |
//! | VM with a split irqchip | [`EoiExits`](crate::EoiExits) | `irqfd` |
//! | device | `DoorbellSet`; [`msix::Table`](crate::msix::Table), [`msi::Capability`](crate::msi::Capability) or [`LevelIrq`](crate::LevelIrq) | both |
//! | pin | [`LevelLine`](crate::LevelLine) | `irqfd` |
//! | queue | [`EventNotifier`](crate::EventNotifier) for kicks; [`msix::Binding`](crate::msix::Binding) for calls | both |
//!
//! # The guides of the other crates
//!
//! - [`notify_core::guide`]: notifiers, dispatcher, vhost devices. Its page
//!   [`event_loops`](notify_core::event_loops) shows how a loop that the VMM has watches a
//!   notifier; [`ports`](notify_core::ports) shows how to implement [`Vm`](crate::Vm) for another
//!   hypervisor.
//! - [`irq_routing::guide`]: the routing table, transactions, explanations and dumps.
//! - `ioeventfd::guide`: doorbells, the layouts of virtio, a BAR that moves.
//!
//! # The examples
//!
//! They run without `/dev/kvm`. They use `SimVm` of the crate `notify-sim`, which does in memory
//! what KVM does. In a VMM, `KvmVm::try_from(&vm_fd)?` takes its place, and calls on `vm` that
//! start with `guest_`, `take_`, `pending_`, `lapic_` or `enable_` are what the guest does. A
//! complete VMM to copy from is `examples/src/bin/minimal.rs` in the repository.

pub mod coming_from;
pub mod intx;
pub mod no_interrupt;
pub mod passthrough;
pub mod snapshot;
pub mod threads;
pub mod virtio_mmio;
pub mod virtio_pci;
