// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The run on `/dev/kvm`: a VM of two vCPUs, whose accesses to the device exit to this program.

use std::error::Error;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use examples::random::Random;
use notify_core::{EventNotifier, KvmVm, Vm};
use tiny_guest::{Exit, Machine, Vcpu, VcpuStopper};

use crate::device::Device;
use crate::guest::{REGION, Shared};
use crate::layout::{END, VCPUS};

use crate::report::Report;
use crate::{Settings, driver, triggers};

/// A guest that has not started or stopped within this time never does.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn run(settings: &Settings) -> Result<Report, Box<dyn Error>> {
    let (machine, mut vcpus) = Machine::builder().vcpus(VCPUS).build()?;
    let vm = Arc::new(KvmVm::try_from(machine.vm())?);
    let device = Device::new(vm.clone())?;
    let shared = Shared::new(&machine)?;
    for vcpu in &mut vcpus {
        let id = vcpu.id();
        let mut random = Random::new(settings.seed, id.into());
        let (start, steps) = (driver::start(id), driver::steps(id, &mut random));
        let program = shared.program(id, &start, &steps)?;
        vcpu.load(program.ok_or("a vCPU too many")?)?;
    }
    let stop = EventNotifier::new()?;
    let stoppers: Vec<VcpuStopper> = vcpus.iter().map(Vcpu::stopper).collect();
    let start = Instant::now();
    let (outcome, guests, owner) = thread::scope(|scope| {
        let (device, stop) = (&device, &stop);
        let owner = scope.spawn(move || device.serve(stop));
        let drive = |mut vcpu: Vcpu| scope.spawn(move || drive(&mut vcpu, device));
        let guests: Vec<_> = vcpus.into_iter().map(drive).collect();
        // In a thread, so that the guest is stopped even if it panics.
        let shared = &shared;
        let triggers = scope.spawn(move || {
            ready(shared)?;
            triggers::run(device, shared, settings)
        });
        let outcome = triggers.join();
        // If the guest cannot be asked, or does not stop, its vCPUs are stopped.
        let _ = shared.stop.store(1);
        let end = Instant::now() + PATIENCE;
        while guests.iter().any(|guest| !guest.is_finished()) && Instant::now() < end {
            thread::sleep(Duration::from_millis(1));
        }
        for (guest, stopper) in guests.iter().zip(&stoppers) {
            if !guest.is_finished() {
                stopper.stop();
            }
        }
        let guests: Vec<_> = guests.into_iter().map(|guest| guest.join()).collect();
        // If this fails, so has the queue's owner, which then returns.
        let _ = stop.notify();
        (outcome, guests, owner.join())
    });
    owner.map_err(|_| "the queue's owner panicked")??;
    for guest in guests {
        guest.map_err(|_| "a vCPU's thread panicked")??;
    }
    let outcome = outcome.map_err(|_| "the thread that triggers panicked")??;
    let report = Report::new(
        "kvm",
        settings,
        start.elapsed(),
        outcome,
        &device.watch,
        &shared,
    )?;
    // Closing the VM releases everything in it; nothing has to be undone one by one.
    vm.retire();
    Ok(report)
}

fn ready(shared: &Shared) -> Result<(), String> {
    let end = Instant::now() + PATIENCE;
    while !shared.is_ready().map_err(|error| error.to_string())? {
        if Instant::now() > end {
            return Err("the guest does not start".to_owned());
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Runs a vCPU to its end.
fn drive(vcpu: &mut Vcpu, device: &Device) -> Result<(), String> {
    let (id, end) = (vcpu.id(), REGION + END);
    loop {
        match vcpu.run().map_err(|error| error.to_string())? {
            Exit::MmioWrite { address, data } if (REGION..end).contains(&address) => {
                device.write(id, address - REGION, data);
            }
            Exit::MmioRead { address, data } if (REGION..end).contains(&address) => {
                device.read(id, address - REGION, data);
            }
            Exit::Finished(_) | Exit::Stopped => return Ok(()),
            other => return Err(format!("the guest did something unexpected: {other:?}")),
        }
    }
}
