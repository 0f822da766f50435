// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Operations without ioctls: planned, carried out on a thread, and compared.

use std::fmt;

use irq_routing::{GsiLease, Line, Route, RoutingTable, Snapshot};

use super::armed::Arming;
use super::check::{check_snapshot, seen};
use super::model::{Action, Expected, Saved, Seen};
use super::round::{Change, Edits};
use super::step::Act;
use super::why::Why;
use super::world::{Held, HeldDriven, HeldLine, HeldParked, World, pick};

const NAMES: [&str; 4] = ["net0", "disk", "rng", "bad\nname"];

/// An operation with everything that it needs.
pub(super) struct Plan {
    pub(super) action: Action,
    pub(super) run: Box<dyn FnOnce() -> Done + Send>,
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.action.fmt(f)
    }
}

/// The result of an operation.
#[derive(Debug)]
pub(super) enum Done {
    Leases(Result<Vec<GsiLease>, Why>),
    /// With the lease that was returned, and the key of a lease.
    Line(Result<Line, (Why, Option<GsiLease>)>, Option<u64>),
    /// A line, with what drove it.
    Undriven(HeldLine),
    /// With whether its message is blocked.
    Registered(HeldLine, bool),
    /// With a share, which has no key.
    Lease(Result<GsiLease, Line>, u64),
    Nothing,
    Seen(Seen),
    Snapshot(Snapshot),
    Parked(HeldParked),
    /// With the key of the lease.
    Unparked(Option<GsiLease>, u64),
}

/// The edits by which a snapshot is restored: the wiring, then the leases.
pub(super) fn edits_of(saved: &Saved) -> Edits {
    let mut edits = Edits::new();
    for (gsi, (wired, route, _)) in saved {
        if let (true, Some(Route::Pins(pins))) = (wired, route) {
            edits.push((*gsi, Change::Wiring(Some(*pins))));
        }
    }
    for (gsi, (wired, route, _)) in saved {
        if let (false, Some(route)) = (wired, route) {
            edits.push((*gsi, Change::Lease(u64::from(*gsi), Some(*route))));
        }
    }
    edits
}

impl World {
    /// Carries it out at once.
    pub(super) fn act(&mut self, table: usize, act: &Act) {
        let Some(plan) = self.plan(table, act, &|_| true) else {
            return;
        };
        let done = (plan.run)();
        let expected = self.models[table].act(plan.action);
        self.settle(table, plan.action, expected, done);
        assert!(self.kernels[table].take_log().is_empty(), "an ioctl");
    }

    fn take_lease(&mut self, table: usize, number: u8, fits: &dyn Fn(u32) -> bool) -> Option<Held> {
        let fits = |held: &Held| held.table == table && fits(held.lease.gsi().number());
        let all = (0..self.leases.len()).filter(|at| fits(&self.leases[*at]));
        let all: Vec<usize> = all.collect();
        Some(self.leases.remove(all[pick(number, all.len())?]))
    }

    fn take_parked(&mut self, table: usize, number: u8) -> Option<HeldParked> {
        let all = (0..self.parked.len()).filter(|at| self.parked[*at].table == table);
        let all: Vec<usize> = all.collect();
        Some(self.parked.remove(all[pick(number, all.len())?]))
    }

    fn take_driven(&mut self, table: usize, number: u8) -> Option<HeldDriven> {
        let all = (0..self.driven.len()).filter(|at| self.driven[*at].table == table);
        let all: Vec<usize> = all.collect();
        Some(self.driven.remove(all[pick(number, all.len())?]))
    }

    pub(super) fn take_line(&mut self, table: usize, number: u8) -> Option<HeldLine> {
        let all = (0..self.lines.len()).filter(|at| self.lines[*at].table == table);
        let all: Vec<usize> = all.collect();
        Some(self.lines.remove(all[pick(number, all.len())?]))
    }

