// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Vectors and their queue, and level-triggered lines, in every order of their threads.
//!
//! Atomics, locks and threads of the crate and of the routing table are loom's. Eventfds and the
//! epoll are real: a call of the kernel is one step, and no thread waits in it. loom lets loads see
//! old values, but no value that is stored later.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release -p irqfd --features loom --test loom`
#![cfg(loom)]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "loom/level.rs"]
mod level;
#[path = "loom/paused.rs"]
mod paused;
#[path = "loom/swap.rs"]
mod swap;
#[path = "loom/translation.rs"]
mod translation;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use irq_routing::{MsiMessage, Platform, RoutingTable};
use irqfd::msix::Table;
use irqfd::{ArmQueue, Triggered, Vector, VectorHandle, VectorState};
use loom::sync::atomic::AtomicU32;
use loom::thread;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::read;
use notify_core::{
    EventNotifier, Extension, IoEventFdRequest, IrqFdAction, IrqFdRequest, LineStatus, MsiOutcome,
    RouteBuffer, RouteTarget, Vm,
};

/// A VM that checks the requests to it.
#[derive(Debug)]
struct Witness {
    /// Whether an injection may be under way.
    allowed: AtomicBool,
    injections: AtomicUsize,
    /// The same, for a thread that synchronizes with the others by the vector alone.
    traces: AtomicU32,
    /// What devices publish before they trigger, and what an injection has seen of it.
    published: [AtomicU32; 2],
    seen: [AtomicUsize; 2],
    messages: Mutex<Vec<MsiMessage>>,
    routes: Mutex<BTreeMap<u32, u32>>,
    /// The GSI of the bound irqfd.
    bound: Mutex<BTreeMap<i32, u32>>,
    /// How many of the next tables fail with ENOMEM.
    refuse: AtomicUsize,
    /// Signals that the kernel has taken from notifiers.
    by_irqfd: AtomicU64,
    /// Those of them that were there at an assignment.
    at_assign: AtomicU64,
    deassigned: AtomicUsize,
}

impl Witness {
    fn new() -> (Arc<Self>, RoutingTable) {
        let witness = Self::witness();
        let table = RoutingTable::new(witness.clone()).unwrap();
        (witness, table)
    }

    fn witness() -> Arc<Self> {
        Arc::new(Self {
            allowed: AtomicBool::new(true),
            injections: AtomicUsize::new(0),
            traces: AtomicU32::new(0),
            published: [AtomicU32::new(0), AtomicU32::new(0)],
            seen: [AtomicUsize::new(0), AtomicUsize::new(0)],
            messages: Mutex::default(),
            routes: Mutex::default(),
            bound: Mutex::default(),
            refuse: AtomicUsize::new(0),
            by_irqfd: AtomicU64::new(0),
            at_assign: AtomicU64::new(0),
            deassigned: AtomicUsize::new(0),
        })
    }

    fn check(&self) {
        assert!(self.allowed.load(Ordering::Relaxed), "the vector is masked");
    }

    fn injections(&self) -> usize {
        self.injections.load(Ordering::Relaxed)
    }

    fn by_irqfd(&self) -> u64 {
        self.by_irqfd.load(Ordering::Relaxed)
    }

    fn deassigned(&self) -> usize {
        self.deassigned.load(Ordering::Relaxed)
    }

    fn refuse_next(&self) {
        self.refuse.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes the counter: at an assignment earlier signals, at a deassignment those that came in
    /// between.
    fn take(&self, eventfd: BorrowedFd<'_>) -> u64 {
        let mut count = [0; 8];
        let count = match read(eventfd, &mut count) {
            Ok(_) => u64::from_ne_bytes(count),
            Err(_) => 0,
        };
        self.by_irqfd.fetch_add(count, Ordering::Relaxed);
        count
    }

    /// The message to which the bound irqfd is routed.
    fn bound(&self) -> Vec<Option<u32>> {
        let bound = self.bound.lock().unwrap();
        let routes = self.routes.lock().unwrap();
        bound.values().map(|gsi| routes.get(gsi).copied()).collect()
    }
}

impl Vm for Witness {
    /// Without pins, so that a table starts with no route.
    fn platform(&self) -> io::Result<Option<Platform>> {
        Ok(Some(Platform::X86Split))
    }

