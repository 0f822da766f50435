// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`SimVm`]: the notification half of KVM in memory.
//!
//! For tests, for fuzzing and for hosts without `/dev/kvm`. Each request returns what KVM returns,
//! down to the errno.
//!
//! The simulator also plays the guest's part:
//!
//! | to | call |
//! |---|---|
//! | boot a vCPU (x86) | [`SimVm::enable_lapic`]; without it each MSI to that vCPU is [`Blocked`](notify_core::MsiOutcome::Blocked) |
//! | write a doorbell, or a register of an interrupt controller | [`SimVm::guest_write`] |
//! | see each interrupt that was injected | [`SimVm::deliver`], or a [`DeliveryThread`] |
//! | see the vectors that a vCPU has to take | [`SimVm::pending_vectors`] |
//! | acknowledge and end interrupts | [`SimVm::take_vector`], [`SimVm::lapic_eoi`], [`SimVm::guest_eoi`] |
//! | enable the ITS of arm64, and map its events | [`SimVm::enable_its`] |
//! | count requests, and make one fail | [`SimVm::calls`], [`SimVm::fail`] |
//! | choose the interrupt controllers | [`SimVmBuilder::profile`] |
//!
//! ```text
//!  device code under test                                 the test, as guest and kernel
//!  ──────────────────────                                 ─────────────────────────────
//!  irqfd, ioeventfd, irq-routing ── Arc<dyn Vm> ──▶ SimVm ◀── guest_write, deliver, fail
//! ```
//!
//! All methods lock one mutex of the VM, and return without waiting for anything else.
//!
//! # What differs from a kernel
//!
//! The kernel hooks an eventfd and acts inside the write to it; a process sees the signal later. So
//! each call first carries out the signals that came before it, against the state before the call.
//! [`SimVm::deliver`] does only that, and [`DeliveryThread`] does it for programs. Therefore:
//!
//! - Signals of one eventfd between two calls are one (this shows if it is a semaphore), and
//!   another reader of the eventfd may take them first.
//! - A thread that polls a bound eventfd is woken, and writing 0 to one injects nothing.
//! - A doorbell stops counting at 2^64 - 2, where the kernel goes one further and sets `POLLERR`.
//! - Closing the last file descriptor but the VM's own does not unbind an eventfd.
//! - A VM works in a forked child too, and an eventfd bound in another process is not known.
//!
//! Not modelled:
//!
//! - logical destinations other than "all", and x2APIC mode;
//! - saving and restoring local APICs (KVM_GET_LAPIC, KVM_SET_LAPIC);
//! - reads by the guest;
//! - the ring of coalesced writes (it never fills);
//! - on arm64 and riscv64, the registers of the interrupt controllers, and level-triggered sources
//!   of an APLIC. The distributor of a GIC takes no room on the bus (KVM adds it when a vCPU first
//!   runs).
//!
//! Where the build options of a kernel matter, `SimVm` does what a kernel without Hyper-V, Xen and
//! SMM does.
//!
//! Needs Linux 5.8 or later, and Rust 1.88 or later.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod arm64;
mod builder;
mod bus;
mod calls;
mod delivery;
mod doorbells;
mod eventfd;
mod fd;
mod guest;
mod interrupt;
mod ioapic;
mod ioctl;
mod irqfds;
mod lapic;
mod line;
mod pic;
mod port;
#[doc(hidden)]
pub mod raw;
mod registry;
mod riscv64;
mod routing;
mod setup;
mod state;
mod thread;
mod vcpu;
mod words;

use std::fmt;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use builder::{Profile, SimVmBuilder};
pub use calls::CallKind;
pub use delivery::{Injected, Interrupt};
pub use guest::{ExitWrite, GuestWrite};
pub use ioapic::IoApicState;
pub use pic::PicState;
pub use thread::DeliveryThread;
pub use vcpu::SimVcpu;

use notify_core::RoutingClaim;
use state::State;

/// A VM in memory that returns what KVM returns.
///
/// Share it in an [`Arc`](std::sync::Arc), which converts into the `Arc<dyn Vm>` that the upper
/// crates take ([`Vm`](notify_core::Vm)). Dropping it unbinds all eventfds and empties their
/// counters, as closing a KVM VM does.
///
/// ```
/// use std::os::fd::AsFd;
/// use notify_core::{EventNotifier, IrqFdRequest, MsiMessage, RouteEntry, RouteTarget, Vm};
/// use notify_sim::{Profile, SimVm};
///
/// let vm = SimVm::builder().profile(Profile::X86).build();
/// vm.enable_lapic(0);
/// let message = RouteTarget::Msi(MsiMessage::new(0xfee0_0000, 0x41));
/// vm.set_gsi_routing(&[RouteEntry::new(24, message)].into_iter().collect())?;
///
/// let call = EventNotifier::new()?;
/// vm.irqfd(&IrqFdRequest::assign(call.as_fd(), 24))?;
/// call.notify()?;
/// assert_eq!(vm.deliver().len(), 1);
/// assert_eq!(vm.pending_vectors(0), [0x41]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SimVm {
    state: Mutex<State>,
    claim: RoutingClaim,
}

impl SimVm {
    /// Returns a builder; by default the VM has a full x86 irqchip and one vCPU.
    pub fn builder() -> SimVmBuilder {
        SimVmBuilder::default()
    }

    /// The state as it is now, after all signals that came before.
    fn enter(&self) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        state.drain();
        state
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SimVm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimVm").finish_non_exhaustive()
    }
}

fn errno(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

/// The README's example is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
