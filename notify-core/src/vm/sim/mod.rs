// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`SimVm`]: the notification half of KVM in memory (feature `sim`).
//!
//! For tests, for fuzzing and for hosts without `/dev/kvm`. It answers each request as the kernel
//! does, down to the errno, and plays the guest's part: [`SimVm::guest_write`] rings a doorbell,
//! [`SimVm::deliver`] and [`SimVm::pending_vectors`] show the interrupts that arrived.
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
//! - whoever polls a bound eventfd is woken, and writing 0 to one injects nothing;
//! - a doorbell stops counting at 2^64 - 2, where the kernel goes one further and sets `POLLERR`;
//! - closing the last file descriptor but the machine's own does not take an eventfd off;
//! - a machine works in a forked child too, and an eventfd bound in another process is not known.
//!
//! Not modelled: logical destinations other than "all", x2APIC mode, reads by the guest, the ring of
//! coalesced writes (it never fills), and on arm64 and riscv64 the controllers' own registers. What
//! depends on how a kernel was built is as in one without Hyper-V, Xen and SMM.

mod arm64;
mod builder;
mod bus;
mod calls;
mod delivery;
mod doorbells;
mod eventfd;
mod guest;
mod interrupt;
mod ioapic;
mod ioctl;
mod irqfds;
mod lapic;
mod line;
mod pic;
mod port;
pub mod raw;
mod registry;
mod riscv64;
mod routing;
mod setup;
mod state;
mod thread;
mod vcpu;

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

use crate::RoutingClaim;
use state::State;

/// A virtual machine without a kernel.
///
/// Share it in an [`Arc`](std::sync::Arc), which is a [`Vm`](crate::Vm) to the upper crates.
/// Dropping it takes every eventfd off and empties its counter, as closing a KVM machine does.
///
/// Requests that the typed port cannot express go to the `kvm_*` methods, with the integers of
/// [`raw`].
///
/// ```
/// use std::os::fd::AsFd;
/// use notify_core::{EventNotifier, IrqFdRequest, RouteEntry, RouteTarget, Vm};
/// use notify_core::sim::{Profile, SimVm};
///
/// let vm = SimVm::builder().profile(Profile::X86).build();
/// vm.enable_lapic(0);
/// let message = RouteTarget::Msi(MsiMessage { address: 0xfee0_0000, data: 0x41, devid: None });
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
    /// A machine of a full x86 irqchip with one vCPU, unless told otherwise.
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
