// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`World`]: the model of the kernel, the sets and the counters.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Weak};

use ioeventfd::{AfterExit, DoorbellSet};
use notify_core::{Bus, EventNotifier, IoEventFdAction, IoEventFdRequest};
use notify_sim::SimVm;

use super::model::{Bell, Model, View};
use super::spot::{Spot, address, cut};
use super::step::Write;

pub(super) const EEXIST: i32 = 17;
pub(super) const ENOENT: i32 = 2;

/// A request that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) assign: bool,
    pub(super) spot: Spot,
    pub(super) fd: usize,
    pub(super) errno: Option<i32>,
    /// Whether the failure was injected.
    pub(super) is_fault: bool,
}

impl Call {
    /// Whether a set takes it for done. A doorbell that the kernel does not have is deregistered.
    pub(super) fn counts(&self) -> bool {
        self.errno.is_none() || (!self.assign && self.errno == Some(ENOENT))
    }
}

/// A kick whose queue was not processed yet.
#[derive(Debug)]
pub(super) struct Owed {
    pub(super) set: usize,
    pub(super) key: u64,
    /// What was signalled.
    pub(super) fd: usize,
    /// Whether only a signal of the queue's own notifier counts.
    pub(super) strict: bool,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) fds: Vec<RawFd>,
    pub(super) counts: Vec<u64>,
    pub(super) kernel: Vec<(Spot, usize)>,
    /// What other code has deregistered.
    pub(super) lost: Vec<(Spot, usize)>,
    pub(super) quarantine: Vec<(Spot, usize)>,
    pub(super) singles: Vec<(Spot, usize)>,
    pub(super) windows: Vec<(bool, u64, u64)>,
    pub(super) models: [Model; 2],
    pub(super) sets: [Weak<DoorbellSet>; 2],
    /// Which kind, how many succeed before, and the errno.
    pub(super) faults: Vec<(bool, u64, i32)>,
    pub(super) calls: Vec<Call>,
    /// Writes, and how many requests come before each.
    pub(super) during: Vec<(u8, Write)>,
    /// The set that changes, and its number of requests for stuck and quarantined doorbells.
    pub(super) acting: Option<(usize, usize)>,
    pub(super) owed: Vec<Owed>,
}

impl World {
    pub(super) fn new(notifiers: &[Arc<EventNotifier>]) -> Self {
        Self {
            fds: notifiers.iter().map(|one| one.as_raw_fd()).collect(),
            counts: vec![0; notifiers.len()],
            kernel: Vec::new(),
            lost: Vec::new(),
            quarantine: Vec::new(),
            singles: Vec::new(),
            windows: Vec::new(),
            models: [Model::new(0, false), Model::new(1, false)],
            sets: [Weak::new(), Weak::new()],
            faults: Vec::new(),
            calls: Vec::new(),
            during: Vec::new(),
            acting: None,
            owed: Vec::new(),
        }
    }

    /// Where doorbells are or were.
    pub(super) fn spots(&self) -> Vec<Spot> {
        let mut spots: Vec<_> = self.kernel.iter().map(|(spot, _)| *spot).collect();
        for model in &self.models {
            spots.extend(model.bells.iter().map(|bell| bell.spot));
            let past = model.past.iter().flat_map(|(_, bells)| bells);
            spots.extend(past.map(|bell| bell.spot));
        }
        spots.sort_unstable();
        spots.dedup();
        spots
    }

    fn is_changing(&self, set: usize) -> bool {
        self.acting
            .is_some_and(|(acting, first)| acting == set && self.calls.len() >= first)
    }

    fn view(&self, set: usize) -> View {
        let model = &self.models[set];
        let during = model.during.clone().filter(|_| self.is_changing(set));
        during.unwrap_or_else(|| model.view())
    }

    /// The guest writes; exits go to both sets.
    pub(super) fn write(&mut self, sim: &SimVm, (pio, at, bytes): (bool, u64, Vec<u8>)) {
        let bus = if pio { Bus::Pio } else { Bus::Mmio };
        let mut signalled = 0;
        let mut exits = Vec::new();
        for part in cut(pio, at, &bytes) {
            let mut missed = false;
            for (at, piece) in part {
                let hit = self
                    .kernel
                    .iter()
                    .find(|(spot, _)| spot.takes(pio, at, &piece));
                let hit = hit.copied().filter(|_| !missed);
                // The rest after a piece that misses exits with it.
                missed |= hit.is_none();
                match hit {
                    Some((spot, fd)) => {
                        signalled += 1;
                        self.kernel_signals(spot, fd);
                    }
                    None => exits.push((at, piece)),
                }
            }
        }
        let written = sim.guest_write(bus, at, &bytes);
        let left = written.exits.iter();
        let left: Vec<_> = left
            .map(|exit| (exit.address, exit.bytes().to_vec()))
            .collect();
        assert_eq!(left, exits, "what exits of a write at {at:#x}");
        let taken = (written.signalled, written.devices, written.memory);
        assert_eq!(taken, (signalled, 0, 0), "a write at {at:#x}");
        for (at, piece) in exits {
            (0..2).for_each(|set| self.exit(set, pio, at, &piece));
        }
    }

