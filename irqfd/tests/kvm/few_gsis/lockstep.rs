// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! One vector after another, with a look at the local APIC after each step: a trigger comes once.

use std::collections::VecDeque;
use std::thread;

use kvm_test::wait_until;

use super::driver::{Driver, ENTRIES, both, requested, retarget};
use super::{Bench, FREE, OF_QUEUE, VECTORS, close, is_of_queue, open, swap};
use crate::storm::Dice;

/// The operation on a vector around its trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Nothing,
    MaskForAMoment,
    MaskFunctionForAMoment,
    Retarget,
    Export,
    Unexport,
    Swap,
    /// The back-end signals, instead of a trigger.
    MoveQueue,
}

use Operation::{
    Export, MaskForAMoment, MaskFunctionForAMoment, MoveQueue, Nothing, Retarget, Swap, Unexport,
};

impl Operation {
    fn at_random(dice: &mut Dice, n: u32) -> Self {
        let all = [
            Nothing,
            MaskForAMoment,
            MaskFunctionForAMoment,
            Retarget,
            Export,
            Unexport,
            Swap,
            MoveQueue,
        ];
        match all[dice.roll(8) as usize] {
            MoveQueue if !is_of_queue(n) => Nothing,
            operation => operation,
        }
    }

    /// Whether a concurrent trigger comes once. It may come twice while it is writing to a notifier
    /// that is being replaced, or while KVM assigns the irqfd. (For the first device the queue's
    /// owner does that later.)
    fn is_exact(self, n: u32) -> bool {
        match self {
            Nothing | Retarget | MoveQueue => true,
            MaskForAMoment | MaskFunctionForAMoment | Export => n < ENTRIES,
            Unexport | Swap => false,
        }
    }
}

impl Bench {
    /// Clears the interrupts. None is in flight.
    pub(super) fn clear(&self, drivers: &mut [Driver; 2]) {
        self.machine.clear().unwrap();
        drivers.iter_mut().for_each(Driver::forget);
    }

    /// Each vector in turn, while those of the last five turns are open.
    pub(super) fn lockstep(
        &self,
        drivers: &mut [Driver; 2],
        others: &mut VecDeque<u32>,
        round: u64,
    ) {
        let mut dice = Dice(0xd1b5_4a32_d192_ed03 ^ (round << 8));
        self.clear(drivers);
        let first = dice.roll(VECTORS);
        for n in (first..first + VECTORS).map(|n| n % VECTORS) {
            self.turn(drivers, others, n, &mut dice);
            others.push_back(n);
            if others.len() >= FREE as usize
                && let Some(oldest) = others.pop_front()
            {
                close(drivers, oldest);
            }
            open(drivers, n);
            self.run_rounds(drivers);
        }
    }

    fn turn(&self, drivers: &mut [Driver; 2], others: &mut VecDeque<u32>, n: u32, dice: &mut Dice) {
        let operation = Operation::at_random(dice, n);
        let first = n / ENTRIES * ENTRIES;
        let at = match operation {
            MoveQueue => first..first + OF_QUEUE,
            _ => n..n + 1,
        };
        if operation == MoveQueue {
            self.queues[(n / ENTRIES) as usize].bind_at_random(dice);
        }
        if dice.roll(2) == 0 {
            open(drivers, n);
            if dice.roll(2) == 0 {
                self.run_rounds(drivers);
            }
        }
        let from_outside = operation != MoveQueue && dice.roll(2) == 0;
        let trigger = || match (operation, self.vector(n).notifier()) {
            (MoveQueue, _) => self.queues[(n / ENTRIES) as usize].signal(),
            (_, Some(notifier)) if from_outside => notifier.notify().unwrap(),
            _ => drop(self.vector(n).trigger().unwrap()),
        };

        let mut count = 0;
        let when = match dice.roll(3) {
            2 if !operation.is_exact(n) => 0,
            when => when,
        };
        match when {
            0 => {
                trigger();
                count += self.take(drivers, at.clone());
                self.carry_out(operation, drivers, n, dice);
            }
            1 => {
                self.carry_out(operation, drivers, n, dice);
                count += self.take(drivers, at.clone());
                trigger();
            }
            _ => thread::scope(|scope| {
                scope.spawn(trigger);
                self.carry_out(operation, drivers, n, dice);
            }),
        }
        count += self.take(drivers, at.clone());

        if operation == MoveQueue {
            let number = u16::try_from(n % ENTRIES).unwrap();
            self.queues[(n / ENTRIES) as usize].bind(number);
        }
        open(drivers, n);
        self.run_rounds(drivers);
        others
            .iter()
            .for_each(|other| self.expect_deliverable(*other));
        self.expect_deliverable(n);
        wait_until(|| {
            count += self.take(drivers, at.clone());
            count > 0
        });
        // Complete: the kernel's thread has delivered everything.
        at.clone().for_each(|n| close(drivers, n));
        count += self.take(drivers, at.clone());
        assert_eq!(count, 1, "interrupts of vector {n}: {operation:?}, {when}");
        assert!(!self.vector(n).is_pending());
        others.retain(|other| !at.contains(other));
    }

    fn carry_out(&self, operation: Operation, drivers: &mut [Driver; 2], n: u32, dice: &mut Dice) {
        let device = (n / ENTRIES) as usize;
        match operation {
            Nothing => {}
            MaskForAMoment => {
                close(drivers, n);
                open(drivers, n);
            }
            MaskFunctionForAMoment => {
                let _ = drivers[device].mask_function(true);
                let dead = drivers[device].mask_function(false);
                assert!(dead.is_empty(), "{dead:?}");
            }
            Retarget => drop(retarget(&self.tables[device], n, dice.roll(2))),
            Export => drop(self.vector(n).export().unwrap()),
            Unexport => self.vector(n).unexport().unwrap(),
            Swap => swap(self.vector(n)),
            MoveQueue => self.queues[device].bind_at_random(dice),
        }
    }

    /// Counts the interrupts of the local APIC, and removes them. All are of these vectors.
    fn take(&self, drivers: &mut [Driver; 2], of: std::ops::Range<u32>) -> u32 {
        let requested = requested(&self.machine);
        let of: u64 = of.map(both).sum();
        assert_eq!(requested & !of, 0, "interrupts of other vectors");
        if requested != 0 {
            self.clear(drivers);
        }
        requested.count_ones()
    }
}
