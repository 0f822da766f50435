// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The effect of requests on the [`Model`], depending on the VM's result for each table.

use std::collections::BTreeSet;

use irq_routing::{Pins, Route};

use super::each::{EachEdit, Reply};
use super::model::{Model, Routes, Slot, Use, translated};
use super::why::Why;

/// The change that an edit requests.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change {
    /// By the lease of this key.
    Lease(u64, Option<Route>),
    Wiring(Option<Pins>),
}

/// GSI and change.
pub(super) type Edits = Vec<(u32, Change)>;

#[derive(Debug, Clone)]
pub(super) enum Request {
    Edits(Edits),
    Each(Vec<EachEdit>),
    Drive(u32),
    Flush,
    Recommit,
    Retranslate,
}

/// A valid request, with what the kernel shall get for each of its GSIs.
#[derive(Debug)]
pub(super) struct Part<'a> {
    pub(super) number: usize,
    pub(super) request: &'a Request,
    /// The GSIs that it edits.
    gsis: Vec<u32>,
    pub(super) given: Vec<(u32, Option<Route>)>,
    /// The replies of independent edits; none for those to be tried.
    pub(super) replies: Vec<Option<Reply>>,
    /// Translations that are not in force, since the old route must stay.
    pub(super) held: BTreeSet<usize>,
    /// Whether its translation panicked, or nothing is needed. Then it is not carried out.
    pub(super) is_done: bool,
}

/// The outcome of each independent edit.
pub(super) type Outcome = Result<Vec<Reply>, Why>;

pub(super) fn put(routes: &mut Routes, gsi: u32, route: Option<Route>) -> bool {
    let old = match route {
        Some(route) => routes.insert(gsi, route),
        None => routes.remove(&gsi),
    };
    old != route
}

fn route_of(change: Change) -> Option<Route> {
    match change {
        Change::Lease(_, route) => route,
        Change::Wiring(pins) => pins.map(Route::Pins),
    }
}

/// Only the last edit of each GSI counts.
pub(super) fn last_of_each(edits: &Edits) -> Edits {
    let is_last = |at: usize, gsi: u32| edits[at + 1..].iter().all(|later| later.0 != gsi);
    let numbered = edits.iter().enumerate();
    let last = numbered.filter(|(at, edit)| is_last(*at, edit.0));
    last.map(|(_, edit)| *edit).collect()
}

/// Whether another GSI is routed to a pin of this one.
fn shares_a_pin(gsi: u32, routes: &Routes) -> bool {
    let pins = |of: u32| match routes.get(&of) {
        Some(Route::Pins(pins)) => pins.iter().collect(),
        _ => Vec::new(),
    };
    let others = routes.keys().filter(|other| **other != gsi);
    let mut others = others.flat_map(|other| pins(*other));
    others.any(|pin| pins(gsi).contains(&pin))
}

impl Model {
    /// Carries out a request, and those that arrived while its table was in the kernel, or after
    /// it.
    pub(super) fn run(&mut self, first: &Request, others: &[Request]) -> Vec<Outcome> {
        self.joined = false;
        let mut outcomes = self.round(std::slice::from_ref(first));
        if let Some(waiter) = self.waiter.take() {
            self.waited = Some(self.act(waiter));
        }
        let mut queue = others;
        while !queue.is_empty() {
            let lengths = (1..=queue.len()).rev();
            let mut fitting = lengths.filter(|len| *len == 1 || self.fit_together(&queue[..*len]));
            let together = fitting.next().filter(|_| self.joined).unwrap_or(1);
            let (round, rest) = queue.split_at(together);
            outcomes.extend(self.round(round));
            queue = rest;
        }
        self.act_meanwhile();
        assert!(
            self.log.is_empty(),
            "more tables than needed: {:?}",
            self.log
        );
        outcomes
    }

