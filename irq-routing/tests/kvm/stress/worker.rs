// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Worker`]: one thread's leases, and its actions on them.

use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;

use irq_routing::{Error, Gsi, GsiLease, MsiMessage, Rejected, Route, RoutingTable, Transaction};
use kvm_test::Machine;

use super::counts::Counts;
use super::faults::{Faults, bad_message, caught};
use super::held::{Held, Hold, Wired};
use super::model::{Event, What};
use super::random::Random;
use super::staged::{Edits, Staged};
use super::{Doomed, FIRST_VECTOR, LIMIT, World, pins};

const MOST_LEASES: usize = 400;
/// GSIs of the wiring that one thread changes.
const WIRED: u32 = 4;

pub(super) struct Worker {
    number: u32,
    pub(super) random: Random,
    pub(super) held: Vec<Held>,
    wired: Vec<Wired>,
    events: Vec<Event>,
    pub(super) counts: Counts,
}

impl Worker {
    pub(super) fn new(number: u32, world: &World) -> Self {
        let gsis = number * WIRED..(number + 1) * WIRED;
        let wired = gsis.map(|gsi| Wired {
            gsi: world.table.gsi(gsi).unwrap(),
            route: None,
            share: None,
        });
        Self {
            number,
            random: Random::new(u64::from(number) << 32),
            held: Vec::new(),
            wired: wired.collect(),
            events: Vec::new(),
            counts: Counts::default(),
        }
    }

