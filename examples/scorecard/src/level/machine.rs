// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! VMs with a guest that takes level-triggered interrupts, and sends EOIs.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::Scope;
use std::time::Duration;

use irq_routing::{MsiMessage, RoutingTable, Wiring};
use irqfd::{LevelIrq, LevelLine};
use notify_core::{EventNotifier, KvmVm};
use tiny_guest::{Asm, Emitted, Eoi, Exit, Irqchip, Machine, Program, Vcpu, VcpuStopper};

use super::or_lost;
use crate::measure::Step;

/// A pin that only the IOAPIC has, and its GSI.
const PIN: u8 = 20;
const PINS: u32 = 24;
const VECTOR: u8 = 0x50;
const LEVEL: u64 = 1 << 15;
/// An unused port.
const NOWHERE: u16 = 0x80;
/// What has not come within this time is lost.
const PATIENCE: Duration = Duration::from_secs(5);

/// All controllers in the kernel, and an exported device that shares its line with others.
pub(super) struct InKernel {
    device: LevelIrq,
    _others: Vec<LevelIrq>,
    _machine: Machine,
}

impl InKernel {
    /// Puts `devices` devices on the line. With `leaves`, the guest exits after each EOI.
    pub(super) fn new(devices: usize, leaves: bool) -> Result<(Self, Vcpu), Box<dyn Error>> {
        let (machine, vcpu) = machine(Irqchip::Full, leaves, |asm| {
            asm.mask_pics()?;
            asm.redirect_pin(PIN, LEVEL | u64::from(VECTOR))
        })?;
        let vm = Arc::new(KvmVm::try_from(machine.vm())?);
        let table = RoutingTable::builder(vm).wiring(Wiring::pc()).build()?;
        let line = LevelLine::builder(table.line(PIN.into())?).build()?;
        let notifier = || EventNotifier::new().map(Arc::new);
        let device = line.join_exported(None, notifier()?)?;
        let others = (1..devices).map(|_| Ok(line.join_resampled(notifier()?)?));
        let others = others.collect::<Result<Vec<_>, Box<dyn Error>>>()?;
        let bench = Self {
            device,
            _others: others,
            _machine: machine,
        };
        Ok((bench, vcpu))
    }

    pub(super) fn round_trip(&self) -> Step {
        let (Some(trigger), Some(resample)) = (
            self.device.trigger_notifier(),
            self.device.resample_notifier(),
        ) else {
            return Err("an exported device without notifiers".into());
        };
        trigger.notify()?;
        or_lost(resample.wait(Some(PATIENCE))?.is_some())
    }
}

/// The IOAPIC in user space. Its pin sends an MSI, and the thread of the vCPU signals EOIs to the
/// device.
pub(super) struct InUserSpace {
    machine: Machine,
    resample: EventNotifier,
}

impl InUserSpace {
    pub(super) fn new(leaves: bool) -> Result<(Self, Vcpu), Box<dyn Error>> {
        let (machine, vcpu) = machine(Irqchip::Split { pins: PINS }, leaves, |_| Ok(()))?;
        let vm = Arc::new(KvmVm::try_from(machine.vm())?);
        let builder = RoutingTable::builder(vm);
        let lease = builder
            .reserved_gsis(PINS)
            .build()?
            .lease_exact(PIN.into())?;
        let data = u32::from(VECTOR) | LEVEL as u32;
        lease.set_route(MsiMessage::new(0xfee0_0000, data))?;
        let resample = EventNotifier::new()?;
        // The route stays when the lease is dropped, as nothing is committed any more.
        Ok((Self { machine, resample }, vcpu))
    }

    pub(super) fn tell(&self) -> Result<(), String> {
        self.resample.notify().map_err(|error| error.to_string())
    }

    pub(super) fn round_trip(&self) -> Step {
        self.machine.vm().set_irq_line(PIN.into(), true)?;
        or_lost(self.resample.wait(Some(PATIENCE))?.is_some())
    }
}

fn machine(
    irqchip: Irqchip,
    leaves: bool,
    set_up: impl FnOnce(&mut Asm) -> Emitted,
) -> Result<(Machine, Vcpu), Box<dyn Error>> {
    let (machine, vcpus) = Machine::builder().irqchip(irqchip).build()?;
    let mut vcpu = vcpus.into_iter().next().ok_or("a VM without a vCPU")?;
    let never = machine.slot()?;
    let program = Program::new(|asm| {
        asm.enable_lapic()?;
        set_up(asm)?;
        asm.halt_until(&never, 1)
    })?;
    let program = program.handler_with(VECTOR, Eoi::None, |asm| {
        asm.lapic_eoi()?;
        match leaves {
            true => asm.port_write8(NOWHERE, 0),
            false => Ok(()),
        }
    })?;
    vcpu.load(program)?;
    // The guest enables it too, but perhaps only after the first interrupt has come.
    vcpu.enable_lapic()?;
    Ok((machine, vcpu))
}

/// A vCPU that runs.
#[derive(Debug, Default)]
pub(super) struct Running {
    eoi_exits: AtomicU32,
}

/// Stops a vCPU when dropped.
pub(super) struct Stop(VcpuStopper);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl Running {
    /// Runs a vCPU in a thread until the returned guard is dropped. `ended` is called at each EOI
    /// that exits to user space.
    pub(super) fn start<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        vcpu: &'scope mut Vcpu,
        ended: impl Fn() -> Result<(), String> + Send + 'scope,
    ) -> Stop {
        let stop = Stop(vcpu.stopper());
        scope.spawn(move || {
            // If the vCPU ends, the thread that waits for the guest times out.
            while let Ok(exit) = vcpu.run() {
                let result = match exit {
                    Exit::IoapicEoi(_) => {
                        self.eoi_exits.fetch_add(1, Ordering::Relaxed);
                        ended()
                    }
                    Exit::PortWrite { port: NOWHERE, .. } => Ok(()),
                    _ => return,
                };
                if let Err(error) = result {
                    eprintln!("scorecard: {error}");
                }
            }
        });
        stop
    }

    /// How many EOIs exited to user space.
    pub(super) fn eoi_exits(&self) -> u32 {
        self.eoi_exits.load(Ordering::Relaxed)
    }
}
