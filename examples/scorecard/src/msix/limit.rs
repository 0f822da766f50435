// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Running the queue, against only the system calls that are needed.

use std::error::Error;
use std::os::fd::AsFd;
use std::time::Instant;

use notify_core::{
    EventNotifier, IrqFdRequest, MsiMessage, RouteBuffer, RouteEntry, RouteTarget, Vm,
};

use super::device::Device;
use super::{ADDRESS, FIRST_GSI, VECTOR, machine};
use crate::measure::median;
use crate::row::Row;

const ROUNDS: u32 = 21;

pub(crate) fn of_bring_up(vectors: u32) -> Result<Row, Box<dyn Error>> {
    let (mut ours, mut others) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        if round % 2 == 0 {
            ours.push(queue(vectors)?);
            others.push(bare(vectors)?);
        } else {
            others.push(bare(vectors)?);
            ours.push(queue(vectors)?);
        }
    }
    Ok(Row::times(
        "bare system calls",
        median(ours),
        median(others),
        format!(
            "ArmQueue::run_pending with {vectors} vectors; the other commits once from a \
                ready-made buffer and assigns {vectors} irqfds"
        ),
    ))
}

fn queue(vectors: u32) -> Result<f64, Box<dyn Error>> {
    let device = Device::new(vectors, true)?;
    (0..vectors).for_each(|index| device.program(index, VECTOR));
    let start = Instant::now();
    let round = device.queue.run_pending();
    let elapsed = start.elapsed();
    match round.armed == vectors as usize {
        true => Ok(elapsed.as_secs_f64() * 1e9),
        false => Err(format!("{} vectors were armed", round.armed).into()),
    }
}

fn bare(vectors: u32) -> Result<f64, Box<dyn Error>> {
    let (_vm_fd, vm) = machine()?;
    let notifiers = (0..vectors).map(|_| EventNotifier::new());
    let notifiers: Vec<_> = notifiers.collect::<Result<_, _>>()?;
    let target = RouteTarget::Msi(MsiMessage {
        address: u64::from(ADDRESS),
        data: VECTOR,
        devid: None,
    });
    let routes = (FIRST_GSI..FIRST_GSI + vectors).map(|gsi| RouteEntry::new(gsi, target));
    let routes: RouteBuffer = routes.collect();
    let start = Instant::now();
    vm.set_gsi_routing(&routes)?;
    for (notifier, gsi) in notifiers.iter().zip(FIRST_GSI..) {
        vm.irqfd(&IrqFdRequest::assign(notifier.as_fd(), gsi))?;
    }
    Ok(start.elapsed().as_secs_f64() * 1e9)
}
