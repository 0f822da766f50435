// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The tables that the VM must get, depending on its result for each.

use std::ops::Range;

use irq_routing::{MsiMessage, Pin, Route};
use notify_core::{RouteEntry, RouteTarget};

use super::kernel::{EINVAL, ENOMEM, Event, Fault, Name, Said};
use super::model::{Known, Model, Routes, Use, breaks_rule, is_bad};
use super::round::{Outcome, Part, Request, put};
use super::why::Why;

/// The entries of a table: those of pins by chip and GSI, then all messages, which may have any
/// order.
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

/// How many entries a route has.
pub(super) fn entries_of(route: &Route) -> isize {
    match route {
        Route::Pins(pins) => pins.iter().count() as isize,
        _ => 1,
    }
}

/// Whether a table has exactly these routes.
#[track_caller]
pub(super) fn expect_table(table: &[RouteEntry], routes: &Routes) {
    let (pins, messages) = entries(routes);
    let (mut seen_pins, mut seen) = (Vec::new(), Routes::new());
    for entry in table {
        match entry.target {
            RouteTarget::Pin { chip, pin } => {
                assert!(seen.is_empty(), "a pin behind a message");
                seen_pins.push((chip, entry.gsi, pin));
            }
            RouteTarget::Msi(MsiMessage {
                address,
                data,
                devid,
            }) => {
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
/// Why an attempt has failed.
#[derive(Debug)]
pub(super) struct Offered {
    pub(super) why: Why,
    /// Whether the VM refused what is in the table.
    pub(super) by_content: bool,
}

impl Offered {
    /// Whether one edit of many may be the cause.
    pub(super) fn is_of_one(&self) -> bool {
        match self.why {
            Why::Refused { errno, .. } => errno != ENOMEM,
            Why::Panic | Why::Full(_) => true,
            _ => false,
        }
    }
}

impl Model {
    /// Offers all together; if that fails, without those that break a known rule; if that fails
    /// too, each half by itself.
    pub(super) fn carry_out(&mut self, parts: &mut [Part<'_>], outcomes: &mut [Outcome]) {
        let pending = parts.iter_mut().filter(|part| !part.is_done);
        let mut pending: Vec<&mut Part<'_>> = pending.collect();
        if pending.is_empty() {
            return;
        }
        let Err(why) = self.offer_all(&pending, &[], |_, _| true) else {
            return pending.iter_mut().for_each(|part| part.succeed());
        };
        let why = match pending.len() {
            // See `fail`.
            1 => Some(why),
            _ => self.without_broken_rules(&mut pending, why),
        };
        if let Some(why) = why {
            self.halve(&mut pending, why, outcomes);
        }
    }

    /// The edits of these that shall be tried and have room.
    fn offer_all(
        &mut self,
        parts: &[&mut Part<'_>],
        others: &[Request],
        fits: impl Fn(&Request, &Option<Route>) -> bool,
    ) -> Result<(), Offered> {
        let mut given = Vec::new();
        for part in parts {
            let open = part.open().into_iter();
            given.extend(open.filter(|(_, route)| fits(part.request, route)));
        }
        let requests = parts.iter().map(|part| part.request);
        let requests: Vec<_> = requests.chain(others).collect();
        self.offer(&requests, &given)
    }

    fn without_broken_rules(
        &mut self,
        parts: &mut [&mut Part<'_>],
        why: Offered,
    ) -> Option<Offered> {
        let breaks = |request: &Request, route: &Option<Route>| {
            matches!(request, Request::Each(_)) && route.as_ref().is_some_and(breaks_rule)
        };
        let mut all = parts.iter().flat_map(|part| {
            let open = part.open().into_iter();
            open.map(|(_, route)| (part.request, route))
        });
        let any = all.any(|(request, route)| breaks(request, &route));
        if !any || !matches!(why.why, Why::Refused { errno: EINVAL, .. }) {
            return Some(why);
        }
        // In any case with a table, as proof.
        let proof = [Request::Recommit];
        let rest = |request: &Request, route: &Option<Route>| !breaks(request, route);
        if let Err(why) = self.offer_all(parts, &proof, rest) {
            return Some(why);
        }
        self.has_learned = true;
        for part in parts {
            if let Request::Each(_) = part.request {
                Self::refuse_broken_rules(part);
            }
            part.succeed();
        }
        None
    }

    fn halve(&mut self, parts: &mut [&mut Part<'_>], why: Offered, outcomes: &mut [Outcome]) {
        if let [part] = parts {
            return self.fail(part, why, outcomes);
        }
        let (first, second) = parts.split_at_mut(parts.len() / 2);
        for half in [first, second] {
            match self.offer_all(half, &[], |_, _| true) {
                Ok(()) => half.iter_mut().for_each(|part| part.succeed()),
                Err(why) => self.halve(half, why, outcomes),
            }
        }
    }

    /// A single edit has failed.
    fn fail(&mut self, part: &mut Part<'_>, why: Offered, outcomes: &mut [Outcome]) {
        let open = part.open();
        let has_bad = open
            .iter()
            .any(|(_, route)| route.as_ref().is_some_and(is_bad));
        assert!(
            !why.by_content || has_bad,
            "an innocent request was refused"
        );
        outcomes[part.number] = match (part.request, why.why) {
            (Request::Flush | Request::Drive(_), Why::Retired) => Ok(vec![]),
            (Request::Retranslate, reason) => self.search(part, reason, why.by_content),
            (Request::Each(_), reason) => {
                let why = Offered {
                    why: reason,
                    by_content: why.by_content,
                };
                if let Some(why) = self.without_broken_rules(&mut [&mut *part], why) {
                    self.search_each(part, why);
                }
                Ok(vec![])
            }
            (_, why) => Err(why),
        };
    }

    /// All new translations were refused, or did not fit: blocks those that are refused alone or do
    /// not fit.
    fn search(&mut self, part: &mut Part<'_>, why: Why, mut only_content: bool) -> Outcome {
        let mut blocked = Vec::new();
        self.vague = true;
        let range = 0..part.given.len();
        self.search_in(part, range, why, &mut blocked, &mut only_content)?;
        self.vague = false;
        if only_content {
            let bad = part.open().into_iter();
            let bad = bad.filter(|(_, route)| route.as_ref().is_some_and(is_bad));
            let bad = bad.filter(|(gsi, _)| !self.gone.contains(gsi));
            let bad: Vec<u32> = bad.map(|(gsi, _)| gsi).collect();
            assert_eq!(blocked, bad, "those that are blocked");
        }
        match blocked.is_empty() {
            true => Ok(vec![]),
            false => Err(Why::Untranslated(blocked)),
        }
    }

    fn search_in(
        &mut self,
        part: &mut Part<'_>,
        range: Range<usize>,
        why: Why,
        blocked: &mut Vec<u32>,
        only_content: &mut bool,
    ) -> Result<(), Why> {
        let is_of_messages = matches!(why, Why::Refused { errno: EINVAL, .. } | Why::Full(_));
        if !is_of_messages || range.is_empty() {
            return Err(why);
        }
        if range.len() == 1 {
            let (gsi, _) = part.given[range.start];
            if self.gone.contains(&gsi) {
                return Ok(());
            }
            if !self.disarm(gsi) {
                part.held.insert(range.start);
                return Ok(());
            }
            blocked.push(gsi);
            let removed = self.offer(&[&Request::Retranslate], &[(gsi, None)]);
            return removed.map_err(|offered| offered.why);
        }
        let middle = range.start + range.len() / 2;
        for half in [range.start..middle, middle..range.end] {
            let open = half.clone().filter(|at| !part.held.contains(at));
            let open: Vec<_> = open.map(|at| part.given[at]).collect();
            if let Err(offered) = self.offer(&[&Request::Retranslate], &open) {
                *only_content &= offered.by_content;
                self.search_in(part, half, offered.why, blocked, only_content)?;
            }
        }
        Ok(())
    }

    /// Offers one table at most.
    pub(super) fn offer(
        &mut self,
        requests: &[&Request],
        given: &[(u32, Option<Route>)],
    ) -> Result<(), Offered> {
        let (mut wanted, mut kernel) = (self.wanted.clone(), self.kernel.clone());
        let mut changes = false;
        let there = given.iter().filter(|(gsi, _)| !self.gone.contains(gsi));
        let there: Vec<_> = there.copied().collect();
        for (gsi, route) in &there {
            changes |= put(&mut kernel, *gsi, *route);
            put(&mut wanted, *gsi, *route);
        }
        let is_left = |gsi: &u32| !wanted.contains_key(gsi) && there.iter().all(|(g, _)| g != gsi);
        let leftovers = self.kernel.keys().any(is_left);
        let lost = self.known == Known::Lost;
        let is_needed = |request: &&Request| match request {
            Request::Edits(_) | Request::Each(_) => changes || self.known != Known::Yes,
            Request::Flush | Request::Drive(_) => leftovers || lost,
            Request::Retranslate => changes || lost,
            Request::Recommit => true,
        };
        if !requests.iter().any(is_needed) {
            self.wanted = wanted;
            return Ok(());
        }
        if let Err(count) = self.make_room(&mut wanted) {
            let why = Why::Full(count);
            return Err(Offered {
                why,
                by_content: false,
            });
        }
        self.tables += 1;
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
                self.left_before.clear();
                self.kernel.clone_from(&wanted);
                self.wanted = wanted;
                Ok(())
            }
            Said::Errno(errno) => Err(Offered {
                why: refused(errno),
                by_content: true,
            }),
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
                Err(Offered {
                    why,
                    by_content: false,
                })
            }
        }
    }

    /// Shortens a table that is too long: removes routes that were returned in this round, then
    /// those of parked leases. The error is its length without all of these.
    fn make_room(&mut self, wanted: &mut Routes) -> Result<(), usize> {
        let length = |routes: &Routes| routes.values().map(entries_of).sum::<isize>();
        let limit = self.limit as isize;
        if length(wanted) <= limit {
            return Ok(());
        }
        let routed = |gsi: &u32| self.slot(*gsi).route.is_some();
        let given_back = wanted.keys().filter(|gsi| !routed(gsi));
        let parked = self.parked.iter().filter(|gsi| routed(gsi));
        let all = given_back.chain(parked).copied();
        let may_go: Vec<u32> = all.filter(|gsi| !self.unsettled.contains(gsi)).collect();
        let (mut shorter, mut going) = (wanted.clone(), Vec::new());
        for gsi in may_go {
            if length(&shorter) > limit && shorter.remove(&gsi).is_some() {
                going.push(gsi);
            }
        }
        if length(&shorter) > limit {
            return Err(length(&shorter) as usize);
        }
        *wanted = shorter;
        for gsi in going {
            if let Use::Parked(_) = self.slot(gsi).of {
                self.give_back(gsi);
            }
            self.left.remove(&gsi);
            self.left_before.insert(gsi);
            self.wanted.remove(&gsi);
            self.gone.insert(gsi);
        }
        Ok(())
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