    /// A write reaches a set.
    pub(super) fn exit(&mut self, set: usize, pio: bool, at: u64, bytes: &[u8]) {
        let Some(handle) = self.sets[set].upgrade() else {
            return;
        };
        let view = self.view(set);
        let pieces: Vec<_> = cut(pio, at, bytes).concat();
        let found: Vec<_> = pieces
            .iter()
            .map(|(at, piece)| view.find(pio, *at, piece))
            .collect();
        let address = address(pio, at);
        let one = found
            .first()
            .filter(|_| found.len() == 1)
            .copied()
            .flatten();
        let key = one.map(|(bell, _)| bell.key);
        assert_eq!(
            handle.key_of_write(address, bytes),
            key,
            "set {set}, {address} {bytes:?}"
        );
        let rang = found.iter().flatten().count();
        let expected = match rang {
            0 => AfterExit::Emulate,
            rang if rang == found.len() => AfterExit::Resume,
            _ => AfterExit::EmulateRest,
        };
        let rung = handle
            .on_exit_write(address, bytes)
            .expect("it can be signalled");
        assert_eq!(rung, expected, "set {set}, {address} {bytes:?}");
        for (bell, current) in found.into_iter().flatten() {
            self.counts[bell.fd] += 1;
            if current {
                self.owe(set, &bell);
            }
        }
    }

    fn owe(&mut self, set: usize, bell: &Bell) {
        let here = |one: &Bell| (one.key, one.spot, one.fd) == (bell.key, bell.spot, bell.fd);
        let planned = !self.models[set].bells.iter().any(here);
        self.owed.push(Owed {
            set,
            key: bell.key,
            fd: bell.fd,
            strict: planned,
        });
    }

    fn kernel_signals(&mut self, spot: Spot, fd: usize) {
        self.counts[fd] += 1;
        for set in 0..2 {
            let view = self.view(set);
            let here = |bell: &&Bell| (bell.spot, bell.fd) == (spot, fd);
            if let Some(bell) = view.current.iter().find(here).copied() {
                self.owe(set, &bell);
                continue;
            }
            let mut stuck = self.models[set].stuck.iter_mut();
            if let Some(stuck) = stuck.find(|stuck| here(&&stuck.bell)) {
                stuck.took = true;
            }
        }
    }

    pub(super) fn before_call(&mut self, sim: &SimVm) {
        let mut due = Vec::new();
        self.during.retain_mut(|(left, write)| {
            let now = *left == 0;
            if now {
                due.push(*write);
            }
            *left = left.saturating_sub(1);
            !now
        });
        for write in due {
            let write = write.make(self);
            self.write(sim, write);
        }
    }

    pub(super) fn after_call(&mut self, request: &IoEventFdRequest<'_>, result: &io::Result<()>) {
        let assign = request.action == IoEventFdAction::Assign;
        let spot = Spot {
            pio: request.bus == Bus::Pio,
            at: request.address,
            len: request.len,
            value: request.datamatch,
        };
        let raw = request.eventfd.as_raw_fd();
        let fd = self.fds.iter().position(|fd| *fd == raw);
        let fd = fd.expect("a notifier of these");
        let mut fault = None;
        self.faults.retain_mut(|(of, left, errno)| {
            if *of == assign && *left == 0 {
                fault = Some(*errno);
                return false;
            }
            *left -= u64::from(*of == assign);
            true
        });
        let errno = fault.or_else(|| self.carry_out(assign, spot, fd));
        let actual = result.as_ref().err().and_then(io::Error::raw_os_error);
        assert_eq!(actual, errno, "{request:?}");
        self.calls.push(Call {
            assign,
            spot,
            fd,
            errno,
            is_fault: fault.is_some(),
        });
    }

    /// What KVM does, or why it refuses.
    fn carry_out(&mut self, assign: bool, spot: Spot, fd: usize) -> Option<i32> {
        if assign {
            let refused = self
                .kernel
                .iter()
                .any(|(there, _)| spot.is_refused_beside(there));
            if !refused {
                let mut there = self.kernel.iter();
                let beside = there.find(|(there, _)| spot.is_against(there));
                assert_eq!(beside, None, "the bus may miss {spot:?}");
                self.kernel.push((spot, fd));
            }
            return refused.then_some(EEXIST);
        }
        let is = |one: &(Spot, usize)| *one == (spot, fd);
        if let Some(index) = self.kernel.iter().position(is) {
            self.kernel.remove(index);
            return None;
        }
        let lost = self.lost.iter().position(is);
        self.lost.remove(lost.expect("it was registered once"));
        Some(ENOENT)
    }
}