    /// Takes everything that an operation needs. One that may wait for a GSI takes a suitable one.
    pub(super) fn plan(
        &mut self,
        table: usize,
        act: &Act,
        fits: &dyn Fn(u32) -> bool,
    ) -> Option<Plan> {
        type Leases = fn(&RoutingTable, u32) -> Result<Vec<GsiLease>, irq_routing::Error>;
        let handle = self.tables[table].clone();
        let leases = |action, argument: u32, take: Leases| {
            let handle = handle.clone();
            let run = move || {
                let leases = take(&handle, argument);
                Done::Leases(leases.map_err(|error| Why::from(&error)))
            };
            Some(Plan {
                action,
                run: Box::new(run),
            })
        };
        // Also one number above the last GSI.
        let number = |gsi: u8| u32::from(gsi) % (self.models[table].limit + 1);
        match *act {
            Act::Lease => {
                let key = self.new_keys(1);
                leases(Action::Lease { key }, 0, |table, _| {
                    Ok(vec![table.lease()?])
                })
            }
            Act::Exact(gsi) => {
                let gsi = number(gsi);
                let key = self.new_keys(1);
                let take: Leases = |table, gsi| Ok(vec![table.lease_exact(gsi)?]);
                fits(gsi).then(|| leases(Action::Exact { gsi, key }, gsi, take))?
            }
            Act::Block(count) => {
                let count = u32::from(count % 6);
                let key = self.new_keys(count);
                leases(
                    Action::Block { count, key },
                    count,
                    RoutingTable::lease_block,
                )
            }
            Act::Claim(gsi) => {
                let unclaimed = handle.unclaimed();
                let gsi = match pick(gsi, unclaimed.len()) {
                    Some(at) if gsi < 0xe0 => unclaimed[at].number(),
                    _ => number(gsi),
                };
                let key = self.new_keys(1);
                let take: Leases = |table, gsi| Ok(vec![table.claim(gsi)?]);
                leases(Action::Claim { gsi, key }, gsi, take)
            }
            Act::Name(lease, name) => {
                let Held { lease, key, .. } = self.take_lease(table, lease, &|_| true)?;
                let (gsi, name) = (lease.gsi().number(), NAMES[usize::from(name % 4)]);
                Some(Plan {
                    action: Action::Name { gsi, name },
                    run: Box::new(move || Done::Lease(Ok(lease.named(name)), key)),
                })
            }
            Act::Drop(lease) => {
                let Held { lease, .. } = self.take_lease(table, lease, &|_| true)?;
                let gsi = lease.gsi().number();
                Some(nothing(Action::Drop { gsi }, move || drop(lease)))
            }
            Act::IntoLine(lease) => {
                let Held { lease, key, .. } = self.take_lease(table, lease, fits)?;
                let gsi = lease.gsi().number();
                let run = move || {
                    let line = lease.into_line();
                    let line = line.map_err(|one| (Why::from(&one.error), Some(one.value)));
                    Done::Line(line, Some(key))
                };
                Some(Plan {
                    action: Action::IntoLine { gsi },
                    run: Box::new(run),
                })
            }
            Act::Share(gsi) => {
                let gsi = number(gsi);
                let run = move || {
                    let line = handle.line(gsi);
                    Done::Line(line.map_err(|error| (Why::from(&error), None)), None)
                };
                fits(gsi).then(|| Plan {
                    action: Action::Share { gsi },
                    run: Box::new(run),
                })
            }
            Act::DropLine(line) => {
                let held = self.take_line(table, line)?;
                let gsi = held.line.gsi().number();
                Some(nothing(Action::DropLine { gsi }, move || drop(held)))
            }
            Act::DropDriven(line) => {
                let held = self.take_driven(table, line)?;
                let gsi = held.line.line().gsi().number();
                Some(nothing(Action::DropDriven { gsi }, move || drop(held)))
            }
            Act::Undrive(line) => {
                let held = self.take_driven(table, line)?;
                let gsi = held.line.line().gsi().number();
                let HeldDriven {
                    line,
                    table,
                    key,
                    arming,
                } = held;
                let run = move || {
                    let line = line.into_line();
                    Done::Undriven(HeldLine {
                        line,
                        table,
                        key,
                        arming,
                    })
                };
                Some(Plan {
                    action: Action::Undrive { gsi },
                    run: Box::new(run),
                })
            }
            Act::IntoLease(line) => {
                let held = self.take_line(table, line)?;
                let gsi = held.line.gsi().number();
                let run = move || {
                    let lease = held.line.into_lease();
                    drop(held.arming);
                    Done::Lease(lease, held.key.unwrap_or(0))
                };
                Some(Plan {
                    action: Action::IntoLease { gsi },
                    run: Box::new(run),
                })
            }
            Act::Quarantine(line) => {
                let HeldLine { line, arming, .. } = self.take_line(table, line)?;
                let gsi = line.gsi().number();
                let kernel = std::sync::Arc::clone(&self.kernels[table]);
                Some(nothing(Action::Quarantine { gsi }, move || {
                    line.quarantine();
                    if let Some(Arming {
                        registration,
                        recorder,
                    }) = arming
                    {
                        drop(registration);
                        kernel.keep_armed(recorder);
                    }
                }))
            }
            Act::Register(line, manner) => self.plan_register(table, line, manner),
            Act::DropUnclaimed => Some(nothing(Action::DropUnclaimed, move || {
                for gsi in handle.unclaimed() {
                    drop(handle.claim(gsi.number()));
                }
            })),
            Act::Look => Some(Plan {
                action: Action::Look,
                run: Box::new(move || Done::Seen(seen(&handle))),
            }),
            Act::Snapshot => Some(Plan {
                action: Action::Snapshot,
                run: Box::new(move || Done::Snapshot(handle.snapshot())),
            }),
            Act::Park(lease) => {
                let Held { lease, key, .. } = self.take_lease(table, lease, &|_| true)?;
                let gsi = lease.gsi().number();
                let run = move || {
                    let parked = lease.park();
                    Done::Parked(HeldParked {
                        parked,
                        table,
                        key,
                        gsi,
                    })
                };
                Some(Plan {
                    action: Action::Park { gsi },
                    run: Box::new(run),
                })
            }
            Act::Unpark(number) => {
                let held = self.take_parked(table, number)?;
                let HeldParked { gsi, key, .. } = held;
                Some(Plan {
                    action: Action::Unpark { gsi, key },
                    run: Box::new(move || Done::Unparked(held.parked.unpark(), key)),
                })
            }
            Act::DropParked(number) => {
                let held = self.take_parked(table, number)?;
                let HeldParked { gsi, key, .. } = held;
                let action = Action::DropParked { gsi, key };
                Some(nothing(action, move || drop(held)))
            }
        }
    }