    fn check_extension(&self, _: Extension) -> io::Result<u32> {
        Ok(32)
    }

    fn irqfd(&self, request: &IrqFdRequest<'_>) -> io::Result<()> {
        let eventfd = request.eventfd.as_raw_fd();
        let has_route = self.routes.lock().unwrap().contains_key(&request.gsi);
        let mut bound = self.bound.lock().unwrap();
        match request.action {
            IrqFdAction::Deassign => {
                bound.remove(&eventfd);
                self.deassigned.fetch_add(1, Ordering::Relaxed);
                self.take(request.eventfd);
            }
            _ => {
                assert!(has_route, "an irqfd without a route");
                assert_eq!(bound.insert(eventfd, request.gsi), None);
                let taken = self.take(request.eventfd);
                self.at_assign.fetch_add(taken, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn ioeventfd(&self, _: &IoEventFdRequest<'_>) -> io::Result<()> {
        Ok(())
    }

    fn set_gsi_routing(&self, table: &RouteBuffer) -> io::Result<()> {
        thread::yield_now();
        let routes = table.iter().filter_map(|entry| match entry.target {
            RouteTarget::Msi(MsiMessage { data, .. }) => Some((entry.gsi, data)),
            _ => None,
        });
        let refuse = |left: usize| left.checked_sub(1);
        if self
            .refuse
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, refuse)
            .is_ok()
        {
            return Err(io::Error::from_raw_os_error(12));
        }
        let routes: BTreeMap<_, _> = routes.collect();
        let bound = self.bound.lock().unwrap();
        let has_route = |gsi: &u32| routes.contains_key(gsi);
        assert!(bound.values().all(has_route), "an irqfd has lost its route");
        drop(bound);
        *self.routes.lock().unwrap() = routes;
        Ok(())
    }

    fn signal_msi(&self, message: &MsiMessage) -> io::Result<MsiOutcome> {
        self.check();
        for (published, seen) in self.published.iter().zip(&self.seen) {
            let number = published.load(Ordering::Relaxed) as usize;
            seen.fetch_max(number, Ordering::Relaxed);
        }
        self.messages.lock().unwrap().push(*message);
        thread::yield_now();
        self.check();
        self.traces.fetch_add(1, Ordering::Relaxed);
        self.injections.fetch_add(1, Ordering::Relaxed);
        Ok(MsiOutcome::Delivered(1))
    }

    fn irq_line_status(&self, _: u32, _: bool) -> io::Result<LineStatus> {
        Ok(LineStatus::Unknown)
    }
}

/// Explores every order in which threads are interrupted at most `preemptions` times.
fn explore(preemptions: usize, run: impl Fn() + Send + Sync + 'static) {
    let mut explorer = loom::model::Builder::new();
    explorer.preemption_bound = Some(preemptions);
    explorer.max_branches = 20_000;
    explorer.check(run);
}

fn message(n: u32) -> MsiMessage {
    MsiMessage::new(0xfee0_0000 + u64::from(n), n).with_devid(n)
}

fn internal(table: &RoutingTable) -> Arc<Vector> {
    let vector = Arc::new(Vector::builder(table).build().unwrap());
    vector.set_message(message(1)).unwrap();
    vector
}

fn queued(table: &RoutingTable, queue: &ArmQueue) -> Arc<Vector> {
    let vector = Arc::new(Vector::builder(table).queue(queue).build().unwrap());
    vector.set_message(message(1)).unwrap();
    vector.export().unwrap();
    vector
}

fn is_armed(vector: &VectorHandle) -> bool {
    matches!(vector.state(), VectorState::Armed)
}

#[test]
fn nothing_is_injected_between_mask_and_unmask() {
    explore(3, || {
        let (witness, table) = Witness::new();
        let vector = internal(&table);
        vector.unmask().unwrap();
        let devices: Vec<_> = (0..2)
            .map(|_| {
                let vector = vector.clone();
                thread::spawn(move || vector.trigger().unwrap())
            })
            .collect();
        vector.mask();
        witness.allowed.store(false, Ordering::Relaxed);
        let traces = witness.traces.load(Ordering::Relaxed) as usize;
        assert_eq!(traces, witness.injections(), "all that they did is seen");
        thread::yield_now();
        witness.allowed.store(true, Ordering::Relaxed);
        vector.unmask().unwrap();
        let told: Vec<_> = devices
            .into_iter()
            .map(|device| device.join().unwrap())
            .collect();
        let of = |kind| told.iter().filter(|told| **told == kind).count();
        let kept = usize::from(of(Triggered::Kept) > 0);
        assert_eq!(witness.injections(), of(Triggered::Delivered) + kept);
        assert!(!vector.is_pending());
    });
}

#[test]
fn what_a_device_wrote_before_a_trigger_is_seen_by_an_injection() {
    explore(3, || {
        let (witness, table) = Witness::new();
        let vector = internal(&table);
        let devices: Vec<_> = (0..2)
            .map(|n| {
                let (vector, witness) = (vector.clone(), Arc::clone(&witness));
                thread::spawn(move || {
                    witness.published[n].store(7, Ordering::Relaxed);
                    vector.trigger().unwrap();
                })
            })
            .collect();
        vector.unmask().unwrap();
        devices
            .into_iter()
            .for_each(|device| device.join().unwrap());
        let seen = witness
            .seen
            .each_ref()
            .map(|seen| seen.load(Ordering::Relaxed));
        assert_eq!(seen, [7, 7]);
    });
}

#[test]
fn a_message_is_whole_and_the_old_one_ends_with_the_change() {
    explore(3, || {
        let (witness, table) = Witness::new();
        let vector = internal(&table);
        vector.unmask().unwrap();
        let device = {
            let vector = vector.clone();
            thread::spawn(move || {
                vector.trigger().unwrap();
                vector.trigger().unwrap();
            })
        };
        vector.set_message(message(2)).unwrap();
        let old = witness.messages.lock().unwrap().len();
        device.join().unwrap();
        let messages = witness.messages.lock().unwrap();
        assert!((1..=2).contains(&messages.len()));
        for (n, sent) in messages.iter().enumerate() {
            let whole = message(sent.data);
            assert_eq!((sent.address, sent.devid), (whole.address, whole.devid));
            assert!(
                n < old || sent.data == 2,
                "the old message, after the change"
            );
        }
        assert!(!vector.is_pending());
    });
}

/// One thread delivers a signal that a look has taken, while another one masks and unmasks the
/// vector.
#[test]
fn what_a_look_has_found_is_delivered_once() {
    explore(4, || {
        let (witness, table) = Witness::new();
        let vector = Arc::new(internal(&table));
        vector.export().unwrap();
        // So that it needs no commit later.
        vector.unmask().unwrap();
        vector.mask();
        vector.trigger().unwrap();
        assert!(vector.is_pending(), "the look");
        let guest = {
            let vector = Arc::clone(&vector);
            thread::spawn(move || vector.unmask().unwrap())
        };
        vector.mask();
        vector.unmask().unwrap();
        guest.join().unwrap();
        vector.mask();
        let pending = u64::from(vector.is_pending());
        assert_eq!(witness.by_irqfd() + pending, 1);
    });
}

#[test]
fn a_swap_loses_no_trigger() {
    explore(3, || {
        let (_, table) = Witness::new();
        let vector = internal(&table);
        vector.export().unwrap();
        let new = Arc::new(EventNotifier::new().unwrap());
        let device = {
            let vector = vector.clone();
            thread::spawn(move || vector.trigger().unwrap())
        };
        vector.replace_notifier(Arc::clone(&new)).unwrap();
        device.join().unwrap();
        assert!(new.is_signalled().unwrap());
        assert!(vector.is_pending());
    });
}

#[test]
fn a_trigger_survives_export_and_unexport() {
    explore(3, || {
        let (witness, table) = Witness::new();
        let vector = internal(&table);
        let device = {
            let vector = vector.clone();
            thread::spawn(move || vector.trigger().unwrap())
        };
        vector.export().unwrap();
        vector.unexport().unwrap();
        device.join().unwrap();
        assert!(vector.is_pending());
        assert_eq!(witness.injections(), 0);
        vector.unmask().unwrap();
        assert_eq!(witness.injections(), 1);
    });
}

#[test]
fn a_mask_while_the_queue_runs_leaves_nothing_armed() {
    explore(3, || {
        let (witness, table) = Witness::new();
        let queue = Arc::new(ArmQueue::new(&table).unwrap());
        let vector = queued(&table, &queue);
        vector.unmask().unwrap();
        let runner = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || queue.run_pending().armed)
        };
        vector.mask();
        assert_eq!(witness.bound(), []);
        runner.join().unwrap();
        assert_eq!(witness.bound(), []);
        vector.unmask().unwrap();
        assert_eq!(queue.run_pending().armed, 1);
        assert_eq!(witness.bound(), [Some(1)]);
    });
}

#[test]
fn a_retarget_while_the_queue_runs_arms_the_new_message_alone() {
    explore(3, || {
        let (witness, table) = Witness::new();
        let queue = Arc::new(ArmQueue::new(&table).unwrap());
        let vector = queued(&table, &queue);
        vector.unmask().unwrap();
        let runner = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || drop(queue.run_pending()))
        };
        vector.mask();
        vector.set_message(message(2)).unwrap();
        vector.unmask().unwrap();
        let early = witness.bound();
        assert!(early.is_empty() || early == [Some(2)]);
        runner.join().unwrap();
        drop(queue.run_pending());
        assert!(is_armed(&vector));
        assert_eq!(witness.bound(), [Some(2)]);
        assert_eq!(queue.waiting(), 0);
    });
}

