// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Adaptive polling on against off, beside threads that never sleep.

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use notify_core::dispatcher::PollLimits;

use crate::dispatch_polling::{LONGEST_WINDOW, Load, Way, phase};
use crate::measure::median;
use crate::open_loop::Guest;
use crate::processor::Pinned;
use crate::row::Row;

/// Long enough for the hold-offs of 0.1 s and 1 s to pass.
const LOAD: Load = Load {
    rate: 50_000,
    time: Duration::from_secs(4),
    is_pinned: true,
};

/// Medians of the phases with the same number of neighbours, in nanoseconds.
struct Latency {
    p50: f64,
    p99: f64,
}

pub(crate) fn beside_busy_loops() -> Result<Row, Box<dyn Error>> {
    let mut guest = Guest::new()?;
    let (on, off, of_one) = with(1, 3, &mut guest)?;
    let (_, _, of_two) = with(2, 1, &mut guest)?;
    let (_, _, of_four) = with(4, 1, &mut guest)?;
    Ok(Row::times(
        "polling off",
        on.p50,
        off.p50,
        format!(
            "p50 from a guest's doorbell to the handler at 50k kicks a second, guest and device \
                each on \
             its processor, windows of up to 65.5 us; one busy loop beside the device, at most \
             1.2 is \
             wanted at p50 and p99; {of_one}; {of_two}; {of_four}"
        ),
    ))
}

/// Polling on, polling off, and a text that compares the two.
fn with(
    neighbours: usize,
    rounds: u32,
    guest: &mut Guest,
) -> Result<(Latency, Latency, String), Box<dyn Error>> {
    let (mut on, mut off) = (Way::default(), Way::default());
    let stop = AtomicBool::new(false);
    thread::scope(|scope| -> Result<(), Box<dyn Error>> {
        let stop = &stop;
        let spinning: Vec<_> = (0..neighbours)
            .map(|_| scope.spawn(move || spin(stop)))
            .collect();
        let limits = PollLimits::with_max(LONGEST_WINDOW);
        let measured = (0..rounds).try_for_each(|_| {
            phase(guest, &LOAD, Some(limits), &mut on)?;
            phase(guest, &LOAD, None, &mut off)
        });
        stop.store(true, Ordering::Relaxed);
        for thread in spinning {
            thread.join().map_err(|_| "a busy loop panicked")??;
        }
        measured
    })?;
    let [on, off] = [on, off].map(|way| Latency {
        p50: median(way.p50),
        p99: median(way.p99),
    });
    let text = format!(
        "{neighbours} busy: p50 {:.1} / {:.1} us ({:.2}), p99 {:.1} / {:.1} us ({:.2})",
        on.p50 / 1e3,
        off.p50 / 1e3,
        on.p50 / off.p50,
        on.p99 / 1e3,
        off.p99 / 1e3,
        on.p99 / off.p99,
    );
    Ok((on, off, text))
}

/// Beside the device: a guest with neighbours of its own would not keep its rate.
fn spin(stop: &AtomicBool) -> Result<(), String> {
    let _pinned = Pinned::to_last().map_err(|error| error.to_string())?;
    while !stop.load(Ordering::Relaxed) {
        std::hint::black_box((0..1000).sum::<u32>());
    }
    Ok(())
}
