// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Rig`]: the real sets beside the model, and the steps.

use std::sync::Arc;

use ioeventfd::{DoorbellRegistry, DoorbellSet, Epoch, IoEventFd, Plan};
use notify_core::EventNotifier;
use notify_sim::CallKind;

use super::machine::Machine;
use super::model::{Bell, Planned};
use super::step::{Choice, Step, Wanted, may_move};
use super::world::World;

/// How many notifiers each set has; one more is for single doorbells.
const EACH: usize = 4;
pub(super) const OWN: usize = 2 * EACH;
/// One of set 0 is a semaphore.
pub(super) const SEMAPHORE: usize = 3;

pub(super) struct Rig {
    pub(super) machine: Arc<Machine>,
    pub(super) registry: DoorbellRegistry,
    pub(super) sets: [Option<Arc<DoorbellSet>>; 2],
    pub(super) notifiers: Vec<Arc<EventNotifier>>,
    plans: [Option<(Plan, Planned)>; 4],
    /// Each with the set that returned it.
    pub(super) epochs: Vec<(Epoch, u64, u64)>,
    pub(super) singles: Vec<IoEventFd>,
    pub(super) next_id: u64,
}

impl Rig {
    pub(super) fn new() -> Self {
        let notifier = |index| {
            let builder = EventNotifier::builder().semaphore(index == SEMAPHORE);
            Arc::new(builder.build().expect("an eventfd"))
        };
        let notifiers: Vec<_> = (0..=OWN).map(notifier).collect();
        let machine = Arc::new(Machine::new(World::new(&notifiers)));
        let registry = DoorbellRegistry::new(machine.clone(), &[]);
        let sets = [(); 2].map(|()| Arc::new(DoorbellSet::new(&registry)));
        machine.world().sets = sets.each_ref().map(Arc::downgrade);
        Self {
            machine,
            registry,
            sets: sets.map(Some),
            notifiers,
            plans: Default::default(),
            epochs: Vec::new(),
            singles: Vec::new(),
            next_id: 2,
        }
    }

    pub(super) fn set(&self, set: usize) -> &DoorbellSet {
        self.sets[set]
            .as_ref()
            .expect("only gone while it is renewed")
    }

