// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The run without KVM: a simulated VM, and a guest that is a thread.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use notify_core::Bus;
use notify_sim::{CallKind, SimVm};

use crate::Order;
use crate::device::{Device, NOTIFY, PLACES, QUEUES};
use crate::mover;
use crate::report::Report;

/// What the kernel returns if it has no memory for the bus's new array.
const ENOMEM: i32 = 12;

pub(crate) fn run(kicks: u32, order: Order, faults: bool) -> Result<Report, Box<dyn Error>> {
    let vm = Arc::new(SimVm::builder().build());
    let device = Device::new(vm.clone(), order)?;
    let guest = Guest::default();
    let least = kicks.div_ceil(QUEUES.into());
    // Each ioctl of a move is to fail once, so the guest goes on until then.
    let (each, ordered) = (2 * u64::from(QUEUES), AtomicU64::new(0));
    let enough = || !faults || ordered.load(Ordering::Acquire) >= each;
    let fault = |number: u64| {
        vm.clear_faults();
        let next = ordered.load(Ordering::Acquire);
        // One move in two fails, so that both directions meet every fault.
        if !faults || number.is_multiple_of(2) || next >= each {
            return false;
        }
        let (kind, nth) = match next.checked_sub(QUEUES.into()) {
            None => (CallKind::IoEventFdAssign, next),
            Some(nth) => (CallKind::IoEventFdDeassign, nth),
        };
        vm.fail(kind, nth + 1, ENOMEM);
        ordered.store(next + 1, Ordering::Release);
        true
    };
    let moves = thread::scope(|scope| {
        let kicker = scope.spawn(|| {
            let result = guest.kick(&vm, &device, least, enough);
            guest.over.store(true, Ordering::Release);
            result
        });
        let moves = mover::run(&device, &guest, kicks, fault);
        guest.over.store(true, Ordering::Release);
        let kicker = kicker.join().map_err(|_| "the guest's thread panicked")?;
        kicker.map_err(Into::into).and(moves)
    })?;
    let rounds = guest.rounds.into_inner();
    let kicks = vec![rounds; QUEUES.into()];
    Ok(Report::new(
        "sim",
        &kicks,
        &device.handled()?,
        device.by_exit(),
        moves,
    ))
}

/// What guest and host share.
#[derive(Debug)]
struct Guest {
    bar: AtomicU64,
    rounds: AtomicU64,
    over: AtomicBool,
}

impl Default for Guest {
    fn default() -> Self {
        Self {
            bar: AtomicU64::new(PLACES[0]),
            rounds: AtomicU64::new(0),
            over: AtomicBool::new(false),
        }
    }
}

impl Guest {
    fn kick(
        &self,
        vm: &SimVm,
        device: &Device,
        least: u32,
        enough: impl Fn() -> bool,
    ) -> Result<(), String> {
        let mut round = 0;
        while (round < u64::from(least) || !enough()) && !self.over.load(Ordering::Acquire) {
            for queue in 0..QUEUES {
                let bar = self.bar.load(Ordering::Acquire);
                let offset = NOTIFY.offset + u32::from(queue) * NOTIFY.multiplier;
                let address = bar + u64::from(offset);
                let written = vm.guest_write(Bus::Mmio, address, &queue.to_le_bytes());
                for exit in &written.exits {
                    let handled = device.on_exit(exit.address, exit.bytes());
                    handled.map_err(|error| error.to_string())?;
                }
            }
            round += 1;
            self.rounds.store(round, Ordering::Release);
        }
        Ok(())
    }
}

impl mover::Guest for Guest {
    fn publish(&self, bar: u64) -> Result<(), Box<dyn Error>> {
        self.bar.store(bar, Ordering::Release);
        Ok(())
    }

    fn rounds(&self) -> Result<u64, Box<dyn Error>> {
        Ok(self.rounds.load(Ordering::Acquire))
    }

    fn stop(&self) -> Result<(), Box<dyn Error>> {
        self.over.store(true, Ordering::Release);
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }
}
