// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Backend`]: a back-end in this process or behind a connection, which logs all requests.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use notify_core::EventNotifier;
use notify_core::vring::VringBackend;

use super::device::{Device, Ring};
use super::notifiers::{Act, Notifiers};
use super::peer::{Connection, Eventfd, Misreply};
use super::step::Fault;

/// A request to a back-end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    Set(Eventfd, usize),
    Start,
    Stop,
}

/// What the world and the back-ends share.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) notifiers: Notifiers,
    pub(super) rings: Vec<Ring>,
    /// The requests, and whether the back-end has said that it has carried them out.
    pub(super) log: Vec<(Request, bool)>,
    /// The bases that were returned last.
    pub(super) bases: Vec<u32>,
    /// At the requests of these numbers from now on.
    faults: BTreeMap<u8, Fault>,
    acts: BTreeMap<u8, Act>,
}

impl Shared {
    pub(super) fn fail(&mut self, nth: u8, fault: Fault) {
        self.faults.insert(nth % 12, fault);
    }

    pub(super) fn during(&mut self, nth: u8, act: Act) {
        self.acts.insert(nth % 12, act);
    }

    /// The fault of this request.
    fn begin(&mut self) -> Option<Fault> {
        fn next<T>(map: &mut BTreeMap<u8, T>) -> Option<T> {
            let now = map.remove(&0);
            *map = std::mem::take(map)
                .into_iter()
                .map(|(n, it)| (n - 1, it))
                .collect();
            now
        }
        if let Some(act) = next(&mut self.acts) {
            self.notifiers.act(act);
        }
        next(&mut self.faults)
    }

    /// The fault at the negotiation, if it is one of a reply.
    pub(super) fn misreply(&mut self) -> Misreply {
        match self.faults.first_entry()?.get() {
            Fault::Reply(nth, reply) => Some((nth % 8, *reply)),
            _ => None,
        }
    }
}

pub(super) struct Backend {
    pub(super) shared: Rc<RefCell<Shared>>,
    pub(super) device: RefCell<Device>,
    pub(super) connection: Option<Connection>,
}

fn refused() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

impl Backend {
    pub(super) fn new(shared: &Rc<RefCell<Shared>>, connection: Option<Connection>) -> Self {
        Self {
            shared: Rc::clone(shared),
            device: RefCell::default(),
            connection,
        }
    }

    /// Carries out a request, or fails at it.
    fn request<T>(
        &mut self,
        request: Request,
        run: impl FnOnce(&mut Self, Misreply) -> io::Result<T>,
    ) -> io::Result<T> {
        let fault = self.shared.borrow_mut().begin();
        let misreply = match (fault, &self.connection) {
            (Some(Fault::Reply(nth, reply)), Some(_)) => Some((nth % 8, reply)),
            _ => None,
        };
        let result = match fault {
            Some(Fault::Refused) => Err(refused()),
            Some(Fault::Late) => run(self, None).and(Err(refused())),
            _ => run(self, misreply),
        };
        self.shared.borrow_mut().log.push((request, result.is_ok()));
        result
    }

    fn set(&mut self, ring: usize, which: Eventfd, notifier: &EventNotifier) -> io::Result<()> {
        let id = self.shared.borrow().notifiers.find(notifier);
        self.request(Request::Set(which, ring), |this, wrong| {
            let (result, given) = match &mut this.connection {
                Some(connection) => connection.set((ring, which), notifier, wrong),
                None => {
                    let given = EventNotifier::adopt_borrowed(notifier);
                    (Ok(()), Some(given.expect("descriptors")))
                }
            };
            let mut device = this.device.borrow_mut();
            let place = device.place(ring);
            let place = match which {
                Eventfd::Kick => &mut place.kick,
                Eventfd::Call => &mut place.call,
                Eventfd::Err => &mut place.err,
            };
            if let Some(given) = given {
                this.shared.borrow_mut().notifiers.adopted(id);
                *place = Some((id, given));
            }
            result
        })
    }
}

impl VringBackend for Backend {
    fn set_kick(&mut self, ring: usize, kick: &EventNotifier) -> io::Result<()> {
        assert!(
            !self.device.borrow().runs,
            "a running ring gets another kick"
        );
        self.set(ring, Eventfd::Kick, kick)
    }

    fn set_call(&mut self, ring: usize, call: &EventNotifier) -> io::Result<()> {
        self.set(ring, Eventfd::Call, call)
    }

    fn set_err(&mut self, ring: usize, err: &EventNotifier) -> io::Result<()> {
        self.set(ring, Eventfd::Err, err)
    }

    fn start(&mut self, rings: usize) -> io::Result<()> {
        {
            // Errors of an earlier back-end are forgotten by now.
            let mut shared = self.shared.borrow_mut();
            let device = self.device.borrow();
            for place in device.places.iter().take(rings) {
                let (id, _) = place.err.as_ref().expect("each ring has one");
                shared.notifiers.taken(*id);
            }
            assert_eq!(shared.rings.len(), rings);
        }
        self.request(Request::Start, |this, wrong| {
            let result = match &mut this.connection {
                Some(connection) => connection.start(rings, wrong),
                None => Ok(()),
            };
            if result.is_ok() {
                this.device.borrow_mut().runs = true;
                let mut shared = this.shared.borrow_mut();
                shared
                    .rings
                    .iter_mut()
                    .for_each(|ring| ring.suppressed = false);
            }
            result
        })
    }

    fn stop(&mut self, rings: usize) -> io::Result<Vec<u32>> {
        if std::thread::panicking() {
            // A second panic would abort.
            return Err(refused());
        }
        let fault = self.shared.borrow().faults.get(&0).copied();
        let result = self.request(Request::Stop, |this, wrong| {
            let of = |ring: &Ring| ring.used as u16 as u32;
            let bases: Vec<u32> = this.shared.borrow().rings.iter().map(of).collect();
            assert_eq!(bases.len(), rings);
            let mut bases = match &mut this.connection {
                Some(connection) => connection.stop(&bases, wrong)?,
                None => bases,
            };
            this.device.borrow_mut().runs = false;
            if let Some(Fault::Bases(more)) = fault {
                let len = bases.len().saturating_add_signed((more % 3).into());
                bases.resize(len, 7);
            }
            Ok(bases)
        });
        if let Ok(bases) = &result {
            self.shared.borrow_mut().bases.clone_from(bases);
        }
        result
    }
}