    /// Whether these can share a round. Where a line is driven, changes of pins are made one by
    /// one.
    fn fit_together(&self, requests: &[Request]) -> bool {
        let is_retranslate = |request: &Request| matches!(request, Request::Retranslate);
        let is_drive = |request: &Request| matches!(request, Request::Drive(_));
        let concerns_pins = |request: &&Request| match request {
            Request::Edits(edits) => edits
                .iter()
                .any(|(_, change)| matches!(route_of(*change), Some(Route::Pins(_)))),
            request => is_drive(request),
        };
        let driven = !self.driven.is_empty() || requests.iter().any(is_drive);
        let fits = !driven || requests.iter().filter(concerns_pins).count() <= 1;
        fits && !requests.iter().any(is_retranslate)
    }

    pub(super) fn act_meanwhile(&mut self) {
        for action in std::mem::take(&mut self.meanwhile) {
            let expected = self.act(action);
            self.expected.push(expected);
        }
    }

    fn round(&mut self, requests: &[Request]) -> Vec<Outcome> {
        self.tables = 0;
        self.gone.clear();
        self.left_before.append(&mut self.left);
        let slots = &self.slots;
        self.wanted
            .retain(|gsi, _| slots[*gsi as usize].route.is_some());
        let mut outcomes = vec![Ok(vec![]); requests.len()];
        let mut parts = Vec::new();
        self.unsettled.clear();
        for (number, request) in requests.iter().enumerate() {
            match self.prepare(number, request) {
                Ok(part) => parts.push(part),
                Err(why) => outcomes[number] = Err(why),
            }
        }
        for part in &mut parts {
            self.translate(part, &mut outcomes);
        }
        self.carry_out(&mut parts, &mut outcomes);
        for part in parts {
            let number = part.number;
            match (part.request, &outcomes[number]) {
                (Request::Edits(edits), Ok(_)) => last_of_each(edits)
                    .into_iter()
                    .for_each(|(gsi, change)| self.take_over(gsi, change)),
                (Request::Drive(gsi), Ok(_)) => drop(self.driven.insert(*gsi)),
                (Request::Retranslate, Ok(_) | Err(Why::Untranslated(_))) => {
                    if let Some(at) = part.held.iter().min() {
                        outcomes[number] = Err(Why::Held(part.given[*at].0));
                    }
                }
                (Request::Each(edits), _) => {
                    let all = edits.iter().zip(&part.replies);
                    let is_done = |reply| matches!(reply, &Some(Reply::Committed | Reply::Blocked));
                    for (edit, _) in all.filter(|(_, reply)| is_done(reply)) {
                        self.take_over(edit.gsi, Change::Lease(edit.key, Some(edit.route())));
                    }
                    let replies = part.replies.into_iter();
                    let replies = replies.map(|reply| reply.expect("all edits are done with"));
                    outcomes[number] = Ok(replies.collect());
                }
                _ => {}
            }
            part.gsis.into_iter().for_each(|gsi| self.mark(gsi));
        }
        self.rearm();
        self.unsettled.clear();
        outcomes
    }

