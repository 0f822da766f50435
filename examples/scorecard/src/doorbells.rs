// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Sets of doorbells, against what VMMs do by hand.

use std::error::Error;
use std::hint::black_box;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use ioeventfd::{
    Datamatch, Doorbell, DoorbellRegistry, DoorbellSet, IoAddress, IoEventFd, Width, Window,
};
use kvm_ioctls::Kvm;
use notify_core::{Bus, EventNotifier, IoEventFdRequest, KvmVm, Vm};

use crate::measure::{alternate, median};
use crate::row::Row;

const HERE: u64 = 0xd000_0000;
const THERE: u64 = 0xd100_0000;
const STRIDE: u64 = 4;
const BAR_SIZE: u64 = 0x1000;
const W2: Datamatch = Datamatch::Width(Width::W2);

/// A VM that never runs.
fn kvm() -> Result<Arc<KvmVm>, Box<dyn Error>> {
    let vm_fd = Kvm::new()?.create_vm()?;
    vm_fd.create_irq_chip()?;
    Ok(Arc::new(KvmVm::try_from(&vm_fd)?))
}

/// Doorbells that signal one notifier.
fn doorbells(base: u64, count: u64) -> Result<Vec<Doorbell>, Box<dyn Error>> {
    let notifier = Arc::new(EventNotifier::new()?);
    let one = |queue| {
        let address = IoAddress::Mmio(base + queue * STRIDE);
        Doorbell::new(queue, address, W2, Arc::clone(&notifier))
    };
    Ok((0..count).map(one).collect())
}

fn empty(vm: &Arc<KvmVm>) -> DoorbellSet {
    DoorbellSet::new(&DoorbellRegistry::new(vm.clone(), Window::X86_IRQCHIP))
}

/// The bare ioctl that registers the doorbell of a queue.
fn request(notifier: &EventNotifier, base: u64, queue: u64) -> IoEventFdRequest<'_> {
    IoEventFdRequest::assign(notifier.as_fd(), Bus::Mmio, base + queue * STRIDE, 2)
}

fn since(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e9
}

/// A BAR with 64 doorbells moves.
pub(crate) fn relocate_64() -> Result<Row, Box<dyn Error>> {
    const QUEUES: u64 = 64;
    const ROUNDS: usize = 5;
    let (vm, places) = (kvm()?, [HERE, THERE]);
    let sets = [empty(&vm), empty(&vm).removals_first()];
    let (mut ours, mut removals_first, mut other) = (Vec::new(), Vec::new(), Vec::new());
    let bars = |round: usize| {
        let at = |one: usize| places.get(one % 2).copied().unwrap_or(HERE);
        (at(round), at(round + 1))
    };
    for (set, times) in sets.iter().zip([&mut ours, &mut removals_first]) {
        set.apply(set.plan(doorbells(HERE, QUEUES)?)?)?;
        for round in 0..ROUNDS {
            let (from, to) = bars(round);
            let start = Instant::now();
            let moved = set.relocate(IoAddress::Mmio(from), BAR_SIZE, IoAddress::Mmio(to))?;
            times.push(since(start));
            set.vcpus_passed(moved)?;
        }
        set.apply(set.plan([])?)?;
    }
    let notifier = EventNotifier::new()?;
    (0..QUEUES).try_for_each(|queue| vm.ioeventfd(&request(&notifier, HERE, queue)))?;
    for round in 0..ROUNDS {
        let (from, to) = bars(round);
        let start = Instant::now();
        for queue in 0..QUEUES {
            vm.ioeventfd(&request(&notifier, from, queue).deassign())?;
            vm.ioeventfd(&request(&notifier, to, queue))?;
        }
        other.push(since(start));
    }
    vm.retire();
    let first = median(removals_first) / 1e6;
    Ok(Row::times(
        "one by one, each deregistered and registered",
        median(ours),
        median(other),
        format!("a BAR with 64 doorbells moves; with removals first {first:.2} ms"),
    ))
}

/// A thousand doorbells are registered.
pub(crate) fn apply_1000() -> Result<Row, Box<dyn Error>> {
    const QUEUES: u64 = 1000;
    let vm = kvm()?;
    let set = || -> Result<f64, Box<dyn Error>> {
        let set = empty(&vm);
        let plan = set.plan(doorbells(HERE, QUEUES)?)?;
        let start = Instant::now();
        set.apply(plan)?;
        // Dropping the set deregisters them.
        Ok(since(start))
    };
    let bare = || -> Result<f64, Box<dyn Error>> {
        let notifier = EventNotifier::new()?;
        let start = Instant::now();
        (0..QUEUES).try_for_each(|queue| vm.ioeventfd(&request(&notifier, HERE, queue)))?;
        let time = since(start);
        let mut off = (0..QUEUES).map(|queue| request(&notifier, HERE, queue).deassign());
        off.try_for_each(|request| vm.ioeventfd(&request))?;
        Ok(time)
    };
    let (mut ours, mut other) = (Vec::new(), Vec::new());
    for round in 0..=30 {
        // The two take turns in going first. The first round warms up.
        let (one, two) = if round % 2 == 0 {
            let one = set()?;
            (one, bare()?)
        } else {
            let two = bare()?;
            (set()?, two)
        };
        if round > 0 {
            ours.push(one);
            other.push(two);
        }
    }
    Ok(Row::times(
        "the bare ioctls",
        median(ours),
        median(other),
        "1000 doorbells registered by a plan",
    ))
}