#[test]
fn two_rounds_and_a_guest() {
    explore(2, || {
        let (witness, table) = Witness::new();
        let queue = Arc::new(ArmQueue::new(&table).unwrap());
        let vector = queued(&table, &queue);
        vector.unmask().unwrap();
        let runners: Vec<_> = (0..2)
            .map(|_| {
                let queue = Arc::clone(&queue);
                thread::spawn(move || drop(queue.run_pending()))
            })
            .collect();
        vector.mask();
        vector.unmask().unwrap();
        runners
            .into_iter()
            .for_each(|runner| runner.join().unwrap());
        drop(queue.run_pending());
        assert!(is_armed(&vector));
        assert_eq!(witness.bound(), [Some(1)]);
    });
}

#[test]
fn a_vector_is_dropped_while_the_queue_runs() {
    explore(3, || {
        let (witness, table) = Witness::new();
        let queue = Arc::new(ArmQueue::new(&table).unwrap());
        let vector = queued(&table, &queue);
        vector.unmask().unwrap();
        let dropper = thread::spawn(move || drop(vector));
        drop(queue.run_pending());
        dropper.join().unwrap();
        assert_eq!(witness.bound(), []);
        assert_eq!(table.leased(), 0);
        assert_eq!(queue.run_pending().armed, 0);
    });
}

