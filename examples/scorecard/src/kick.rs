// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A kick by ioeventfd, against an exit to user space that signals the same notifier.

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use ioeventfd::{Datamatch, IoAddress, IoEventFd, Width};
use notify_core::{EventNotifier, KvmVm};
use tiny_guest::iced_x86::code_asm::rcx;
use tiny_guest::layout::DOORBELL;
use tiny_guest::{Exit, Machine, Program, Vcpu};

use crate::measure::median;
use crate::row::Row;

const ROUNDS: u32 = 21;
/// Stores in one iteration of the guest's loop, so that the loop itself costs little.
const UNROLLED: u32 = 16;
const TURNS: u32 = 200;
const KICKS: u32 = TURNS * UNROLLED;

pub(crate) fn against_exit() -> Result<Row, Box<dyn Error>> {
    let (machine, vcpus) = Machine::builder().build()?;
    let mut vcpu = vcpus.into_iter().next().ok_or("a VM without a vCPU")?;
    let vm = Arc::new(KvmVm::try_from(machine.vm())?);
    let notifier = Arc::new(EventNotifier::new()?);
    let address = IoAddress::Mmio(DOORBELL);

    let (mut ours, mut other) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        // The same program without its stores.
        let base = run(&mut vcpu, false, &notifier)?;
        let builder = IoEventFd::builder(vm.clone(), address, Datamatch::Width(Width::W4));
        let doorbell = builder.notifier(Arc::clone(&notifier)).assign()?;
        let by_ioeventfd = run(&mut vcpu, true, &notifier)?;
        drop(doorbell);
        let by_exit = run(&mut vcpu, true, &notifier)?;
        ours.push((by_ioeventfd - base) / f64::from(KICKS));
        other.push((by_exit - base) / f64::from(KICKS));
    }
    let kicks = notifier.consume()?.map_or(0, u64::from);
    if kicks != 2 * u64::from(ROUNDS) * u64::from(KICKS) {
        return Err(format!("{kicks} kicks arrived").into());
    }
    Ok(Row::times(
        "an exit to user space",
        median(ours),
        median(other),
        "one MMIO store, no thread waiting; depends on how this host runs guests",
    ))
}

/// Nanoseconds for a guest that stores to the doorbell `KICKS` times, or does all but the store.
fn run(vcpu: &mut Vcpu, store: bool, notifier: &EventNotifier) -> Result<f64, Box<dyn Error>> {
    let program = Program::new(|asm| {
        asm.repeat(TURNS, |asm| {
            (0..UNROLLED).try_for_each(|_| {
                if store {
                    asm.mmio_write32(DOORBELL, 1)
                } else {
                    asm.mov(rcx, DOORBELL)
                }
            })
        })
    })?;
    vcpu.load(program)?;
    let start = Instant::now();
    loop {
        match vcpu.run()? {
            Exit::MmioWrite {
                address: DOORBELL, ..
            } => notifier.notify()?,
            Exit::Finished(_) => return Ok(start.elapsed().as_secs_f64() * 1e9),
            other => return Err(format!("the guest did something unexpected: {other:?}").into()),
        }
    }
}
