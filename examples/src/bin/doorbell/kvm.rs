// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The run on `/dev/kvm`: one machine, first with the doorbells registered, then without.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use examples::arguments::Idle;
use ioeventfd::IoAddress;
use notify_core::{KvmVm, NotifierPair, Vm};
use tiny_guest::{Exit, Machine, Vcpu, VcpuStopper};

use crate::Outcome;
use crate::bells;
use crate::device::Device;
use crate::guest::Shared;
use crate::latency::Latency;
use crate::report::{Counts, Phase, Report};
use crate::wiring::{self, Wiring};

const MEMORY: u64 = 8 << 20;
/// A guest that has not moved for so long waits for an interrupt that was lost.
const PATIENCE: Duration = Duration::from_secs(5);

/// A machine with its two queues, ready to run the guest.
struct Bench {
    vm: Arc<KvmVm>,
    shared: Shared,
    wiring: Wiring,
    vcpu: Vcpu,
    interrupted: Arc<AtomicBool>,
    /// What measuring nothing costs at each doorbell, in ticks.
    overhead: Vec<u64>,
    _machine: Machine,
}

pub(crate) fn run(kicks: u32, idle: Idle) -> Result<Outcome, Box<dyn Error>> {
    let (machine, vcpus) = Machine::builder().memory(MEMORY).build()?;
    let vm = Arc::new(KvmVm::try_from(machine.vm())?);
    let wiring = Wiring::new(vm.clone())?;
    let vcpu = vcpus.into_iter().next().ok_or("a machine without a vCPU")?;
    let interrupted = Arc::new(AtomicBool::new(false));
    stop_at_ctrl_c(vcpu.stopper(), Arc::clone(&interrupted))?;
    let mut bench = Bench {
        vm,
        shared: Shared::new(&machine, idle)?,
        wiring,
        vcpu,
        interrupted,
        overhead: Vec::new(),
        _machine: machine,
    };
    bench.calibrate()?;

    let doorbells = bench.wiring.register()?;
    let by_ioeventfd = bench.phase(kicks)?;
    drop(doorbells);
    let by_exit = match by_ioeventfd.counts.is_exact(kicks) {
        // Half the story, and nothing to wait for.
        false => Phase::default(),
        true => bench.phase(kicks)?,
    };
    if bench.interrupted.load(Ordering::Relaxed) {
        let kicks = by_ioeventfd.counts.kicks + by_exit.counts.kicks;
        return Ok(Outcome::Interrupted { kicks });
    }
    let clock_ns = bench.nanoseconds(bench.overhead.iter().copied().max().unwrap_or(0))?;
    let routes = bench.wiring.table.routes();
    let report = Report::new("kvm", kicks, clock_ns, &routes, by_ioeventfd, by_exit);
    // The machine goes with everything in it; there is nothing to undo one by one.
    bench.vm.retire();
    Ok(Outcome::Done(Box::new(report)))
}

fn stop_at_ctrl_c(stopper: VcpuStopper, interrupted: Arc<AtomicBool>) -> Result<(), ctrlc::Error> {
    ctrlc::set_handler(move || {
        interrupted.store(true, Ordering::Relaxed);
        stopper.stop();
    })
}

impl Bench {
    /// Finds out what reading the clock costs.
    fn calibrate(&mut self) -> Result<(), Box<dyn Error>> {
        let (program, samples) = self.shared.calibrating()?;
        self.vcpu.load(program)?;
        drive(&mut self.vcpu, &self.wiring.queues)?;
        let mut costs = vec![Vec::new(); bells::BELLS];
        for (bell, ticks) in self.shared.ticks(samples)? {
            costs
                .get_mut(bell)
                .ok_or("a sample of no doorbell")?
                .push(ticks.cost);
        }
        self.overhead = costs.into_iter().map(median).collect();
        Ok(())
    }

    /// Runs the guest while the device answers it.
    fn phase(&mut self, kicks: u32) -> Result<Phase, Box<dyn Error>> {
        self.shared.reset()?;
        self.vcpu.load(self.shared.kicking(kicks)?)?;
        let device = Device::new(&self.wiring.queues)?;
        let stopper = self.vcpu.stopper();
        let (vcpu, queues, shared) = (&mut self.vcpu, &self.wiring.queues, &self.shared);
        let (guest, served) = thread::scope(|scope| {
            let serving = scope.spawn(|| device.serve());
            let (done, ended) = channel();
            let guest = scope.spawn(move || {
                let result = drive(vcpu, queues);
                // The other end waits for this, and nothing else.
                let _ = done.send(());
                result
            });
            let mut last = None;
            while ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                let now = shared.taken().ok();
                if now == last {
                    stopper.stop();
                }
                last = now;
            }
            let guest = guest.join().map_err(|_| "the guest's thread panicked");
            let stopped = device.stop();
            let served = serving.join().map_err(|_| "the device's thread panicked");
            (guest, stopped.map(|()| served))
        });
        guest??;
        served???;
        let counts = Counts {
            kicks: self.shared.kicks.load()?,
            handled: device.counters().handled.load(Ordering::Relaxed),
            signalled: device.counters().signalled.load(Ordering::Relaxed),
            interrupts: self.shared.taken()?,
        };
        self.times(kicks, counts)
    }

    fn times(&self, kicks: u32, counts: Counts) -> Result<Phase, Box<dyn Error>> {
        let (mut costs, mut round_trips) = (Vec::new(), Vec::new());
        for (bell, ticks) in self.shared.ticks(kicks)? {
            let overhead = self.overhead.get(bell).copied().unwrap_or(0);
            costs.push(self.nanoseconds(ticks.cost.saturating_sub(overhead))?);
            round_trips.push(self.nanoseconds(ticks.round_trip.saturating_sub(overhead))?);
        }
        Ok(Phase {
            counts,
            cost: Some(Latency::new(costs)),
            round_trip: Some(Latency::new(round_trips)),
        })
    }

    fn nanoseconds(&self, ticks: u64) -> Result<u64, Box<dyn Error>> {
        Ok(ticks * 1_000_000 / u64::from(self.vcpu.tsc_khz()?))
    }
}

/// Runs the guest to its end. Kicks that no ioeventfd took come here, and go to the same notifiers.
fn drive(vcpu: &mut Vcpu, queues: &[NotifierPair]) -> Result<(), String> {
    loop {
        let (address, data) = match vcpu.run().map_err(|error| error.to_string())? {
            Exit::MmioWrite { address, data } => (IoAddress::Mmio(address), data),
            Exit::PortWrite { port, data } => (IoAddress::Pio(port), data),
            Exit::Finished(_) | Exit::Stopped => return Ok(()),
            other => return Err(format!("the guest did something unexpected: {other:?}")),
        };
        wiring::ring(queues, address, data)?;
    }
}

fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}
