// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The whole state of a VM, and how an interrupt travels through it.

use std::io;
use std::ops::Range;

use super::bus::Device;
use super::calls::Calls;
use super::doorbells::Doorbells;
use super::eventfd::Held;
use super::interrupt::{Chips, Stage};
use super::ioapic::IoApic;
use super::irqfds::{Bound, IrqFds};
use super::line::Source;
use super::pic::Pic;
use super::raw::IrqFd;
use super::routing::Routes;
use super::words::IrqFdFlags;
use super::{Injected, Interrupt, Profile};
use notify_core::{Bus, EventNotifier, RouteTarget};

#[derive(Debug)]
pub(super) struct State {
    pub(super) profile: Profile,
    pub(super) chips: Chips,
    pub(super) routes: Routes,
    pub(super) x2apic_ids: bool,
    /// Whether an IOAPIC pin that waits is resampled when the guest unmasks it.
    pub(super) resample_at_unmask: bool,
    /// What each vCPU was given by KVM_INTERRUPT and has not taken.
    pub(super) interrupts: Vec<Option<u8>>,
    pub(super) irqfds: IrqFds,
    pub(super) doorbells: Doorbells,
    /// Memory, and whether it can be written.
    pub(super) memory: Vec<(Range<u64>, bool)>,
    pub(super) injected: Vec<Injected>,
    pub(super) calls: Calls,
    /// Signalled when something was injected.
    pub(super) listener: Option<std::sync::Arc<EventNotifier>>,
}

impl State {
    pub(super) fn new(
        profile: Profile,
        vcpus: usize,
        stage: Stage,
        resample_at_unmask: bool,
    ) -> Self {
        let profile = match stage {
            Stage::Absent if profile.is_x86() => Profile::None,
            _ => profile,
        };
        let routes = match profile {
            Profile::X86 => Routes::default_of(profile),
            // The others' are empty until their controller is initialised, or stay so.
            _ => Routes::default(),
        };
        let mut doorbells = Doorbells::default();
        if profile == Profile::X86 {
            // An empty bus takes them.
            for port in Pic::PORTS {
                let _ = doorbells.add_device(Bus::Pio, port, 2, Device::Pic);
            }
            let (address, len) = IoApic::RANGE;
            let _ = doorbells.add_device(Bus::Mmio, address, len, Device::IoApic);
        }
        if matches!(profile, Profile::Arm64Gic { .. }) && stage == Stage::Created {
            // A redistributor for each vCPU.
            doorbells.reserve(vcpus);
        }
        Self {
            profile,
            chips: Chips::new(profile, vcpus, stage),
            routes,
            x2apic_ids: false,
            resample_at_unmask,
            interrupts: vec![None; vcpus],
            irqfds: IrqFds::default(),
            doorbells,
            memory: Vec::new(),
            injected: Vec::new(),
            calls: Calls::default(),
            listener: None,
        }
    }

    /// Initialises a GIC or an AIA, once.
    pub(super) fn initialise(&mut self) {
        if let Some(devices) = self.chips.initialise() {
            self.doorbells.reserve(devices);
            self.routes = Routes::default_of(self.profile);
        }
    }

    /// Carries out the signals of bound eventfds.
    pub(super) fn drain(&mut self) {
        if self.irqfds.is_empty() {
            return;
        }
        for token in self.irqfds.signalled() {
            self.signalled(token);
        }
    }

    fn signalled(&mut self, token: u64) {
        let taken = self.irqfds.take(token);
        if let Some((gsi, resample)) = taken.map(|bound| (bound.gsi, bound.resample.is_some())) {
            self.signal(gsi, resample);
        }
    }

    /// An eventfd was signalled. A single route that needs no sleep is taken on the spot: it is
    /// raised and never lowered, which only arm64 and riscv64 do with pins.
    fn signal(&mut self, gsi: u32, resample: bool) {
        match self.routes.of(gsi) {
            [Some(only @ RouteTarget::Msi(_)), None, None] => {
                self.drive(Some(gsi), only, Source::User, true, false);
            }
            [Some(only), None, None] if !self.profile.is_x86() => {
                self.drive(Some(gsi), only, Source::User, true, false);
            }
            _ => self.pulse(gsi, resample),
        }
    }