    pub(super) fn run(&mut self, step: Step) {
        match step {
            Step::Plan(set, place, wanted) => {
                let plan = self.plan(set.into(), &bells(set, wanted));
                if plan.is_some() {
                    self.plans[usize::from(place) % 4] = plan;
                }
            }
            Step::Apply(set, place) => {
                let place = usize::from(place) % 4;
                if let Some((plan, planned)) = self.plans[place].take() {
                    let refused = self.apply(set.into(), plan, &planned);
                    self.plans[place] = refused.map(|plan| (plan, planned));
                }
            }
            Step::Change(set, wanted) => self.change(set.into(), &bells(set, wanted)),
            Step::Rewire(set, notifiers) => {
                let mut wanted = self.there(set);
                let rewire = |bell: &mut Bell| bell.fd = notifier(set, notifiers, bell.key);
                wanted.iter_mut().for_each(rewire);
                self.change(set.into(), &wanted);
            }
            Step::Grow(set, choice) => {
                let mut wanted = self.there(set);
                let own = self.machine.world().models[usize::from(set)].own(choice.key());
                let fd = own.unwrap_or_else(|| notifier(set, choice.key >> 2, 0));
                wanted.push(bell(choice, fd));
                self.change(set.into(), &wanted);
            }
            Step::Shrink(set, which) => {
                let mut wanted = self.there(set);
                if !wanted.is_empty() {
                    wanted.remove(usize::from(which) % wanted.len());
                }
                self.change(set.into(), &wanted);
            }
            Step::Relocate(set, from, size, to) => self.relocate(set.into(), from, size, to),
            Step::Wander(set, times) => {
                // As many changes as a set remembers, and a few less or more.
                for turn in 0..60 + times % 8 {
                    let (from, to) = if turn % 2 == 0 { (0, 2) } else { (2, 0) };
                    self.relocate(set.into(), from, 0x1f, to);
                }
            }
            Step::Stop(set) => self.stop(set.into()),
            Step::Start(set) => self.start(set.into()),
            Step::Drain(set) => {
                let taken = self.set(set.into()).drain();
                self.expect_leftovers(set.into(), &taken.expect("it can be read"));
            }
            Step::Kick(set) => {
                self.set(set.into()).kick().expect("it can be signalled");
                self.machine.world().kick(set.into());
            }
            Step::Passed(set, which) => self.passed(set.into(), which),
            Step::Renew(set, removals_first) => self.renew(set.into(), removals_first),
            Step::Reserve(at, size) => self.reserve(at, size),
            Step::Fail(assign, nth, errno) => {
                let errnos = if assign { [12, 28, 17] } else { [12, 12, 22] };
                self.fail(assign, nth % 4, errnos[usize::from(errno) % 3]);
            }
            Step::Break(set, notifiers, which) => {
                let mut wanted = self.there(set);
                let off = u64::from(which >> 4 & 3);
                for bell in &mut wanted {
                    bell.fd = notifier(set, notifiers, bell.key);
                    // By less than their width, so that old and new conflict.
                    if which & 8 != 0 && may_move(&bell.spot) {
                        bell.spot.at += off;
                    }
                }
                let old = self.there(set);
                let differ = |(old, new): &(&Bell, &Bell)| (old.fd, old.spot) != (new.fd, new.spot);
                let changed = old.iter().zip(&wanted).filter(differ).count() as u8;
                self.clear_faults();
                // The last registration, and then one or two of the undo.
                self.fail(true, changed.saturating_sub(1), 12);
                self.fail(false, changed + which % 2, 12);
                if which & 2 != 0 {
                    self.fail(false, changed, 12);
                }
                self.change(set.into(), &wanted);
                if which & 4 != 0 {
                    self.clear_faults();
                }
            }
            Step::ClearFaults => self.clear_faults(),
            Step::Write(write) => {
                let mut world = self.machine.world();
                let write = write.make(&world);
                world.write(&self.machine.sim, write);
            }
            Step::Late(set, write) => {
                let mut world = self.machine.world();
                let (pio, at, bytes) = write.make(&world);
                world.exit(set.into(), pio, at, &bytes);
            }
            Step::During(after, write) => self.machine.world().during.push((after % 8, write)),
            Step::Lose(which) => self.lose(which),
            Step::Single(choice) => self.single(choice),
            Step::NoSingle(which) => self.no_single(which),
            Step::Signal(which) => {
                let which = usize::from(which) % self.notifiers.len();
                self.notifiers[which].notify().expect("it can be signalled");
                self.machine.world().counts[which] += 1;
            }
            Step::Consume(which) => {
                let which = usize::from(which) % self.notifiers.len();
                let taken = self.notifiers[which].consume().expect("it can be read");
                let kicks = self.machine.world().consume(which, which == SEMAPHORE);
                assert_eq!(taken.map_or(0, u64::from), kicks, "notifier {which}");
            }
        }
    }

    fn there(&self, set: bool) -> Vec<Bell> {
        self.machine.world().models[usize::from(set)].bells.clone()
    }

    /// Lets so many requests succeed, and makes the next one fail.
    fn fail(&self, assign: bool, left: u8, errno: i32) {
        let kind = match assign {
            true => CallKind::IoEventFdAssign,
            false => CallKind::IoEventFdDeassign,
        };
        let left = u64::from(left);
        self.machine.sim.fail(kind, left + 1, errno);
        self.machine.world().faults.push((assign, left, errno));
    }

    fn clear_faults(&self) {
        self.machine.sim.clear_faults();
        self.machine.world().faults.clear();
    }

    /// Drops everything, and checks that the kernel has nothing left.
    pub(super) fn end(mut self) {
        self.machine.world().during.clear();
        let spots = self.machine.world().spots();
        for spot in spots {
            let bytes = super::spot::bytes_of(spot.value.unwrap_or(0), spot.len.max(1) as usize);
            let mut world = self.machine.world();
            world.write(&self.machine.sim, (spot.pio, spot.at, bytes));
        }
        self.look();
        self.drain_all();
        self.clear_faults();
        self.plans = Default::default();
        self.sets = [None, None];
        self.singles.clear();
        let machine = Arc::clone(&self.machine);
        drop(self);
        let left = Arc::strong_count(&machine) - 1;
        assert_eq!(left, 0, "a set, a registry or a doorbell is left");
        assert_eq!(machine.world().kernel, [], "left in the kernel");
    }
}

fn notifier(set: bool, notifiers: u8, key: u64) -> usize {
    usize::from(set) * EACH + usize::from(notifiers >> (2 * key)) % EACH
}

fn bell(choice: Choice, fd: usize) -> Bell {
    Bell {
        key: choice.key(),
        spot: choice.spot(),
        fd,
        on: false,
    }
}

fn bells(set: bool, wanted: Wanted) -> Vec<Bell> {
    let count = usize::from(wanted.count) % 5;
    let chosen = wanted.bells.into_iter().take(count);
    let bells = chosen.map(|one| bell(one, notifier(set, wanted.notifiers, one.key())));
    bells.collect()
}
