// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The table as its documentation describes it: a map of slots, and the kernel's routes.

use irq_routing::{KernelRoute, Route};

use crate::kernel::{LIMIT, Routes, entries};
use crate::step::{Commit, Edit, Outcome, Step, Target};

/// What a GSI is used for, with the index of the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    Free,
    Leased(usize, Option<Route>),
    Parked(usize, Option<Route>),
    Wired(Route),
}

impl Slot {
    fn route(self) -> Option<Route> {
        match self {
            Self::Free => None,
            Self::Leased(_, route) | Self::Parked(_, route) => route,
            Self::Wired(route) => Some(route),
        }
    }
}

/// How the holder has a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    Lease(u32),
    Parked(u32),
    Gone,
}

/// An edit: its GSI, the lease that it is of, and the new route.
type Staged = (u32, Option<usize>, Option<Route>);

#[derive(Debug, Clone)]
pub(crate) struct Model {
    slots: [Slot; LIMIT as usize],
    /// GSIs of parked leases, the longest parked first.
    parked: Vec<u32>,
    /// All leases that were taken.
    pub(crate) held: Vec<Held>,
    /// What the kernel has, once a table was committed.
    pub(crate) kernel: Option<Routes>,
    staged: Vec<Staged>,
    /// How many ioctls the last step has issued.
    pub(crate) ioctls: u32,
}

impl Model {
    pub(crate) fn new() -> Self {
        Self {
            slots: [Slot::Free; LIMIT as usize],
            parked: Vec::new(),
            held: Vec::new(),
            kernel: None,
            staged: Vec::new(),
            ioctls: 0,
        }
    }

    pub(crate) fn routes(&self) -> Routes {
        let routed = (0..).zip(self.slots);
        let routed = routed.filter_map(|(gsi, slot)| Some((gsi, slot.route()?)));
        routed.collect()
    }

    pub(crate) fn leased(&self) -> usize {
        let leased = |slot: &&Slot| matches!(slot, Slot::Leased(..));
        self.slots.iter().filter(leased).count()
    }

    pub(crate) fn kernel_route(&self, gsi: u32) -> KernelRoute {
        let Some(kernel) = &self.kernel else {
            return KernelRoute::Unknown;
        };
        match (self.slots[gsi as usize].route(), kernel.get(&gsi)) {
            (Some(route), _) => KernelRoute::Routed(route),
            (None, Some(_)) => KernelRoute::Stale,
            (None, None) => KernelRoute::Unrouted,
        }
    }

    /// All steps that a caller can take now.
    pub(crate) fn steps(&self, commits: &[Commit]) -> Vec<Step> {
        let mut edits = Vec::new();
        let mut steps = vec![Step::Lease];
        for (index, held) in self.held.iter().enumerate() {
            match held {
                Held::Lease(_) => {
                    let targets = [Target::Message(1), Target::Message(2), Target::Pins];
                    edits.extend(targets.map(|target| Edit::Route(index, target)));
                    edits.push(Edit::Unroute(index));
                    steps.extend([Step::Release(index), Step::Park(index)]);
                }
                Held::Parked(_) => steps.extend([Step::Release(index), Step::Unpark(index)]),
                Held::Gone => {}
            }
        }
        for gsi in 0..LIMIT {
            edits.extend([Edit::Wire(gsi), Edit::Unwire(gsi)]);
            steps.push(Step::LeaseExact(gsi));
        }
        for refused in [false, true] {
            steps.extend([Step::Flush(refused), Step::Recommit(refused)]);
        }
        let of_edit = |edit| commits.iter().map(move |commit| Step::Stage(edit, *commit));
        steps.extend(edits.into_iter().flat_map(of_edit));
        steps
    }

