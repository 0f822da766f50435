// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Arming: the results of the attempts, and their reasons.

use std::ops::RangeInclusive;

use irqfd::{IrqFdError, VectorError, VectorState};

use super::line::{Arm, is_high};
use super::step::Kind;
use super::world::World;

/// The most commits of a round in which messages were refused by an unknown rule.
const MOST_COMMITS: u64 = 16;

/// The caller that tries to arm what is [`Arm::Tried`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// The thread that unmasks.
    Caller,
    Round,
    /// The queue's owner is dropped.
    LastRound,
}

/// The results of the attempts.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) armed: usize,
    pub(super) dead: usize,
    batch: usize,
    /// The number of passes with something to commit.
    passes: u64,
    /// Whether a vector was committed by itself, so that it alone caused a failure.
    alone: bool,
    bad: usize,
    /// Vectors whose message the kernel was perhaps believed to refuse.
    suspect: usize,
    innocent: usize,
    /// The number of commits needed, and the number without all doubtful entries.
    commits: RangeInclusive<u64>,
    /// Vectors that go first in the next round: no ioctl was left for them, or they had lost their
    /// GSIs.
    untried: usize,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            armed: 0,
            dead: 0,
            batch: 0,
            passes: 0,
            alone: false,
            bad: 0,
            suspect: 0,
            innocent: 0,
            commits: 0..=0,
            untried: 0,
        }
    }
}

/// Whether the kernel's table had a message for a GSI that differs from its vector's, if known.
struct Differs {
    known: Option<bool>,
    /// It has its vector's message now.
    is_committed: bool,
}

fn is_transient(error: &VectorError) -> bool {
    let errno = match error {
        VectorError::NoGsi { .. } => return true,
        VectorError::Arm(IrqFdError::Refused { cause, .. }) => cause.raw_os_error(),
        VectorError::Route { cause, .. } => match &**cause {
            irq_routing::Error::Refused { cause, .. } => cause.raw_os_error(),
            _ => None,
        },
        _ => None,
    };
    errno == Some(12)
}

impl World {
    /// The results of the attempts to arm vectors, or to reroute armed ones.
    pub(super) fn resolve(&mut self, states: &[VectorState], by: By) -> Tally {
        let mut tally = Tally::default();
        while !self.model.tried.is_empty() {
            self.pass(states, by, &mut tally);
        }
        let commits = self.vm.calls(Kind::Routing.call()) - self.commits;
        if by != By::Round && commits >= MOST_COMMITS {
            // Some may have been parked after the first commits, and others later.
            let all: Vec<_> = std::iter::from_fn(|| self.routing.lease().ok()).collect();
            self.model.forget_parked();
            drop(all);
        }
        tally
    }

    /// Each vector takes a GSI, then all routes are committed, then the irqfds are bound. Those
    /// whose GSIs were lost take others in the next pass, or in the next round.
    fn pass(&mut self, states: &[VectorState], by: By, tally: &mut Tally) {
        let mut tried = std::mem::take(&mut self.model.tried);
        tried.retain(|n| {
            if self.model.has_lost_gsi(*n) {
                return true;
            }
            let is_out_of_gsis = matches!(&states[*n], VectorState::Dead(why)
                if matches!(why, VectorError::NoGsi { .. }));
            let has_gsi = self.model.take(*n);
            assert_eq!(is_out_of_gsis, !has_gsi, "whether {n} has a GSI");
            if is_out_of_gsis {
                tally.dead += 1;
                self.kill(*n, by == By::Round);
            }
            has_gsi
        });
        let (mut least, mut most, mut has_changed) = (0, 0, false);
        let mut in_pass = 0;
        for n in &tried {
            if self.model.has_lost_gsi(*n) {
                continue;
            }
            tally.batch += 1;
            in_pass += 1;
            let differs = self.resolve_route(*n, &states[*n], tally);
            least |= u64::from(differs.known == Some(true));
            most |= u64::from(differs.known != Some(false));
            has_changed |= differs.is_committed && differs.known == Some(true);
        }
        tally.passes += u64::from(in_pass > 0);
        tally.alone |= in_pass == 1;
        tally.commits = tally.commits.start() + least..=tally.commits.end() + most;
        if has_changed {
            self.model.gsis.committed();
        }
        for n in &tried {
            self.resolve_irqfd(*n, &states[*n], by, tally);
        }
    }

    /// Whether the route of a vector was committed.
    fn resolve_route(&mut self, n: usize, state: &VectorState, tally: &mut Tally) -> Differs {
        let line = &self.model.lines[n];
        let (sends, gsi) = (line.sends, line.gsi.expect("it has taken one"));
        let is_bad = self.model.is_bad(sends);
        let is_suspect = self.model.deceived && is_high(sends);
        let known = self.model.gsis.differs(gsi, sends);
        let is_committed = match state {
            VectorState::Armed => true,
            VectorState::Dead(why) => {
                let is_committed = !matches!(why, VectorError::Route { .. });
                tally.bad += usize::from(is_bad);
                tally.suspect += usize::from(is_suspect);
                tally.innocent += usize::from(!is_committed && !is_bad && !is_suspect);
                is_committed
            }
            _ => false,
        };
        assert!(!(is_bad && is_committed), "a refused route was committed");
        if is_committed {
            self.model.gsis.commit(gsi, sends);
        }
        Differs {
            known,
            is_committed,
        }
    }

