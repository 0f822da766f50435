// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`World`]: the rings, their back-end, and the model.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use notify_core::vring::{VringError, Vrings};

use super::backend::{Backend, Request, Shared};
use super::peer::{Connection, Eventfd};
use super::step::{Step, Which};

const MOST_RINGS: u8 = 4;

/// The eventfds of a ring, by their numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wires {
    pub(super) kick: usize,
    pub(super) call: usize,
    pub(super) err: usize,
}

pub(super) struct World {
    pub(super) vrings: Vrings<Backend>,
    idle: Option<Backend>,
    pub(super) shared: Rc<RefCell<Shared>>,
    pub(super) wires: Vec<Wires>,
    pub(super) started: bool,
    calls_missing: bool,
    /// Whether the last step was an operation on the rings.
    asked: bool,
}

impl World {
    pub(super) fn new() -> Self {
        let shared = Rc::default();
        let mut world = Self {
            vrings: Vrings::new([]).expect("no reason to refuse"),
            idle: None,
            shared,
            wires: Vec::new(),
            started: false,
            calls_missing: false,
            asked: true,
        };
        world.renew(2, false);
        world
    }

    pub(super) fn run(&mut self, step: Step) {
        self.asked = matches!(
            step,
            Step::Start(_) | Step::Stop | Step::SetPair(..) | Step::Failed | Step::Renew(..)
        );
        match step {
            Step::Start(which) => self.start(which),
            Step::Stop => self.stop(),
            Step::Abandon => self.abandon(),
            Step::SetPair(ring, kick, call) => {
                // Also one behind the last.
                let ring = usize::from(ring) % (self.wires.len() + 1);
                self.set_pair(ring, kick, call);
            }
            Step::Failed => self.failed(),
            Step::Renew(rings, keep) => self.renew(usize::from(rings % (MOST_RINGS + 1)), keep),
            Step::Add(ring) => self.with_ring(ring, |world, ring| {
                let mut shared = world.shared.borrow_mut();
                let is_suppressed = world.started && shared.rings[ring].suppressed;
                shared.rings[ring].added += 1;
                if !is_suppressed {
                    shared.notifiers.signal(world.wires[ring].kick);
                }
            }),
            Step::Serve(ring) => self.with_device(ring, |device, number, shared| {
                device.serve(number, &mut shared.rings[number], &mut shared.notifiers);
            }),
            Step::Suppress(ring, suppressed) => {
                self.with_device(ring, |device, number, shared| {
                    let ring = &mut shared.rings[number];
                    ring.suppressed = suppressed;
                    if !suppressed {
                        device.look(number, ring, &mut shared.notifiers);
                    }
                });
            }
            Step::Break(ring) => self.with_device(ring, |device, number, shared| {
                if let Some((id, _)) = &device.place(number).err {
                    shared.notifiers.signal(*id);
                }
            }),
            Step::Act(act) => {
                let mut shared = self.shared.borrow_mut();
                if shared.notifiers.len() > 0 {
                    shared.notifiers.act(act);
                }
            }
            Step::Fail(nth, fault) => self.shared.borrow_mut().fail(nth, fault),
            Step::During(nth, act) => self.shared.borrow_mut().during(nth, act),
        }
    }

    fn with_ring(&mut self, ring: u8, run: impl FnOnce(&mut Self, usize)) {
        if !self.wires.is_empty() {
            let ring = usize::from(ring) % self.wires.len();
            run(self, ring);
        }
    }

    /// Something that the device does, if it runs.
    fn with_device(
        &mut self,
        ring: u8,
        run: impl FnOnce(&mut super::device::Device, usize, &mut Shared),
    ) {
        self.with_ring(ring, |world, ring| {
            if let Some(backend) = world.vrings.backend() {
                let mut device = backend.device.borrow_mut();
                if device.runs {
                    run(&mut device, ring, &mut world.shared.borrow_mut());
                }
            }
        });
    }

    fn back_end(&mut self, which: Which) -> Option<Backend> {
        match which {
            Which::Same => self.idle.take(),
            Which::Local => Some(Backend::new(&self.shared, None)),
            Which::Daemon(confirms) => {
                let wrong = self.shared.borrow_mut().misreply();
                let connection = Connection::new(confirms, wrong)?;
                Some(Backend::new(&self.shared, Some(connection)))
            }
        }
    }

    fn start(&mut self, which: Which) {
        let Some(backend) = self.back_end(which) else {
            return;
        };
        self.shared.borrow_mut().log.clear();
        let result = self.vrings.start(backend);
        let log = std::mem::take(&mut self.shared.borrow_mut().log);
        if self.started {
            let rejected = result.expect_err("another back-end has the rings");
            assert_eq!((rejected.error, log), (VringError::Started, Vec::new()));
            self.idle = Some(rejected.value);
            return;
        }
        let of_ring = |ring| {
            [Eventfd::Err, Eventfd::Call, Eventfd::Kick].map(|which| Request::Set(which, ring))
        };
        let mut expected: Vec<_> = (0..self.wires.len()).flat_map(of_ring).collect();
        expected.push(Request::Start);
        let failed = log.iter().position(|(_, ok)| !ok).unwrap_or(expected.len());
        expected.truncate(failed + 1);
        for request in &expected {
            if let Request::Set(_, ring) = request {
                self.share(*ring);
            }
        }
        let failure = log.get(failed).map(|(request, _)| *request);
        if failure.is_some() {
            expected.push(Request::Stop);
        }
        let requests = log.iter().map(|(request, _)| *request);
        assert!(
            requests.eq(expected.iter().copied()),
            "{log:?}, not {expected:?}"
        );
        match (result, failure) {
            (Ok(()), None) => {
                self.signal_all(self.calls_missing);
                (self.started, self.calls_missing) = (true, false);
            }
            (Err(rejected), Some(failure)) => {
                let fits = match (failure, &rejected.error) {
                    (
                        Request::Set(which, ring),
                        VringError::SetNotifier {
                            notifier, ring: at, ..
                        },
                    ) => (name(which), ring) == (*notifier, *at),
                    (Request::Start, VringError::Start { .. }) => true,
                    _ => false,
                };
                assert!(fits, "{} after {failure:?}", rejected.error);
                self.signal_all(false);
                self.calls_missing = true;
                // One that has failed to stop as well must be dropped.
                let stopped = !rejected.value.device.borrow().runs;
                self.idle = stopped.then_some(rejected.value);
            }
            (result, failure) => panic!("{:?} after {failure:?}", result.map_err(|it| it.error)),
        }
    }

