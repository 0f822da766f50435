// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Compares everything visible between two steps with the model.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::sync::Arc;

use notify_core::{EventNotifier, IoEventFdRequest, Vm};

use super::machine::Machine;
use super::rig::{Rig, SEMAPHORE};
use super::spot::{Spot, bytes_of};
use super::world::World;

impl Rig {
    pub(super) fn look(&self) {
        let mut world = self.machine.world();
        world.check_kernel();
        for (index, notifier) in self.notifiers.iter().enumerate() {
            let count = world.counts[index];
            if index == SEMAPHORE || count == 0 {
                // A read takes one only, so it is counted at the end.
                let is_signalled = notifier.is_signalled().expect("it can be looked at");
                assert_eq!(is_signalled, count > 0, "notifier {index} of {count}");
                continue;
            }
            let taken = notifier.consume().expect("it can be read");
            assert_eq!(taken.map_or(0, u64::from), count, "notifier {index}");
            (**notifier).as_ref().write(count).expect("it had as many");
        }
        world.check_owed();
        assert_eq!(self.registry.quarantined(), world.quarantine.len());
        for set in 0..2 {
            self.look_at_set(&world, set);
        }
    }

    fn look_at_set(&self, world: &World, set: usize) {
        let model = &world.models[set];
        let real = self.set(set);
        assert_eq!(real.is_started(), model.started);
        let doorbells = real.doorbells();
        assert_eq!(doorbells.len(), model.bells.len());
        for (doorbell, bell) in doorbells.iter().zip(&model.bells) {
            let spot = Spot::of(doorbell.address, doorbell.datamatch);
            assert_eq!((doorbell.key, spot), (bell.key, bell.spot));
            assert!(Arc::ptr_eq(&doorbell.notifier, &self.notifiers[bell.fd]));
        }
        let view = model.view();
        let old = view.old.iter().take(4);
        let old = old
            .chain(view.old.iter().rev().take(8))
            .map(|(_, bell)| bell);
        for bell in model.bells.iter().chain(old) {
            let Spot {
                pio,
                at,
                len,
                value,
            } = bell.spot;
            let bytes = bytes_of(value.unwrap_or(1), len.max(1) as usize);
            let found = view.find(pio, at, &bytes).map(|(bell, _)| bell.key);
            assert_eq!(real.key_of_write(bell.spot.address(), &bytes), found);
        }
    }

    /// Reads all counters.
    pub(super) fn drain_all(&self) {
        let mut world = self.machine.world();
        for (index, notifier) in self.notifiers.iter().enumerate() {
            let mut kicks = 0;
            while let Some(more) = notifier.consume().expect("it can be read") {
                kicks += more.get();
            }
            assert_eq!(kicks, world.counts[index], "notifier {index}");
            world.counts[index] = 0;
        }
    }
}

impl World {
    /// Checks that the kernel has exactly what the sets take for registered.
    fn check_kernel(&self) {
        let mut known = self.quarantine.clone();
        known.extend(&self.singles);
        for model in &self.models {
            let on = model.bells.iter().filter(|bell| bell.on);
            known.extend(on.map(|bell| (bell.spot, bell.fd)));
            known.extend(model.stuck.iter().map(|one| (one.bell.spot, one.bell.fd)));
        }
        let mut there = self.kernel.clone();
        there.extend(&self.lost);
        known.sort_unstable();
        there.sort_unstable();
        assert_eq!(
            known, there,
            "what is registered, and what is in the kernel"
        );
    }

    /// Checks that each queue that was kicked was signalled.
    fn check_owed(&mut self) {
        let models = &self.models;
        let counts = &self.counts;
        self.owed.retain_mut(|one| {
            let model = &models[one.set];
            let Some(own) = model.own(one.key) else {
                return false;
            };
            let stays = !one.strict && model.has_notifier(one.fd) && counts[one.fd] > 0;
            assert!(stays || counts[own] > 0, "a kick was lost: {one:?}");
            // The kicks of a notifier that stays for another queue are for its handler.
            let is_left = stays && one.fd != own;
            one.fd = own;
            !is_left
        });
    }

    /// A handler, or a set, reads a notifier.
    pub(super) fn consume(&mut self, fd: usize, semaphore: bool) -> u64 {
        let there = self.counts[fd];
        let kicks = if semaphore { there.min(1) } else { there };
        self.counts[fd] -= kicks;
        if kicks == there {
            let models = &self.models;
            self.owed.retain(|one| {
                let model = &models[one.set];
                model.own(one.key) != Some(fd) && (one.strict || one.fd != fd)
            });
            for model in &mut self.models {
                let (own, there) = (model.bells.clone(), model.has_notifier(fd));
                for stuck in &mut model.stuck {
                    let is_own = own
                        .iter()
                        .any(|bell| (bell.key, bell.fd) == (stuck.bell.key, fd));
                    stuck.took &= !is_own && (there || stuck.bell.fd != fd);
                }
            }
        }
        kicks
    }

    /// The places where sets have doorbells, or had them and the kernel still does.
    pub(super) fn claimed(&self) -> Vec<Spot> {
        let mut spots: Vec<_> = self.quarantine.iter().map(|(spot, _)| *spot).collect();
        for model in &self.models {
            spots.extend(model.bells.iter().map(|bell| bell.spot));
            spots.extend(model.stuck.iter().map(|one| one.bell.spot));
        }
        spots
    }

    /// A set was dropped.
    pub(super) fn dropped(&mut self, set: usize) {
        let calls = std::mem::take(&mut self.calls);
        let model = &self.models[set];
        let bells = model.bells.iter().filter(|bell| bell.on);
        let all = bells.chain(model.stuck.iter().map(|one| &one.bell));
        let all: BTreeSet<_> = all.map(|bell| (false, bell.spot, bell.fd)).collect();
        let asked = calls.iter().map(|call| (call.assign, call.spot, call.fd));
        assert_eq!(
            asked.collect::<BTreeSet<_>>(),
            all,
            "of a set that is dropped"
        );
        let kept = calls.iter().filter(|call| !call.counts());
        self.quarantine
            .extend(kept.map(|call| (call.spot, call.fd)));
        self.owed.retain(|one| one.set != set);
    }
}

impl Machine {
    /// Deregisters behind the back of the sets and the model.
    pub(super) fn deregister(&self, spot: Spot, notifier: &EventNotifier) {
        let address = spot.address();
        let request =
            IoEventFdRequest::assign(notifier.as_fd(), address.bus(), address.number(), spot.len)
                .datamatch(spot.value);
        // Injected faults are for the sets.
        self.sim.clear_faults();
        let deregistered = self.sim.ioeventfd(&request.deassign());
        deregistered.expect("it is registered");
    }
}
