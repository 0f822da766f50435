// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Compares everything visible after each step with the model.

use std::os::fd::AsFd;
use std::sync::Arc;

use irqfd::{Triggered, VectorError, VectorState};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use notify_sim::{Injected, Interrupt};

use super::arming::{By, Tally};
use super::gsis::GSIS;
use super::line::{Arm, Line, Outlet, is_high};
use super::model::{Fault, Sent};
use super::registers::read;
use super::step::{Kind, Shape};
use super::world::{World, gsi};

fn sent(injected: &Injected) -> Sent {
    let Interrupt::Msi(message) = injected.interrupt else {
        panic!("{injected:?}");
    };
    Sent {
        by_irqfd: injected.gsi.is_some(),
        message: (message.address, message.data, message.devid),
    }
}

impl World {
    /// Whether the kernel has refused the message of a vector.
    pub(super) fn is_refused(&self, n: usize) -> bool {
        let state = self.vector(n).state();
        matches!(&state, VectorState::Dead(why)
            if matches!(why, VectorError::MessageRefused { .. }))
    }

    /// How many requests of a kind have failed by injection.
    pub(super) fn fired(&self, kind: Kind) -> usize {
        let calls = self.vm.calls(kind.call());
        let come = self.model.faults.iter();
        come.filter(|fault| fault.kind == kind && fault.number <= calls)
            .count()
    }

    pub(super) fn compare(&mut self) {
        self.compare_by(By::Caller);
    }

    pub(super) fn compare_by(&mut self, by: By) -> Tally {
        let injected = self.vm.deliver();
        let states: Vec<VectorState> = (0..self.model.lines.len())
            .map(|n| self.vector(n).state())
            .collect();
        let tried: Vec<bool> = self.model.lines.iter().map(Line::is_tried).collect();
        self.deceive();
        let tally = self.resolve(&states, by);
        self.justify(&states, &tried, &tally);
        self.compare_irqfds();
        self.compare_returned(&states, &tried);
        self.compare_sent(&states, &injected);
        // In this order, because the first of two vectors with one notifier takes its signal.
        let pending: Vec<bool> = (0..states.len()).map(|n| self.model.look(n)).collect();
        self.compare_states(&states, &pending);
        self.compare_registers();
        self.compare_queue();
        let faults = std::mem::take(&mut self.model.faults);
        let calls = Kind::ALL.map(|kind| (kind, self.vm.calls(kind.call())));
        let due = |kind, number| calls.iter().any(|call| call.0 == kind && number <= call.1);
        self.model.faults = faults
            .into_iter()
            .filter(|fault| !due(fault.kind, fault.number))
            .collect();
        tally
    }

    /// A commit failed by injection, with a message that other kernels refuse.
    fn deceive(&mut self) {
        let tried = |line: &Line| line.is_tried() && is_high(line.sends);
        let calls = self.vm.calls(Kind::Routing.call());
        let mut faults = self.model.faults.iter();
        let fails = |fault: &Fault| {
            fault.kind == Kind::Routing && fault.number <= calls && !fault.transient
        };
        if faults.any(fails) && self.model.lines.iter().any(tried) {
            self.model.deceived |= !self.model.choosy;
        }
    }

    /// Checks which GSIs are held, and how often irqfds were bound and unbound.
    fn compare_irqfds(&self) {
        assert_eq!(self.routing.leased(), self.model.gsis.held(), "held GSIs");
        for n in 0..self.model.lines.len() {
            let found = self.vector(n).gsi().map(gsi);
            assert_eq!(found, self.model.gsi_in_use(n), "the GSI of {n}");
        }

        let calls = |kind: Kind| self.vm.calls(kind.call());
        assert_eq!(calls(Kind::Assign), self.model.assigns, "irqfds bound");
        let taken_off = self.model.deassigns;
        assert_eq!(calls(Kind::Deassign), taken_off, "irqfds taken off");
    }

    /// Checks that accesses return exactly the vectors that they should have opened or rerouted and
    /// that are dead.
    fn compare_returned(&mut self, states: &[VectorState], tried: &[bool]) {
        let Some(returned) = self.returned.take() else {
            return;
        };
        let mut found: Vec<usize> = returned
            .iter()
            .map(|dead| {
                let n = (0..states.len()).find(|n| self.vector(*n) == dead.vector);
                let n = n.expect("a vector of the devices");
                assert_eq!(
                    dead.number.map(usize::from),
                    Some(match self.model.table().contains(&n) {
                        true => n,
                        false => n - self.model.table().len(),
                    })
                );
                n
            })
            .collect();
        found.sort_unstable();
        let opened = |n: &usize| tried[*n] || self.model.direct.contains(n);
        let opened = (0..states.len()).filter(opened);
        let dead = opened.filter(|n| matches!(states[*n], VectorState::Dead(_)));
        assert_eq!(
            found,
            Vec::from_iter(dead),
            "the dead that an access returns"
        );
    }

