// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Eight threads that change routes at once, against the same with a lock around each commit.

use std::error::Error;
use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use irq_routing::GsiLease;

use super::{VECTOR, machine, message, routed};
use crate::counting::Counting;
use crate::measure::median;
use crate::row::Row;

const THREADS: usize = 8;
const ROUTES: usize = 256;
const ROUNDS: u32 = 5;

pub(crate) fn eight_by_256() -> Result<Row, Box<dyn Error>> {
    let (_vm_fd, vm) = machine()?;
    let vm = Arc::new(Counting::new(vm));
    let (_table, leases) = routed(vm.clone(), u32::try_from(THREADS * ROUTES)?)?;
    let mut vector = VECTOR;
    let (mut ours, mut others) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for (lock, times) in [(None, &mut ours), (Some(Mutex::new(())), &mut others)] {
            vector ^= 1;
            vm.reset();
            let ns = retarget_all(&leases, vector, lock.as_ref())?;
            times.push((ns, f64::from(vm.commits())));
        }
    }
    let medians = |runs: Vec<(f64, f64)>| {
        let (times, tables): (Vec<_>, Vec<_>) = runs.into_iter().unzip();
        (median(times), median(tables))
    };
    let ((ours, our_tables), (others, other_tables)) = (medians(ours), medians(others));
    let commits = THREADS * ROUTES;
    Ok(Row::times(
        "a lock around each commit",
        ours,
        others,
        format!(
            "8 threads with 256 commits each of one route: {our_tables} ioctls for {commits} \
             commits, the other {other_tables}"
        ),
    ))
}

/// Nanoseconds until every thread has changed each of its routes, with one commit each.
fn retarget_all(
    leases: &[GsiLease],
    vector: u32,
    lock: Option<&Mutex<()>>,
) -> Result<f64, Box<dyn Error>> {
    let start = Barrier::new(THREADS + 1);
    let retarget = &|leases: &[GsiLease]| {
        start.wait();
        leases.iter().try_for_each(|lease| {
            let _held = lock.map(|lock| lock.lock().unwrap_or_else(PoisonError::into_inner));
            lease.set_route(message(vector))
        })
    };
    thread::scope(|scope| {
        let threads: Vec<_> = leases
            .chunks(ROUTES)
            .map(|leases| scope.spawn(move || retarget(leases)))
            .collect();
        start.wait();
        let start = Instant::now();
        for thread in threads {
            thread.join().map_err(|_| "a thread panicked")??;
        }
        Ok(start.elapsed().as_secs_f64() * 1e9)
    })
}
