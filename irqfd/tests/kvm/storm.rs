// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Guests and devices at once, on a real local APIC: no trigger is lost, and none comes while
//! masked.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use irq_routing::{MsiMessage, RoutingTable};
use irqfd::{ArmQueue, Vector, VectorState};
use kvm_test::{Machine, Trial, kvm, wait_until};
use notify_core::EventNotifier;

use crate::watched::Watched;

const VECTORS: u32 = 16;
/// The interrupt of the first vector; each has two, and switches between them.
const FIRST: u32 = 0x40;

pub(crate) fn trials() -> Vec<Trial> {
    vec![kvm("a_storm_loses_nothing_and_respects_masks", storm)]
}

/// How long it runs; `STRESS_SECONDS` overrides it.
pub(crate) fn duration() -> Duration {
    let seconds = std::env::var("STRESS_SECONDS").ok();
    Duration::from_secs(seconds.and_then(|text| text.parse().ok()).unwrap_or(2))
}

/// Numbers that look random (xorshift, 64 bits).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from(self.0 >> 33).unwrap() % sides
    }
}

fn message(n: u32, second: u32) -> MsiMessage {
    MsiMessage::new(Machine::MSI_ADDRESS, FIRST + 2 * n + second)
}

struct Bench {
    vm: Arc<Watched>,
    queue: ArmQueue,
    vectors: Vec<Vector>,
    /// The guest may go on.
    storming: AtomicBool,
}

impl Bench {
    /// The actions of a guest and its VMM on one vector. Only the thread of its number masks it.
    fn act(&self, thread: u32, dice: &mut Dice) {
        let n = dice.roll(VECTORS);
        let vector = &self.vectors[n as usize];
        match dice.roll(8) {
            0 => drop(vector.set_message(message(n, dice.roll(2)))),
            1 => drop(vector.export()),
            2 => drop(vector.unexport()),
            3 => {
                let new = Arc::new(EventNotifier::new().unwrap());
                drop(vector.replace_notifier(new));
            }
            4 => drop(self.queue.run_pending()),
            _ if n % 2 == thread => self.mask_for_a_while(n, dice),
            _ => {}
        }
    }

    fn mask_for_a_while(&self, n: u32, dice: &mut Dice) {
        let vector = &self.vectors[n as usize];
        vector.mask();
        (0..2).for_each(|second| self.vm.mask(FIRST + 2 * n + second, true));
        for _ in 0..dice.roll(4) {
            let notifier = vector.notifier();
            assert!(notifier.is_none_or(|notifier| !self.vm.is_bound(&*notifier)));
            let _ = vector.set_message(message(n, dice.roll(2)));
        }
        (0..2).for_each(|second| self.vm.mask(FIRST + 2 * n + second, false));
        let _ = vector.unmask();
    }

    fn guest(&self, thread: u32, round: u64) {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ (round << 8) ^ u64::from(thread));
        while self.storming.load(Ordering::Relaxed) {
            self.act(thread, &mut dice);
        }
    }

    /// Triggers each of its vectors once.
    fn device(&self, thread: u32, round: u64) {
        let mut dice = Dice(0xd1b5_4a32_d192_ed03 ^ (round << 8) ^ u64::from(thread));
        for n in (thread..VECTORS).step_by(2) {
            for _ in 0..dice.roll(50) {
                thread::yield_now();
            }
            self.vectors[n as usize].trigger().unwrap();
        }
    }

    /// Arms the vectors that wait. Nothing else runs.
    fn settle(&self) {
        for vector in &self.vectors {
            vector.unmask().unwrap();
        }
        while self.queue.waiting() > 0 {
            drop(self.queue.run_pending());
        }
        for vector in &self.vectors {
            let state = vector.state();
            assert!(
                matches!(state, VectorState::Armed | VectorState::Open),
                "{state:?}"
            );
        }
    }
}

/// The vectors of which an interrupt was delivered.
fn delivered(machine: &Machine) -> BTreeSet<u32> {
    let delivered = machine.delivered().unwrap();
    let number = |vector: u8| u32::from(vector).wrapping_sub(FIRST) / 2;
    delivered.into_iter().map(number).collect()
}

fn storm() {
    let machine = Machine::new().unwrap();
    let vm = Arc::new(Watched::new(machine.vm()));
    let table = RoutingTable::new(vm.clone()).unwrap();
    let queue = ArmQueue::new(&table).unwrap();
    let build = |n: u32| {
        let builder = Vector::builder(&table);
        let vector = if n % 4 < 2 {
            builder.queue(&queue)
        } else {
            builder
        };
        let vector = vector.build().unwrap();
        vector.set_message(message(n, 0)).unwrap();
        vector
    };
    let vectors = (0..VECTORS).map(build).collect();
    let bench = Bench {
        vm: vm.clone(),
        queue,
        vectors,
        storming: AtomicBool::new(true),
    };
    let all: BTreeSet<u32> = (0..VECTORS).collect();
    let (mut rounds, end) = (0, Instant::now() + duration());
    while Instant::now() < end {
        machine.clear().unwrap();
        bench.storming.store(true, Ordering::Relaxed);
        let start = Barrier::new(4);
        thread::scope(|scope| {
            let (bench, start) = (&bench, &start);
            let devices = [0, 1].map(|thread| {
                scope.spawn(move || {
                    start.wait();
                    bench.device(thread, rounds);
                })
            });
            for thread in [0, 1] {
                scope.spawn(move || {
                    start.wait();
                    bench.guest(thread, rounds);
                });
            }
            devices
                .into_iter()
                .for_each(|device| device.join().unwrap());
            bench.storming.store(false, Ordering::Relaxed);
        });
        bench.settle();
        wait_until(|| delivered(&machine) == all);
        rounds += 1;
    }
    assert_eq!(vm.spurious(), 0, "injected between mask and unmask");
    let pending = bench.vectors.iter().filter(|vector| vector.is_pending());
    assert_eq!(pending.count(), 0);
    println!(
        "{rounds} rounds of {VECTORS} triggers, {} commits",
        vm.commits()
    );
    drop(bench);
    assert_eq!((table.leased(), vm.bound()), (0, 0));
}
