// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Rings with other eventfds, and new rings.

use std::sync::Arc;

use notify_core::NotifierPair;
use notify_core::vring::{VringError, Vrings};

use super::backend::{Backend, Request};
use super::device::Ring;
use super::peer::Eventfd;
use super::step::Source;
use super::world::{Wires, World};

/// Eventfds are kept to the end of a history, so there are not too many.
const MOST_EVENTFDS: usize = 28;

impl World {
    fn pair(&self, kick: usize, call: usize) -> NotifierPair {
        let shared = self.shared.borrow();
        NotifierPair {
            host_notifier: Arc::clone(shared.notifiers.get(kick)),
            guest_notifier: Arc::clone(shared.notifiers.get(call)),
        }
    }

    fn source(&self, source: Source, own: usize) -> usize {
        let mut shared = self.shared.borrow_mut();
        let len = shared.notifiers.len();
        match source {
            Source::Any(which) => usize::from(which) % len,
            Source::New if len < MOST_EVENTFDS => shared.notifiers.create(false),
            Source::Semaphore if len < MOST_EVENTFDS => shared.notifiers.create(true),
            _ => own,
        }
    }

    pub(super) fn set_pair(&mut self, ring: usize, kick: Source, call: Source) {
        if self.shared.borrow().notifiers.len() == 0 {
            return;
        }
        let own = self.wires.get(ring).copied();
        let kick = self.source(kick, own.map_or(0, |own| own.kick));
        let call = self.source(call, own.map_or(0, |own| own.call));
        let expected = self.refusal(ring, kick, call);
        self.shared.borrow_mut().log.clear();
        let result = self.vrings.set_pair(ring, self.pair(kick, call));
        let log = std::mem::take(&mut self.shared.borrow_mut().log);
        if let Some(expected) = expected {
            assert!(log.is_empty(), "{log:?} before {expected}");
            assert_eq!(result.expect_err("it cannot be").to_string(), expected);
            return;
        }
        if self.started {
            self.shared.borrow_mut().notifiers.share(call);
            let [(request, ok)] = log[..] else {
                panic!("{log:?} at another call");
            };
            assert_eq!(request, Request::Set(Eventfd::Call, ring));
            if !ok {
                let is_set = |it| {
                    matches!(
                        it,
                        VringError::SetNotifier {
                            notifier: "call",
                            ..
                        }
                    )
                };
                assert!(result.is_err_and(is_set));
                return;
            }
        } else {
            assert!(log.is_empty());
        }
        result.expect("no reason to refuse");
        let wires = &mut self.wires[ring];
        (wires.kick, wires.call) = (kick, call);
    }

    /// The text of the refusal, if a ring cannot have these.
    fn refusal(&self, ring: usize, kick: usize, call: usize) -> Option<String> {
        let rings = self.wires.len();
        let own = match self.wires.get(ring) {
            Some(own) => own,
            None => return Some(format!("there is no ring {ring}, only {rings} of them")),
        };
        let shares = |other: usize| {
            format!("ring {ring} uses an eventfd that ring {other} already has; give each its own")
        };
        let is_err = |it: &Wires| it.err == kick || it.err == call;
        if let Some(other) = self.wires.iter().position(is_err) {
            return Some(shares(other));
        }
        if self.shared.borrow().notifiers.is_semaphore(kick) {
            let rest = "in semaphore mode; give it an eventfd that counts";
            return Some(format!("the kick of ring {ring} is {rest}"));
        }
        if kick == call {
            return Some(shares(ring));
        }
        let clash = |(other, it): (usize, &Wires)| {
            other != ring && (it.kick == kick || it.call == kick || it.kick == call)
        };
        if let Some(other) = self.wires.iter().enumerate().position(clash) {
            return Some(shares(other));
        }
        let is_running = self.started && own.kick != kick;
        is_running.then(|| "the rings have a back-end; stop or abandon it first".to_owned())
    }

    pub(super) fn renew(&mut self, rings: usize, keep: bool) {
        if self.shared.borrow().notifiers.len() + 3 * rings > MOST_EVENTFDS {
            return;
        }
        let mut wires: Vec<Wires> = Vec::new();
        for ring in 0..rings {
            let old = self.wires.get(ring).filter(|_| keep).copied();
            let notifiers = &mut self.shared.borrow_mut().notifiers;
            wires.push(old.unwrap_or_else(|| Wires {
                kick: notifiers.create(false),
                call: notifiers.create(false),
                err: 0,
            }));
        }
        self.drop_rings();
        let pairs: Vec<_> = wires.iter().map(|it| self.pair(it.kick, it.call)).collect();
        if let Some(first) = pairs.first() {
            let twice = Vrings::<Backend>::new([first.clone(), first.clone()]);
            assert!(matches!(
                twice,
                Err(VringError::SharedNotifier {
                    ring: 1,
                    other: 0,
                    ..
                })
            ));
        }
        self.vrings = Vrings::new(pairs).expect("no reason to refuse");
        let mut shared = self.shared.borrow_mut();
        for (ring, wires) in wires.iter_mut().enumerate() {
            let err = self.vrings.error_notifier(ring).expect("each ring has one");
            wires.err = shared.notifiers.adopt(err);
        }
        shared.rings = vec![Ring::default(); rings];
        drop(shared);
        self.wires = wires;
    }
}
