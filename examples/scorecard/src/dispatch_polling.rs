// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Adaptive polling on against off: from a guest's doorbell to the handler, at a given rate.

use std::error::Error;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use notify_core::dispatcher::{
    Dispatcher, Handler, HandlerError, PollHandler, PollLimits, Progress,
};

use crate::measure::median;
use crate::open_loop::{Guest, Ring};
use crate::polling_plot::{self, Point};
use crate::processor::Pinned;
use crate::row::Row;

const ROUNDS: u32 = 4;
const PHASE: Duration = Duration::from_millis(400);
/// Entries that one poll takes at most.
const MOST: u32 = 64;
/// How long the device may take for the last entries.
const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) fn at_20k() -> Result<Row, Box<dyn Error>> {
    at_rate(20_000, "polling does not pay; at most 1.1 is wanted")
}

pub(crate) fn at_50k() -> Result<Row, Box<dyn Error>> {
    at_rate(50_000, "at most 0.5 is wanted")
}

/// With QEMU's limits.
pub(crate) fn at_50k_32us() -> Result<Row, Box<dyn Error>> {
    let limits = PollLimits::default();
    at(50_000, limits, "windows of up to 32.8 us").map(|(row, _)| row)
}

pub(crate) fn at_100k() -> Result<Row, Box<dyn Error>> {
    at_rate(100_000, "at most 0.5 is wanted")
}

pub(crate) fn at_200k() -> Result<Row, Box<dyn Error>> {
    at_rate(200_000, "at most 0.5 is wanted")
}

/// Medians over the phases, with polling on or off.
#[derive(Debug, Default)]
pub(crate) struct Way {
    pub(crate) p50: Vec<f64>,
    pub(crate) p99: Vec<f64>,
    /// Kicks a second that the guest achieved.
    pub(crate) rate: Vec<f64>,
    /// CPU time of the device's thread, in per cent of the time.
    pub(crate) cpu: Vec<f64>,
    /// The share of kicks that rang the doorbell, in per cent.
    signalled: Vec<f64>,
}

/// What the guest does in a phase.
#[derive(Debug)]
pub(crate) struct Load {
    /// Kicks a second.
    pub(crate) rate: u32,
    pub(crate) time: Duration,
    /// Whether the guest stays on the first processor, and the device's thread on the last.
    pub(crate) is_pinned: bool,
}

/// A handler waits for the time between two kicks and the time of a wake-up. A host that is itself
/// a VM may take 20 us for the wake-up, so QEMU's limit would keep the window shut at 50k.
pub(crate) const LONGEST_WINDOW: Duration = Duration::from_nanos(65_536);

fn at_rate(rate: u32, wanted: &str) -> Result<Row, Box<dyn Error>> {
    let limits = PollLimits::with_max(LONGEST_WINDOW);
    let wanted = format!("windows of up to 65.5 us, {wanted}");
    let (row, point) = at(rate, limits, &wanted)?;
    polling_plot::add(point);
    Ok(row)
}

fn at(rate: u32, limits: PollLimits, wanted: &str) -> Result<(Row, Point), Box<dyn Error>> {
    let mut guest = Guest::new()?;
    let (mut on, mut off) = (Way::default(), Way::default());
    for round in 0..2 * ROUNDS {
        let polls = round % 2 == 0;
        let way = if polls { &mut on } else { &mut off };
        let load = Load {
            rate,
            time: PHASE,
            is_pinned: false,
        };
        phase(&mut guest, &load, polls.then_some(limits), way)?;
    }
    let [on, off] = [on, off].map(|way| {
        let Way {
            p50,
            p99,
            rate,
            cpu,
            signalled,
        } = way;
        [p50, p99, rate, cpu, signalled].map(median)
    });
    let [ours, p99, achieved, cpu, signalled] = on;
    let [others, other_p99, other_achieved, other_cpu, _] = off;
    let point = Point {
        rate: f64::from(rate),
        on: (ours, p99),
        off: (others, other_p99),
    };
    let row = Row::times(
        "polling off",
        ours,
        others,
        format!(
            "p50 from a guest's doorbell to the handler, open loop, {wanted}; its clock is read \
                four \
             instructions before the entry is made, as this host runs guests; on / off: \
             {:.0}k / {:.0}k kicks a second, CPU {cpu:.0} % / {other_cpu:.0} % of a core, \
             p99 {:.0} / {:.0} us; {signalled:.0} % rang with polling on; {}",
            achieved / 1e3,
            other_achieved / 1e3,
            p99 / 1e3,
            other_p99 / 1e3,
            processors(),
        ),
    );
    Ok((row, point))
}

