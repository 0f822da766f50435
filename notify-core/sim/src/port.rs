// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The typed port, lowered to the ioctls as `KvmVm` does.

use std::io;
use std::os::fd::AsRawFd;

use kvm_bindings::{
    KVM_IRQ_ROUTING_HV_SINT, KVM_IRQ_ROUTING_IRQCHIP, KVM_IRQ_ROUTING_MSI,
    KVM_IRQ_ROUTING_XEN_EVTCHN, KVM_MSI_VALID_DEVID,
};

use super::interrupt::{Chips, Stage};
use super::raw::{IoEventFd, IrqFd, IrqLevel, Msi, RoutingEntry};
use super::words::halves;
use super::words::{IoEventFdFlags, IrqFdFlags};
use super::{SimVm, errno};
use notify_core::{
    Extension, IoEventFdRequest, IrqFdAction, IrqFdRequest, LineStatus, MsiMessage, MsiOutcome,
    Platform, RouteBuffer, RouteEntry, RouteTarget, RoutingClaim, Vm,
};

/// An entry as the kernel's struct has it.
fn entry(entry: RouteEntry) -> RoutingEntry {
    let (kind, flags, [u0, u1, u2, u3]) = match entry.target {
        RouteTarget::Pin { chip, pin } => (KVM_IRQ_ROUTING_IRQCHIP, 0, [chip, pin, 0, 0]),
        RouteTarget::Msi(message) => {
            let [low, high] = halves(message.address);
            let flags = message.devid.map_or(0, |_| KVM_MSI_VALID_DEVID);
            let devid = message.devid.unwrap_or(0);
            (KVM_IRQ_ROUTING_MSI, flags, [low, high, message.data, devid])
        }
        RouteTarget::HvSint { vcpu, sint } => (KVM_IRQ_ROUTING_HV_SINT, 0, [vcpu, sint, 0, 0]),
        RouteTarget::XenEvtchn {
            port,
            vcpu,
            priority,
        } => (KVM_IRQ_ROUTING_XEN_EVTCHN, 0, [port, vcpu, priority, 0]),
        // A kind that no kernel knows is refused.
        _ => (u32::MAX, 0, [0; 4]),
    };
    RoutingEntry {
        gsi: entry.gsi,
        kind,
        flags,
        u: [u0, u1, u2, u3, 0, 0, 0, 0],
    }
}

impl Vm for SimVm {
    fn check_extension(&self, capability: Extension) -> io::Result<u32> {
        let value = self.kvm_check_extension(capability.number())?;
        Ok(value.cast_unsigned())
    }

    fn irqfd(&self, request: &IrqFdRequest<'_>) -> io::Result<()> {
        let (flags, resamplefd) = match request.action {
            IrqFdAction::Assign => (IrqFdFlags::empty(), 0),
            IrqFdAction::AssignResample(resample) => (IrqFdFlags::RESAMPLE, resample.as_raw_fd()),
            IrqFdAction::Deassign => (IrqFdFlags::DEASSIGN, 0),
            _ => return Err(errno(libc::EINVAL)),
        };
        self.kvm_irqfd(&IrqFd {
            fd: request.eventfd.as_raw_fd(),
            gsi: request.gsi,
            flags: flags.bits(),
            resamplefd,
        })?;
        Ok(())
    }

    fn ioeventfd(&self, request: &IoEventFdRequest<'_>) -> io::Result<()> {
        self.kvm_ioeventfd(&IoEventFd {
            datamatch: request.datamatch.unwrap_or(0),
            addr: request.address,
            len: request.len,
            fd: request.eventfd.as_raw_fd(),
            flags: IoEventFdFlags::from(request).bits(),
        })?;
        Ok(())
    }

    fn set_gsi_routing(&self, table: &RouteBuffer) -> io::Result<()> {
        let count = u32::try_from(table.len()).unwrap_or(u32::MAX);
        self.set_routing((count, 0), Some(table.iter().map(entry)))?;
        Ok(())
    }

    fn signal_msi(&self, message: &MsiMessage) -> io::Result<MsiOutcome> {
        let [address_lo, address_hi] = halves(message.address);
        let taken = self.kvm_signal_msi(&Msi {
            address_lo,
            address_hi,
            data: message.data,
            flags: message.devid.map_or(0, |_| KVM_MSI_VALID_DEVID),
            devid: message.devid.unwrap_or(0),
        });
        match taken {
            Ok(0) => Ok(MsiOutcome::Blocked),
            Ok(taken) => Ok(MsiOutcome::Delivered(taken.cast_unsigned())),
            // As KvmVm does; no system call filter stands in between here.
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(MsiOutcome::Blocked),
            Err(error) => Err(error),
        }
    }

    fn irq_line_status(&self, gsi: u32, level: bool) -> io::Result<LineStatus> {
        let args = IrqLevel {
            irq: gsi,
            level: level.into(),
        };
        if !self.lock().profile.is_x86() {
            self.kvm_irq_line(&args)?;
            return Ok(LineStatus::Unknown);
        }
        Ok(match self.kvm_irq_line_status(&args)? {
            0 => LineStatus::Coalesced,
            delivered => {
                u32::try_from(delivered).map_or(LineStatus::Ignored, LineStatus::Delivered)
            }
        })
    }

    fn irq_line(&self, gsi: u32, level: bool) -> io::Result<()> {
        let level = level.into();
        self.kvm_irq_line(&IrqLevel { irq: gsi, level })?;
        Ok(())
    }

    /// As `KvmVm` finds out, by assignments of no eventfd, which are not counted.
    fn platform(&self) -> io::Result<Option<Platform>> {
        let state = self.lock();
        Ok(match &state.chips {
            Chips::None => None,
            Chips::Gic(gic) if gic.stage == Stage::Initialised => Some(Platform::Arm64Gic),
            Chips::Gic(_) => None,
            Chips::X86(..) if state.chips.allow_irqfd(true).is_err() => Some(Platform::X86Split),
            Chips::X86(..) => Some(Platform::X86),
            Chips::Aplic(_) => Some(Platform::Riscv64Aia),
        })
    }

    fn routing_claim(&self) -> Option<&RoutingClaim> {
        Some(&self.claim)
    }
}