#[test]
fn whoever_unmasks_while_the_owner_goes_is_armed() {
    explore(3, || {
        let (witness, table) = Witness::new();
        let queue = ArmQueue::new(&table).unwrap();
        let vector = queued(&table, &queue);
        let guest = {
            let vector = vector.clone();
            thread::spawn(move || vector.unmask().unwrap())
        };
        drop(queue);
        guest.join().unwrap();
        assert!(is_armed(&vector));
        assert_eq!(witness.bound(), [Some(1)]);
    });
}

#[test]
fn unmasked_by_one_and_changed_by_another() {
    explore(3, || {
        let (witness, table) = Witness::new();
        let vector = internal(&table);
        vector.export().unwrap();
        let guest = {
            let vector = vector.clone();
            thread::spawn(move || vector.unmask().unwrap())
        };
        vector.set_message(message(2)).unwrap();
        guest.join().unwrap();
        assert!(is_armed(&vector));
        assert_eq!(witness.bound(), [Some(2)]);
    });
}

#[test]
fn what_is_entered_while_a_round_runs_calls_the_owner() {
    explore(3, || {
        let (_, table) = Witness::new();
        let queue = ArmQueue::new(&table).unwrap();
        let vectors = [queued(&table, &queue), queued(&table, &queue)];
        vectors[0].unmask().unwrap();
        let guest = {
            let vector = vectors[1].clone();
            thread::spawn(move || vector.unmask().unwrap())
        };
        drop(queue.run_pending());
        guest.join().unwrap();
        let mut fds = [PollFd::new(queue.as_fd(), PollFlags::POLLIN)];
        let called = poll(&mut fds, PollTimeout::ZERO).unwrap() > 0;
        assert!(called || queue.waiting() == 0);
        assert_eq!(is_armed(&vectors[1]), queue.waiting() == 0);
    });
}