fn processors() -> String {
    let all = thread::available_parallelism().map_or(1, usize::from);
    format!("{all} processors, shared by guest and device")
}

/// What the device has measured.
#[derive(Debug)]
struct Measured {
    latency: Histogram<u64>,
    taken: u32,
    signals: u64,
}

struct Device {
    ring: Ring,
    measured: Arc<Mutex<Measured>>,
}

impl Device {
    fn serve(&mut self, most: u32) -> Result<u32, HandlerError> {
        let mut measured = self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        let latency = &mut measured.latency;
        let taken = self.ring.take(most, |ago| *latency += ago)?;
        measured.taken += taken;
        Ok(taken)
    }
}

impl Handler for Device {
    fn handle(&mut self, signalled: NonZeroU64) -> Result<(), HandlerError> {
        self.measured
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .signals += signalled.get();
        self.serve(u32::MAX).map(drop)
    }
}

impl PollHandler for Device {
    fn poll(&mut self) -> Progress {
        match self.serve(MOST) {
            Ok(0) => Progress::None,
            Ok(_) => Progress::Made,
            Err(error) => Progress::Failed(error),
        }
    }

    fn begin_polling(&mut self) {
        // This cannot fail: the ring is in RAM.
        let _ = self.ring.suppress(true);
    }

    fn end_polling(&mut self) {
        let _ = self.ring.suppress(false);
    }
}

/// Lets the guest kick for a while.
pub(crate) fn phase(
    guest: &mut Guest,
    load: &Load,
    polls: Option<PollLimits>,
    way: &mut Way,
) -> Result<(), Box<dyn Error>> {
    let (kicks, ring) = guest.load(load.rate, load.time)?;
    let measured = Arc::new(Mutex::new(Measured {
        latency: Histogram::new(3)?,
        taken: 0,
        signals: 0,
    }));
    let limits = polls.unwrap_or_default();
    let dispatcher = Dispatcher::builder().poll_limits(limits).build()?;
    let handle = dispatcher.handle();
    let device = Device {
        ring,
        measured: Arc::clone(&measured),
    };
    if polls.is_some() {
        handle
            .add_polled(Arc::clone(&guest.kick), device)
            .map_err(|rejected| rejected.error)?;
    } else {
        handle
            .add_handler(Arc::clone(&guest.kick), device)
            .map_err(|rejected| rejected.error)?;
    }
    let taken = || {
        measured
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .taken
    };
    let (begin, mut time) = (Instant::now(), Duration::ZERO);
    let busy = thread::scope(|scope| -> Result<Duration, Box<dyn Error>> {
        let serving = scope.spawn(|| -> Result<Duration, String> {
            let pinned = load.is_pinned.then(Pinned::to_last).transpose();
            let _pinned = pinned.map_err(|error| error.to_string())?;
            let before = thread_time()?;
            dispatcher.run().map_err(|error| error.to_string())?;
            Ok(thread_time()?.saturating_sub(before))
        });
        // Only now, as a new thread inherits the processors of the thread that starts it.
        let _pinned = load.is_pinned.then(Pinned::to_first).transpose()?;
        let ran = guest.run();
        time = begin.elapsed();
        let patience = Instant::now();
        while taken() < kicks && patience.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(1));
        }
        handle.stop()?;
        ran?;
        Ok(serving
            .join()
            .map_err(|_| "the device's thread panicked")??)
    })?;
    drop(dispatcher);
    let measured = measured.lock().unwrap_or_else(PoisonError::into_inner);
    if measured.taken != kicks {
        return Err(format!("{} of {kicks} kicks were handled", measured.taken).into());
    }
    way.p50.push(measured.latency.value_at_quantile(0.5) as f64);
    way.p99
        .push(measured.latency.value_at_quantile(0.99) as f64);
    way.rate.push(f64::from(kicks) / time.as_secs_f64());
    way.cpu
        .push(100.0 * busy.as_secs_f64() / time.as_secs_f64());
    way.signalled
        .push(100.0 * measured.signals as f64 / f64::from(kicks));
    Ok(())
}

/// The CPU time of this thread.
fn thread_time() -> Result<Duration, String> {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).map_err(|error| error.to_string())?;
    let microseconds = (usage.user_time() + usage.system_time()).num_microseconds();
    u64::try_from(microseconds)
        .map(Duration::from_micros)
        .map_err(|error| error.to_string())
}
