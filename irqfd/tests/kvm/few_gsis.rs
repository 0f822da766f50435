// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Sixteen vectors of two devices share six GSIs, while the kernel is short of memory now and then:
//! no trigger is lost, none comes twice, none comes while masked, and other leases do not change.

#[path = "few_gsis/driver.rs"]
mod driver;
#[path = "few_gsis/lockstep.rs"]
mod lockstep;
#[path = "few_gsis/queue.rs"]
mod queue;

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Instant;

use irq_routing::{Gsi, GsiLease, MsiMessage, RoutingTable};
use irqfd::msix::{NO_VECTOR, Table};
use irqfd::{ArmQueue, IrqFd, VectorHandle, VectorState};
use kvm_test::{Machine, Trial, kvm};
use notify_core::EventNotifier;

use crate::storm::{Dice, duration};
use crate::watched::Watched;
use driver::{Driver, ENTRIES, Masks, both, requested};
use queue::Queue;

const VECTORS: u32 = 16;
const FREE: u32 = 6;
/// The interrupt of the first vector; each has two, and the guest switches between them.
const FIRST: u32 = 0x40;
/// The interrupt of an irqfd on a lease of another holder.
const STEADY: u32 = FIRST + 2 * VECTORS;
/// The interrupt of leases that never change.
const IDLE: u32 = STEADY + 1;
/// The number of vectors of each device between which its queue moves.
const OF_QUEUE: u32 = 3;

pub(crate) fn trials() -> Vec<Trial> {
    vec![kvm("more_vectors_than_gsis_lose_nothing", storm)]
}

struct Bench {
    machine: Arc<Machine>,
    vm: Arc<Watched>,
    owner: ArmQueue,
    /// The first device has the queue of the owner, the second commits at once.
    tables: [Table; 2],
    queues: [Queue; 2],
    free: HashSet<Gsi>,
    steady: IrqFd,
    storming: AtomicBool,
    operations: AtomicU64,
    /// How many vectors the owner could not arm.
    refusals: AtomicU64,
}

/// Whether a queue may move to this vector.
fn is_of_queue(n: u32) -> bool {
    n % ENTRIES < OF_QUEUE
}

fn swap(vector: &VectorHandle) {
    let new = Arc::new(EventNotifier::new().unwrap());
    // Refused if it cannot be bound; then the old one stays.
    drop(vector.replace_notifier(new));
}

impl Bench {
    fn vector(&self, n: u32) -> &VectorHandle {
        &self.tables[(n / ENTRIES) as usize].vectors()[(n % ENTRIES) as usize]
    }

