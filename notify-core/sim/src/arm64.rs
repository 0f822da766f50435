// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The shared interrupts of a GIC, version 3 (arm64).
//!
//! Kernel source: `arch/arm64/kvm/vgic/` and `kvm_vm_ioctl_irq_line` in `arch/arm64/kvm/arm.c`.

use std::collections::BTreeSet;

use notify_core::MsiMessage;

use super::interrupt::Stage;

/// The number of the first shared interrupt.
const FIRST: u32 = 32;
/// The size of an ITS. KVM looks for the ITS that contains the address of a message, whichever of
/// its registers that is.
const ITS_SIZE: u64 = 0x2_0000;

#[derive(Debug, Default, Clone, Copy)]
struct Spi {
    level_triggered: bool,
    line: bool,
    latched: bool,
}

#[derive(Debug)]
struct Its {
    address: u64,
    /// Device and event, once the guest has enabled the ITS.
    mapped: Option<BTreeSet<(u32, u32)>>,
}

#[derive(Debug)]
pub(super) struct Gic {
    vcpus: u32,
    pub(super) stage: Stage,
    spis: Vec<Spi>,
    its: Option<Its>,
}

impl Gic {
    pub(super) fn new(spis: u32, vcpus: usize, stage: Stage) -> Self {
        Self {
            vcpus: u32::try_from(vcpus).unwrap_or(u32::MAX),
            stage,
            spis: vec![Spi::default(); usize::try_from(spis.min(988)).unwrap_or(0)],
            its: None,
        }
    }

    fn spi(&mut self, pin: u32) -> Option<&mut Spi> {
        let pin = usize::try_from(pin).ok()?;
        self.spis.get_mut(pin)
    }

    /// Drives a shared interrupt: 0, or the errno.
    pub(super) fn set(&mut self, pin: u32, level: bool) -> i32 {
        if self.stage != Stage::Initialised {
            return -libc::EBUSY;
        }
        match self.spi(pin) {
            None => -libc::EINVAL,
            Some(spi) if spi.level_triggered => {
                spi.line = level;
                0
            }
            Some(spi) => {
                spi.latched |= level;
                0
            }
        }
    }

    /// KVM_IRQ_LINE: kind and number of an interrupt in one word.
    pub(super) fn irq_line(&mut self, irq: u32, level: bool) -> i32 {
        let (kind, number) = (irq >> 24 & 0xf, irq & 0xffff);
        let vcpu = (irq >> 16 & 0xff) + (irq >> 28) * 256;
        match (kind, self.stage) {
            // The two inputs of a vCPU are driven only where no GIC drives them.
            (0, Stage::Absent) if vcpu < self.vcpus && number < 2 => 0,
            (0, Stage::Absent) => -libc::EINVAL,
            (0, _) | (1 | 2, Stage::Absent) => -libc::ENXIO,
            (1, _) => match number.checked_sub(FIRST) {
                None => -libc::EINVAL,
                Some(pin) => self.set(pin, level),
            },
            (2, _) if vcpu >= self.vcpus || !(16..FIRST).contains(&number) => -libc::EINVAL,
            (2, Stage::Created) => -libc::EBUSY,
            (2, _) => 0,
            _ => -libc::EINVAL,
        }
    }

    /// A message: 1 if it was delivered, 0 if its event is not mapped, or the errno.
    pub(super) fn message(&self, message: &MsiMessage) -> i32 {
        let Some(its) = &self.its else {
            return -libc::ENODEV;
        };
        let offset = message.address.checked_sub(its.address);
        match (message.devid, &its.mapped) {
            (Some(devid), mapped) if offset.is_some_and(|offset| offset < ITS_SIZE) => {
                mapped.as_ref().map_or(-libc::EBUSY, |mapped| {
                    mapped.contains(&(devid, message.data)).into()
                })
            }
            _ => -libc::EINVAL,
        }
    }

    /// Adds an ITS, or moves it. Returns whether it is new.
    pub(super) fn add_its(&mut self, address: u64) -> bool {
        let mapped = None;
        self.its.replace(Its { address, mapped }).is_none()
    }

    pub(super) fn enable_its(&mut self, mapped: BTreeSet<(u32, u32)>) {
        if let Some(its) = &mut self.its {
            its.mapped = Some(mapped);
        }
    }

    pub(super) fn has_its(&self) -> bool {
        self.its.is_some()
    }

    pub(super) fn set_level_triggered(&mut self, pin: u32, level_triggered: bool) {
        if let Some(spi) = self.spi(pin) {
            spi.level_triggered = level_triggered;
        }
    }

    pub(super) fn is_level_triggered(&self, pin: u32) -> bool {
        let spi = usize::try_from(pin).ok().and_then(|pin| self.spis.get(pin));
        spi.is_some_and(|spi| spi.level_triggered)
    }

    pub(super) fn is_pending(&self, pin: u32) -> bool {
        let spi = usize::try_from(pin).ok().and_then(|pin| self.spis.get(pin));
        spi.is_some_and(|spi| spi.latched || spi.level_triggered && spi.line)
    }

    /// The processor takes an interrupt: an edge is gone with that, a level stays.
    pub(super) fn acknowledge(&mut self, pin: u32) -> bool {
        let pending = self.is_pending(pin);
        if let Some(spi) = self.spi(pin) {
            spi.latched = false;
        }
        pending
    }
}