/// Plans a thousand doorbells of which ten change.
pub(crate) fn plan_1000_10() -> Result<Row, Box<dyn Error>> {
    const QUEUES: u64 = 1000;
    let vm = kvm()?;
    let set = empty(&vm);
    let there = doorbells(HERE, QUEUES)?;
    set.apply(set.plan(there.iter().cloned())?)?;
    let mut wanted = there.clone();
    for (index, moved) in (0..).zip(wanted.iter_mut().step_by(100)) {
        moved.address = IoAddress::Mmio(THERE + index * STRIDE);
    }
    let ours = || {
        let plan = set.plan(wanted.iter().cloned())?;
        match (plan.additions(), plan.removals()) {
            (10, 10) => Ok(()),
            other => Err(format!("{other:?} instead of ten of each").into()),
        }
    };
    let bare = || {
        // As QEMU does: sort both lists, and compare them.
        let key = |one: &Doorbell| (one.address, one.datamatch, Arc::as_ptr(&one.notifier));
        let mut lists = [&there, &wanted].map(|list| list.iter().map(key).collect::<Vec<_>>());
        lists.iter_mut().for_each(|list| list.sort_unstable());
        let [there, wanted] = &lists;
        let new = wanted
            .iter()
            .filter(|one| there.binary_search(one).is_err());
        let old = there
            .iter()
            .filter(|one| wanted.binary_search(one).is_err());
        match (new.count(), old.count()) {
            (10, 10) => Ok(()),
            other => Err(format!("{other:?} instead of ten of each").into()),
        }
    };
    let (ours_ns, other_ns) = alternate(40, 5, ours, bare)?;
    vm.retire();
    Ok(Row::times(
        "sorting and comparing the two lists",
        ours_ns,
        other_ns,
        "1000 doorbells of which 10 change; ours looks for conflicts, neither calls KVM",
    ))
}

/// Finds the one of a thousand doorbells for which a write that exited was meant.
pub(crate) fn fallback_match_1000() -> Result<Row, Box<dyn Error>> {
    const QUEUES: u64 = 1000;
    const BATCH: u32 = 10_000;
    let vm = kvm()?;
    let set = empty(&vm);
    let there = doorbells(HERE, QUEUES)?;
    set.apply(set.plan(there.iter().cloned())?)?;
    let addresses = |turn: &mut u64| {
        *turn = (*turn + 617) % QUEUES;
        (IoAddress::Mmio(HERE + *turn * STRIDE), *turn)
    };
    let (mut ours_turn, mut other_turn) = (0, 0);
    let ours = || {
        let (address, queue) = addresses(&mut ours_turn);
        let found = set.key_of_write(black_box(address), black_box(&[0, 0]));
        (found == Some(queue))
            .then_some(())
            .ok_or_else(|| "no match".into())
    };
    let linear = || {
        let (address, queue) = addresses(&mut other_turn);
        let (address, bytes) = (black_box(address), black_box([0u8, 0]));
        let rings = |bell: &&Doorbell| {
            bell.address == address && bell.datamatch.bytes() as usize == bytes.len()
        };
        let found = there.iter().find(rings).map(|bell| bell.key);
        (found == Some(queue))
            .then_some(())
            .ok_or_else(|| "no match".into())
    };
    let (ours_ns, other_ns) = alternate(20, BATCH, ours, linear)?;
    vm.retire();
    Ok(Row::times(
        "looking through the list",
        ours_ns,
        other_ns,
        "the match alone of a write that exited, among 1000 doorbells",
    ))
}

/// A device with 64 queues is reset.
pub(crate) fn start_stop_64() -> Result<Row, Box<dyn Error>> {
    const QUEUES: u64 = 64;
    let vm = kvm()?;
    let set = empty(&vm);
    set.apply(set.plan(doorbells(HERE, QUEUES)?)?)?;
    let create = || -> Result<Vec<IoEventFd>, Box<dyn Error>> {
        let one = |queue| {
            let address = IoAddress::Mmio(THERE + queue * STRIDE);
            Ok(IoEventFd::builder(vm.clone(), address, W2).assign()?)
        };
        (0..QUEUES).map(one).collect()
    };
    let mut guards = create()?;
    let ours = || {
        // The device is reset, so its queues' doorbells are deregistered.
        drop(set.stop()?);
        Ok(set.start()?)
    };
    let again = || {
        guards.clear();
        guards = create()?;
        Ok(())
    };
    let (ours_ns, other_ns) = alternate(20, 1, ours, again)?;
    vm.retire();
    Ok(Row::times(
        "guards dropped and made anew",
        ours_ns,
        other_ns,
        "64 doorbells of a device that is reset",
    ))
}
