// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Model`]: one set as lists, by its documentation of plans, exits and kicks.

use std::collections::{BTreeMap, BTreeSet};

use super::spot::Spot;

/// A doorbell of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bell {
    pub(super) key: u64,
    pub(super) spot: Spot,
    /// Which notifier.
    pub(super) fd: usize,
    /// Whether the set takes it for registered.
    pub(super) on: bool,
}

/// A doorbell that the set could not deregister, and whether it took a kick.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stuck {
    pub(super) bell: Bell,
    pub(super) took: bool,
}

/// What exits are matched against.
#[derive(Debug, Clone, Default)]
pub(super) struct View {
    pub(super) current: Vec<Bell>,
    /// Left places, with the change that left them.
    pub(super) old: Vec<(u64, Bell)>,
}

impl View {
    /// The doorbell that takes a write, and whether the set has it now.
    pub(super) fn find(&self, pio: bool, at: u64, bytes: &[u8]) -> Option<(Bell, bool)> {
        let takes = |bell: &Bell| bytes.len() <= 8 && bell.spot.takes(pio, at, bytes);
        let current = self.current.iter().find(|bell| takes(bell));
        if let Some(bell) = current {
            return Some((*bell, true));
        }
        let old = self.old.iter().filter(|(_, bell)| takes(bell));
        let last = old.max_by_key(|(left, _)| *left);
        last.map(|(_, bell)| (*bell, false))
    }
}

/// A plan.
#[derive(Debug, Clone, Default)]
pub(super) struct Planned {
    pub(super) set: u64,
    pub(super) version: u64,
    pub(super) added: Vec<Bell>,
    pub(super) gone: Vec<Bell>,
    pub(super) kept: Vec<Bell>,
    /// Kept doorbells that an undo could not register.
    pub(super) repairs: Vec<Bell>,
}

impl Planned {
    pub(super) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.gone.is_empty() && self.repairs.is_empty()
    }

    /// What the set has afterwards.
    pub(super) fn after(&self) -> Vec<Bell> {
        self.added.iter().chain(&self.kept).copied().collect()
    }
}

/// What must happen to counters.
#[derive(Debug, Default)]
pub(super) struct Effects {
    pub(super) kicks: BTreeSet<usize>,
    /// The count of one notifier goes to each of these.
    pub(super) moves: BTreeMap<usize, BTreeSet<usize>>,
}

#[derive(Debug)]
pub(super) struct Model {
    /// Unique among all sets.
    pub(super) id: u64,
    pub(super) removals_first: bool,
    pub(super) started: bool,
    pub(super) bells: Vec<Bell>,
    pub(super) stuck: Vec<Stuck>,
    pub(super) past: Vec<(u64, Vec<Bell>)>,
    pub(super) epoch: u64,
    pub(super) version: u64,
    /// During a change, after stuck doorbells were retried.
    pub(super) during: Option<View>,
}

impl Model {
    pub(super) fn new(id: u64, removals_first: bool) -> Self {
        Self {
            id,
            removals_first,
            started: true,
            bells: Vec::new(),
            stuck: Vec::new(),
            past: Vec::new(),
            epoch: 0,
            version: 0,
            during: None,
        }
    }

    /// The difference between what the set has and what is wanted.
    pub(super) fn compare(&self, wanted: &[Bell]) -> Planned {
        let same = |one: &Bell, other: &Bell| {
            (one.key, one.spot, one.fd) == (other.key, other.spot, other.fd)
        };
        let is_wanted = |bell: &&Bell| wanted.iter().any(|one| same(one, bell));
        let kept: Vec<_> = self.bells.iter().filter(is_wanted).copied().collect();
        let gone = self.bells.iter().filter(|bell| !is_wanted(bell)).copied();
        let mut added = Vec::new();
        let mut left = kept.clone();
        for one in wanted {
            match left.iter().position(|bell| same(bell, one)) {
                Some(index) => drop(left.remove(index)),
                None => added.push(Bell { on: false, ..*one }),
            }
        }
        let off = kept.iter().filter(|bell| self.started && !bell.on);
        Planned {
            set: self.id,
            version: self.version,
            gone: gone.collect(),
            repairs: off.copied().collect(),
            added,
            kept,
        }
    }

    pub(super) fn has_notifier(&self, fd: usize) -> bool {
        self.bells.iter().any(|bell| bell.fd == fd)
    }

    /// The notifier of a queue.
    pub(super) fn own(&self, key: u64) -> Option<usize> {
        own(&self.bells, key)
    }

    pub(super) fn view(&self) -> View {
        let old = self.past.iter();
        let old = old.flat_map(|(left, bells)| bells.iter().map(|bell| (*left, *bell)));
        View {
            current: match self.started {
                true => self.bells.clone(),
                false => Vec::new(),
            },
            old: old.collect(),
        }
    }

    /// What exits match while a plan is carried out: the new doorbells, then the old.
    pub(super) fn view_during(&self, plan: &Planned) -> View {
        let mut view = self.view();
        let gone = plan.gone.iter().map(|bell| (self.epoch + 1, *bell));
        view.old.extend(gone);
        view.current = plan.after();
        let follow = self.followers(plan);
        for (_, bell) in &mut view.old {
            bell.fd = follow.get(&(bell.key, bell.fd)).copied().unwrap_or(bell.fd);
        }
        view
    }

    /// For notifiers that leave: by queue and old notifier, the notifier of the queue afterwards.
    pub(super) fn followers(&self, plan: &Planned) -> BTreeMap<(u64, usize), usize> {
        let after = plan.after();
        let leaves = |fd: usize| {
            let stays = after.iter().any(|bell| bell.fd == fd);
            !stays && plan.gone.iter().any(|bell| bell.fd == fd)
        };
        let past = self.past.iter().flat_map(|(_, bells)| bells);
        let all = plan.gone.iter().chain(past);
        let leaving = all.filter(|bell| leaves(bell.fd));
        leaving
            .filter_map(|bell| Some(((bell.key, bell.fd), own(&after, bell.key)?)))
            .collect()
    }

    /// What queues are owed when their doorbells that signalled `fd` are undone. Their kicks belong
    /// in `home`.
    pub(super) fn owed(&self, back: impl Iterator<Item = (u64, usize, usize)>) -> Effects {
        let mut effects = Effects::default();
        for (key, fd, home) in back {
            let served = |bell: &Bell| bell.key == key && bell.fd == fd;
            if self.bells.iter().any(served) {
                continue;
            }
            if self.has_notifier(fd) {
                effects.kicks.insert(home);
            } else {
                effects.moves.entry(fd).or_default().insert(home);
            }
        }
        effects
    }

    /// What queues are owed for stuck doorbells that were deregistered.
    pub(super) fn owed_for(&self, freed: &[Bell]) -> Effects {
        let back = freed.iter();
        self.owed(back.filter_map(|bell| Some((bell.key, bell.fd, self.own(bell.key)?))))
    }

    pub(super) fn leave(&mut self, bells: Vec<Bell>) {
        self.epoch += 1;
        if bells.is_empty() {
            return;
        }
        if self.past.len() == 64 {
            self.past.remove(0);
        }
        self.past.push((self.epoch, bells));
    }

    pub(super) fn sort(&mut self) {
        self.bells.sort_by_key(|bell| bell.spot);
    }
}

fn own(bells: &[Bell], key: u64) -> Option<usize> {
    let of_key = bells.iter().find(|bell| bell.key == key);
    of_key.map(|bell| bell.fd)
}
