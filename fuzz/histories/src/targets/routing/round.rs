// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What requests do to the [`Model`], by what the VM said to each table.

use irq_routing::{MsiMessage, Pin, Pins, Route};
use notify_core::{RouteEntry, RouteTarget};

use super::kernel::{EINVAL, ENOMEM, Event, Fault, Name, Said};
use super::model::{Known, Model, Routes, Slot, Use, is_bad, translated};
use super::why::Why;

/// What an edit wants.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change {
    /// Under the lease of this key.
    Lease(u64, Option<Route>),
    Wiring(Option<Pins>),
}

/// GSI and change.
pub(super) type Edits = Vec<(u32, Change)>;

#[derive(Debug, Clone)]
pub(super) enum Request {
    Edits(Edits),
    Drive(u32),
    Flush,
    Recommit,
    Retranslate,
}

/// A valid request, with what the kernel is to be given for each of its GSIs.
#[derive(Debug)]
struct Part<'a> {
    number: usize,
    request: &'a Request,
    given: Vec<(u32, Option<Route>)>,
    /// Whether its translation panicked, or nothing is needed. It is carried out no more, but counts when a
    /// round is halved.
    is_done: bool,
}

type Outcome = Result<(), Why>;

fn put(routes: &mut Routes, gsi: u32, route: Option<Route>) -> bool {
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

/// The entries of a table: those of pins by chip and GSI, then all messages, which may have any order.
fn entries(routes: &Routes) -> (Vec<(u32, u32, u32)>, Routes) {
    let mut pins = Vec::new();
    let mut messages = Routes::new();
    for (gsi, route) in routes {
        match route {
            Route::Pins(of) => {
                let entry = |pin: Pin| (pin.chip().number(), *gsi, pin.number());
                pins.extend(of.iter().map(entry));
            }
            other => drop(messages.insert(*gsi, *other)),
        }
    }
    pins.sort_unstable();
    (pins, messages)
}

/// Whether a table is that of these routes.
#[track_caller]
pub(super) fn expect_table(table: &[RouteEntry], routes: &Routes) {
    let (pins, messages) = entries(routes);
    let (mut seen_pins, mut seen) = (Vec::new(), Routes::new());
    for entry in table {
        match entry.target {
            RouteTarget::IrqChip { chip, pin } => {
                assert!(seen.is_empty(), "a pin behind a message");
                seen_pins.push((chip, entry.gsi, pin));
            }
            RouteTarget::Msi {
                address,
                data,
                devid,
            } => {
                let message = MsiMessage {
                    address,
                    data,
                    devid,
                };
                let old = seen.insert(entry.gsi, Route::Msi(message));
                assert_eq!(old, None, "GSI {} twice", entry.gsi);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((seen_pins, seen), (pins, messages), "the kernel's table");
}

impl Model {
    /// Carries out a request, and others that came while its table was in the kernel, or after it.
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

    /// Whether these can share a round. What concerns pins goes one by one where a line is driven.
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

    fn act_meanwhile(&mut self) {
        for action in std::mem::take(&mut self.meanwhile) {
            let expected = self.act(action);
            self.expected.push(expected);
        }
    }

    fn round(&mut self, requests: &[Request]) -> Vec<Outcome> {
        let slots = &self.slots;
        self.wanted
            .retain(|gsi, _| slots[*gsi as usize].route.is_some());
        let mut outcomes = vec![Ok(()); requests.len()];
        let mut parts = Vec::new();
        let mut unsettled = Vec::new();
        for (number, request) in requests.iter().enumerate() {
            let routes: Vec<(u32, Option<Route>)> = match request {
                Request::Edits(edits) => {
                    if let Err(why) = self.validate(edits) {
                        outcomes[number] = Err(why);
                        continue;
                    }
                    unsettled.extend(edits.iter().map(|edit| edit.0));
                    let edits = last_of_each(edits).into_iter();
                    edits.map(|(gsi, change)| (gsi, route_of(change))).collect()
                }
                Request::Retranslate => {
                    let routes = self.seen().routes.into_iter();
                    let messages = routes.filter(|(_, route)| matches!(route, Route::Msi(_)));
                    messages.map(|(gsi, route)| (gsi, Some(route))).collect()
                }
                Request::Drive(gsi) => {
                    if let Err(why) = self.validate_drive(*gsi) {
                        outcomes[number] = Err(why);
                        continue;
                    }
                    Vec::new()
                }
                _ => Vec::new(),
            };
            let given = |(gsi, route)| {
                Ok(match route {
                    Some(Route::Msi(message)) => {
                        (gsi, translated(&self.rules, message)?.map(Route::Msi))
                    }
                    other => (gsi, other),
                })
            };
            let given: Result<Vec<_>, Why> = routes.into_iter().map(given).collect();
            let is_message = |gsi: &u32| !matches!(self.slot(*gsi).route, Some(Route::Pins(_)));
            let is_done =
                matches!(request, Request::Drive(gsi) if is_message(gsi)) || given.is_err();
            if let Err(why) = &given {
                outcomes[number] = Err(why.clone());
            }
            parts.push(Part {
                number,
                request,
                given: given.unwrap_or_default(),
                is_done,
            });
        }
        self.unsettled = unsettled.into_iter().collect();
        self.carry_out(&parts, &mut outcomes);
        for (request, outcome) in requests.iter().zip(&outcomes) {
            if let (Request::Edits(edits), Ok(())) = (request, outcome) {
                last_of_each(edits)
                    .into_iter()
                    .for_each(|(gsi, change)| self.take_over(gsi, change));
            }
            if let (Request::Drive(gsi), Ok(())) = (request, outcome) {
                self.driven.insert(*gsi);
            }
        }
        self.unsettled.clear();
        outcomes
    }

    fn validate(&self, edits: &Edits) -> Outcome {
        if let Some((gsi, _)) = edits.iter().find(|(gsi, _)| *gsi >= self.limit) {
            return Err(Why::OutOfRange(*gsi));
        }
        for (gsi, change) in last_of_each(edits) {
            let slot = self.slot(gsi);
            match change {
                Change::Lease(key, _) if slot.of != Use::Leased(key) => {
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

    fn validate_drive(&self, gsi: u32) -> Outcome {
        let routes = self.seen().routes.into_iter().collect();
        match (self.driven.contains(&gsi), shares_a_pin(gsi, &routes)) {
            (true, _) => Err(Why::AlreadyDriven(gsi)),
            (false, true) => Err(Why::PinShared),
            (false, false) => Ok(()),
        }
    }

    /// A lease that was dropped meanwhile has no route any more.
    fn take_over(&mut self, gsi: u32, change: Change) {
        let slot = &mut self.slots[gsi as usize];
        match change {
            Change::Lease(..) if slot.of == Use::Free => {}
            Change::Wiring(None) => *slot = Slot::default(),
            Change::Wiring(Some(pins)) => {
                (slot.of, slot.route) = (Use::Wired, Some(Route::Pins(pins)));
            }
            Change::Lease(_, route) => slot.route = route,
        }
    }

    /// All together; if that fails, each half by itself.
    fn carry_out(&mut self, parts: &[Part<'_>], outcomes: &mut [Outcome]) {
        let given: Vec<_> = parts.iter().flat_map(|part| part.given.clone()).collect();
        let pending = parts.iter().filter(|part| !part.is_done);
        let requests: Vec<_> = pending.map(|part| part.request).collect();
        let Err((why, by_content)) = self.offer(&requests, &given) else {
            return;
        };
        let [part] = parts else {
            let (first, second) = parts.split_at(parts.len() / 2);
            self.carry_out(first, outcomes);
            self.carry_out(second, outcomes);
            return;
        };
        let has_bad = part
            .given
            .iter()
            .any(|(_, route)| route.as_ref().is_some_and(is_bad));
        assert!(!by_content || has_bad, "an innocent request was refused");
        outcomes[part.number] = match (part.request, why) {
            (Request::Flush | Request::Drive(_), Why::Retired) => Ok(()),
            (Request::Retranslate, why) => self.search(&part.given, why, by_content),
            (_, why) => Err(why),
        };
    }

    /// After a refusal of all new translations: those that are refused by themselves are blocked.
    fn search(
        &mut self,
        given: &[(u32, Option<Route>)],
        why: Why,
        mut only_content: bool,
    ) -> Outcome {
        let mut blocked = Vec::new();
        self.vague = true;
        self.search_in(given, why, &mut blocked, &mut only_content)?;
        self.vague = false;
        if only_content {
            let bad = given
                .iter()
                .filter(|(_, route)| route.as_ref().is_some_and(is_bad));
            let bad: Vec<u32> = bad.map(|(gsi, _)| *gsi).collect();
            assert_eq!(blocked, bad, "those that are blocked");
        }
        match blocked.is_empty() {
            true => Ok(()),
            false => Err(Why::Untranslated(blocked)),
        }
    }

    fn search_in(
        &mut self,
        given: &[(u32, Option<Route>)],
        why: Why,
        blocked: &mut Vec<u32>,
        only_content: &mut bool,
    ) -> Outcome {
        if !matches!(why, Why::Refused { errno: EINVAL, .. }) || given.is_empty() {
            return Err(why);
        }
        if let [(gsi, _)] = given {
            blocked.push(*gsi);
            let removed = self.offer(&[&Request::Retranslate], &[(*gsi, None)]);
            return removed.map_err(|(why, _)| why);
        }
        let (first, second) = given.split_at(given.len() / 2);
        for half in [first, second] {
            if let Err((why, by_content)) = self.offer(&[&Request::Retranslate], half) {
                *only_content &= by_content;
                self.search_in(half, why, blocked, only_content)?;
            }
        }
        Ok(())
    }

    /// One table at most. The error says also whether the VM refused what is in it.
    fn offer(
        &mut self,
        requests: &[&Request],
        given: &[(u32, Option<Route>)],
    ) -> Result<(), (Why, bool)> {
        let (mut wanted, mut kernel) = (self.wanted.clone(), self.kernel.clone());
        let mut changes = false;
        for (gsi, route) in given {
            changes |= put(&mut kernel, *gsi, *route);
            put(&mut wanted, *gsi, *route);
        }
        let is_left = |gsi: &u32| !wanted.contains_key(gsi) && given.iter().all(|(g, _)| g != gsi);
        let leftovers = self.kernel.keys().any(is_left);
        let lost = self.known == Known::Lost;
        let is_needed = |request: &&Request| match request {
            Request::Edits(_) => changes || self.known != Known::Yes,
            Request::Flush | Request::Drive(_) => leftovers || lost,
            Request::Retranslate => changes || lost,
            Request::Recommit => true,
        };
        if !requests.iter().any(is_needed) {
            self.wanted = wanted;
            return Ok(());
        }
        let (pins, messages) = entries(&wanted);
        let count = pins.len() + messages.len();
        if count > self.limit as usize {
            return Err((Why::Full(count), false));
        }
        let (table, said) = self.next_table();
        expect_table(&table, &wanted);
        let refused = |errno| Why::Refused {
            edits: given.len(),
            first: given.first().map(|(gsi, _)| *gsi),
            errno,
        };
        match said {
            Said::Ok => {
                self.known = Known::Yes;
                self.kernel.clone_from(&wanted);
                self.wanted = wanted;
                Ok(())
            }
            Said::Errno(errno) => Err((refused(errno), true)),
            Said::Fault(fault) => {
                if matches!(fault, Fault::PanicBefore | Fault::PanicAfter) {
                    self.known = Known::Lost;
                }
                let why = match fault {
                    Fault::Einval => refused(EINVAL),
                    Fault::Enomem => refused(ENOMEM),
                    Fault::NoIrqChip => Why::NoIrqChip,
                    Fault::Retired => Why::Retired,
                    _ => Why::Panic,
                };
                Err((why, false))
            }
        }
    }

    fn next_table(&mut self) -> (Vec<RouteEntry>, Said) {
        loop {
            match self
                .log
                .pop_front()
                .expect("a table is needed, and none was given")
            {
                Event::Table(table, said) => return (table, said),
                Event::Hook(Name::Meanwhile) => self.act_meanwhile(),
                Event::Hook(Name::Joiners) => {
                    self.joined = true;
                    if let Some(waiter) = self.waiter.filter(|waiter| !self.waits(*waiter)) {
                        self.waiter = None;
                        self.waited = Some(self.act(waiter));
                    }
                }
            }
        }
    }
}
