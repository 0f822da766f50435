// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The run on `/dev/kvm`: a VM of one vCPU.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use examples::halting;
use irqfd::inject::{self, InjectError, Injected};
use notify_core::{KvmVcpu, KvmVm, Vm};
use tiny_guest::{Exit, Machine, Vcpu};

use crate::board::{Board, PINS};
use crate::bus::Bus;
use crate::guest::Shared;
use crate::layout::PIN;
use crate::report::Report;
use crate::{Chip, Irqchip, Run, Settings, session};

/// A guest that has not started within this time does not start.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn run(run: Run, settings: &Settings) -> Result<Report, Box<dyn Error>> {
    let leaves = match run {
        Run {
            irqchip: Irqchip::Split,
            chip: Chip::Ioapic,
        } => halting::keeps_eois_back()?,
        _ => false,
    };
    let (machine, vcpus) = Machine::builder().irqchip(irqchip(run)).build()?;
    let mut vcpu = vcpus.into_iter().next().ok_or("a VM without a vCPU")?;
    let vm = Arc::new(KvmVm::try_from(machine.vm())?);
    let shared = Shared::new(&machine)?;
    vcpu.load(shared.program(run, leaves)?)?;
    let (stopper, kick) = (vcpu.stopper(), vcpu.stopper());
    let board = Board::new(run, vm.clone(), Box::new(move || kick.stop()))?;
    let over = AtomicBool::new(false);
    let report = session::run(
        run,
        settings,
        &session::Machine {
            backend: "kvm",
            board: &board,
            memory: &shared,
            pin: &|| is_pin_high(run, &machine),
            visit: &|| stopper.stop(),
            leaves,
        },
        |bus| drive(&mut vcpu, bus, &over),
        || ready(&shared),
        || {
            over.store(true, Ordering::SeqCst);
            stopper.stop();
        },
    )?;
    // Closing the VM releases everything in it; nothing has to be undone one by one.
    vm.retire();
    Ok(report)
}

pub(crate) fn irqchip(run: Run) -> tiny_guest::Irqchip {
    match run.irqchip {
        Irqchip::Full => tiny_guest::Irqchip::Full,
        Irqchip::Split => tiny_guest::Irqchip::Split { pins: PINS },
    }
}

/// Whether the kernel's controller sees the pin high. A controller of the VMM has the level of the
/// line.
fn is_pin_high(run: Run, machine: &Machine) -> Result<bool, String> {
    if run.irqchip == Irqchip::Split {
        return Ok(false);
    }
    let high = match run.chip {
        Chip::Ioapic => machine.ioapic_requests().map(|pins| pins >> PIN & 1),
        Chip::Pic => machine.pic_requests().map(|pins| (pins >> PIN & 1).into()),
    };
    Ok(high.map_err(|error| error.to_string())? == 1)
}

fn ready(shared: &Shared) -> Result<(), String> {
    let end = Instant::now() + PATIENCE;
    while shared.ready.load().map_err(|error| error.to_string())? == 0 {
        if Instant::now() > end {
            return Err("the guest does not start".to_owned());
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Runs the vCPU until the run is over.
fn drive(vcpu: &mut Vcpu, bus: Bus<'_>, over: &AtomicBool) -> Result<(), String> {
    let text = |error: &dyn Error| error.to_string();
    let injector = KvmVcpu::try_from(vcpu.fd()).map_err(|error| text(&error))?;
    let mut taken = None;
    loop {
        if bus.board.is_in_user_space() {
            inject(vcpu, &injector, bus.board, &mut taken).map_err(|error| text(&error))?;
        }
        match vcpu.run().map_err(|error| text(&error))? {
            Exit::MmioWrite { address, data } => bus.write(address, data)?,
            Exit::MmioRead { address, data } => bus.read(address, data),
            Exit::PortWrite { port, data } => bus.board.port_write(port, data),
            Exit::PortRead { port, data } => bus.board.port_read(port, data),
            Exit::IoapicEoi(vector) => bus.board.vector_ended(vector)?,
            Exit::InterruptWindow => {}
            Exit::Stopped if over.load(Ordering::SeqCst) => return Ok(()),
            // A PIC requests an interrupt.
            Exit::Stopped => {}
            other => return Err(format!("the guest did something unexpected: {other:?}")),
        }
    }
}

/// Injects the interrupt of a PIC of the VMM, or requests an exit when the vCPU can take it. An
/// interrupt that was `taken` from the PIC is in service there, and must not get lost.
fn inject(
    vcpu: &mut Vcpu,
    injector: &KvmVcpu,
    board: &Board,
    taken: &mut Option<u8>,
) -> Result<(), InjectError> {
    if vcpu.is_ready_for_interrupt() {
        *taken = taken.or_else(|| board.take());
        if let Some(vector) = *taken {
            // The previous interrupt may still be queued.
            if inject::vcpu(injector, vector)? != Injected::StillQueued {
                *taken = None;
            }
        }
    }
    vcpu.request_interrupt_window(taken.is_some() || board.is_requesting());
    Ok(())
}
