// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Members`]: the devices on a line, and the level that they make together.

use std::sync::Arc;

use notify_core::EventNotifier;

/// One device on a line.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) level: Level,
    /// Somebody else signals the trigger.
    pub(super) exported: bool,
    /// Also a device of the VMM's own has one where the kernel wants it for an irqfd; nobody signals it.
    pub(super) trigger: Option<Arc<EventNotifier>>,
    pub(super) resample: Option<Arc<EventNotifier>>,
    /// Whether the trigger is bound as an irqfd.
    pub(super) bound: bool,
}

/// Why a device holds its line up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Level {
    /// It says so.
    pub(super) asserted: bool,
    /// Its trigger was signalled, and no interrupt has ended since. Only where no kernel sees the signal.
    pub(super) triggered: bool,
}

impl Level {
    fn is_high(self) -> bool {
        self.asserted || self.triggered
    }
}

/// Names a member of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(usize);

/// The devices on a line.
#[derive(Debug, Default)]
pub(super) struct Members {
    places: Vec<Option<Member>>,
    /// Whom to tell of an EOI: exchanged whole when somebody joins or leaves, so that it can be taken along
    /// out of the lock without an allocation.
    told: Arc<[Arc<EventNotifier>]>,
}

impl Members {
    /// The level of the line: high while anybody holds it up.
    pub(super) fn level(&self) -> bool {
        self.iter().any(|member| member.level.is_high())
    }

    /// The level that the line would have if this were what a member holds it up for.
    pub(super) fn level_with(&self, place: Place, level: Level) -> bool {
        let members = (0..).zip(&self.places);
        let mut others = members.filter(|(index, _)| *index != place.0);
        let is_high = |member: &Member| member.level.is_high();
        level.is_high() || others.any(|(_, member)| member.as_ref().is_some_and(is_high))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Member> {
        self.places.iter().flatten()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Member> {
        self.places.iter_mut().flatten()
    }

    pub(super) fn has_exported(&self) -> bool {
        self.iter().any(|member| member.exported)
    }

    pub(super) fn get(&self, place: Place) -> Option<&Member> {
        self.places.get(place.0)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, place: Place) -> Option<&mut Member> {
        self.places.get_mut(place.0)?.as_mut()
    }

    /// Changes why a member holds the line up.
    pub(super) fn set_level(&mut self, place: Place, level: Level) {
        if let Some(member) = self.get_mut(place) {
            member.level = level;
        }
    }

    pub(super) fn insert(&mut self, member: Member) -> Place {
        let free = self.places.iter().position(Option::is_none);
        let index = free.unwrap_or(self.places.len());
        match self.places.get_mut(index) {
            Some(place) => *place = Some(member),
            None => self.places.push(Some(member)),
        }
        self.tell_all();
        Place(index)
    }

    pub(super) fn remove(&mut self, place: Place) {
        if let Some(place) = self.places.get_mut(place.0) {
            *place = None;
        }
        self.tell_all();
    }

    /// The notifiers of those who want to hear of EOIs.
    pub(super) fn told(&self) -> Arc<[Arc<EventNotifier>]> {
        Arc::clone(&self.told)
    }

    fn tell_all(&mut self) {
        self.told = self
            .iter()
            .filter_map(|member| member.resample.clone())
            .collect();
    }
}