    /// What the kernel leaves to a worker thread.
    fn pulse(&mut self, gsi: u32, resample: bool) {
        if resample {
            self.set_gsi(Source::Resample, gsi, true, false);
        } else {
            self.set_gsi(Source::User, gsi, true, false);
            self.set_gsi(Source::User, gsi, false, false);
        }
    }

    /// Drives all that a GSI is routed to. Returns the sum of the results that are not negative; -1
    /// if there is none.
    pub(super) fn set_gsi(&mut self, source: Source, gsi: u32, level: bool, status: bool) -> i32 {
        let mut sum = -1;
        for target in self.routes.of(gsi).into_iter().flatten() {
            let result = self.drive(Some(gsi), target, source, level, status);
            if result >= 0 {
                sum = result + sum.max(0);
            }
        }
        sum
    }

    pub(super) fn drive(
        &mut self,
        gsi: Option<u32>,
        target: RouteTarget,
        source: Source,
        level: bool,
        status: bool,
    ) -> i32 {
        let (interrupt, result) = match target {
            RouteTarget::Pin { chip, pin } => (
                Interrupt::Pin { chip, pin, level },
                self.chips.set_pin(chip, pin, (source, level), status),
            ),
            RouteTarget::Msi(message) if level => (
                Interrupt::Msi(message),
                self.chips.message(&message, self.x2apic_ids),
            ),
            // A message has no level 0, and no table has the others.
            _ => return -1,
        };
        self.injected.push(Injected::new(gsi, interrupt, result));
        if let Some(listener) = &self.listener {
            // It can fail only where the counter is full, which wakes as well.
            let _ = listener.notify();
        }
        result
    }

    /// A pin's interrupt was ended: its GSI is lowered, and the devices that hold it up are asked
    /// again.
    pub(super) fn acknowledged(&mut self, chip: u32, pin: u32) {
        let Some(gsi) = self.routes.gsi_of(chip, pin) else {
            return;
        };
        if self.irqfds.resamplers(gsi).next().is_some() {
            self.set_gsi(Source::Resample, gsi, false, false);
            self.irqfds.resamplers(gsi).for_each(Held::signal);
        }
    }

    /// Signals the resample eventfds of a pin. Returns `false` if there is none.
    pub(super) fn resample(&self, chip: u32, pin: u32) -> bool {
        let gsi = self.routes.gsi_of(chip, pin);
        let asked = gsi.map_or(0, |gsi| {
            let resamplers = self.irqfds.resamplers(gsi);
            resamplers.map(Held::signal).count()
        });
        asked > 0
    }

    pub(super) fn assign_irqfd(&mut self, args: &IrqFd) -> io::Result<()> {
        let resample = args.flags & IrqFdFlags::RESAMPLE.bits() != 0;
        self.chips.allow_irqfd(resample)?;
        let eventfd = Held::get(args.fd)?;
        let resample = resample.then(|| Held::get(args.resamplefd)).transpose()?;
        let level = resample.is_some();
        let bound = Bound {
            gsi: args.gsi,
            eventfd: eventfd.clone(),
            resample,
            delivered: 0,
        };
        let token = match self.irqfds.insert(bound) {
            Ok(token) => token,
            Err(error) => {
                if level {
                    self.resampler_left(args.gsi);
                }
                return Err(error);
            }
        };
        // A signal that was there before is injected, and stays in the counter. The epoll has to
        // report it now, so that its next report is of the next signal.
        if eventfd.is_signalled() {
            self.irqfds.deliver_count(token);
            let signalled = self.irqfds.signalled();
            self.pulse(args.gsi, level);
            signalled
                .into_iter()
                .filter(|other| *other != token)
                .for_each(|other| self.signalled(other));
        }
        Ok(())
    }

    pub(super) fn deassign_irqfd(&mut self, args: &IrqFd) -> io::Result<()> {
        let eventfd = Held::get(args.fd)?;
        if let Some((bound, late)) = self.irqfds.remove(&eventfd, args.gsi) {
            if late {
                self.signal(bound.gsi, bound.resample.is_some());
            }
            if bound.resample.is_some() {
                self.resampler_left(bound.gsi);
            }
        }
        Ok(())
    }

    /// The last one to leave lets the line go.
    fn resampler_left(&mut self, gsi: u32) {
        if self.irqfds.resamplers(gsi).next().is_none() {
            self.set_gsi(Source::Resample, gsi, false, false);
        }
    }
}
