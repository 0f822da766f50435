// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Arming: what has come of those that were tried, and why.

use std::sync::Arc;

use irqfd::{Error, VectorState};

use super::model::{Arm, Line, is_high};
use super::step::Kind;
use super::world::World;

/// How many commits a round takes at most once messages were refused by a rule that is not known.
const MOST_COMMITS: u64 = 16;

/// Who tries to arm what is [`Arm::Tried`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// The one who unmasks.
    Caller,
    Round,
    /// The queue's owner is dropped.
    LastRound,
}

/// What has come of those that were tried.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) armed: usize,
    pub(super) dead: usize,
    /// Messages that were sent directly.
    pub(super) sent: usize,
    batch: usize,
    bad: usize,
    /// Those that the kernel may have been believed to refuse.
    suspect: usize,
    innocent: usize,
    unassigned: usize,
    /// Those that were relayed, and whose failure in the last round is not known.
    hidden: usize,
}

impl Tally {
    /// The table or KVM has refused a vector.
    fn refused(&mut self, why: &Error, is_bad: bool, is_suspect: bool) {
        let commit = matches!(why, Error::Commit { .. });
        assert!(commit || !is_bad, "a refused route was committed");
        self.batch += 1;
        self.bad += usize::from(is_bad);
        self.suspect += usize::from(is_suspect);
        self.innocent += usize::from(commit && !is_bad && !is_suspect);
        self.unassigned += usize::from(matches!(why, Error::Assign { .. }));
    }
}

fn is_transient(error: &Error) -> bool {
    let errno = match error {
        Error::Lease { .. } => return true,
        Error::Assign { source, .. } | Error::Relay { source } => source.raw_os_error(),
        Error::Commit { source } => match &**source {
            irq_routing::Error::Refused { source, .. } => source.raw_os_error(),
            _ => None,
        },
        _ => None,
    };
    errno == Some(12)
}

impl World {
    /// What has come of an attempt to arm a vector.
    pub(super) fn resolve(
        &mut self,
        n: usize,
        state: &VectorState,
        how: (By, usize),
        tally: &mut Tally,
    ) {
        let (by, free) = how;
        let is_bad = self.model.is_bad(self.model.lines[n].sends);
        let is_suspect = self.model.deceived && is_high(self.model.lines[n].sends);
        let vector = self.vector(n);
        let mut failed = self.failed.iter().filter(|dead| dead.vector == vector);
        let failure = failed.next().map(|dead| Arc::clone(&dead.reason));
        let line = &mut self.model.lines[n];
        let exhausted = free == 0 && !line.has_gsi;
        let is_relayed = match state {
            VectorState::Relayed => true,
            VectorState::Dead(why) => by == By::Round && matches!(**why, Error::Signal { .. }),
            _ => false,
        };
        match state {
            VectorState::Armed => {
                assert!(!is_bad, "armed on a route that the kernel refuses");
                tally.armed += 1;
                tally.batch += 1;
                self.model.bind(n);
            }
            _ if is_relayed => {
                line.arm = Arm::Relayed;
                let Some(why) = failure else {
                    return assert!(by == By::Round && exhausted, "relayed, where a GSI is free");
                };
                // It has a GSI, for the next round.
                assert!(line.relayed && is_transient(&why), "it is not dead: {why}");
                line.has_gsi = true;
                tally.dead += 1;
                tally.refused(&why, is_bad, is_suspect);
            }
            VectorState::Queued if by == By::Round => {
                let commits = self.vm.calls(Kind::Routing.call()) - self.commits;
                assert!(commits >= MOST_COMMITS, "a vector was not tried");
                (line.arm, line.has_gsi) = (Arm::Queued, true);
            }
            VectorState::Dead(why) => {
                assert!(!(by == By::Round && line.relayed && is_transient(why)));
                tally.dead += 1;
                let again = by == By::Round && is_transient(why);
                line.arm = Arm::Dead { again };
                match **why {
                    Error::Lease { .. } => assert!(by == By::Caller && exhausted, "a GSI is free"),
                    Error::QueueGone => {
                        assert!(by == By::LastRound && (exhausted || line.relayed && line.has_gsi));
                        tally.hidden += usize::from(line.has_gsi);
                    }
                    // `justify` looks for the other one.
                    Error::Relay { .. } => assert!(by != By::Caller && exhausted),
                    Error::Commit { .. } | Error::Assign { .. } | Error::AlreadyBound { .. } => {
                        line.has_gsi = true;
                        tally.refused(why, is_bad, is_suspect);
                    }
                    _ => panic!("vector {n} is dead: {why}"),
                }
            }
            _ => panic!("vector {n} was not tried: {state:?}"),
        }
    }

