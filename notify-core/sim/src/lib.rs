// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`SimVm`]: the notification half of KVM in memory.
//!
//! For tests, for fuzzing and for hosts without `/dev/kvm`. Each request returns what the kernel's
//! does, down to the errno. It also plays the guest's part: [`SimVm::guest_write`] rings a
//! doorbell, [`SimVm::deliver`] and [`SimVm::pending_vectors`] show the interrupts that arrived.
//!
//! # What differs from a kernel
//!
//! The kernel hooks an eventfd and acts inside the write to it; a process sees the signal later. So
//! every call first carries out the signals that came since the last, against the state before the
//! call, and [`SimVm::deliver`] does only that. Programs have [`DeliveryThread`] do it for them.
//! Therefore:
//!
//! - signals of one eventfd between two calls are one (which shows where it is a semaphore), and
//!   another reader of it may take them first;
//! - a thread that polls a bound eventfd is woken, and writing 0 to one injects nothing;
//! - a doorbell stops counting at 2^64 - 2, where the kernel goes one further and sets `POLLERR`;
//! - closing the last file descriptor but the VM's own does not unbind an eventfd;
//! - a VM works in a forked child too, and an eventfd bound in another process is not known.
//!
//! Not modelled: logical destinations other than "all", x2APIC mode, reads by the guest, the ring
//! of coalesced writes (it never fills), and on arm64 and riscv64 the controllers' own registers.
//! What depends on how a kernel was built is as in one without Hyper-V, Xen and SMM.

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

/// A VM in memory that does what KVM does.
///
/// Share it in an [`Arc`](std::sync::Arc), which is a [`Vm`](notify_core::Vm) to the upper crates.
/// Dropping it unbinds every eventfd and empties its counter, as closing a KVM VM does.
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
    /// Builds a VM; by default one with a full x86 irqchip and one vCPU.
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