    pub(crate) fn step(&mut self, step: Step) -> Outcome {
        self.ioctls = 0;
        match step {
            Step::Stage(edit, commit) => {
                self.stage(edit);
                match commit {
                    Commit::Later => Outcome::Done,
                    Commit::Taken => self.commit(false),
                    Commit::RefusedAndKept => self.commit(true),
                    Commit::RefusedAndDropped => {
                        let outcome = self.commit(true);
                        self.staged.clear();
                        outcome
                    }
                }
            }
            Step::Lease => {
                let free = self.slots.iter().position(|slot| *slot == Slot::Free);
                let longest = self.parked.first().map(|gsi| *gsi as usize);
                let Some(gsi) = free.or(longest) else {
                    return Outcome::Exhausted;
                };
                self.lease(gsi as u32)
            }
            Step::LeaseExact(gsi) => match self.slots[gsi as usize] {
                Slot::Free | Slot::Parked(..) => self.lease(gsi),
                _ => Outcome::GsiInUse,
            },
            Step::Release(index) => {
                let held = std::mem::replace(&mut self.held[index], Held::Gone);
                if let Held::Lease(gsi) | Held::Parked(gsi) = held {
                    match self.slots[gsi as usize] {
                        Slot::Leased(of, _) | Slot::Parked(of, _) if of == index => self.free(gsi),
                        _ => {}
                    }
                }
                Outcome::Done
            }
            Step::Park(index) => {
                if let Held::Lease(gsi) = self.held[index]
                    && let Slot::Leased(_, route) = self.slots[gsi as usize]
                {
                    self.slots[gsi as usize] = Slot::Parked(index, route);
                    self.held[index] = Held::Parked(gsi);
                    self.parked.push(gsi);
                }
                Outcome::Done
            }
            Step::Unpark(index) => {
                if let Held::Parked(gsi) = self.held[index]
                    && let Slot::Parked(of, route) = self.slots[gsi as usize]
                    && of == index
                {
                    self.slots[gsi as usize] = Slot::Leased(index, route);
                    self.held[index] = Held::Lease(gsi);
                    self.parked.retain(|parked| *parked != gsi);
                    return Outcome::Done;
                }
                self.held[index] = Held::Gone;
                Outcome::TakenBack
            }
            Step::Flush(refused) => {
                let routes = self.routes();
                match &self.kernel {
                    Some(kernel) if *kernel != routes => self.issue(refused),
                    _ => Outcome::Done,
                }
            }
            Step::Recommit(refused) => self.issue(refused),
        }
    }

    /// Commits what is staged; if the kernel takes it, nothing is staged any more.
    pub(crate) fn commit(&mut self, refused: bool) -> Outcome {
        let mut edits: Vec<Staged> = Vec::new();
        for edit in &self.staged {
            edits.retain(|(gsi, ..)| *gsi != edit.0);
            edits.push(*edit);
        }
        for (gsi, lease, _) in &edits {
            match (self.slots[*gsi as usize], lease) {
                (Slot::Leased(of, _) | Slot::Parked(of, _), Some(lease)) if of == *lease => {}
                (_, Some(_)) => return Outcome::NotLeased,
                (Slot::Free | Slot::Wired(_), None) => {}
                (_, None) => return Outcome::GsiInUse,
            }
        }
        let before = self.clone();
        let mut is_other = self.kernel.is_none();
        for (gsi, lease, route) in &edits {
            let has = self.kernel.as_ref().and_then(|kernel| kernel.get(gsi));
            is_other |= has != route.as_ref();
            let slot = &mut self.slots[*gsi as usize];
            match (slot, lease) {
                (Slot::Leased(_, old) | Slot::Parked(_, old), Some(_)) => *old = *route,
                (slot, _) => *slot = route.map_or(Slot::Free, Slot::Wired),
            }
        }
        if !is_other {
            self.staged.clear();
            return Outcome::Done;
        }
        let taken_back = match self.make_room(&edits) {
            Some(taken_back) => taken_back,
            None => {
                *self = before;
                return Outcome::TableFull;
            }
        };
        match self.issue(refused) {
            Outcome::Done => self.staged.clear(),
            _ => {
                let ioctls = self.ioctls;
                *self = before;
                self.ioctls = ioctls;
                taken_back.into_iter().for_each(|gsi| self.free(gsi));
                return Outcome::Refused;
            }
        }
        Outcome::Done
    }

    /// Takes back as many parked leases as there are entries too many.
    fn make_room(&mut self, edits: &[Staged]) -> Option<Vec<u32>> {
        let mut taken_back = Vec::new();
        for gsi in self.parked.clone() {
            if entries(&self.routes()).len() <= LIMIT as usize {
                break;
            }
            let is_edited = edits.iter().any(|(edited, ..)| *edited == gsi);
            if !is_edited && self.slots[gsi as usize].route().is_some() {
                self.free(gsi);
                taken_back.push(gsi);
            }
        }
        (entries(&self.routes()).len() <= LIMIT as usize).then_some(taken_back)
    }

    fn issue(&mut self, refused: bool) -> Outcome {
        self.ioctls += 1;
        if refused {
            return Outcome::Refused;
        }
        self.kernel = Some(self.routes());
        Outcome::Done
    }

    fn stage(&mut self, edit: Edit) {
        let gsi = |index: usize| match self.held[index] {
            Held::Lease(gsi) => gsi,
            other => panic!("{other:?}"),
        };
        self.staged.push(match edit {
            Edit::Route(index, target) => (gsi(index), Some(index), Some(target.route())),
            Edit::Unroute(index) => (gsi(index), Some(index), None),
            Edit::Wire(gsi) => (gsi, None, Some(Target::Pins.route())),
            Edit::Unwire(gsi) => (gsi, None, None),
        });
    }

    fn lease(&mut self, gsi: u32) -> Outcome {
        self.free(gsi);
        self.slots[gsi as usize] = Slot::Leased(self.held.len(), None);
        self.held.push(Held::Lease(gsi));
        Outcome::Done
    }

    fn free(&mut self, gsi: u32) {
        self.slots[gsi as usize] = Slot::Free;
        self.parked.retain(|parked| *parked != gsi);
    }
}