    fn driven(&self, mut act: impl FnMut()) {
        while self.storming.load(Ordering::Relaxed) {
            act();
            self.operations.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The VMM's actions on a vector. While a queue moves, only these are done to its vectors: the
    /// back-end of a queue does not see other notifiers.
    fn manage(&self, thread: u32, dice: &mut Dice, moves: bool) {
        let n = dice.roll(VECTORS);
        match dice.roll(8) {
            0 => self.run_round(),
            _ if moves && is_of_queue(n) => self.queues[thread as usize].bind_at_random(dice),
            1 => drop(self.vector(n).unexport()),
            2..5 => drop(self.vector(n).export()),
            _ => swap(self.vector(n)),
        }
    }

    /// Triggers each vector once. While queues move, their back-ends signal once for all of theirs.
    fn device(&self, dice: &mut Dice, moves: bool) {
        let start = dice.roll(VECTORS);
        for n in (start..start + VECTORS).map(|n| n % VECTORS) {
            for _ in 0..dice.roll(50) {
                thread::yield_now();
            }
            if moves && n % ENTRIES == 0 {
                self.queues[(n / ENTRIES) as usize].signal();
            } else if !(moves && is_of_queue(n)) {
                self.vector(n).trigger().unwrap();
            }
        }
        self.steady.notifier().notify().unwrap();
    }

    fn storm(&self, drivers: &mut [Driver; 2], round: u64) {
        let moves = round % 2 == 1;
        let dice = |thread: u64| Dice(0x9e37_79b9_7f4a_7c15 ^ (round << 8) ^ thread);
        self.vm.fail_some(true);
        self.storming.store(true, Ordering::Relaxed);
        let start = &Barrier::new(5);
        thread::scope(|scope| {
            for (driver, number) in drivers.iter_mut().zip(0..) {
                let mut dice = dice(number);
                scope.spawn(move || {
                    start.wait();
                    self.driven(|| driver.act(&mut dice));
                });
            }
            for thread in 0..2 {
                let mut dice = dice(2 + u64::from(thread));
                scope.spawn(move || {
                    start.wait();
                    self.driven(|| self.manage(thread, &mut dice, moves));
                });
            }
            let device = scope.spawn(|| {
                start.wait();
                self.device(&mut dice(4), moves);
            });
            let result = device.join();
            self.storming.store(false, Ordering::Relaxed);
            result.unwrap();
        });
        self.vm.fail_some(false);
    }

    /// Makes all vectors deliver what they have, a few at a time. Nothing else runs.
    fn settle(&self, drivers: &mut [Driver; 2], first: u32) {
        for vector in (0..VECTORS).map(|n| self.vector(n)) {
            let is_dead = matches!(vector.state(), VectorState::Dead(_));
            assert!(
                !is_dead || vector.gsi().is_none(),
                "it keeps a GSI from others"
            );
        }
        for driver in &mut *drivers {
            let _ = driver.change(Masks::ALL);
        }
        for queue in &self.queues {
            if queue.binding.number() == NO_VECTOR {
                queue.bind(0);
            }
        }
        let all: Vec<u32> = (first..first + VECTORS).map(|n| n % VECTORS).collect();
        for few in all.chunks(FREE as usize) {
            few.iter().for_each(|n| open(drivers, *n));
            self.run_rounds(drivers);
            few.iter().for_each(|n| self.expect_deliverable(*n));
            // Complete: the kernel's thread has delivered everything.
            few.iter().for_each(|n| close(drivers, *n));
        }
        let pending = all.iter().find(|n| self.vector(**n).is_pending());
        assert_eq!(pending, None);
    }

    fn run_round(&self) {
        let refused = self.owner.run_pending().failed.len();
        self.refusals.fetch_add(refused as u64, Ordering::Relaxed);
    }

    /// Until no vector waits. If there is a GSI for each, a few rounds are enough.
    fn run_rounds(&self, drivers: &mut [Driver; 2]) {
        for _ in (0..100).take_while(|_| self.owner.waiting() > 0) {
            self.run_round();
        }
        drivers.iter_mut().for_each(Driver::see_gsis);
    }

    fn expect_deliverable(&self, n: u32) {
        let vector = self.vector(n);
        let (state, gsi) = (vector.state(), vector.gsi());
        match state {
            VectorState::Open => assert_eq!(gsi, None),
            VectorState::Armed => assert!(gsi.is_some_and(|gsi| self.free.contains(&gsi))),
            _ => panic!("vector {n} is {state:?}"),
        }
    }

    /// Each trigger came; that of a queue at one of its vectors.
    fn expect_all(&self, moves: bool) {
        let requested = requested(&self.machine);
        let came = |n: &u32| requested & both(*n) != 0;
        for n in (0..VECTORS).filter(|n| !(moves && is_of_queue(*n))) {
            assert!(came(&n), "the trigger of vector {n} is lost");
        }
        for first in [0, ENTRIES].into_iter().filter(|_| moves) {
            let at = (first..first + OF_QUEUE).filter(came).count();
            assert_eq!(at, 1, "vectors at which one signal of the back-end came");
        }
        assert!(requested >> (STEADY - FIRST) == 1);
    }
}

fn open(drivers: &mut [Driver; 2], n: u32) {
    let dead = drivers[(n / ENTRIES) as usize].mask(n % ENTRIES, false);
    assert!(dead.is_empty(), "vector {n}: {dead:?}");
}

fn close(drivers: &mut [Driver; 2], n: u32) {
    let _ = drivers[(n / ENTRIES) as usize].mask(n % ENTRIES, true);
}

/// Leases of other holders: all GSIs but six. Some have routes.
struct Others(Vec<GsiLease>);

impl Others {
    fn new(table: &RoutingTable) -> (Self, HashSet<Gsi>) {
        let all = std::iter::from_fn(|| table.lease().ok());
        let mut leases: Vec<_> = all.map(|lease| lease.named("other")).collect();
        let free = leases.split_off(leases.len() - FREE as usize);
        for lease in leases.iter().take(8) {
            lease.set_route(idle()).unwrap();
        }
        (Self(leases), free.iter().map(GsiLease::gsi).collect())
    }

    fn expect_untouched(&self, table: &RoutingTable) {
        assert_eq!(table.leased(), self.0.len());
        for lease in &self.0 {
            assert_eq!(lease.name().as_deref(), Some("other"), "{}", lease.gsi());
        }
        for lease in self.0.iter().take(8) {
            assert_eq!(lease.route(), Some(idle().into()));
        }
    }
}

fn idle() -> MsiMessage {
    MsiMessage::new(Machine::MSI_ADDRESS, IDLE)
}

fn storm() {
    let machine = Arc::new(Machine::new().unwrap());
    let vm = Arc::new(Watched::new(machine.vm()));
    let table = RoutingTable::new(vm.clone()).unwrap();
    let steady = MsiMessage::new(Machine::MSI_ADDRESS, STEADY);
    let steady = IrqFd::builder(table.lease_msi(steady).unwrap());
    let (others, free) = Others::new(&table);
    let owner = ArmQueue::new(&table).unwrap();
    let device = || Table::builder(&table).vectors(ENTRIES as usize);
    let tables = [device().queue(&owner), device()].map(|builder| builder.build().unwrap());
    let mut drivers = [0, 1].map(|d| Driver::new(&machine, &vm, &tables[d as usize], d));
    let bench = Bench {
        machine: Arc::clone(&machine),
        vm: Arc::clone(&vm),
        owner,
        queues: tables.each_ref().map(Queue::new),
        tables,
        free,
        steady: steady.assign().unwrap(),
        storming: AtomicBool::new(false),
        operations: AtomicU64::new(0),
        refusals: AtomicU64::new(0),
    };
    let mut open = VecDeque::new();
    let end = Instant::now() + duration();
    let mut rounds = 0;
    while Instant::now() < end {
        bench.clear(&mut drivers);
        if rounds % 2 == 1 {
            bench.queues.iter().for_each(|queue| queue.bind(0));
        }
        bench.storm(&mut drivers, rounds);
        open.clear();
        bench.settle(&mut drivers, u32::try_from(rounds % 16).unwrap());
        bench.expect_all(rounds % 2 == 1);
        bench.lockstep(&mut drivers, &mut open, rounds);
        rounds += 1;
    }
    assert_eq!(vm.spurious(), 0, "injected between mask and unmask");
    let sum = |count: fn(&Driver) -> u64| drivers.iter().map(count).sum::<u64>();
    println!(
        "{rounds} rounds, {} operations, {} commits, {} changes of GSI, {} refusals",
        bench.operations.into_inner() + rounds * u64::from(VECTORS),
        vm.commits(),
        sum(|driver| driver.gsi_changes),
        bench.refusals.into_inner() + sum(|driver| driver.refusals),
    );
    drop((bench.tables, bench.queues, bench.owner, drivers));
    drop(bench.steady);
    others.expect_untouched(&table);
    assert_eq!(vm.bound(), 0);
}
