// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Step`]: the operations, at few addresses, so that doorbells conflict.

use arbitrary::Arbitrary;

use super::spot::{Spot, bytes_of};
use super::world::World;

/// Set 0 or set 1.
type Set = bool;

/// A doorbell that is wanted.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub struct Choice {
    /// Which address.
    pub slot: u8,
    /// Which writes, and the distance from the address.
    pub kind: u8,
    /// Which queue.
    pub key: u8,
}

/// The doorbells that a set is to have.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub struct Wanted {
    /// Some of these.
    pub bells: [Choice; 4],
    /// How many.
    pub count: u8,
    /// Two bits for each queue: its notifier.
    pub notifiers: u8,
}

/// A write of the guest.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub struct Write {
    /// Which doorbell, or which address.
    pub pick: u8,
    /// How many bytes, if not as many as the doorbell matches.
    pub len: u8,
    /// The value, if not the one that the doorbell matches.
    pub value: u8,
}

/// One operation.
#[derive(Debug, Clone, Arbitrary)]
pub enum Step {
    /// Plans, and keeps the plan in one of four places.
    Plan(Set, u8, Wanted),
    /// Applies a plan that was kept, perhaps of the other set.
    Apply(Set, u8),
    /// Plans and applies.
    Change(Set, Wanted),
    /// Gives the queues other notifiers.
    Rewire(Set, u8),
    /// Adds a doorbell.
    Grow(Set, Choice),
    /// Removes a doorbell.
    Shrink(Set, u8),
    /// Moves the doorbells from one address to another.
    Relocate(Set, u8, u8, u8),
    /// Moves them to and fro many times.
    Wander(Set, u8),
    /// Stops a set.
    Stop(Set),
    /// Starts a set.
    Start(Set),
    /// Takes pending kicks (`drain`).
    Drain(Set),
    /// Kicks all queues.
    Kick(Set),
    /// All vCPUs have passed; the epoch is from any set.
    Passed(Set, u8),
    /// Drops a set and makes a new one, which may remove first.
    Renew(Set, bool),
    /// Reserves a window of a few bytes.
    Reserve(u8, u8),
    /// Makes a registration (or a deregistration) fail: which one from now on, and the errno.
    Fail(bool, u8, u8),
    /// Fails to give the queues other notifiers, and perhaps to move the doorbells a little; part
    /// of the undo fails too.
    Break(Set, u8, u8),
    /// Removes faults that have not occurred.
    ClearFaults,
    /// The guest writes.
    Write(Write),
    /// A write that the guest made some time ago reaches a set.
    Late(Set, Write),
    /// The guest writes before one of the next requests.
    During(u8, Write),
    /// Other code deregisters a doorbell of a set.
    Lose(u8),
    /// The VMM registers a doorbell by itself.
    Single(Choice),
    /// The VMM deregisters a doorbell of its own.
    NoSingle(u8),
    /// A notifier is signalled by its creator.
    Signal(u8),
    /// A handler reads a notifier.
    Consume(u8),
}

/// Two pages for stores across both, ports at the end of their space, and a separate address.
const SLOTS: [(bool, u64); 11] = [
    (false, 0xd000_0ff0),
    (false, 0xd000_0ff4),
    (false, 0xd000_0ff8),
    (false, 0xd000_0ffc),
    (false, 0xd000_1000),
    (false, 0xd000_1004),
    (false, 0xd000_1010),
    (true, 0xc000),
    (true, 0xc004),
    (true, 0xfffc),
    ALONE,
];

/// Where the VMM has single doorbells too. These are not checked, so nothing may overlap there.
const ALONE: (bool, u64) = (false, 0xd000_3000);

/// The most single doorbells that the VMM has.
pub(super) const SINGLES: usize = 3;

pub(super) fn slot(number: u8) -> (bool, u64) {
    SLOTS[usize::from(number) % SLOTS.len()]
}

/// An address in a BAR: in a page with others, without single doorbells.
pub(super) fn in_bar(number: u8) -> (bool, u64) {
    SLOTS[usize::from(number) % (SLOTS.len() - 1)]
}

/// Whether a doorbell is in memory where only sets have doorbells.
pub(super) fn may_move(spot: &Spot) -> bool {
    !spot.pio && (spot.pio, spot.at) != ALONE
}

impl Choice {
    pub(super) fn spot(self) -> Spot {
        let (pio, at) = slot(self.slot);
        let off = match self.kind >> 5 {
            0 if (pio, at) != ALONE => u64::from(self.kind >> 3 & 3),
            _ => 0,
        };
        self.shape(pio, at + off)
    }

    /// One that the VMM registers by itself.
    pub(super) fn single(self) -> Spot {
        self.shape(ALONE.0, ALONE.1)
    }

    fn shape(self, pio: bool, at: u64) -> Spot {
        let value = u64::from(self.slot >> 6);
        let (len, value) = match self.kind % 16 {
            0..=3 => (2, None),
            4..=6 => (2, Some(value)),
            7 => (4, None),
            8 | 9 => (4, Some(value << 30)),
            10 => (1, None),
            11 => (1, Some(value)),
            12 => (8, None),
            13 => (8, Some(value << 62)),
            14 => (0, None),
            _ => (2, Some(value)),
        };
        Spot {
            pio,
            at,
            len,
            value,
        }
    }

    pub(super) fn key(self) -> u64 {
        u64::from(self.key % 4)
    }
}

impl Write {
    /// Bus, address and bytes: mostly what a present or former doorbell matches.
    pub(super) fn make(self, world: &World) -> (bool, u64, Vec<u8>) {
        let spots = world.spots();
        let index = usize::from(self.pick / 4);
        let target = match self.pick % 4 {
            0 => None,
            _ => spots.get(index % spots.len().max(1)),
        };
        let target = target.copied().unwrap_or_else(|| {
            let (pio, at) = slot(self.pick / 4);
            Spot {
                pio,
                at: at + u64::from(self.value >> 6),
                len: 0,
                value: None,
            }
        });
        let len = match (target.len, self.len % 8) {
            (wanted, 0..=3) if wanted != 0 => wanted as usize,
            (_, n) => [1, 2, 4, 8, 16, 8, 16, 2][usize::from(n)],
        };
        // Ports end at 0xffff, and no guest writes eight bytes to one.
        let len = match target.pio {
            true => len.min(4).min(0x1_0000 - target.at as usize),
            false => len,
        };
        let value = match self.value % 4 {
            0 => u64::from(self.value >> 6),
            _ => target.value.unwrap_or(u64::from(self.value)),
        };
        let mut bytes = bytes_of(value, len.min(8));
        bytes.extend(bytes_of(value, len - len.min(8)));
        (target.pio, target.at, bytes)
    }
}
