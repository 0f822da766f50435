// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Members`]: the devices on a line, and the level that they make together.

use std::sync::Arc;

use notify_core::EventNotifier;

/// One device on a line.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) level: Level,
    /// Another process, vhost or VFIO signals the trigger.
    pub(super) exported: bool,
    /// Also a device of the VMM's own has one where the kernel wants it for an irqfd; nothing
    /// signals it.
    pub(super) trigger: Option<Arc<EventNotifier>>,
    pub(super) resample: Option<Arc<EventNotifier>>,
    /// Whether the trigger is bound as an irqfd.
    pub(super) bound: bool,
}

impl Member {
    /// A device that does not assert, and whose trigger is not bound.
    pub(super) fn new(
        exported: bool,
        trigger: Option<Arc<EventNotifier>>,
        resample: Option<Arc<EventNotifier>>,
    ) -> Self {
        Self {
            level: Level::default(),
            exported,
            trigger,
            resample,
            bound: false,
        }
    }
}

/// Why a device holds its line up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Level {
    /// It asserts.
    pub(super) asserted: bool,
    /// Its trigger was signalled, and no interrupt has ended since. Only where no kernel sees the
    /// signal.
    pub(super) triggered: bool,
}

impl Level {
    pub(super) fn is_high(self) -> bool {
        self.asserted || self.triggered
    }
}

/// Names a member of a line. Those that join later have higher numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(u64);

/// The devices on a line, in the order in which they joined.
#[derive(Debug, Default)]
pub(super) struct Members {
    places: Vec<(Place, Member)>,
    /// How many have joined so far.
    joined: u64,
    /// Signalled at an EOI. Exchanged whole when a device joins or leaves, so that a reader can
    /// take it out of the lock without an allocation.
    eoi_notifiers: Arc<[Arc<EventNotifier>]>,
}

impl Members {
    /// The level of the line: high while any device holds it up.
    pub(super) fn level(&self) -> bool {
        self.iter().any(|member| member.level.is_high())
    }

    /// The level that the line would have if this were what a member holds it up for.
    pub(super) fn level_with(&self, place: Place, level: Level) -> bool {
        let mut others = self.places.iter().filter(|(other, _)| *other != place);
        level.is_high() || others.any(|(_, member)| member.level.is_high())
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &Member> {
        self.places.iter().map(|(_, member)| member)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Member> {
        self.places.iter_mut().map(|(_, member)| member)
    }

    pub(super) fn exported(&mut self) -> impl Iterator<Item = &mut Member> {
        self.iter_mut().filter(|member| member.exported)
    }

    /// Whether a device waits for EOIs. Then an EOI lowers a pin.
    pub(super) fn has_resampled(&self) -> bool {
        self.iter().any(|member| member.resample.is_some())
    }

    pub(super) fn has_exported(&self) -> bool {
        self.iter().any(|member| member.exported)
    }

    fn find(&self, place: Place) -> Option<usize> {
        let found = self
            .places
            .binary_search_by_key(&place, |(place, _)| *place);
        found.ok()
    }

    pub(super) fn get(&self, place: Place) -> Option<&Member> {
        let (_, member) = self.places.get(self.find(place)?)?;
        Some(member)
    }

    pub(super) fn get_mut(&mut self, place: Place) -> Option<&mut Member> {
        let index = self.find(place)?;
        let (_, member) = self.places.get_mut(index)?;
        Some(member)
    }

    /// Changes why a member holds the line up.
    pub(super) fn set_level(&mut self, place: Place, level: Level) {
        if let Some(member) = self.get_mut(place) {
            member.level = level;
        }
    }

    pub(super) fn insert(&mut self, member: Member) -> Place {
        let place = Place(self.joined);
        self.joined += 1;
        self.places.push((place, member));
        self.collect_eoi_notifiers();
        place
    }

    pub(super) fn remove(&mut self, place: Place) {
        self.places.retain(|(other, _)| *other != place);
        self.collect_eoi_notifiers();
    }

    /// The notifiers of devices that asked for EOIs.
    pub(super) fn eoi_notifiers(&self) -> Arc<[Arc<EventNotifier>]> {
        Arc::clone(&self.eoi_notifiers)
    }

    fn collect_eoi_notifiers(&mut self) {
        self.eoi_notifiers = self
            .iter()
            .filter_map(|member| member.resample.clone())
            .collect();
    }
}
