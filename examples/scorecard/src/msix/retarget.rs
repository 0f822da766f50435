// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A vector gets another message, as from a guest that balances its interrupts, with or without a
//! mask around the change.

use std::error::Error;

use notify_core::{MsiMessage, RouteBuffer, RouteEntry, RouteTarget, Vm};

use super::device::Device;
use super::others::Others;
use super::{ADDRESS, VECTOR};
use crate::measure::{Step, alternate, median, timed};
use crate::processor::Pinned;
use crate::routing::dbs;
use crate::row::Row;

const ROUNDS: u32 = 21;
/// The number of live routes.
const ROUTES: u32 = 1024;

/// One vector that the VMM triggers itself.
pub(crate) fn internal() -> Result<Row, Box<dyn Error>> {
    let mut others = Others::armed(ROUTES, VECTOR)?;
    let other = |index, data| {
        others.mask(index)?;
        others.unmask(index, data)
    };
    one_by_one(
        "a commit and an irqfd",
        "masked, given another vector, unmasked, among 1024; no system call, the other has three",
        other,
    )
}

/// The same, against the interrupt manager of Dragonball (`dbs-interrupt`).
pub(crate) fn against_dbs() -> Result<Row, Box<dyn Error>> {
    let groups = dbs::groups(ROUTES)?;
    for group in &groups {
        (0..group.len()).try_for_each(|index| group.unmask(index))?;
    }
    let other = |index, data| {
        let (group, index) = (index / dbs::GROUP, index % dbs::GROUP);
        let group = groups.get(group as usize).ok_or("no group")?;
        group.mask(index)?;
        group.update(index, &dbs::config(data))?;
        Ok(group.unmask(index)?)
    };
    one_by_one(
        "dbs-interrupt 0.2.2",
        "masked, given another vector, unmasked, among 1024: of a device of the VMM's own",
        other,
    )
}

fn one_by_one(
    name: &'static str,
    note: &'static str,
    mut other: impl FnMut(u32, u32) -> Step,
) -> Result<Row, Box<dyn Error>> {
    let device = Device::armed(ROUTES, false, VECTOR)?;
    let (mut our_turns, mut other_turns) = (turns(), turns());
    let mut ours = || {
        let (index, data) = our_turns.next().ok_or("no turn")?;
        device.mask(index);
        device.program(index, data);
        Ok(())
    };
    let mut other = || {
        let (index, data) = other_turns.next().ok_or("no turn")?;
        other(index, data)
    };
    let (mut our_times, mut other_times) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        our_times.push(timed(ROUTES, &mut ours)?);
        other_times.push(timed(64, &mut other)?);
    }
    Ok(Row::times(
        name,
        median(our_times),
        median(other_times),
        note,
    ))
}

/// An armed vector without a queue, which the guest does not mask, and which stays armed. The
/// alternative commits to the same VM a table that differs from the last one in one route.
pub(crate) fn armed() -> Result<Row, Box<dyn Error>> {
    let device = Device::armed_at_once(ROUTES, VECTOR)?;
    let mut routes: RouteBuffer = device
        .table
        .vectors()
        .iter()
        .filter_map(|vector| Some(route(vector.gsi()?.number(), VECTOR)))
        .collect();
    if routes.len() != ROUTES as usize {
        return Err(format!("{} vectors have a route", routes.len()).into());
    }
    device.counting.reset();
    let (mut our_turns, mut other_turns, mut retargeted) = (turns(), turns(), 0);
    let ours = || {
        let (index, data) = our_turns.next().ok_or("no turn")?;
        device.retarget(index, data);
        retargeted += 1;
        Ok(())
    };
    let other = || {
        let (index, data) = other_turns.next().ok_or("no turn")?;
        let index = index as usize;
        let gsi = routes.get(index).ok_or("no such route")?.gsi;
        routes.replace(index, route(gsi, data));
        Ok(device.vm.set_gsi_routing(&routes)?)
    };
    let (ours, others) = alternate(ROUNDS, 64, ours, other)?;
    device.expect_ready()?;
    let each = |count: u32| f64::from(count) / f64::from(retargeted);
    Ok(Row::times(
        "a bare KVM_SET_GSI_ROUTING",
        ours,
        others,
        format!(
            "an armed vector without a queue, given another vector, among {ROUTES}: commits {}, \
             irqfds {}; the other changes one entry of a ready-made buffer",
            each(device.counting.commits()),
            each(device.counting.irqfds())
        ),
    ))
}

fn route(gsi: u32, data: u32) -> RouteEntry {
    let (address, devid) = (u64::from(ADDRESS), None);
    RouteEntry::new(
        gsi,
        RouteTarget::Msi(MsiMessage {
            address,
            data,
            devid,
        }),
    )
}

/// A burst of vectors whose notifiers were exported, on the processor that ends grace periods.
pub(crate) fn exported(burst: u32) -> Result<Row, Box<dyn Error>> {
    let _pinned = Pinned::to_first()?;
    of_exported(burst, "on the first processor")
}

/// The same on another processor, which wakes that processor and waits for it at each irqfd that is
/// deassigned.
pub(crate) fn exported_far(burst: u32) -> Result<Row, Box<dyn Error>> {
    let _pinned = Pinned::to_last()?;
    of_exported(burst, "on the last processor")
}

fn of_exported(burst: u32, place: &str) -> Result<Row, Box<dyn Error>> {
    let device = Device::armed(ROUTES, true, VECTOR)?;
    let mut others = Others::armed(ROUTES, VECTOR)?;
    let (mut data, mut commits) = (VECTOR, 0);
    let (mut our_times, mut other_times) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        data ^= 1;
        device.counting.reset();
        our_times.push(timed(1, &mut || {
            for index in 0..burst {
                device.mask(index);
                device.program(index, data);
            }
            match device.queue.run_pending().armed == burst as usize {
                true => Ok(()),
                false => Err("not all were armed".into()),
            }
        })?);
        commits = commits.max(device.counting.commits());
        other_times.push(timed(1, &mut || {
            (0..burst).try_for_each(|index| {
                others.mask(index)?;
                others.unmask(index, data)
            })
        })?);
    }
    Ok(Row::times(
        "a commit and an irqfd for each",
        median(our_times),
        median(other_times),
        format!(
            "{burst} vectors masked, given another vector, unmasked and armed again, among \
                {ROUTES}, \
             {place}: commits in a round at most {commits}, the other {burst}"
        ),
    ))
}

/// One vector after the other, each time with other data than the last.
fn turns() -> impl Iterator<Item = (u32, u32)> {
    let laps = [VECTOR ^ 1, VECTOR].into_iter().cycle();
    laps.flat_map(|data| (0..ROUTES).map(move |index| (index, data)))
}
