// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The shared interrupts of a GIC, version 3 (arm64).
//!
//! Kernel source: `arch/arm64/kvm/vgic/` and `kvm_vm_ioctl_irq_line` in `arch/arm64/kvm/arm.c`.

use notify_core::MsiMessage;

/// The number of the first shared interrupt.
const FIRST: u32 = 32;
/// Where in an ITS the register lies to which devices send messages.
const TRANSLATER: u64 = 0x1_0040;

#[derive(Debug, Default, Clone, Copy)]
struct Spi {
    level_triggered: bool,
    line: bool,
    latched: bool,
}

#[derive(Debug)]
pub(super) struct Gic {
    vcpus: u32,
    pub(super) initialised: bool,
    spis: Vec<Spi>,
    its: Option<u64>,
}

impl Gic {
    pub(super) fn new(spis: u32, vcpus: usize) -> Self {
        Self {
            vcpus: u32::try_from(vcpus).unwrap_or(u32::MAX),
            initialised: false,
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
        let initialised = self.initialised;
        match self.spi(pin) {
            None => -libc::EINVAL,
            Some(_) if !initialised => -libc::EBUSY,
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
        match kind {
            0 => -libc::ENXIO,
            1 => match number.checked_sub(FIRST) {
                None => -libc::EINVAL,
                Some(_) if !self.initialised => -libc::EBUSY,
                Some(pin) => self.set(pin, level),
            },
            2 if vcpu >= self.vcpus || !(16..FIRST).contains(&number) => -libc::EINVAL,
            2 if !self.initialised => -libc::EBUSY,
            2 => 0,
            _ => -libc::EINVAL,
        }
    }

    /// A message: 1, or the errno. It needs an ITS, and a device that the ITS knows; every device
    /// and every event is taken to be mapped.
    pub(super) fn message(&self, message: &MsiMessage) -> i32 {
        match (self.its, message.devid) {
            (None, _) => -libc::ENODEV,
            (Some(its), Some(_)) if message.address == its.wrapping_add(TRANSLATER) => 1,
            _ => -libc::EINVAL,
        }
    }

    pub(super) fn add_its(&mut self, address: u64) {
        self.its = Some(address);
    }

    pub(super) fn has_its(&self) -> bool {
        self.its.is_some()
    }

    pub(super) fn set_level_triggered(&mut self, pin: u32, level_triggered: bool) {
        if let Some(spi) = self.spi(pin) {
            spi.level_triggered = level_triggered;
        }
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
