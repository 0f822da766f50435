// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The ioctls of a VM, with plain integers.

use std::io;

use kvm_bindings as kvm;

use super::calls::CallKind;
use super::interrupt::{Chips, Stage};
use super::line::Source;
use super::raw::{IoEventFd, IrqFd, IrqLevel, Msi, Routing, RoutingEntry};
use super::routing::{LIMIT, Routes, bad_address};
use super::state::State;
use super::words::{IoEventFdFlags, IrqFdFlags};
use super::{Profile, SimVm, errno};
use notify_core::{MsiMessage, RouteTarget};

/// What the kernel returns: a number, or the negative of an errno.
fn checked(result: i32) -> io::Result<i32> {
    if result < 0 {
        Err(errno(-result))
    } else {
        Ok(result)
    }
}

impl SimVm {
    /// Enters as a call of a kind, which may have been ordered to fail.
    pub(super) fn call(&self, kind: CallKind) -> io::Result<std::sync::MutexGuard<'_, State>> {
        let mut state = self.enter();
        state.calls.count(kind)?;
        Ok(state)
    }

    /// KVM_IRQFD.
    ///
    /// # Errors
    ///
    /// Those of the ioctl.
    #[doc(hidden)]
    pub fn kvm_irqfd(&self, args: &IrqFd) -> io::Result<i32> {
        let flags = IrqFdFlags::from_bits(args.flags);
        let deassign = flags.is_some_and(|flags| flags.contains(IrqFdFlags::DEASSIGN));
        let mut state = self.call(if deassign {
            CallKind::IrqFdDeassign
        } else {
            CallKind::IrqFdAssign
        })?;
        flags.ok_or_else(|| errno(libc::EINVAL))?;
        if deassign {
            state.deassign_irqfd(args)?;
        } else {
            state.assign_irqfd(args)?;
        }
        Ok(0)
    }

    /// KVM_IOEVENTFD.
    ///
    /// # Errors
    ///
    /// Those of the ioctl.
    #[doc(hidden)]
    pub fn kvm_ioeventfd(&self, args: &IoEventFd) -> io::Result<i32> {
        let deassign = args.flags & IoEventFdFlags::DEASSIGN.bits() != 0;
        let mut state = self.call(if deassign {
            CallKind::IoEventFdDeassign
        } else {
            CallKind::IoEventFdAssign
        })?;
        state.doorbells.request(args)?;
        Ok(0)
    }

    /// KVM_SET_GSI_ROUTING.
    ///
    /// # Errors
    ///
    /// Those of the ioctl.
    #[doc(hidden)]
    pub fn kvm_set_gsi_routing(&self, args: &Routing<'_>) -> io::Result<i32> {
        let count = usize::try_from(args.nr).unwrap_or(usize::MAX);
        let entries = args.entries.get(..count);
        self.set_routing(
            (args.nr, args.flags),
            entries.map(|all| all.iter().copied()),
        )
    }

    /// The same, from wherever the entries come; `None`: there are fewer than was said.
    pub(super) fn set_routing(
        &self,
        (nr, flags): (u32, u32),
        entries: Option<impl Iterator<Item = RoutingEntry> + Clone>,
    ) -> io::Result<i32> {
        let mut state = self.call(CallKind::SetGsiRouting)?;
        if !state.chips.allow_routing() || nr > LIMIT || flags != 0 {
            return Err(errno(libc::EINVAL));
        }
        let entries = entries.ok_or_else(|| errno(libc::EFAULT))?;
        state.routes = Routes::new(state.profile, state.x2apic_ids, entries)?;
        Ok(0)
    }

    /// KVM_SIGNAL_MSI: how many took the message.
    ///
    /// # Errors
    ///
    /// Those of the ioctl.
    #[doc(hidden)]
    pub fn kvm_signal_msi(&self, args: &Msi) -> io::Result<i32> {
        let mut state = self.call(CallKind::SignalMsi)?;
        let address = u64::from(args.address_hi) << 32 | u64::from(args.address_lo);
        if !state.chips.exist()
            || args.flags & !kvm::KVM_MSI_VALID_DEVID != 0
            || (state.profile.is_x86() && bad_address(address, state.x2apic_ids))
        {
            return Err(errno(libc::EINVAL));
        }
        let message = RouteTarget::Msi(MsiMessage {
            address,
            data: args.data,
            devid: (args.flags != 0).then_some(args.devid),
        });
        checked(state.drive(None, message, Source::User, true, false))
    }

    /// KVM_IRQ_LINE: 0.
    ///
    /// # Errors
    ///
    /// Those of the ioctl.
    #[doc(hidden)]
    pub fn kvm_irq_line(&self, args: &IrqLevel) -> io::Result<i32> {
        self.set_line(args, false)?;
        Ok(0)
    }

    /// KVM_IRQ_LINE_STATUS: what the kernel writes to the field `status`; -1 if it had no effect.
    /// On arm64 and riscv64 it writes nothing, so the number of the interrupt, which shares its
    /// place, is still there.
    ///
    /// # Errors
    ///
    /// Those of the ioctl.
    #[doc(hidden)]
    pub fn kvm_irq_line_status(&self, args: &IrqLevel) -> io::Result<i32> {
        self.set_line(args, true)
    }

    fn set_line(&self, args: &IrqLevel, status: bool) -> io::Result<i32> {
        let mut state = self.call(CallKind::IrqLine)?;
        let level = args.level != 0;
        let result = match &mut state.chips {
            Chips::None => return Err(errno(libc::ENXIO)),
            Chips::X86(..) => return Ok(state.set_gsi(Source::User, args.irq, level, status)),
            Chips::Gic(gic) => gic.irq_line(args.irq, level),
            Chips::Aplic(aplic) if aplic.stage == Stage::Absent => -libc::ENXIO,
            Chips::Aplic(aplic) => aplic.set(args.irq, level),
        };
        checked(result)?;
        Ok(args.irq.cast_signed())
    }

    /// KVM_CHECK_EXTENSION, for the capabilities of [`Extension`](notify_core::Extension); 0 for
    /// others.
    ///
    /// # Errors
    ///
    /// Only those that were ordered with [`fail`](Self::fail).
    #[doc(hidden)]
    pub fn kvm_check_extension(&self, capability: u32) -> io::Result<i32> {
        /// What KVM_CAP_X2APIC_API lists. That is 32-bit IDs, no broadcast quirk, and the choice
        /// whether EOI broadcasts can be suppressed; the first half of that is for split irqchips.
        const X2APIC: i32 = 0b1011;
        const X2APIC_SPLIT: i32 = 0b1111;
        let state = self.call(CallKind::CheckExtension)?;
        let x86 = state.profile.is_x86();
        let split = matches!(state.profile, Profile::X86Split { .. });
        let riscv64 = matches!(state.profile, Profile::Riscv64Aia { .. });
        let has_its = matches!(&state.chips, Chips::Gic(gic) if gic.has_its());
        Ok(match capability {
            kvm::KVM_CAP_IRQ_ROUTING => LIMIT.cast_signed(),
            kvm::KVM_CAP_IRQCHIP
            | kvm::KVM_CAP_IRQFD
            | kvm::KVM_CAP_IOEVENTFD
            | kvm::KVM_CAP_IOEVENTFD_ANY_LENGTH
            | kvm::KVM_CAP_SIGNAL_MSI
            | kvm::KVM_CAP_ENABLE_CAP_VM => 1,
            kvm::KVM_CAP_IRQ_INJECT_STATUS
            | kvm::KVM_CAP_SPLIT_IRQCHIP
            | kvm::KVM_CAP_IOEVENTFD_NO_LENGTH => x86.into(),
            kvm::KVM_CAP_IRQFD_RESAMPLE => (!riscv64).into(),
            kvm::KVM_CAP_MSI_DEVID => has_its.into(),
            kvm::KVM_CAP_X2APIC_API if split => X2APIC_SPLIT,
            kvm::KVM_CAP_X2APIC_API if x86 => X2APIC,
            _ => 0,
        })
    }
}