    /// Each failed vector had a reason of its own: no reason has failed two.
    pub(super) fn justify(&mut self, states: &[VectorState], before: &[Arm], tally: &Tally) {
        for (n, state) in states.iter().enumerate() {
            let VectorState::Dead(why) = state else {
                continue;
            };
            let at = self.model.lines[n].notifier;
            match **why {
                _ if before[n] != Arm::Tried => {}
                Error::AlreadyBound { .. } => {
                    assert!(self.model.is_bound(at.unwrap()), "it is bound nowhere");
                }
                Error::Relay { .. } => {
                    let others = self.model.lines.iter().enumerate();
                    // One that was relayed is so until it is armed.
                    let relayed = |line: &Line| line.relayed || line.arm == Arm::Relayed;
                    // In the last round they have ended.
                    let there = others.filter(|other| other.0 != n && other.1.notifier == at);
                    let mut there = there.map(|other| other.1);
                    let ended = self.owner.is_none();
                    assert!(
                        there.any(|line| ended || relayed(line)),
                        "it can be watched"
                    );
                }
                _ => {}
            }
        }
        if !std::mem::take(&mut self.replaced) {
            let fired = self.fired(Kind::Assign);
            let most = tally.unassigned + tally.hidden;
            assert!(
                (tally.unassigned..=most).contains(&fired),
                "failed assignments"
            );
        }
        let calls = self.vm.calls(Kind::Routing.call());
        let made = calls - std::mem::replace(&mut self.commits, calls);
        let faults = self.model.faults.iter();
        let fired: Vec<_> = faults
            .filter(|fault| fault.kind == Kind::Routing && fault.number <= calls)
            .collect();
        if fired.is_empty() && tally.bad > 0 {
            // All together, then without those; later these without a commit.
            let most = match self.has_learned {
                true => u64::from(tally.batch > tally.bad),
                false => 2,
            };
            assert!(made <= most, "{made} commits");
            self.has_learned = true;
        }
        if !fired.iter().any(|fault| fault.transient) {
            let alone = tally.batch == 1 || tally.bad + tally.suspect > 0;
            let most = match fired.len() {
                0 => 0,
                1 if !alone => 0,
                failures => failures,
            };
            assert!(tally.innocent <= most, "a route of another one was refused");
        }
    }

    /// A round of the queue.
    pub(super) fn round(&mut self) {
        let owner = self.owner.as_ref().expect("there is one");
        let round = owner.run_pending();
        self.failed.clone_from(&round.failed);
        self.model.begin_round();
        let tally = self.compare_by(By::Round);
        self.failed.clear();
        assert_eq!(round.armed, tally.armed, "armed in a round");
        assert_eq!(round.relayed, tally.sent, "relayed in a round");
        assert_eq!(round.failed.len(), tally.dead, "failed in a round");
    }

    pub(super) fn drop_queue(&mut self) {
        // What fails of relayed vectors in the last round is not known, nor which of them have a
        // GSI then.
        let relayed = |line: &Line| line.arm == Arm::Relayed && line.queue;
        if self.model.lines.iter().any(relayed) && !self.model.faults.is_empty() {
            self.run();
        }
        if self.owner.take().is_some() {
            self.model.begin_round();
            self.compare_by(By::LastRound);
            self.model
                .lines
                .iter_mut()
                .for_each(|line| line.queue = false);
        }
    }

    /// An armed vector was to have another notifier.
    pub(super) fn replace_armed(&mut self, n: usize, new: usize, replaced: bool) {
        self.replaced = true;
        if !self.model.release(n) {
            assert!(!replaced, "replaced, though the old one is bound");
            return;
        }
        let (failures, elsewhere) = (self.fired(Kind::Assign), self.model.is_bound(new));
        if replaced {
            assert!(failures == 0 && !elsewhere, "bound against all odds");
            self.model.lines[n].notifier = Some(new);
            return self.model.bind(n);
        }
        let needed = usize::from(!elsewhere);
        match self.vector(n).state() {
            VectorState::Armed => {
                assert!(
                    failures == needed || failures == 1,
                    "refused without reason"
                );
                self.model.bind(n);
            }
            VectorState::Dead(why) => {
                assert!(failures > needed, "the old one was lost: {why}");
                let again = self.model.lines[n].queue && is_transient(&why);
                self.model.lines[n].arm = Arm::Dead { again };
            }
            state => panic!("{state:?}"),
        }
    }
}