/// A table without a queue, with one exported vector that is masked and has message 1.
fn table_of_one(routing: &RoutingTable) -> Table {
    let table = Table::builder(routing).build().unwrap();
    drop(table.set_control(true, false));
    table.vectors()[0].export().unwrap();
    drop(table.write(8, &[1, 0, 0, 0]));
    table
}

#[test]
fn an_entry_is_opened_by_one_guest_and_masked_by_another() {
    explore(3, || {
        let (witness, routing) = Witness::new();
        let table = table_of_one(&routing);
        let opens = {
            let table = table.clone();
            thread::spawn(move || drop(table.write(12, &[0])))
        };
        drop(table.write(12, &[1]));
        let mut masked = [0];
        table.read(12, &mut masked);
        let bound = witness.bound().len();
        assert!(
            bound == 0 || masked == [0] || is_opened_since(&table),
            "mask is mask"
        );
        opens.join().unwrap();
        table.read(12, &mut masked);
        assert_eq!(witness.bound().len(), usize::from(masked == [0]));
        assert_eq!(is_armed(&table.vectors()[0]), masked == [0]);
    });
}

/// Whether the other guest thread was later.
fn is_opened_since(table: &Table) -> bool {
    let mut masked = [0];
    table.read(12, &mut masked);
    masked == [0]
}

#[test]
fn two_guests_open_an_entry_with_another_message() {
    explore(2, || {
        let (witness, routing) = Witness::new();
        let table = table_of_one(&routing);
        let opens = {
            let table = table.clone();
            thread::spawn(move || drop(table.write(12, &[0])))
        };
        drop(table.write(12, &[1]));
        drop(table.write(8, &[2, 0, 0, 0]));
        drop(table.write(12, &[0]));
        opens.join().unwrap();
        let vector = &table.vectors()[0];
        assert!(is_armed(vector));
        assert_eq!(witness.bound(), [Some(vector.message().data)]);
    });
}

/// There is one GSI for two vectors: the table takes it back from the masked one. Each armed vector
/// then has its own route, and the other one has none.
#[test]
fn a_gsi_is_taken_back_while_its_vector_is_masked() {
    explore(2, || {
        let (witness, table) = Witness::new();
        let mut leases: Vec<_> = std::iter::from_fn(|| table.lease_if_free().ok()).collect();
        leases.pop();
        let vectors = [1, 2].map(|data| {
            let vector = Arc::new(Vector::builder(&table).build().unwrap());
            vector.set_message(message(data)).unwrap();
            vector.export().unwrap();
            vector
        });
        let [first, second] = vectors.clone();
        first.unmask().unwrap();
        let other = thread::spawn(move || drop(second.unmask()));
        first.mask();
        drop(first.unmask());
        other.join().unwrap();
        let armed = vectors.iter().filter(|vector| is_armed(vector));
        let data: Vec<_> = armed.map(|vector| Some(vector.message().data)).collect();
        assert_eq!((witness.bound(), data.len()), (data, 1));
    });
}

/// A commit fails with ENOMEM, while a guest masks and unmasks: the next round arms the vector, and
/// the descriptor becomes readable for it if nothing else retries.
#[test]
fn what_failed_for_a_while_is_armed_by_a_later_round() {
    explore(2, || {
        let (witness, table) = Witness::new();
        let queue = Arc::new(ArmQueue::new(&table).unwrap());
        let vector = queued(&table, &queue);
        vector.unmask().unwrap();
        witness.refuse.store(1, Ordering::Relaxed);
        let owner = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || drop(queue.run_pending()))
        };
        vector.mask();
        vector.unmask().unwrap();
        owner.join().unwrap();
        assert_eq!(is_armed(&vector), queue.waiting() == 0);
        drop(queue.run_pending());
        drop(queue.run_pending());
        assert!(is_armed(&vector) && queue.waiting() == 0);
        assert_eq!(witness.bound(), [Some(1)]);
    });
}