    /// Checks that each interrupt has arrived once, and no other.
    fn compare_sent(&mut self, states: &[VectorState], injected: &[Injected]) {
        let direct = std::mem::take(&mut self.model.direct);
        let calls = self.vm.calls(Kind::Signal.call());
        let made = calls - std::mem::replace(&mut self.signals, calls);
        assert_eq!(made, direct.len() as u64, "messages sent directly");
        let mut expected = std::mem::take(&mut self.model.injected);
        let (mut failed, mut bad) = (0, 0);
        for n in direct {
            let line = &mut self.model.lines[n];
            let (by_irqfd, message) = (false, line.sends);
            let refused = |why: &VectorError| matches!(why, VectorError::MessageRefused { .. });
            let has_failed = match &states[n] {
                VectorState::Open => false,
                VectorState::Dead(why) if refused(why) => true,
                state => panic!("vector {n} is {state:?}"),
            };
            line.refused = has_failed;
            if self.model.is_bad(message) {
                assert!(has_failed, "a message that the kernel refuses");
                bad += 1;
            } else if has_failed {
                failed += 1;
            } else {
                expected.push(Sent { by_irqfd, message });
            }
        }
        let fired = self.fired(Kind::Signal);
        let mut found: Vec<Sent> = injected.iter().map(sent).collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "what was injected");
        assert!(failed <= fired && fired <= failed + bad, "refused messages");
        if let Some(outcome) = self.outcome.take()
            && let [only] = injected
            && only.gsi.is_none()
        {
            assert_eq!(outcome == Triggered::Delivered, only.taken);
        }
    }

    fn compare_states(&self, states: &[VectorState], pending: &[bool]) {
        for (n, (line, state)) in self.model.lines.iter().zip(states).enumerate() {
            let refused = matches!(state, VectorState::Dead(why)
                if matches!(why, VectorError::MessageRefused { .. }));
            let as_expected = match (line.outlet, line.arm) {
                _ if !line.open => matches!(state, VectorState::Masked),
                _ if line.paused => matches!(state, VectorState::Paused),
                (Outlet::Nothing, _) => matches!(state, VectorState::NoNotifier),
                (_, Arm::Batched) => matches!(state, VectorState::Arming),
                (Outlet::Message, _) if line.refused => refused,
                (Outlet::Message, _) => matches!(state, VectorState::Open),
                (_, Arm::Queued) => matches!(state, VectorState::Queued),
                (_, Arm::Armed) => matches!(state, VectorState::Armed),
                (_, Arm::Dead { .. }) => matches!(state, VectorState::Dead(_)),
                (_, Arm::Off | Arm::Tried | Arm::Moved) => false,
            };
            assert!(as_expected, "vector {n} is {state:?}, not {line:?}");
            let vector = self.vector(n);
            assert_eq!(vector.is_masked(), !line.open, "mask of {n}");
            assert_eq!(vector.is_pending(), pending[n], "pending of {n}");
            let same = match (vector.notifier(), line.shared()) {
                (None, None) => true,
                (Some(one), Some(at)) => Arc::ptr_eq(&one, &self.notifiers[&at]),
                _ => false,
            };
            assert!(same, "notifier of {n}");
            let message = vector.message();
            let sends = (message.address, message.data, message.devid);
            assert!(
                !line.open || sends == line.sends,
                "message of {n}: {message}"
            );
        }
        let paused = [true, false].map(|table| self.model.is_paused(self.range(table)));
        let have_snapshots = [self.table.snapshot().is_ok(), self.msi.snapshot().is_ok()];
        assert_eq!(have_snapshots, paused);
    }

    /// The size of the table's region, in bytes.
    pub(super) fn table_len(&self) -> u64 {
        16 * self.table.vectors().len() as u64
    }

    /// The size of the pending bit array, in bytes.
    pub(super) fn pba_len(&self) -> u64 {
        8 * (self.table.vectors().len() as u64).div_ceil(64)
    }

    fn compare_registers(&self) {
        let mut bytes = [0; 8];
        let expected = &self.model.msix.bytes;
        for offset in (0..self.table_len()).step_by(8) {
            self.table.read(offset, &mut bytes);
            assert_eq!(
                bytes.to_vec(),
                read(expected, offset, 8),
                "entry at {offset:#x}"
            );
        }
        let pba = self.model.msix.pba(&self.model.pending(self.model.table()));
        for offset in (0..self.pba_len()).step_by(8) {
            self.table.pba_read(offset, &mut bytes);
            assert_eq!(bytes.to_vec(), read(&pba, offset, 8), "pending bits");
        }
        let registers = &self.model.msix;
        assert_eq!(self.table.message_control(), registers.control());
        assert_eq!(self.table.is_enabled(), registers.enabled);
        assert_eq!(
            self.table.message_control() & 1 << 14 != 0,
            registers.masked
        );
        self.read_msi(0, 26);
        assert_eq!(usize::from(self.msi.granted()), self.model.msi.granted());
    }

    /// Checks that waiting vectors are in the queue and that its owner is woken.
    fn compare_queue(&self) {
        let Some(owner) = &self.owner else {
            return;
        };
        assert_eq!(owner.waiting(), self.model.queue.len(), "what waits");
        let lines = self.model.lines.iter();
        let queued = lines.filter(|line| line.arm == Arm::Queued).count();
        assert!(queued == 0 || self.is_woken(), "the owner is not woken");
    }

    /// Whether the queue's owner shall run a round.
    pub(super) fn is_woken(&self) -> bool {
        let fds = self.owner.iter().map(|owner| owner.as_fd());
        let mut fds: Vec<_> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        poll(&mut fds, PollTimeout::ZERO).expect("it can be polled") > 0
    }

    /// Checks that nothing is left.
    pub(super) fn end(mut self) {
        self.run_batches();
        self.drop_queue();
        self.rebuild(Shape {
            queue: false,
            ..Shape::FIRST
        });
        for lease in std::mem::take(&mut self.held) {
            self.model.release(gsi(lease.gsi()));
        }
        for (at, notifier) in &self.notifiers {
            notifier.notify().unwrap();
            self.model.signal(*at);
        }
        self.compare();
        let leases: Vec<_> = std::iter::from_fn(|| self.routing.lease().ok()).collect();
        assert_eq!(leases.len(), GSIS - self.model.gsis.lost(), "free GSIs");
    }
}