    /// Whether the irqfd of a vector was bound.
    fn resolve_irqfd(&mut self, n: usize, state: &VectorState, by: By, tally: &mut Tally) {
        let is_moved = self.model.lines[n].arm == Arm::Moved;
        if self.model.has_lost_gsi(n) {
            self.model.take_off(n, 2);
            self.model.give_back(n);
            self.model.lines[n].arm = Arm::Tried;
            return match by {
                By::Round => self.untried(n, tally),
                _ => self.model.tried.push(n),
            };
        }
        match state {
            VectorState::Armed if is_moved => self.model.lines[n].arm = Arm::Armed,
            VectorState::Armed => {
                tally.armed += 1;
                self.model.assigns += 1;
                self.model.arm(n);
            }
            VectorState::Queued if by == By::Round => {
                let commits = self.vm.calls(Kind::Routing.call()) - self.commits;
                assert!(commits >= MOST_COMMITS, "a vector was not tried");
                self.untried(n, tally);
            }
            VectorState::Dead(why) => {
                tally.dead += 1;
                match why {
                    VectorError::Route { .. } => {}
                    VectorError::Arm(
                        IrqFdError::Refused { .. } | IrqFdError::AlreadyBound { .. },
                    ) if !is_moved => {
                        self.model.assigns += 1;
                        let line = &self.model.lines[n];
                        if let (true, Some(at)) = (line.kept, line.shared()) {
                            // The signal in the notifier has merged with the kept one.
                            self.model.notifiers[at].count = 0;
                        }
                    }
                    _ => panic!("vector {n} is dead: {why}"),
                }
                self.kill(n, by == By::Round && is_transient(why));
            }
            _ => panic!("vector {n} was not tried: {state:?}"),
        }
    }

    /// A vector goes first in the next round, after those that do so already.
    fn untried(&mut self, n: usize, tally: &mut Tally) {
        self.model.lines[n].arm = Arm::Queued;
        self.model.queue.insert(tally.untried, Some(n));
        tally.untried += 1;
    }

    /// A vector is dead; the next round may try again.
    fn kill(&mut self, n: usize, again: bool) {
        self.model.disarm(n, 2);
        self.model.lines[n].arm = Arm::Dead { again };
        if again {
            self.model.enter(n);
        }
    }

    /// Checks that each failed vector had a reason of its own.
    pub(super) fn justify(&mut self, states: &[VectorState], tried: &[bool], tally: &Tally) {
        let mut unassigned = 0;
        for (n, state) in states.iter().enumerate() {
            let VectorState::Dead(why) = state else {
                continue;
            };
            let at = self.model.lines[n].notifier();
            match why {
                _ if !tried[n] => {}
                VectorError::Arm(IrqFdError::Refused { .. }) => unassigned += 1,
                VectorError::Arm(IrqFdError::AlreadyBound { .. }) => {
                    assert!(self.model.is_bound(at.unwrap()), "it is bound nowhere");
                }
                _ => {}
            }
        }
        assert_eq!(unassigned, self.fired(Kind::Assign), "failed assignments");
        let calls = self.vm.calls(Kind::Routing.call());
        let made = calls - std::mem::replace(&mut self.commits, calls);
        let faults = self.model.faults.iter();
        let fired: Vec<_> = faults
            .filter(|fault| fault.kind == Kind::Routing && fault.number <= calls)
            .collect();
        if fired.is_empty() && tally.bad > 0 {
            // All together, then without those; later these without a commit. Then those that lost
            // their GSIs.
            let most = tally.passes.saturating_sub(1);
            let most = most
                + match self.has_learned {
                    true => u64::from(tally.batch > tally.bad),
                    false => 2,
                };
            assert!(made <= most, "{made} commits");
            self.has_learned = true;
        }
        if fired.is_empty() && tally.bad + tally.suspect == 0 {
            assert!(tally.commits.contains(&made), "{made} commits");
        }
        if made > *tally.commits.start() {
            self.model.gsis.doubt();
        }
        if !fired.iter().any(|fault| fault.transient) {
            let alone = tally.alone || tally.bad + tally.suspect > 0;
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
        self.model.begin_round();
        let tally = self.compare_by(By::Round);
        assert_eq!(round.armed, tally.armed, "armed in a round");
        assert_eq!(round.failed.len(), tally.dead, "failed in a round");
    }

    pub(super) fn drop_queue(&mut self) {
        if self.owner.take().is_some() {
            self.model.begin_round();
            self.compare_by(By::LastRound);
            self.model
                .lines
                .iter_mut()
                .for_each(|line| line.queue = false);
        }
    }
}
