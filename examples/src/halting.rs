// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Whether this host delays the report of an EOI if the guest halts right after it.
//!
//! With an IOAPIC in user space, KVM_RUN returns with KVM_EXIT_IOAPIC_EOI after the guest's EOI for
//! a level-triggered interrupt. Where kernel-mode guest code is emulated, an EOI and the halt after
//! it are executed in one go, and KVM_RUN returns only after the next interrupt. But no interrupt
//! comes before the VMM has seen the EOI. Any exit between EOI and halt helps.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::{Duration, Instant};

use irq_routing::{MsiMessage, RoutingTable};
use notify_core::KvmVm;
use tiny_guest::{Exit, Irqchip, Machine, Program, Slot, Vcpu};

/// The number of pins of the IOAPIC in user space, the pin that is used, and its level-triggered
/// message.
const PINS: u32 = 24;
const PIN: u32 = 10;
const VECTOR: u8 = 0x50;
const LEVEL: u32 = 1 << 15;

/// If a host interrupt falls between EOI and halt, the EOI is not delayed. So one EOI that is
/// reported proves nothing.
const TRIES: u32 = 16;
/// An EOI that is not reported within this time is not reported before the next interrupt.
const PATIENCE: Duration = Duration::from_millis(50);

/// Whether a guest has to exit, by a port for instance, after each EOI and before it halts.
///
/// # Errors
///
/// Where there is no KVM, or a VM with a split irqchip cannot be created or does not run.
pub fn keeps_eois_back() -> Result<bool, Box<dyn Error>> {
    for _ in 0..TRIES {
        if keeps_one_back()? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Runs a VM whose guest sends one EOI, and halts.
fn keeps_one_back() -> Result<bool, Box<dyn Error>> {
    let irqchip = Irqchip::Split { pins: PINS };
    let (machine, vcpus) = Machine::builder().irqchip(irqchip).build()?;
    let mut vcpu = vcpus.into_iter().next().ok_or("a VM without a vCPU")?;
    let vm = Arc::new(KvmVm::try_from(machine.vm())?);
    let builder = RoutingTable::builder(vm);
    let lease = builder.reserved_gsis(PINS).build()?.lease_exact(PIN)?;
    let message = MsiMessage::new(0xfee0_0000, u32::from(VECTOR) | LEVEL);
    lease.set_route(message)?;

    let (ready, taken) = (machine.slot()?, machine.slot()?);
    let program = Program::new(|asm| {
        asm.enable_lapic()?;
        asm.store(&ready, 1)?;
        asm.halt_until(&taken, u64::MAX)
    })?;
    let program = program.handler(VECTOR, |asm| asm.increment(&taken))?;
    vcpu.load(program)?;
    let stopper = vcpu.stopper();
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let guest = scope.spawn(|| wait_for_eoi(&mut vcpu, &ended));
        let raised = until(&ready)
            .and_then(|()| Ok(machine.vm().set_irq_line(PIN, true)?))
            .and_then(|()| until(&taken));
        let end = Instant::now() + PATIENCE;
        while raised.is_ok() && !ended.load(SeqCst) && Instant::now() < end {
            thread::sleep(Duration::from_millis(1));
        }
        let kept = !ended.load(SeqCst);
        stopper.stop();
        guest.join().map_err(|_| "the vCPU's thread panicked")??;
        raised.map(|()| kept)
    })
}

fn wait_for_eoi(vcpu: &mut Vcpu, ended: &AtomicBool) -> Result<(), String> {
    loop {
        match vcpu.run().map_err(|error| error.to_string())? {
            Exit::IoapicEoi(_) => ended.store(true, SeqCst),
            Exit::Stopped => return Ok(()),
            other => return Err(format!("the guest did something unexpected: {other:?}")),
        }
    }
}

/// Waits until the guest has set it.
fn until(slot: &Slot) -> Result<(), Box<dyn Error>> {
    let end = Instant::now() + Duration::from_secs(10);
    while slot.load()? == 0 {
        if Instant::now() > end {
            return Err("the guest does not run".into());
        }
        thread::yield_now();
    }
    Ok(())
}
