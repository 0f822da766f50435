// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A driver programs the vectors of its device one after the other, as Linux does.
//!
//! The vCPU's thread enters them in the queue, and another thread runs the queue.

use std::error::Error;
use std::os::fd::AsFd;
use std::thread;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::VECTOR;
use super::device::Device;
use super::others::Others;
use crate::measure::median;
use crate::row::Row;

const ROUNDS: u32 = 5;
/// Ours is much shorter, so it is repeated.
const OURS: u32 = 5;

/// What bringing up a device took.
struct BringUp {
    /// Nanoseconds until the last vector was armed.
    total: f64,
    /// Nanoseconds on the vCPU's thread.
    vcpu: f64,
    /// How many commits of all routes there were.
    commits: f64,
}

/// The time until the last vector is armed.
pub(crate) fn total(vectors: u32) -> Result<Row, Box<dyn Error>> {
    row(vectors, "until all are armed", |run| run.total)
}

/// The time for which the vCPU is kept out of the guest.
pub(crate) fn on_the_vcpu(vectors: u32) -> Result<Row, Box<dyn Error>> {
    row(vectors, "time on the vCPU's thread", |run| run.vcpu)
}

fn row(vectors: u32, what: &str, of: fn(&BringUp) -> f64) -> Result<Row, Box<dyn Error>> {
    let (mut ours, mut others) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for _ in 0..OURS {
            ours.push(deferred(vectors)?);
        }
        others.push(one_by_one(vectors)?);
    }
    let commits = median(ours.iter().map(|run| run.commits).collect());
    Ok(Row::times(
        "a commit and an irqfd at each unmask",
        median(ours.iter().map(of).collect()),
        median(others),
        format!(
            "{vectors} vectors programmed and unmasked: {what}; {commits} commits, the other \
                {vectors}"
        ),
    ))
}

fn deferred(vectors: u32) -> Result<BringUp, Box<dyn Error>> {
    let device = Device::new(vectors, true)?;
    let queue = &device.queue;
    thread::scope(|scope| {
        let start = Instant::now();
        let owner = scope.spawn(move || {
            let (mut armed, mut commits) = (0, 0);
            while armed < vectors as usize {
                let mut fds = [PollFd::new(queue.as_fd(), PollFlags::POLLIN)];
                // After an interrupted poll, too, the queue shows what there is to do.
                let _ = poll(&mut fds, PollTimeout::NONE);
                let round = queue.run_pending();
                if let Some(dead) = round.failed.first() {
                    return Err(dead.to_string());
                }
                armed += round.armed;
                commits += u32::from(round.armed > 0);
            }
            Ok((start.elapsed(), commits))
        });
        let start = Instant::now();
        (0..vectors).for_each(|index| device.program(index, VECTOR));
        let vcpu = start.elapsed();
        let (total, commits) = owner.join().map_err(|_| "the queue's owner panicked")??;
        Ok(BringUp {
            total: total.as_secs_f64() * 1e9,
            vcpu: vcpu.as_secs_f64() * 1e9,
            commits: commits.into(),
        })
    })
}

fn one_by_one(vectors: u32) -> Result<f64, Box<dyn Error>> {
    let mut others = Others::new(vectors)?;
    let start = Instant::now();
    (0..vectors).try_for_each(|index| others.unmask(index, VECTOR))?;
    Ok(start.elapsed().as_secs_f64() * 1e9)
}