    fn share(&self, ring: usize) {
        let Wires { kick, call, .. } = self.wires[ring];
        let mut shared = self.shared.borrow_mut();
        shared.notifiers.share(kick);
        shared.notifiers.share(call);
    }

    fn signal_all(&self, calls_too: bool) {
        let mut shared = self.shared.borrow_mut();
        for Wires { kick, call, .. } in &self.wires {
            shared.notifiers.signalled(*kick);
            if calls_too {
                shared.notifiers.signalled(*call);
            }
        }
    }

    fn stop(&mut self) {
        self.shared.borrow_mut().log.clear();
        let result = self.vrings.stop();
        let mut shared = self.shared.borrow_mut();
        let log = std::mem::take(&mut shared.log);
        match log[..] {
            [] => {
                assert!(!self.started, "the back-end was not asked");
                assert_eq!(result.err(), Some(VringError::NotStarted));
            }
            [(Request::Stop, false)] => {
                assert!(matches!(result, Err(VringError::Stop { .. })), "{log:?}");
            }
            [(Request::Stop, true)] if shared.bases.len() != self.wires.len() => {
                assert!(
                    matches!(result, Err(VringError::WrongBases { .. })),
                    "{log:?}"
                );
            }
            [(Request::Stop, true)] => {
                let stopped = result.expect("the back-end has stopped");
                let bases: Vec<u32> = stopped.rings.iter().map(|ring| ring.base).collect();
                assert_eq!(bases, shared.bases);
                for (ring, wires) in stopped.rings.iter().zip(&self.wires) {
                    assert_eq!(ring.kicked, shared.notifiers.taken(wires.kick));
                }
                self.idle = Some(stopped.backend);
                self.started = false;
            }
            _ => panic!("{log:?} at a stop"),
        }
    }

    fn abandon(&mut self) {
        self.shared.borrow_mut().log.clear();
        let backend = self.vrings.abandon();
        assert_eq!(backend.is_some(), self.started);
        assert!(self.shared.borrow().log.is_empty());
        self.calls_missing |= self.started;
        self.started = false;
    }

    fn failed(&mut self) {
        let failed = self.vrings.failed().expect("they can be read");
        let mut shared = self.shared.borrow_mut();
        let wires = self.wires.iter().enumerate();
        let expected: Vec<usize> = wires
            .filter(|(_, wires)| shared.notifiers.taken(wires.err))
            .map(|(ring, _)| ring)
            .collect();
        assert_eq!(failed, expected);
    }

    /// Drops the rings, which asks a back-end to stop and leaves the kicks.
    pub(super) fn drop_rings(&mut self) {
        self.shared.borrow_mut().log.clear();
        self.vrings = Vrings::new([]).expect("no reason to refuse");
        let log = std::mem::take(&mut self.shared.borrow_mut().log);
        let requests: Vec<_> = log.iter().map(|(request, _)| *request).collect();
        let expected: &[_] = if self.started { &[Request::Stop] } else { &[] };
        assert_eq!(requests, expected);
        (self.started, self.calls_missing, self.idle) = (false, false, None);
        self.wires.clear();
    }

    /// Compares everything that can be seen.
    pub(super) fn look(&self) {
        let shared = self.shared.borrow();
        shared.notifiers.compare(self.asked);
        assert_eq!(self.vrings.backend().is_some(), self.started);
        for (number, wires) in self.wires.iter().enumerate() {
            let pair = self.vrings.pair(number).expect("there is one");
            let err = self.vrings.error_notifier(number).expect("there is one");
            assert!(Arc::ptr_eq(
                &pair.host_notifier,
                shared.notifiers.get(wires.kick)
            ));
            assert!(Arc::ptr_eq(
                &pair.guest_notifier,
                shared.notifiers.get(wires.call)
            ));
            assert!(Arc::ptr_eq(err, shared.notifiers.get(wires.err)));
            if let Some(backend) = self.vrings.backend() {
                let device = backend.device.borrow();
                let is_stuck = device.is_stuck(number, shared.rings[number], &shared.notifiers);
                assert!(!is_stuck, "ring {number} waits for ever");
            }
        }
        assert!(self.vrings.pair(self.wires.len()).is_none());
    }

    pub(super) fn end(mut self) {
        self.drop_rings();
        self.shared.borrow().notifiers.compare(true);
    }
}

fn name(which: Eventfd) -> &'static str {
    match which {
        Eventfd::Kick => "kick",
        Eventfd::Call => "call",
        Eventfd::Err => "error",
    }
}
