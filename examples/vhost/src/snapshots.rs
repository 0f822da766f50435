// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Plan`]: when the VMM takes snapshots, independent of what the guest does then.

use std::thread;
use std::time::Duration;

use examples::random::Random;

use crate::vmm::{Device, Vmm};

/// How often the thread looks at the guest.
const LOOK: Duration = Duration::from_millis(1);
/// A snapshot comes up to so many microseconds after its packet, which was drawn at random.
const DELAY: u32 = 500;
/// One snapshot in so many follows the one before at once, before the guest executes an
/// instruction.
const AT_ONCE: u32 = 8;
/// There is one snapshot for so many packets, if no number is given.
const PACKETS: u32 = 5000;
/// The stream of random numbers.
const STREAM: u64 = 1;

/// How many snapshots there are, and when.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// How many.
    pub count: u32,
    /// Among how many packets.
    packets: u32,
    /// Where the random numbers start.
    seed: u64,
}

impl Plan {
    /// No snapshots.
    pub const NONE: Self = Self {
        count: 0,
        packets: 1,
        seed: 0,
    };

    /// `count` snapshots, or one for 5000 packets.
    #[must_use]
    pub fn new(count: Option<u32>, packets: u32, seed: u64) -> Self {
        Self {
            count: count.unwrap_or(packets / PACKETS),
            packets,
            seed,
        }
    }

    /// Requests all snapshots, one after the other, on the calling thread. Returns early if the
    /// guest ends before.
    ///
    /// # Errors
    ///
    /// None in practice.
    pub fn carry_out<D: Device>(&self, vmm: &Vmm<D>) -> Result<(), tiny_guest::Error> {
        let mut random = Random::new(self.seed, STREAM);
        // Not among the last packets, so that there is traffic after each snapshot.
        let last = (self.packets / 4 * 3).max(1);
        let mut packets: Vec<_> = (0..self.count).map(|_| random.below(last)).collect();
        packets.sort_unstable();
        for packet in packets {
            if vmm.is_ending() {
                return Ok(());
            }
            // A late snapshot has no delay, so that a fast guest gets all of them.
            let mut delay = 0;
            let at_once = random.chance(AT_ONCE);
            while !at_once && vmm.session().guest().answered()? < packet.into() {
                if vmm.is_ending() {
                    return Ok(());
                }
                thread::sleep(LOOK);
                delay = DELAY;
            }
            if delay > 0 {
                thread::sleep(Duration::from_micros(random.below(delay).into()));
            }
            vmm.request_snapshot();
        }
        Ok(())
    }
}
