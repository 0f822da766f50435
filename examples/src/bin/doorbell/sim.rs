// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The run without KVM: a simulated VM, and a guest that is a thread.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use examples::interrupt;
use examples::progress::Progress;
use notify_core::NotifierPair;
use notify_sim::{DeliveryThread, SimVm};

use crate::bells::{self, Bell};
use crate::busy::Processors;
use crate::device::Device;
use crate::latency::Latency;
use crate::report::{Counts, Phase, Report};
use crate::wiring::{self, Wiring};

/// An interrupt that has not come for so long is lost.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) fn run(kicks: u32) -> Result<Report, Box<dyn Error>> {
    let vm = Arc::new(SimVm::builder().build());
    vm.enable_lapic(0);
    let wiring = Wiring::new(vm.clone())?;

    // The guest's handler: takes the interrupts of its local APIC, and sends EOIs.
    let (taken, interrupts) = channel();
    let delivery = DeliveryThread::start(Arc::clone(&vm), move |vm, _| {
        while let Some(vector) = vm.take_vector(0) {
            vm.lapic_eoi(0);
            // This fails if the guest has ended; then it takes no interrupts.
            let _ = taken.send(vector);
        }
    })?;

    let guest = Guest {
        vm: &vm,
        queues: &wiring.queues,
        interrupts,
    };
    let before = Processors::now();
    let doorbells = wiring.register()?;
    let by_ioeventfd = guest.phase("kicks by ioeventfd", kicks)?;
    drop(doorbells);
    let by_exit = guest.phase("kicks by exit", kicks)?;
    drop(delivery);
    let routes = wiring.table.routes();
    Ok(Report::new(
        "sim",
        kicks,
        0,
        before,
        &routes,
        by_ioeventfd,
        by_exit,
    ))
}

struct Guest<'a> {
    vm: &'a SimVm,
    queues: &'a [NotifierPair],
    interrupts: Receiver<u8>,
}

impl Guest<'_> {
    /// Kicks while the device serves.
    fn phase(&self, title: &str, kicks: u32) -> Result<Phase, Box<dyn Error>> {
        let device = Device::new(self.queues)?;
        let (guest, served) = thread::scope(|scope| {
            let serving = scope.spawn(|| device.serve());
            let guest = self.kick(title, kicks);
            let stopped = device.stop();
            let served = serving.join().map_err(|_| "the device's thread panicked");
            (guest, stopped.map(|()| served))
        });
        served???;
        let (sent, taken, costs, round_trips) = guest?;
        Ok(Phase {
            counts: Counts {
                kicks: sent,
                handled: device.counters().handled.load(Ordering::Relaxed),
                signalled: device.counters().signalled.load(Ordering::Relaxed),
                interrupts: taken,
            },
            cost: Some(Latency::new(costs)),
            round_trip: Some(Latency::new(round_trips)),
        })
    }

    /// How many kicks were sent and how many interrupts taken, and the times of each.
    #[expect(
        clippy::type_complexity,
        reason = "two counts and two lists, used once"
    )]
    fn kick(
        &self,
        title: &str,
        kicks: u32,
    ) -> Result<(u64, u64, Vec<u64>, Vec<u64>), Box<dyn Error>> {
        let mut progress = Progress::new(title, kicks.into());
        let (mut sent, mut taken) = (0, 0);
        let (mut costs, mut round_trips) = (Vec::new(), Vec::new());
        for bell in bells::all().iter().cycle().take(kicks as usize) {
            if interrupt::is_pending() {
                break;
            }
            progress.show(sent);
            sent += 1;
            let start = Instant::now();
            self.ring(bell)?;
            costs.push(nanoseconds(start));
            if self.interrupts.recv_timeout(PATIENCE).ok() != Some(wiring::vector(bell.queue)) {
                break;
            }
            round_trips.push(nanoseconds(start));
            taken += 1;
        }
        // Unexpected interrupts are counted too.
        taken += self.interrupts.try_iter().count() as u64;
        Ok((sent, taken, costs, round_trips))
    }

    /// Writes to the doorbell; a write that no ioeventfd takes goes to the host program.
    fn ring(&self, bell: &Bell) -> Result<(), String> {
        let (address, bytes) = (bell.address, bell.bytes());
        let bytes = bytes.get(..bell.width as usize).unwrap_or(&bytes);
        let write = self.vm.guest_write(address.bus(), address.number(), bytes);
        let mut exits = write.exits.iter();
        exits.try_for_each(|exit| wiring::ring(self.queues, address, exit.bytes()))
    }
}

fn nanoseconds(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
