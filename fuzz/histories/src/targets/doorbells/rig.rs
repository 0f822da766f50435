// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Rig`]: the real sets, and a step of both.

use std::sync::Arc;

use ioeventfd::{
    Doorbell, DoorbellRegistry, DoorbellSet, Epoch, Error, IoEventFd, Leftover, Plan, Window,
};
use notify_core::EventNotifier;
use notify_core::sim::CallKind;

use super::model::{Bell, Model, Planned};
use super::spot::address;
use super::step::{Choice, SINGLES, Step, Wanted, slot};
use super::world::{Machine, World};

/// How many notifiers each set has; one more is for the doorbells by themselves.
const EACH: usize = 4;
const OWN: usize = 2 * EACH;
/// One of set 0 is a semaphore.
pub(super) const SEMAPHORE: usize = 3;

pub(super) struct Rig {
    pub(super) machine: Arc<Machine>,
    pub(super) registry: Arc<DoorbellRegistry>,
    pub(super) sets: [Option<Arc<DoorbellSet>>; 2],
    pub(super) notifiers: Vec<Arc<EventNotifier>>,
    plans: [Option<(Plan, Planned)>; 4],
    /// Each with the set that gave it out.
    epochs: Vec<(Epoch, u64, u64)>,
    singles: Vec<IoEventFd>,
    next_id: u64,
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
                for turn in 0..times % 80 {
                    self.relocate(set.into(), 0, 0x1f, 2 * (turn % 2) + times / 80);
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
                let rewire = |bell: &mut Bell| bell.fd = notifier(set, notifiers, bell.key);
                wanted.iter_mut().for_each(rewire);
                let old = self.there(set);
                let changed = old
                    .iter()
                    .zip(&wanted)
                    .filter(|(old, new)| old.fd != new.fd);
                let changed = changed.count() as u8;
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

    fn doorbell(&self, bell: &Bell) -> Doorbell {
        let notifier = Arc::clone(&self.notifiers[bell.fd]);
        Doorbell::new(
            bell.key,
            bell.spot.address(),
            bell.spot.datamatch(),
            notifier,
        )
    }

    fn plan(&self, set: usize, wanted: &[Bell]) -> Option<(Plan, Planned)> {
        let plan = self
            .set(set)
            .plan(wanted.iter().map(|bell| self.doorbell(bell)));
        let world = self.machine.world();
        let planned = world.models[set].compare(wanted);
        let exists = planned.added.iter().all(|bell| bell.spot.exists());
        let refused = world.is_refused(set, &planned, false);
        match plan {
            Ok(plan) => {
                assert!(exists && !refused, "a conflict was not found: {plan:?}");
                let numbers = (plan.additions(), plan.removals(), plan.is_empty());
                let expected = (planned.added.len(), planned.gone.len(), planned.is_empty());
                assert_eq!(numbers, expected);
                Some((plan, planned))
            }
            Err(error) => {
                check_refusal(&error, exists, refused);
                None
            }
        }
    }

    /// The plan comes back if it was not carried out.
    fn apply(&mut self, set: usize, plan: Plan, planned: &Planned) -> Option<Plan> {
        let asks = self.begin(set, planned);
        let result = self.set(set).apply(plan);
        let mut world = self.machine.world();
        match &result {
            Err(rejected) if matches!(rejected.error, Error::StalePlan) => {
                let model = &world.models[set];
                let is_stale = (planned.set, planned.version) != (model.id, model.version);
                assert!(is_stale, "the plan is of these doorbells");
                world.end_without_effect(set);
            }
            _ if !asks => world.end_without_effect(set),
            Ok(_) => world.end_apply(set, planned, Ok(())),
            Err(rejected) => world.end_apply(set, planned, Err(&rejected.error)),
        }
        drop(world);
        match result {
            Ok(epoch) => {
                self.epoch(set, epoch);
                None
            }
            Err(rejected) => {
                assert!(
                    asks || matches!(rejected.error, Error::StalePlan),
                    "{rejected}"
                );
                Some(rejected.value)
            }
        }
    }

    /// Whether carrying out a plan asks for anything.
    fn begin(&self, set: usize, planned: &Planned) -> bool {
        let mut world = self.machine.world();
        let model = &world.models[set];
        let is_stale = (planned.set, planned.version) != (model.id, model.version);
        let view = model.started.then(|| model.view_during(planned));
        let view = view.filter(|_| !is_stale);
        world.begin(set, view);
        !is_stale && !planned.is_empty()
    }

    fn change(&mut self, set: usize, wanted: &[Bell]) {
        if let Some((plan, planned)) = self.plan(set, wanted) {
            self.apply(set, plan, &planned);
        }
    }

    fn relocate(&mut self, set: usize, from: u8, size: u8, to: u8) {
        let ((pio, start), (to_pio, to)) = (slot(from), slot(to));
        let size = u64::from(size % 32);
        let mut wanted = self.machine.world().models[set].bells.clone();
        let mut is_movable = true;
        for bell in &mut wanted {
            let spot = &mut bell.spot;
            if spot.pio == pio && (start..start + size).contains(&spot.at) {
                spot.at = spot.at - start + to;
                is_movable &= pio == to_pio && (!pio || spot.at <= 0xffff);
            }
        }
        let mut planned = Planned::default();
        let mut is_plan = false;
        if is_movable {
            planned = self.machine.world().models[set].compare(&wanted);
            let exists = planned.added.iter().all(|bell| bell.spot.exists());
            is_plan = exists && !self.machine.world().is_refused(set, &planned, false);
        }
        let asks = is_plan && self.begin(set, &planned);
        if !asks {
            self.machine.world().begin(set, None);
        }
        let result = self
            .set(set)
            .relocate(address(pio, start), size, address(to_pio, to));
        let mut world = self.machine.world();
        match &result {
            Err(Error::NotMovable { .. }) => {
                assert!(!is_movable);
                world.end_without_effect(set);
            }
            Err(Error::NoSuchWrite { .. } | Error::Conflict { .. }) if is_movable && !is_plan => {
                world.end_without_effect(set);
            }
            Ok(_) if is_plan && !asks => world.end_without_effect(set),
            result => {
                assert!(asks, "{result:?}");
                world.end_apply(set, &planned, result.as_ref().map(|_| ()));
            }
        }
        drop(world);
        if let Ok(epoch) = result {
            self.epoch(set, epoch);
        }
    }

    fn epoch(&mut self, set: usize, epoch: Epoch) {
        let (id, at) = {
            let model = &self.machine.world().models[set];
            (model.id, model.epoch)
        };
        let same = |(one, of, when): &(Epoch, u64, u64)| (*one == epoch, (*of, *when) == (id, at));
        for (is_same, expected) in self.epochs.iter().map(same) {
            assert_eq!(is_same, expected, "epochs of set {set}");
        }
        self.epochs.push((epoch, id, at));
        // Only the latest ones, so that a long history does not take long.
        if self.epochs.len() > 16 {
            self.epochs.remove(0);
        }
    }

    fn stop(&mut self, set: usize) {
        let view = self.machine.world().models[set].view();
        self.machine.world().begin(set, Some(view));
        let result = self.set(set).stop();
        self.machine
            .world()
            .end_stop(set, result.as_ref().map(|_| ()));
        if let Ok(stopped) = result {
            self.expect_leftovers(set, &stopped.leftovers);
            self.epoch(set, stopped.epoch);
        }
    }

    fn start(&mut self, set: usize) {
        let mut world = self.machine.world();
        let was_started = world.models[set].started;
        let mut view = world.models[set].view();
        view.current = world.models[set].bells.clone();
        world.begin(set, Some(view));
        drop(world);
        let result = self.set(set).start();
        let mut world = self.machine.world();
        if was_started {
            assert!(result.is_ok());
            world.end_without_effect(set);
        } else {
            world.end_start(set, result.as_ref().map(|()| ()));
        }
    }

    fn expect_leftovers(&self, set: usize, leftovers: &[Leftover]) {
        let mut world = self.machine.world();
        let mut expected = Vec::new();
        let mut seen = Vec::new();
        for bell in world.models[set].bells.clone() {
            if seen.contains(&bell.fd) {
                continue;
            }
            seen.push(bell.fd);
            let kicks = world.consume(bell.fd, bell.fd == SEMAPHORE);
            if kicks > 0 {
                expected.push((bell.key, kicks));
            }
        }
        let taken = leftovers.iter().map(|one| (one.key, one.kicks.get()));
        assert_eq!(taken.collect::<Vec<_>>(), expected, "what is left over");
    }

    fn passed(&mut self, set: usize, which: u8) {
        let index = usize::from(which) % self.epochs.len().max(1);
        if let Some((epoch, of, at)) = self.epochs.get(index).copied() {
            self.set(set).vcpus_passed(epoch);
            let model = &mut self.machine.world().models[set];
            let (id, past) = (model.id, &mut model.past);
            past.retain(|(left, _)| of != id || *left > at);
        }
    }

    fn renew(&mut self, set: usize, removals_first: bool) {
        self.machine.world().calls.clear();
        let old = self.sets[set].take();
        drop(Arc::try_unwrap(old.expect("it is there")));
        self.machine.world().dropped(set);
        let mut new = DoorbellSet::new(&self.registry);
        if removals_first {
            new = new.removals_first();
        }
        let new = Arc::new(new);
        let mut world = self.machine.world();
        world.models[set] = Model::new(self.next_id, removals_first);
        world.sets[set] = Arc::downgrade(&new);
        drop(world);
        self.next_id += 1;
        self.sets[set] = Some(new);
    }

    fn reserve(&self, at: u8, size: u8) {
        let mut world = self.machine.world();
        // No window is given up, and some doorbells must be possible.
        if world.windows.len() == 2 {
            return;
        }
        let (pio, start) = slot(at);
        let start = start + u64::from(size >> 6);
        let size = u64::from(size % 4);
        let window = (pio, start, size);
        let refused = world.claimed().iter().any(|spot| spot.is_in(window));
        let reserved = self
            .registry
            .reserve(Window::new(address(pio, start), size, "a device"));
        match reserved {
            Ok(()) => {
                assert!(!refused, "a doorbell is there");
                world.windows.push(window);
            }
            Err(error) => check_refusal(&error, true, refused),
        }
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

    fn lose(&self, which: u8) {
        let mut world = self.machine.world();
        if world.kernel.is_empty() {
            return;
        }
        world.faults.clear();
        let index = usize::from(which) % world.kernel.len();
        let (spot, fd) = world.kernel.remove(index);
        world.lost.push((spot, fd));
        self.machine.deregister(spot, &self.notifiers[fd]);
    }

    fn single(&mut self, choice: Choice) {
        let spot = choice.single();
        if self.singles.len() == SINGLES || !spot.exists() {
            return;
        }
        self.machine.world().calls.clear();
        let builder = IoEventFd::builder(self.machine.clone(), spot.address(), spot.datamatch());
        let assigned = builder.notifier(Arc::clone(&self.notifiers[OWN])).assign();
        let mut world = self.machine.world();
        let calls = std::mem::take(&mut world.calls);
        assert_eq!(
            (calls.len(), calls[0].spot, calls[0].assign),
            (1, spot, true)
        );
        assert_eq!(assigned.is_ok(), calls[0].errno.is_none());
        match assigned {
            Ok(single) => {
                world.singles.push((spot, OWN));
                self.singles.push(single);
            }
            Err(rejected) => {
                let taken = matches!(rejected.error, Error::Taken { .. });
                assert_eq!(taken, calls[0].errno == Some(17), "{rejected}");
            }
        }
    }

    fn no_single(&mut self, which: u8) {
        if self.singles.is_empty() {
            return;
        }
        let index = usize::from(which) % self.singles.len();
        let single = self.singles.remove(index);
        let key = self.machine.world().singles.remove(index);
        self.machine.world().calls.clear();
        let deassigned = single.deassign();
        let calls = std::mem::take(&mut self.machine.world().calls);
        assert_eq!(
            (calls.len(), calls[0].spot, calls[0].assign),
            (1, key.0, false)
        );
        assert_eq!(deassigned.is_ok(), calls[0].counts());
        if let Err(rejected) = deassigned {
            assert!(
                matches!(rejected.error, Error::Deassign { .. }),
                "{rejected}"
            );
            self.machine.world().singles.push(key);
            self.singles.push(rejected.value);
        }
    }

    /// Everything is dropped, and the kernel has nothing any more.
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
        assert_eq!(Arc::strong_count(&self.registry), 1, "a set is left");
        drop(self);
        assert_eq!(Arc::strong_count(&machine), 1, "a doorbell is left");
        assert_eq!(machine.world().kernel, [], "left in the kernel");
    }
}

fn check_refusal(error: &Error, exists: bool, refused: bool) {
    match error {
        Error::NoSuchWrite { .. } => assert!(!exists, "{error}"),
        Error::Conflict { .. } => assert!(exists && refused, "{error}"),
        _ => panic!("{error}"),
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
