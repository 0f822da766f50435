// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Plans, and their results.

use std::sync::Arc;

use ioeventfd::{Doorbell, Epoch, Error, Plan};

use super::model::{Bell, Planned};
use super::rig::Rig;
use super::spot::address;
use super::step::in_bar;

impl Rig {
    fn doorbell(&self, bell: &Bell) -> Doorbell {
        let notifier = Arc::clone(&self.notifiers[bell.fd]);
        Doorbell::new(
            bell.key,
            bell.spot.address(),
            bell.spot.datamatch(),
            notifier,
        )
    }

    pub(super) fn plan(&self, set: usize, wanted: &[Bell]) -> Option<(Plan, Planned)> {
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
                let numbers = (plan.additions(), plan.removals());
                assert_eq!(numbers, (planned.added.len(), planned.gone.len()));
                Some((plan, planned))
            }
            Err(error) => {
                check_refusal(&error, exists, refused);
                None
            }
        }
    }

    /// Returns the plan if it was not carried out.
    pub(super) fn apply(&mut self, set: usize, plan: Plan, planned: &Planned) -> Option<Plan> {
        let asks = self.begin(set, planned);
        let result = self.set(set).apply(plan);
        let mut world = self.machine.world();
        match &result {
            Err(rejected) if matches!(rejected.error, Error::StalePlan | Error::OtherSet) => {
                let model = &world.models[set];
                let expected = if planned.set != model.id {
                    Error::OtherSet
                } else {
                    Error::StalePlan
                };
                assert_eq!(rejected.error, expected);
                assert_ne!((planned.set, planned.version), (model.id, model.version));
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
                    asks || matches!(rejected.error, Error::StalePlan | Error::OtherSet),
                    "{rejected}"
                );
                Some(rejected.value)
            }
        }
    }

    /// Whether carrying out a plan makes a request.
    fn begin(&self, set: usize, planned: &Planned) -> bool {
        let mut world = self.machine.world();
        let model = &world.models[set];
        let is_stale = (planned.set, planned.version) != (model.id, model.version);
        let view = model.started.then(|| model.view_during(planned));
        let view = view.filter(|_| !is_stale);
        world.begin(set, view);
        !is_stale && !planned.is_empty()
    }

    pub(super) fn change(&mut self, set: usize, wanted: &[Bell]) {
        if let Some((plan, planned)) = self.plan(set, wanted) {
            self.apply(set, plan, &planned);
        }
    }

    pub(super) fn relocate(&mut self, set: usize, from: u8, size: u8, to: u8) {
        let ((pio, start), (to_pio, to)) = (in_bar(from), in_bar(to));
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

    pub(super) fn epoch(&mut self, set: usize, epoch: Epoch) {
        let (id, at) = {
            let model = &self.machine.world().models[set];
            (model.id, model.epoch)
        };
        let same = |(one, of, when): &(Epoch, u64, u64)| (*one == epoch, (*of, *when) == (id, at));
        for (is_same, expected) in self.epochs.iter().map(same) {
            assert_eq!(is_same, expected, "epochs of set {set}");
        }
        self.epochs.push((epoch, id, at));
        // Only the latest ones, to bound the time of a long history.
        if self.epochs.len() > 16 {
            self.epochs.remove(0);
        }
    }
}

pub(super) fn check_refusal(error: &Error, exists: bool, refused: bool) {
    match error {
        Error::NoSuchWrite { .. } => assert!(!exists, "{error}"),
        Error::Conflict { .. } => assert!(exists && refused, "{error}"),
        _ => panic!("{error}"),
    }
}
