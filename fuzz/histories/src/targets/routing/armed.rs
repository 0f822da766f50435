// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Registrations on the GSIs of lines: each records the calls that it gets from the table.

use std::fmt;
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, Ordering};

use arbitrary::Arbitrary;
use irq_routing::{Armed, Registration};

use super::acts::{Done, Plan};
use super::kernel::planned_panic;
use super::model::{Action, Model};
use super::step::{Act, Ask, Edit};
use super::world::{HeldLine, World, pick};

/// How a registration reacts when its route is about to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Arbitrary)]
pub enum Manner {
    /// It disarms.
    Obeys,
    /// The same.
    ObeysToo,
    /// It stays armed, and returns so.
    Refuses,
    /// It panics and stays armed. When it is armed again, it panics after that.
    Panics,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Recorder {
    gsi: u32,
    manner: Manner,
    armed: AtomicBool,
}

impl Recorder {
    pub(super) fn new(gsi: u32, manner: Manner, armed: bool) -> Self {
        let armed = AtomicBool::new(armed);
        Self { gsi, manner, armed }
    }

    pub(super) fn gsi(&self) -> u32 {
        self.gsi
    }

    pub(super) fn is_armed(&self) -> bool {
        self.armed.load(Ordering::SeqCst)
    }
}

impl Armed for Recorder {
    fn disarm(&self) -> bool {
        match self.manner {
            _ if !self.is_armed() => return true,
            Manner::Refuses => return false,
            Manner::Panics => planned_panic(),
            Manner::Obeys | Manner::ObeysToo => {}
        }
        self.armed.store(false, Ordering::SeqCst);
        true
    }

    fn rearm(&self) {
        self.armed.store(true, Ordering::SeqCst);
        if self.manner == Manner::Panics {
            planned_panic();
        }
    }
}

/// Something that may be armed on a line. If it is not registered, the table must keep the route.
pub(super) struct Arming {
    pub(super) registration: Option<Registration>,
    pub(super) recorder: Arc<Recorder>,
}

impl fmt::Debug for Arming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.recorder.fmt(f)
    }
}

/// The same in the model.
#[derive(Debug, Clone, Copy)]
pub(super) struct Registered {
    pub(super) armed: bool,
    pub(super) manner: Manner,
}

impl World {
    /// Registers on a line.
    pub(super) fn plan_register(&mut self, table: usize, n: u8, manner: Manner) -> Option<Plan> {
        let is_fit = |held: &HeldLine| {
            let arming = held.arming.as_ref();
            held.table == table && arming.is_some_and(|arming| arming.registration.is_none())
        };
        let fit = (0..self.lines.len()).filter(|at| is_fit(&self.lines[*at]));
        let fit: Vec<usize> = fit.collect();
        let mut held = self.lines.remove(fit[pick(n, fit.len())?]);
        let manner = match manner {
            Manner::Panics if self.is_tame => Manner::Refuses,
            manner => manner,
        };
        let gsi = held.line.gsi().number();
        let kernel = Arc::clone(&self.kernels[table]);
        let run = move || {
            let recorder = Arc::new(Recorder::new(gsi, manner, false));
            let weak: Weak<Recorder> = Arc::downgrade(&recorder);
            let (registration, blocked) = held.line.register(weak.clone());
            recorder.armed.store(!blocked, Ordering::SeqCst);
            kernel.watch(weak);
            held.arming = Some(Arming {
                registration: Some(registration),
                recorder,
            });
            Done::Registered(held, blocked)
        };
        Some(Plan {
            action: Action::Register { gsi, manner },
            run: Box::new(run),
        })
    }

    /// Arms and registers something new.
    pub(super) fn arm(&mut self, table: usize, number: u8, manner: Manner) {
        self.act(table, &Act::Lease);
        let leases = || {
            self.leases
                .iter()
                .filter(|held| held.table == table)
                .count()
        };
        let newest = leases().saturating_sub(1) as u8;
        // The new lease is the last one, whatever is edited.
        let ask = Ask::Commit(Edit::Msi(newest, number), vec![]);
        self.round(table, &ask, &[], None, &(0, vec![]), &[]);
        self.act(table, &Act::IntoLine(newest));
        let lines = self.lines.iter().filter(|held| held.table == table).count();
        self.act(table, &Act::Register(lines.saturating_sub(1) as u8, manner));
    }

    /// Arms on a line without a registration, if there is a route. After a panic of the VM the
    /// table does not know the routes, so nothing is armed.
    pub(super) fn arm_unregistered(&self, table: usize, gsi: u32) -> Arming {
        let in_force = self.kernels[table].in_force();
        let is_known = self.models[table].known == super::model::Known::Yes;
        let armed = is_known && in_force.iter().any(|entry| entry.gsi == gsi);
        let recorder = Arc::new(Recorder::new(gsi, Manner::Refuses, armed));
        self.kernels[table].watch(Arc::downgrade(&recorder));
        Arming {
            registration: None,
            recorder,
        }
    }

    /// Checks that nothing is armed on a GSI without an entry, and that all other registrations
    /// are.
    pub(super) fn check_armed(&self) {
        for kernel in &self.kernels {
            assert_eq!(kernel.violation(), None, "a route that was in use");
        }
        let lines = self.lines.iter().map(|held| (&held.arming, held.table));
        let driven = self.driven.iter().map(|held| (&held.arming, held.table));
        for (arming, table) in lines.chain(driven) {
            let Some(Arming {
                registration: Some(_),
                recorder,
            }) = arming
            else {
                continue;
            };
            let (gsi, is_armed) = (recorder.gsi, recorder.is_armed());
            let model = &self.models[table];
            let expected = model.registered.get(&gsi).map(|one| one.armed);
            assert_eq!(Some(is_armed), expected, "what is armed on GSI {gsi}");
            if model.known == super::model::Known::Yes {
                let has = model.kernel.contains_key(&gsi);
                assert_eq!(is_armed, has, "armed on GSI {gsi}, and its entry");
            }
        }
    }
}

impl Model {
    /// The kernel's route of a GSI is about to be removed. Returns `false` if it must stay.
    pub(super) fn disarm(&mut self, gsi: u32) -> bool {
        if !self.wanted.contains_key(&gsi) {
            return true;
        }
        let slot = self.slot(gsi);
        let registered = self.registered.get_mut(&gsi);
        let is_unknown = slot.lines > 0 && registered.is_none();
        if slot.of == super::model::Use::Quarantined || is_unknown {
            return false;
        }
        self.blocked.insert(gsi);
        match registered {
            Some(one) if one.armed && matches!(one.manner, Manner::Refuses | Manner::Panics) => {
                false
            }
            Some(one) => {
                one.armed = false;
                true
            }
            None => true,
        }
    }

    /// After a round, for each GSI that it has edited.
    pub(super) fn mark(&mut self, gsi: u32) {
        if self.slot(gsi).route.is_some() && !self.wanted.contains_key(&gsi) {
            self.blocked.insert(gsi);
        }
    }

    /// After a round. What a panic has disarmed stays disarmed until the kernel's table is known.
    pub(super) fn rearm(&mut self) {
        if self.known == super::model::Known::Lost {
            return;
        }
        for gsi in std::mem::take(&mut self.blocked) {
            let routed = self.slot(gsi).route.is_some();
            let has = self.wanted.contains_key(&gsi);
            if routed && !has {
                self.blocked.insert(gsi);
            } else if let (true, Some(one)) = (routed, self.registered.get_mut(&gsi)) {
                one.armed = true;
            }
        }
    }
}
