// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The run on `/dev/kvm`: one VM, first with the doorbells registered, then without.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use examples::arguments::Idle;
use examples::interrupt;
use examples::progress::Progress;
use ioeventfd::IoAddress;
use notify_core::{KvmVm, NotifierPair, Vm};
use tiny_guest::{Exit, Machine, Vcpu, VcpuStopper};

use crate::bells;
use crate::busy::Processors;
use crate::device::Device;
use crate::guest::Shared;
use crate::latency::Latency;
use crate::report::{Counts, Phase, Report};
use crate::wiring::{self, Wiring};

const MEMORY: u64 = 8 << 20;
/// A guest that makes no progress for this long waits for an interrupt that was lost.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same for a guest that was asked to finish.
const SHORT_PATIENCE: Duration = Duration::from_millis(200);
/// How often the host looks at the guest.
const LOOK: Duration = Duration::from_millis(50);

/// A VM with its two queues, ready to run the guest.
struct Bench {
    vm: Arc<KvmVm>,
    shared: Shared,
    wiring: Wiring,
    vcpu: Vcpu,
    /// What a measurement costs at each doorbell without a kick, in ticks.
    overhead: Vec<u64>,
    _machine: Machine,
}

pub(crate) fn run(kicks: u32, idle: Idle) -> Result<Report, Box<dyn Error>> {
    let (machine, vcpus) = Machine::builder().memory(MEMORY).build()?;
    let vm = Arc::new(KvmVm::try_from(machine.vm())?);
    let wiring = Wiring::new(vm.clone())?;
    let vcpu = vcpus.into_iter().next().ok_or("a VM without a vCPU")?;
    let mut bench = Bench {
        vm,
        shared: Shared::new(&machine, idle)?,
        wiring,
        vcpu,
        overhead: Vec::new(),
        _machine: machine,
    };
    bench.calibrate()?;

    let before = Processors::now();
    let doorbells = bench.wiring.register()?;
    let by_ioeventfd = bench.phase("kicks by ioeventfd", kicks)?;
    drop(doorbells);
    let by_exit = match by_ioeventfd.counts.is_exact(kicks) {
        // The run was interrupted, so there is no second half.
        false => Phase::default(),
        true => bench.phase("kicks by exit", kicks)?,
    };
    let overhead = bench.overhead.iter().copied().max().unwrap_or(0);
    let clock_ns = Clock::new(&bench.vcpu)?.nanoseconds(overhead);
    let routes = bench.wiring.table.routes();
    let report = Report::new(
        "kvm",
        kicks,
        clock_ns,
        before,
        &routes,
        by_ioeventfd,
        by_exit,
    );
    // Closing the VM releases everything in it; nothing has to be undone one by one.
    bench.vm.retire();
    Ok(report)
}

impl Bench {
    /// Measures what reading the clock costs.
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

    /// Runs the guest while the device serves its kicks.
    fn phase(&mut self, title: &str, kicks: u32) -> Result<Phase, Box<dyn Error>> {
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
                // The receiver waits for this and for nothing else.
                let _ = done.send(());
                result
            });
            watch(shared, &stopper, &ended, Progress::new(title, kicks.into()));
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
        self.times(counts)
    }

    fn times(&self, counts: Counts) -> Result<Phase, Box<dyn Error>> {
        let (mut costs, mut round_trips) = (Vec::new(), Vec::new());
        let clock = Clock::new(&self.vcpu)?;
        for (bell, ticks) in self.shared.ticks(u32::try_from(counts.kicks)?)? {
            let overhead = self.overhead.get(bell).copied().unwrap_or(0);
            costs.push(clock.nanoseconds(ticks.cost.saturating_sub(overhead)));
            round_trips.push(clock.nanoseconds(ticks.round_trip.saturating_sub(overhead)));
        }
        Ok(Phase {
            counts,
            cost: Some(Latency::new(costs)),
            round_trip: Some(Latency::new(round_trips)),
        })
    }
}

/// How fast the guest's time-stamp counter ticks.
struct Clock {
    ticks_per_ms: u64,
}

impl Clock {
    fn new(vcpu: &Vcpu) -> Result<Self, tiny_guest::Error> {
        let ticks_per_ms = vcpu.tsc_khz()?.into();
        Ok(Self { ticks_per_ms })
    }

    fn nanoseconds(&self, ticks: u64) -> u64 {
        ticks * 1_000_000 / self.ticks_per_ms
    }
}

/// Waits for the end of the guest. Asks it to finish if the user ends the run, and stops it if it
/// makes no progress.
fn watch(shared: &Shared, stopper: &VcpuStopper, ended: &Receiver<()>, mut progress: Progress) {
    let (mut last, mut moved, mut patience) = (None, Instant::now(), PATIENCE);
    while ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
        if interrupt::is_pending() && shared.stop().is_ok() {
            patience = SHORT_PATIENCE;
        }
        let now = shared.taken().ok();
        progress.show(now.unwrap_or(0));
        if now != last {
            (last, moved) = (now, Instant::now());
        } else if moved.elapsed() > patience {
            stopper.stop();
        }
    }
}

/// Runs the guest to its end. Kicks that no ioeventfd took exit, and are passed to the same
/// notifiers.
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
