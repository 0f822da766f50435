// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Level-triggered lines, as the pin, the guest and each device see them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking"
)]

mod bench;
mod controller;
mod faults;
mod kernel;
mod machines;
mod message;
mod passthrough;
mod paused;
mod races;
mod random;
mod reassert;
mod saved;
mod threads;
mod without_eois;

use std::sync::Arc;

use irqfd::{EventNotifier, LevelIrq, LevelLine};

fn notifier() -> Arc<EventNotifier> {
    Arc::new(EventNotifier::new().unwrap())
}

fn own(line: &LevelLine) -> LevelIrq {
    line.join().unwrap()
}

fn told(line: &LevelLine) -> LevelIrq {
    line.join_resampled(notifier()).unwrap()
}

fn exported(line: &LevelLine) -> LevelIrq {
    line.join_exported(None, notifier()).unwrap()
}

fn signal(irq: &LevelIrq) {
    irq.trigger_notifier().unwrap().notify().unwrap();
}

/// How often a device was signalled since the last call.
fn heard(irq: &LevelIrq) -> u64 {
    let resample = irq.resample_notifier().unwrap();
    resample.consume().unwrap().map_or(0, u64::from)
}
