// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The run without `/dev/kvm`: a simulated VM, and vCPUs that are threads.

use std::error::Error;
use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use examples::random::Random;
use notify_core::EventNotifier;
use notify_sim::{DeliveryThread, SimVm};

use crate::Settings;
use crate::device::Device;
use crate::driver::{self, Access};
use crate::layout::{VCPUS, VECTORS, sender};

use crate::report::Report;
use crate::triggers::{self, Memory};

/// What the handlers read and write, by vector.
#[derive(Debug)]
struct Shared {
    published: Vec<AtomicU64>,
    seen: Vec<AtomicU64>,
    taken: Vec<AtomicU64>,
    torn: AtomicU64,
}

pub(crate) fn run(settings: &Settings) -> Result<Report, Box<dyn Error>> {
    let vm = Arc::new(SimVm::builder().vcpus(VCPUS.into()).build());
    (0..usize::from(VCPUS)).for_each(|vcpu| vm.enable_lapic(vcpu));
    let device = Device::new(vm.clone())?;
    let shared = Arc::new(Shared::new());
    let handlers = Arc::clone(&shared);
    let delivery = DeliveryThread::start(Arc::clone(&vm), move |vm, _| {
        (0..VCPUS).for_each(|vcpu| handlers.take_all(vm, vcpu));
    })?;

    (0..VCPUS).for_each(|vcpu| perform(&device, vcpu, &driver::start(vcpu)));
    let (stop, over) = (EventNotifier::new()?, AtomicBool::new(false));
    let start = Instant::now();
    let (outcome, guests, owner) = thread::scope(|scope| {
        let (device, stop, over) = (&device, &stop, &over);
        let owner = scope.spawn(move || device.serve(stop));
        let drive = |vcpu: u8| {
            let mut random = Random::new(settings.seed, vcpu.into());
            let steps = driver::steps(vcpu, &mut random);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    perform(device, vcpu, &steps);
                }
            })
        };
        let guests: Vec<_> = (0..VCPUS).map(drive).collect();
        // In a thread, so that the guest is stopped even if it panics.
        let shared = &*shared;
        let triggers = scope.spawn(move || triggers::run(device, shared, settings));
        let outcome = triggers.join();
        over.store(true, Ordering::Relaxed);
        let guests: Vec<_> = guests.into_iter().map(|guest| guest.join()).collect();
        // If this fails, so has the queue's owner, which then returns.
        let _ = stop.notify();
        (outcome, guests, owner.join())
    });
    drop(delivery);
    owner.map_err(|_| "the queue's owner panicked")??;
    for guest in guests {
        guest.map_err(|_| "a vCPU's thread panicked")?;
    }
    Report::new(
        "sim",
        settings,
        start.elapsed(),
        outcome.map_err(|_| "the thread that triggers panicked")??,
        &device.watch,
        &*shared,
    )
}

/// Performs the driver's accesses. Nothing is registered at the device's region: every access
/// exits.
fn perform(device: &Device, vcpu: u8, accesses: &[Access]) {
    for access in accesses {
        match *access {
            Access::Write16(offset, value) => device.write(vcpu, offset, &value.to_le_bytes()),
            Access::Write32(offset, value) => device.write(vcpu, offset, &value.to_le_bytes()),
            Access::Write64(offset, value) => device.write(vcpu, offset, &value.to_le_bytes()),
            Access::Read64(offset) => device.read(vcpu, offset, &mut [0; 8]),
            Access::Wait(turns) => {
                (0..turns * 10).for_each(|_| spin_loop());
                // The threads that trigger and deliver may have no processor of their own.
                thread::yield_now();
            }
        }
    }
}

impl Shared {
    fn new() -> Self {
        let by_vector = || (0..VECTORS).map(|_| AtomicU64::new(0)).collect();
        Self {
            published: by_vector(),
            seen: by_vector(),
            taken: by_vector(),
            torn: AtomicU64::new(0),
        }
    }

    /// The handlers of a vCPU: for each interrupt that it takes.
    fn take_all(&self, vm: &SimVm, vcpu: u8) {
        while let Some(interrupt) = vm.take_vector(vcpu.into()) {
            if let Some((vector, target)) = sender(interrupt.into())
                && let (Some(published), Some(seen), Some(taken)) = (
                    self.published.get(usize::from(vector)),
                    self.seen.get(usize::from(vector)),
                    self.taken.get(usize::from(vector)),
                )
            {
                self.torn
                    .fetch_add(u64::from(target != vcpu), Ordering::Relaxed);
                seen.store(published.load(Ordering::Acquire), Ordering::Release);
                taken.fetch_add(1, Ordering::Release);
            }
            vm.lapic_eoi(vcpu.into());
        }
    }
}

impl Memory for Shared {
    fn publish(&self, vector: u16) -> Result<(), String> {
        let published = self.published.get(usize::from(vector)).ok_or("no number")?;
        published.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    fn published(&self, vector: u16) -> Result<u64, String> {
        let published = self.published.get(usize::from(vector)).ok_or("no number")?;
        Ok(published.load(Ordering::Acquire))
    }

    fn seen(&self, vector: u16) -> Result<u64, String> {
        let seen = self.seen.get(usize::from(vector)).ok_or("no number")?;
        Ok(seen.load(Ordering::Acquire))
    }

    fn delivered(&self, vector: u16) -> Result<u64, String> {
        let taken = self.taken.get(usize::from(vector)).ok_or("no number")?;
        Ok(taken.load(Ordering::Acquire))
    }

    fn torn(&self) -> Result<u64, String> {
        Ok(self.torn.load(Ordering::Relaxed))
    }
}
