// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Device`]: what a back-end has of its rings, and [`Ring`]: what it shares with the driver.

use notify_core::EventNotifier;

use super::notifiers::Notifiers;

/// A ring in the guest's memory: how many buffers it has, how many of them the device has used, and
/// whether the device has suppressed kicks.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Ring {
    pub(super) added: u64,
    pub(super) used: u64,
    pub(super) suppressed: bool,
}

/// An eventfd as a back-end has it, and its number.
pub(super) type Given = (usize, EventNotifier);

#[derive(Debug, Default)]
pub(super) struct Place {
    pub(super) kick: Option<Given>,
    pub(super) call: Option<Given>,
    pub(super) err: Option<Given>,
}

#[derive(Debug, Default)]
pub(super) struct Device {
    pub(super) places: Vec<Place>,
    pub(super) runs: bool,
}

impl Device {
    pub(super) fn place(&mut self, ring: usize) -> &mut Place {
        if self.places.len() <= ring {
            self.places.resize_with(ring + 1, Place::default);
        }
        &mut self.places[ring]
    }

    /// Looks at the ring if it was kicked.
    pub(super) fn serve(&mut self, number: usize, ring: &mut Ring, notifiers: &mut Notifiers) {
        let Some((id, kick)) = &self.place(number).kick else {
            return;
        };
        let is_kicked = kick.consume().expect("it can be read").is_some();
        assert_eq!(
            is_kicked,
            notifiers.taken(*id),
            "another eventfd than the ring's"
        );
        if is_kicked {
            self.look(number, ring, notifiers);
        }
    }

    /// Uses all buffers of the ring.
    pub(super) fn look(&mut self, number: usize, ring: &mut Ring, notifiers: &mut Notifiers) {
        if ring.used < ring.added
            && let Some((id, _)) = &self.place(number).call
        {
            notifiers.signal(*id);
        }
        ring.used = ring.added;
    }

    /// Whether a buffer waits in the ring, and nothing will make the device look at it.
    pub(super) fn is_stuck(&self, number: usize, ring: Ring, notifiers: &Notifiers) -> bool {
        let kick = self
            .places
            .get(number)
            .and_then(|place| place.kick.as_ref());
        let wakes = kick.is_some_and(|(id, _)| notifiers.wakes(*id));
        self.runs && ring.used < ring.added && !ring.suppressed && !wakes
    }
}