    /// A request that is valid, before it is translated.
    fn prepare<'a>(&mut self, number: usize, request: &'a Request) -> Result<Part<'a>, Why> {
        let (mut replies, mut is_done) = (Vec::new(), false);
        let given: Vec<(u32, Option<Route>)> = match request {
            Request::Edits(edits) => {
                self.validate(edits)?;
                self.unsettled.extend(edits.iter().map(|edit| edit.0));
                let edits = last_of_each(edits).into_iter();
                edits.map(|(gsi, change)| (gsi, route_of(change))).collect()
            }
            Request::Each(edits) => {
                replies = self.prepare_each(edits);
                let tried = edits
                    .iter()
                    .zip(&replies)
                    .filter(|(_, reply)| reply.is_none());
                self.unsettled.extend(tried.map(|(edit, _)| edit.gsi));
                edits
                    .iter()
                    .map(|edit| (edit.gsi, Some(edit.route())))
                    .collect()
            }
            Request::Retranslate => {
                let routes = self.seen().routes.into_iter();
                let messages = routes.filter(|(_, route)| matches!(route, Route::Msi(_)));
                messages.map(|(gsi, route)| (gsi, Some(route))).collect()
            }
            Request::Drive(gsi) => {
                self.validate_drive(*gsi)?;
                is_done = !matches!(self.slot(*gsi).route, Some(Route::Pins(_)));
                Vec::new()
            }
            Request::Flush | Request::Recommit => Vec::new(),
        };
        let gsis = given.iter().map(|(gsi, _)| *gsi);
        Ok(Part {
            number,
            request,
            gsis: gsis.filter(|gsi| *gsi < self.limit).collect(),
            given,
            replies,
            held: BTreeSet::new(),
            is_done,
        })
    }

    /// What the kernel shall get, and what of it is not possible.
    fn translate(&mut self, part: &mut Part<'_>, outcomes: &mut [Outcome]) {
        let is_each = matches!(part.request, Request::Each(_));
        let mut blocked = Vec::new();
        for at in 0..part.given.len() {
            let (gsi, route) = part.given[at];
            let Some(Route::Msi(message)) = route.filter(|_| part.is_open(at)) else {
                continue;
            };
            match translated(&self.rules, message) {
                Ok(given) => {
                    part.given[at].1 = given.map(Route::Msi);
                    blocked.extend(given.is_none().then_some((at, gsi)));
                }
                Err(_) if is_each => part.replies[at] = Some(Reply::Panicked),
                Err(why) => {
                    outcomes[part.number] = Err(why);
                    part.is_done = true;
                    return;
                }
            }
        }
        if is_each && self.has_learned {
            Self::refuse_broken_rules(part);
        }
        for (at, gsi) in blocked {
            if self.disarm(gsi) {
                continue;
            }
            match part.request {
                Request::Each(_) => part.replies[at] = Some(Reply::Failed(Why::Held(gsi))),
                Request::Retranslate => drop(part.held.insert(at)),
                _ if part.is_done => {}
                _ => {
                    outcomes[part.number] = Err(Why::Held(gsi));
                    part.is_done = true;
                }
            }
        }
        part.is_done |= is_each && part.replies.iter().all(Option::is_some);
    }

    fn validate(&self, edits: &Edits) -> Result<(), Why> {
        if let Some((gsi, _)) = edits.iter().find(|(gsi, _)| *gsi >= self.limit) {
            return Err(Why::OutOfRange(*gsi));
        }
        for (gsi, change) in last_of_each(edits) {
            let slot = self.slot(gsi);
            match change {
                Change::Lease(key, _) if !slot.of.is_lease(key) => {
                    return Err(Why::NotLeased(gsi));
                }
                Change::Wiring(_) if !matches!(slot.of, Use::Free | Use::Wired) => {
                    return Err(Why::InUse(gsi));
                }
                _ => {}
            }
            match route_of(change) {
                None if slot.lines > 0 => return Err(Why::Held(gsi)),
                Some(Route::Pins(pins)) if pins.iter().any(|pin| pin.number() > 23) => {
                    return Err(Why::NoChip(gsi));
                }
                _ => {}
            }
        }
        let mut after = self.seen().routes.into_iter().collect::<Routes>();
        for (gsi, change) in edits {
            put(&mut after, *gsi, route_of(*change));
        }
        match self.driven.iter().any(|gsi| shares_a_pin(*gsi, &after)) {
            true => Err(Why::PinShared),
            false => Ok(()),
        }
    }

    fn validate_drive(&self, gsi: u32) -> Result<(), Why> {
        let routes = self.seen().routes.into_iter().collect();
        match (self.driven.contains(&gsi), shares_a_pin(gsi, &routes)) {
            (true, _) => Err(Why::AlreadyDriven(gsi)),
            (false, true) => Err(Why::PinShared),
            (false, false) => Ok(()),
        }
    }

    /// Removes the route of a lease that was dropped meanwhile.
    fn take_over(&mut self, gsi: u32, change: Change) {
        let slot = &mut self.slots[gsi as usize];
        match change {
            Change::Lease(..) if slot.of == Use::Free => drop(self.left.insert(gsi)),
            Change::Wiring(None) => *slot = Slot::default(),
            Change::Wiring(Some(pins)) => {
                (slot.of, slot.route) = (Use::Wired, Some(Route::Pins(pins)));
            }
            Change::Lease(_, route) => slot.route = route,
        }
    }
}