    /// Compares the result of an operation with the model's, and keeps what it returned.
    pub(super) fn settle(&mut self, table: usize, action: Action, expected: Expected, done: Done) {
        let number = |line: &Line| line.gsi().number();
        let keys = match action {
            Action::Lease { key }
            | Action::Exact { key, .. }
            | Action::Block { key, .. }
            | Action::Claim { key, .. } => key,
            _ => 0,
        };
        let mut leases = |lease, key| self.leases.push(Held { lease, table, key });
        let seen = match done {
            Done::Leases(Ok(all)) => {
                let gsis = all.iter().map(|lease| lease.gsi().number()).collect();
                all.into_iter()
                    .zip(keys..)
                    .for_each(|(lease, key)| leases(lease, key));
                Expected::Leases(Ok(gsis))
            }
            Done::Leases(Err(why)) => Expected::Leases(Err(why)),
            Done::Line(Ok(line), key) => {
                let gsi = number(&line);
                let arming = key.map(|_| self.arm_unregistered(table, gsi));
                self.lines.push(HeldLine {
                    line,
                    table,
                    key,
                    arming,
                });
                Expected::Line(Ok(gsi))
            }
            Done::Undriven(held) => {
                let gsi = number(&held.line);
                self.lines.push(held);
                Expected::Line(Ok(gsi))
            }
            Done::Registered(held, blocked) => {
                let gsi = number(&held.line);
                self.lines.push(held);
                Expected::Registered(gsi, blocked)
            }
            Done::Line(Err((why, lease)), key) => {
                if let (Some(lease), Some(key)) = (lease, key) {
                    leases(lease, key);
                }
                Expected::Line(Err(why))
            }
            Done::Lease(Ok(lease), key) => {
                let gsi = lease.gsi().number();
                leases(lease, key);
                Expected::Lease(Ok(gsi))
            }
            Done::Lease(Err(line), _) => {
                let gsi = number(&line);
                let (key, arming) = (None, None);
                self.lines.push(HeldLine {
                    line,
                    table,
                    key,
                    arming,
                });
                Expected::Lease(Err(gsi))
            }
            Done::Parked(parked) => {
                self.parked.push(parked);
                Expected::Nothing
            }
            Done::Unparked(lease, key) => {
                let is_there = lease.is_some();
                lease.into_iter().for_each(|lease| leases(lease, key));
                Expected::Unparked(is_there)
            }
            Done::Nothing => Expected::Nothing,
            Done::Seen(seen) => Expected::Seen(seen),
            Done::Snapshot(snapshot) => {
                let Expected::Snapshot(saved) = &expected else {
                    panic!("{expected:?}");
                };
                check_snapshot(&snapshot, saved);
                if self.snapshots.len() == 3 {
                    self.snapshots.remove(0);
                }
                self.snapshots.push((snapshot, saved.clone()));
                Expected::Snapshot(saved.clone())
            }
        };
        assert_eq!(seen, expected, "{action:?}");
        self.returned.push(format!("{seen:?}"));
    }
}

fn nothing(action: Action, run: impl FnOnce() + Send + 'static) -> Plan {
    let run = Box::new(move || {
        run();
        Done::Nothing
    });
    Plan { action, run }
}
