// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The run on `/dev/kvm`.

use std::error::Error;
use std::sync::Arc;
use std::thread;

use notify_core::{KvmVm, Vm};
use tiny_guest::{Exit, Machine, Vcpu};

use crate::Order;
use crate::device::{Device, QUEUES};
use crate::guest::Shared;
use crate::mover;
use crate::report::Report;

pub(crate) fn run(kicks: u32, order: Order) -> Result<Report, Box<dyn Error>> {
    let (machine, vcpus) = Machine::builder().build()?;
    let mut vcpu = vcpus.into_iter().next().ok_or("a VM without a vCPU")?;
    let vm = Arc::new(KvmVm::try_from(machine.vm())?);
    let device = Device::new(vm.clone(), order)?;
    let shared = Shared::new(&machine)?;
    vcpu.load(shared.program(kicks.div_ceil(QUEUES.into()))?)?;

    let stopper = vcpu.stopper();
    let (device, shared) = (&device, &shared);
    let moves = thread::scope(|scope| {
        let guest = scope.spawn(move || {
            let result = drive(&mut vcpu, device);
            shared.end();
            result
        });
        let moves = mover::run(device, shared, kicks, |_| false);
        if moves.is_err() {
            // The BAR does not move any more, so there is nothing left to test.
            stopper.stop();
        }
        let guest = guest.join().map_err(|_| "the guest's thread panicked")?;
        guest.map_err(Into::into).and(moves)
    })?;
    let report = Report::new(
        "kvm",
        &shared.kicks()?,
        &device.handled()?,
        device.by_exit(),
        moves,
    );
    // Closing the VM releases everything in it; nothing has to be undone one by one.
    vm.retire();
    Ok(report)
}

/// Runs the guest to its end.
fn drive(vcpu: &mut Vcpu, device: &Device) -> Result<(), String> {
    loop {
        match vcpu.run().map_err(|error| error.to_string())? {
            Exit::MmioWrite { address, data } => {
                let handled = device.on_exit(address, data);
                handled.map_err(|error| error.to_string())?;
            }
            Exit::Finished(_) | Exit::Stopped => return Ok(()),
            other => return Err(format!("the guest did something unexpected: {other:?}")),
        }
    }
}
