// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Whether a guest that halts right after an EOI keeps it from the VMM.
//!
//! With an IOAPIC in user space, KVM_RUN returns with KVM_EXIT_IOAPIC_EOI when the guest has ended
//! a level-triggered interrupt. Where kernel-mode guest code is emulated, a guest that ends it and
//! halts does both in one go, and KVM_RUN returns only after the next interrupt; but none comes
//! before the EOI is known. Any exit in between helps.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::{Duration, Instant};

use irq_routing::{MsiMessage, RoutingTable};
use notify_core::KvmVm;
use tiny_guest::{Exit, Irqchip, Machine, Program, Slot, Vcpu};

/// The pins of the IOAPIC in user space, one of them, and what it sends: a level-triggered
/// interrupt.
const PINS: u32 = 24;
const PIN: u32 = 10;
const VECTOR: u8 = 0x50;
const LEVEL: u32 = 1 << 15;

/// A guest that is interrupted between the two, by a tick of the host's, does not keep it back. So
/// one EOI that is reported proves nothing.
const TRIES: u32 = 16;
/// An EOI that is not reported for so long is not until the next interrupt.
const PATIENCE: Duration = Duration::from_millis(50);

/// Whether a guest has to leave, by a port for instance, after each EOI and before it halts.
///
/// # Errors
///
/// Where there is no KVM, or a machine with a split irqchip cannot be had or does not run.
pub fn keeps_eois_back() -> Result<bool, Box<dyn Error>> {
    for _ in 0..TRIES {
        if keeps_one_back()? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A machine whose guest ends one interrupt, and halts.
fn keeps_one_back() -> Result<bool, Box<dyn Error>> {
    let irqchip = Irqchip::Split { pins: PINS };
    let (machine, vcpus) = Machine::builder().irqchip(irqchip).build()?;
    let mut vcpu = vcpus.into_iter().next().ok_or("a machine without a vCPU")?;
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
