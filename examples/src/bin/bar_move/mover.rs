// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The host that moves the BAR and publishes its place to the guest.

use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

use examples::interrupt;
use examples::progress::Progress;
use ioeventfd::IoAddress;

use crate::device::{BAR_SIZE, Device, NOTIFY, PLACES, QUEUES};

/// A guest that makes no progress for this long has stopped.
const PATIENCE: Duration = Duration::from_secs(10);

/// A guest that kicks.
pub(crate) trait Guest: Sync {
    /// Publishes the place of the BAR to the guest.
    fn publish(&self, bar: u64) -> Result<(), Box<dyn Error>>;
    /// How many rounds of kicks the guest has done.
    fn rounds(&self) -> Result<u64, Box<dyn Error>>;
    /// Makes the guest stop kicking at the end of its round.
    fn stop(&self) -> Result<(), Box<dyn Error>>;
    /// Whether the guest has stopped kicking.
    fn is_over(&self) -> bool;
}

/// What the moves took, and how many failed.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    /// The nanoseconds of each move that succeeded.
    pub(crate) times: Vec<u64>,
    /// How many moves failed, because they were made to.
    pub(crate) failed: u64,
}

/// Moves the BAR until the guest has kicked `kicks` times, or the user ends the run. `fault` is
/// called before each move and returns whether the move is to fail.
pub(crate) fn run(
    device: &Device,
    guest: &impl Guest,
    kicks: u32,
    mut fault: impl FnMut(u64) -> bool,
) -> Result<Moves, Box<dyn Error>> {
    let mut moves = Moves::default();
    let [mut here, mut there] = PLACES;
    let mut progress = Progress::new("kicks", kicks.into());
    for number in 0.. {
        if guest.is_over() {
            break;
        }
        if interrupt::is_pending() {
            guest.stop()?;
        }
        progress.show(guest.rounds()? * u64::from(QUEUES));
        let fails = fault(number);
        let (from, to) = (IoAddress::Mmio(here), IoAddress::Mmio(there));
        let start = Instant::now();
        // Every other time the new place is published while the move is under way: then the guest's
        // kicks reach doorbells that are not registered yet. (Not if the move is to fail: the guest
        // must not see a place where its BAR is not.)
        let early = number.is_multiple_of(2) && !fails;
        let moved = thread::scope(|scope| {
            let teller = early.then(|| scope.spawn(|| tell(device, guest, there).is_ok()));
            let moved = device.doorbells.relocate(from, BAR_SIZE, to);
            let time = start.elapsed();
            let told = teller.is_none_or(|teller| teller.join().unwrap_or(false));
            moved.map(|epoch| (epoch, time, told))
        });
        let (epoch, time) = match moved {
            Ok((epoch, time, true)) if !fails => (epoch, time),
            Ok(_) => return Err("a move that was to fail did not, or it was not published".into()),
            Err(_) if fails => {
                moves.failed += 1;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        moves
            .times
            .push(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        guest.publish(there)?;
        // A guest that has begun a round since then has no kick in flight to the old place.
        wait_for_rounds(guest, 2)?;
        device.doorbells.vcpus_passed(epoch)?;
        (here, there) = (there, here);
    }
    Ok(moves)
}

/// Publishes the new place as soon as exits there are matched.
fn tell(device: &Device, guest: &impl Guest, bar: u64) -> Result<(), Box<dyn Error>> {
    let first = IoAddress::Mmio(bar + u64::from(NOTIFY.offset));
    let start = Instant::now();
    while device.doorbells.key_of_write(first, &[0, 0]).is_none() {
        if start.elapsed() > PATIENCE {
            return Err("the move did not begin".into());
        }
        std::hint::spin_loop();
    }
    guest.publish(bar)
}

fn wait_for_rounds(guest: &impl Guest, rounds: u64) -> Result<(), Box<dyn Error>> {
    let until = guest.rounds()? + rounds;
    let start = Instant::now();
    while guest.rounds()? < until && !guest.is_over() {
        if start.elapsed() > PATIENCE {
            return Err("the guest has stopped".into());
        }
        thread::yield_now();
    }
    Ok(())
}
