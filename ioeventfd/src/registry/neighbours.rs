// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What conflicts with a place: at its address, below it or above it.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::SetId;
use crate::bus::{Place, last_value};
use crate::{Conflict, Datamatch, Error, Width};

/// Places in order, and the set of each.
pub(super) type Map = BTreeMap<Place, SetId>;

/// The places that a change adds, or that an earlier one left registered.
#[derive(Debug)]
pub(crate) struct Places(SetId, Map);

impl Places {
    pub(crate) fn new(set: SetId, places: impl Iterator<Item = Place>) -> Self {
        Self(set, places.map(|place| (place, set)).collect())
    }

    pub(crate) fn insert(&mut self, place: Place) {
        self.1.insert(place, self.0);
    }

    /// Fails if KVM would register a doorbell beside one of them and might then miss one of the
    /// two. KVM itself refuses a doorbell in the same place.
    pub(crate) fn refuse_beside(&self, place: Place) -> Result<(), Error> {
        let there = clash(&self.1, place, Look::AtNeighboursToo, |there, _| {
            there.collides(place)
        });
        match there.and_then(|there| Conflict::between(place, there)) {
            Some(conflict) => Err(refuse(place, conflict)),
            None => Ok(()),
        }
    }

    /// Whether one of them conflicts with this.
    pub(crate) fn clash_with(&self, place: Place) -> bool {
        clash(&self.1, place, Look::AtNeighboursToo, |_, _| false).is_some()
    }
}

/// Where to look for conflicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    AtItsAddress,
    AtNeighboursToo,
}

pub(super) fn refuse(place: Place, conflict: Conflict) -> Error {
    Error::Conflict {
        address: place.address,
        datamatch: place.datamatch,
        cause: Box::new(conflict),
    }
}

/// A place that conflicts with this one and is not `ignored`.
pub(super) fn clash(
    map: &Map,
    place: Place,
    look: Look,
    ignored: impl Fn(Place, SetId) -> bool,
) -> Option<Place> {
    if map.is_empty() {
        return None;
    }
    let counts = |(place, set): (&Place, &SetId)| (!ignored(*place, *set)).then_some(*place);
    let there = at_the_same_address(map, place, &counts);
    if there.is_some() || look == Look::AtItsAddress {
        return there;
    }
    from_below(map, place, &counts).or_else(|| from_above(map, place, &counts))
}

type Entry<'a> = (&'a Place, &'a SetId);

fn at_the_same_address(
    map: &Map,
    place: Place,
    counts: &impl Fn(Entry<'_>) -> Option<Place>,
) -> Option<Place> {
    let at = |datamatch| Place::new(place.address, datamatch);
    let get = |datamatch| map.get_key_value(&at(datamatch)).and_then(counts);
    let among = |first, last| map.range(at(first)..=at(last)).find_map(counts);
    if let Some(any) = get(Datamatch::AnyWrite) {
        return Some(any);
    }
    match place.datamatch {
        Datamatch::AnyWrite => among(Datamatch::AnyWrite, Datamatch::U64(u64::MAX)),
        Datamatch::Width(width) => among(Datamatch::Width(width), last_value(width)),
        Datamatch::U8(_) => get(place.datamatch).or_else(|| get(Datamatch::Width(Width::W1))),
        Datamatch::U16(_) => get(place.datamatch).or_else(|| get(Datamatch::Width(Width::W2))),
        Datamatch::U32(_) => get(place.datamatch).or_else(|| get(Datamatch::Width(Width::W4))),
        Datamatch::U64(_) => get(place.datamatch).or_else(|| get(Datamatch::Width(Width::W8))),
    }
}

/// A place that starts below and extends to this one. The widest at an address is the last there.
fn from_below(
    map: &Map,
    place: Place,
    counts: &impl Fn(Entry<'_>) -> Option<Place>,
) -> Option<Place> {
    let mut bound = Place::first(place.address);
    while let Some(entry) = map.range(..bound).next_back() {
        let below = *entry.0;
        if !below.interferes(place) {
            // No doorbell extends further than this.
            let near = Place::new(below.address, Datamatch::U64(0)).interferes(place);
            if !near {
                return None;
            }
            bound = Place::first(below.address);
        } else if let Some(found) = counts(entry) {
            return Some(found);
        } else {
            bound = below;
        }
    }
    None
}

/// A place that starts within the bytes of this one or, for any write, where it ends.
fn from_above(
    map: &Map,
    place: Place,
    counts: &impl Fn(Entry<'_>) -> Option<Place>,
) -> Option<Place> {
    let above = (
        Bound::Excluded(Place::last(place.address)),
        Bound::Unbounded,
    );
    map.range(above)
        .take_while(|(above, _)| place.interferes(**above))
        .find_map(counts)
}
