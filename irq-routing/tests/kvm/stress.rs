// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Threads that lease, commit, drop and fail at random. From time to time they stop, and our table,
//! a model that replays their actions, and the kernel must agree.
//!
//! `STRESS_SECONDS` is how long each trial takes (default: 2); if it is set, a trial prints how
//! much it did.

mod counts;
mod faults;
mod held;
mod model;
mod race;
mod random;
mod staged;
mod worker;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use irq_routing::{IrqChip, Line, Pin, Pins, Platform, Route, RoutingTable, Wiring};
use kvm_test::{Machine, PATIENCE, Trial, kvm};
use notify_core::{LineStatus, Vm};

use counts::Counts;
use faults::{Faults, Faulty};
use held::Hold;
use model::Model;
use worker::Worker;

/// The GSIs of KVM on x86: KVM_MAX_IRQ_ROUTES.
const LIMIT: u32 = 4096;

const THREADS: u32 = 6;
const EPOCH: Duration = Duration::from_millis(400);
/// Vector of the IOAPIC's first pin.
const FIRST_PIN: u8 = 0x10;
/// Vectors of messages: above those of the pins.
const FIRST_VECTOR: u8 = 0x30;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        kvm("threads_at_random_fail_for_their_own_guilt_alone", || {
            stress(Faults::Guilt);
        }),
        kvm("threads_at_random_survive_a_kernel_that_fails", || {
            stress(Faults::Chance);
        }),
    ]
}

/// What the threads share.
struct World {
    table: RoutingTable,
    vm: Arc<Faulty>,
    over: AtomicBool,
    /// Numbers the events. A GSI has one owner from its lease to its drop, so the order of its
    /// events is right.
    sequence: AtomicU64,
    /// A lease that is dropped while its owner commits, and whose GSI other threads may want at
    /// once.
    doomed: AtomicU32,
}

/// The lease that another thread drops while its owner commits.
enum Doomed {
    Dropped(Hold),
    Quarantined(Line),
}

impl Doomed {
    fn meet_fate(self) {
        match self {
            Self::Dropped(hold) => drop(hold),
            Self::Quarantined(line) => line.quarantine(),
        }
    }
}

fn stress(faults: Faults) {
    let seconds = std::env::var("STRESS_SECONDS").ok();
    let duration = seconds.as_ref().map_or(2, |value| value.parse().unwrap());
    let machine = Machine::new().unwrap();
    machine.use_32bit_ids().unwrap();
    machine.unmask_ioapic(FIRST_PIN).unwrap();
    let vm = Arc::new(Faulty::new(machine.vm(), faults));
    let world = Arc::new(World {
        table: RoutingTable::builder(vm.clone())
            .wiring(Wiring::none(Platform::X86))
            .build()
            .unwrap(),
        vm,
        over: AtomicBool::new(false),
        sequence: AtomicU64::new(0),
        doomed: AtomicU32::new(24),
    });
    world.table.recommit().unwrap();
    let mut model = Model::default();
    let mut workers: Vec<_> = (0..THREADS).map(|n| Worker::new(n, &world)).collect();
    let start = Instant::now();
    let mut epochs = 0;
    // On a slow host the trial takes longer, until each kind of failure has happened.
    while start.elapsed() < Duration::from_secs(duration)
        || (faults == Faults::Guilt && !Counts::sum(workers.iter().map(Worker::counts)).has_all())
    {
        assert!(
            start.elapsed() < Duration::from_secs(duration) + PATIENCE,
            "failures are too rare"
        );
        workers = epoch(&world, workers);
        epochs += 1;
        model.replay(workers.iter_mut().flat_map(Worker::take_events));
        compare(&machine, &world.table, &model);
    }
    let totals = Counts::sum(workers.iter().map(Worker::counts));
    if seconds.is_some() {
        println!("\n{faults:?}: {epochs} epochs, {totals}; {}", world.vm);
    }
    drop(workers);
    world.table.flush().unwrap();
}

/// Releases the threads, and waits for them.
fn epoch(world: &Arc<World>, workers: Vec<Worker>) -> Vec<Worker> {
    world.over.store(false, Ordering::Relaxed);
    world.vm.fail(true);
    let (doomed, fates) = mpsc::channel::<Doomed>();
    let reaper = thread::spawn(move || fates.into_iter().for_each(Doomed::meet_fate));
    let (done, finished) = mpsc::channel();
    for mut worker in workers {
        let (world, doomed, done) = (Arc::clone(world), doomed.clone(), done.clone());
        thread::spawn(move || {
            while !world.over.load(Ordering::Relaxed) {
                worker.step(&world, &doomed);
            }
            done.send(worker).unwrap();
        });
    }
    drop((doomed, done));
    thread::sleep(EPOCH);
    world.over.store(true, Ordering::Relaxed);
    let next = |_| match finished.recv_timeout(PATIENCE) {
        Ok(worker) => worker,
        Err(error) => panic!("a thread does not come back: {error}"),
    };
    let mut workers: Vec<Worker> = (0..THREADS).map(next).collect();
    workers.sort_by_key(Worker::number);
    reaper.join().unwrap();
    world.vm.fail(false);
    // Retranslates the messages that were refused at random until they were blocked. Nothing else
    // is translated.
    world.table.retranslate().unwrap();
    workers
}

/// Our table must agree with the model, and after a flush so must the kernel's.
fn compare(machine: &Machine, table: &RoutingTable, model: &Model) {
    let routes = table.routes().into_iter();
    assert!(
        routes
            .map(|(gsi, route)| (gsi.number(), route))
            .eq(model.routes())
    );
    assert_eq!(table.leased(), model.leased());
    table.flush().unwrap();
    for gsi in 0..LIMIT {
        let route = model.route(gsi);
        machine.clear().unwrap();
        let status = machine.vm().irq_line_status(gsi, true).unwrap();
        let delivered = machine.delivered().unwrap();
        let vectors: Vec<_> = route.map(vector).into_iter().collect();
        assert_eq!(delivered, vectors, "GSI {gsi}: {route:?}");
        assert_eq!(status == LineStatus::Ignored, route.is_none(), "GSI {gsi}");
        machine.vm().irq_line_status(gsi, false).unwrap();
    }
}

/// The vectors that a signal brings to the local APIC.
fn vector(route: Route) -> u8 {
    match route {
        Route::Msi(message) => u8::try_from(message.data).unwrap(),
        Route::Pins(pins) => {
            let mut pins = pins.iter();
            let pin = pins.find(|pin| pin.chip() == IrqChip::IoApic).unwrap();
            FIRST_PIN + u8::try_from(pin.number()).unwrap()
        }
        other => panic!("{other:?}"),
    }
}

/// The IOAPIC's pin, and the PIC's where there is one.
fn pins(number: u32) -> Pins {
    let ioapic = Pin::new(IrqChip::IoApic, number).unwrap();
    let pic = Pin::new(IrqChip::PicMaster, number).ok();
    Pins::new([ioapic].into_iter().chain(pic)).unwrap()
}
