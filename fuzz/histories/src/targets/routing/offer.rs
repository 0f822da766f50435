// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The tables that the VM must be given, by what it said to each.

use irq_routing::{MsiMessage, Pin, Route};
use notify_core::{RouteEntry, RouteTarget};

use super::kernel::{EINVAL, ENOMEM, Event, Fault, Name, Said};
use super::model::{Known, Model, Routes, is_bad};
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
    /// All together; if that fails, each half by itself.
    pub(super) fn carry_out(&mut self, parts: &[Part<'_>], outcomes: &mut [Outcome]) {
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
                self.left_before.clear();
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