    pub(super) fn number(&self) -> u32 {
        self.number
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    pub(super) fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Takes one random action.
    pub(super) fn step(&mut self, world: &World, doomed: &Sender<Doomed>) {
        match self.random.below(100) {
            0..14 => self.lease(world),
            14..20 => self.lease_routed(world),
            20..26 => self.lease_exact(world),
            26..34 => self.drop_one(world),
            34..42 => self.convert(),
            42..46 => self.share(world),
            46..82 => self.change(world),
            82..90 => self.race(world, doomed),
            90..93 => self.change_too_late(world),
            93..96 => self.whole_table(world, RoutingTable::flush),
            96..98 => self.whole_table(world, RoutingTable::recommit),
            98 => self.whole_table(world, RoutingTable::retranslate),
            _ => drop(self.stage(world)),
        }
    }

    fn lease(&mut self, world: &World) {
        if self.held.len() < MOST_LEASES {
            let lease = world.table.lease().unwrap();
            self.keep(world, lease);
        }
    }

    fn lease_exact(&mut self, world: &World) {
        let gsi = if self.random.once_in(2) {
            world.doomed.load(Ordering::Relaxed)
        } else {
            self.random.within(24..LIMIT)
        };
        match world.table.lease_exact(gsi) {
            Ok(lease) => self.keep(world, lease),
            Err(Error::GsiInUse { gsi: in_use, .. }) => assert_eq!(in_use.number(), gsi),
            Err(other) => panic!("{other:?}"),
        }
    }

    fn keep(&mut self, world: &World, lease: GsiLease) {
        assert_eq!(lease.route(), None);
        self.counts.leases += 1;
        self.log(world, lease.gsi(), What::Leased);
        self.held.push(Held {
            hold: Hold::Lease(lease),
            route: None,
        });
    }

    fn lease_routed(&mut self, world: &World) {
        let bad = self.random.once_in(4);
        let message = if bad {
            bad_message(&self.random)
        } else {
            self.message()
        };
        match caught(|| world.table.lease_msi(message)) {
            Some(Ok(lease)) => {
                assert!(!bad, "{message}");
                self.log(world, lease.gsi(), What::Leased);
                self.log(world, lease.gsi(), What::Routed(Some(message.into())));
                self.counts.commits += 1;
                self.held.push(Held {
                    hold: Hold::Lease(lease),
                    route: Some(message.into()),
                });
            }
            Some(Err(Error::Refused { edits: 1, .. })) => {
                assert!(bad || world.vm.faults() == Faults::Chance, "{message}");
                self.counts.refused += 1;
            }
            Some(Err(other)) => panic!("{other:?}"),
            None => {}
        }
    }

    fn drop_one(&mut self, world: &World) {
        if let Some(held) = self.take_one() {
            self.log(world, held.hold.lease().gsi(), What::Dropped);
        }
    }

    /// Turns a lease into a line, or back.
    fn convert(&mut self) {
        let Some(Held { hold, route }) = self.take_one() else {
            return;
        };
        let hold = match hold {
            Hold::Lease(lease) => match (lease.into_line(), route) {
                (Ok(line), Some(_)) => Hold::Line(line),
                (Err(Rejected { value, .. }), None) => Hold::Lease(value),
                (other, _) => panic!("{other:?}"),
            },
            Hold::Line(line) => Hold::Lease(line.into_lease().unwrap()),
        };
        self.held.push(Held { hold, route });
    }

    /// Takes a share of a line of the wiring, or gives it up.
    fn share(&mut self, world: &World) {
        let index = self.random.index(self.wired.len()).unwrap();
        let wired = &mut self.wired[index];
        wired.share = match (wired.share.take(), world.table.line(wired.gsi.number())) {
            (Some(_), _) => None,
            (None, Ok(line)) if wired.route.is_some() => Some(line),
            (None, Err(Error::NoRoute { .. })) if wired.route.is_none() => None,
            (None, other) => panic!("{other:?}"),
        };
    }

    fn change(&mut self, world: &World) {
        let staged = self.stage(world);
        let Staged { transaction, edits } = staged;
        if self.commit(world, transaction, &edits) {
            self.take_over(world, &edits);
        }
        for (gsi, edit) in &edits.0 {
            let route = world.table.route(*gsi);
            let ours = self
                .held
                .iter()
                .find(|held| held.hold.lease().gsi() == *gsi);
            let wired = self.wired.iter().find(|wired| wired.gsi == *gsi);
            let expected = ours
                .map(|held| held.route)
                .or(wired.map(|wired| wired.route));
            assert_eq!(Some(route), expected, "{edit:?}");
        }
    }

    /// Edits of this worker's GSIs, a few of them bad.
    pub(super) fn stage(&mut self, world: &World) -> Staged {
        let mut staged = Staged::new(&world.table);
        for _ in 0..self.random.below(12) {
            let Some(index) = self.random.index(self.held.len()) else {
                break;
            };
            let held = &self.held[index];
            let mut edit = held.edit(self.route());
            if self.random.once_in(40) {
                edit.bad = true;
                edit.new = Some(bad_message(&self.random).into());
            }
            staged.lead(held.hold.lease(), edit);
        }
        if self.random.once_in(4) {
            let index = self.random.index(self.wired.len()).unwrap();
            let wired = &self.wired[index];
            let new = (!self.random.once_in(3)).then(|| pins(self.random.below(24)).into());
            staged.wire(wired.gsi, wired.edit(new));
        }
        staged
    }

    /// Whether the action took effect. A refused one is sometimes tried again.
    fn commit(&mut self, world: &World, mut transaction: Transaction, edits: &Edits) -> bool {
        loop {
            match caught(|| transaction.commit()) {
                Some(Ok(())) => {
                    edits.expect_success();
                    self.counts.commits += 1;
                    return true;
                }
                Some(Err(rejected)) => {
                    edits.expect_failure(&rejected.error, world.vm.faults());
                    self.counts.count(&rejected.error);
                    if !self.random.once_in(4) {
                        return false;
                    }
                    transaction = rejected.value;
                }
                None => return edits.have_taken_effect(&world.table),
            }
        }
    }

    pub(super) fn take_over(&mut self, world: &World, edits: &Edits) {
        for (gsi, edit) in &edits.0 {
            let ours = self
                .held
                .iter_mut()
                .find(|held| held.hold.lease().gsi() == *gsi);
            let wired = self.wired.iter_mut().find(|wired| wired.gsi == *gsi);
            let what = match (ours, wired) {
                (Some(held), _) => {
                    held.route = edit.new;
                    What::Routed(edit.new)
                }
                (None, Some(wired)) => {
                    wired.route = edit.new;
                    What::Wired(edit.new)
                }
                // In quarantine meanwhile.
                (None, None) => What::Routed(edit.new),
            };
            self.log(world, *gsi, what);
        }
    }

    fn whole_table(&mut self, world: &World, commit: impl Fn(&RoutingTable) -> Result<(), Error>) {
        match caught(|| commit(&world.table)) {
            Some(Ok(())) => self.counts.commits += 1,
            Some(Err(Error::Refused { .. } | Error::Untranslated { .. }))
                if world.vm.faults() == Faults::Chance => {}
            Some(Err(other)) => panic!("{other:?}"),
            None => {}
        }
    }

    pub(super) fn take_one(&mut self) -> Option<Held> {
        let index = self.random.index(self.held.len())?;
        Some(self.held.swap_remove(index))
    }

    fn route(&self) -> Option<Route> {
        match self.random.below(16) {
            0 => None,
            1 => Some(pins(self.random.below(24)).into()),
            _ => Some(self.message().into()),
        }
    }

    pub(super) fn message(&self) -> MsiMessage {
        let vector = self.random.within(u32::from(FIRST_VECTOR)..256);
        MsiMessage::new(Machine::MSI_ADDRESS, vector)
    }

    pub(super) fn log(&mut self, world: &World, gsi: Gsi, what: What) {
        self.events.push(Event {
            sequence: world.sequence.fetch_add(1, Ordering::Relaxed),
            gsi: gsi.number(),
            what,
        });
    }
}
