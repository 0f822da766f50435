// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Devices and a guest on threads of their own: all work of a device is done in the end.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kvm_test::PATIENCE;

use irqfd::{LevelIrq, LevelLine};

use super::bench::{self, VECTOR, level};
use super::{exported, own, signal, told};

const ROUNDS: u64 = 3000;

/// A device with a number of work items, which interrupts while there are any.
struct Device {
    irq: LevelIrq,
    work: AtomicU64,
    done: AtomicU64,
    /// A device of the VMM changes its level and its count together.
    lock: Mutex<()>,
}

impl Device {
    fn new(irq: LevelIrq) -> Self {
        Self {
            irq,
            work: AtomicU64::new(0),
            done: AtomicU64::new(0),
            lock: Mutex::default(),
        }
    }

    fn is_idle(&self) -> bool {
        self.done.load(Ordering::SeqCst) == self.work.load(Ordering::SeqCst)
    }

    fn trigger(&self) {
        signal(&self.irq);
        // With the VMM's own controller the VMM reports EOIs; otherwise the kernel does.
        let _ = self.irq.take_trigger().unwrap();
    }

    /// A work item arrives.
    fn happen(&self) {
        let _guard = self.lock.lock().unwrap();
        self.work.fetch_add(1, Ordering::SeqCst);
        match self.irq.trigger_notifier() {
            Some(_) => self.trigger(),
            None => self.irq.assert().unwrap(),
        }
    }

    /// The guest looks at its status and acknowledges what it sees.
    fn serve(&self) {
        let _guard = self.lock.lock().unwrap();
        self.done
            .store(self.work.load(Ordering::SeqCst), Ordering::SeqCst);
        if self.irq.trigger_notifier().is_none() {
            self.irq.deassert().unwrap();
        }
    }
}

/// Runs devices until everything is done; `serve` is a guest that takes an interrupt if there is
/// one, calls what it is given, and ends it. Returns how many it took.
fn storm(line: &LevelLine, guest: impl Fn(&dyn Fn()) -> bool + Sync) -> u64 {
    let devices = [own(line), told(line), exported(line), exported(line)].map(Device::new);
    let stop = AtomicBool::new(false);
    let taken = AtomicU64::new(0);
    let all_idle = || devices.iter().all(Device::is_idle);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                let served = guest(&|| devices.iter().for_each(Device::serve));
                taken.fetch_add(u64::from(served), Ordering::SeqCst);
            }
        });
        // An exported device looks again after each EOI.
        for device in devices
            .iter()
            .filter(|device| device.irq.trigger_notifier().is_some())
        {
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    let wait = Some(Duration::from_millis(20));
                    if device
                        .irq
                        .resample_notifier()
                        .unwrap()
                        .wait(wait)
                        .unwrap()
                        .is_some()
                        && !device.is_idle()
                    {
                        device.trigger();
                    }
                }
            });
        }
        let happening: Vec<_> = devices
            .iter()
            .map(|device| scope.spawn(|| (0..ROUNDS).for_each(|_| device.happen())))
            .collect();
        happening
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        let start = Instant::now();
        while !all_idle() && start.elapsed() < PATIENCE {
            thread::yield_now();
        }
        // The other threads must end in any case.
        stop.store(true, Ordering::SeqCst);
        assert!(all_idle(), "the line is stuck");
    });
    assert!(!devices.iter().any(|device| device.irq.is_asserted()));
    taken.into_inner()
}

#[test]
fn with_an_ioapic_in_the_kernel() {
    let (vm, _, line) = bench::pc();
    bench::use_ioapic(&vm);
    storm(&line, |serve| {
        let taken = vm.take_vector(0).is_some();
        if taken {
            serve();
            vm.lapic_eoi(0);
        }
        taken
    });
    vm.guest_eoi(2, bench::GSI);
    assert!(!bench::pin(&vm));
}

#[test]
fn with_a_split_irqchip_whose_entry_the_guest_rewrites() {
    let (vm, _, line, exits) = bench::split();
    let ended = told(&line);
    let turn = AtomicU64::new(0);
    let eois = AtomicU64::new(0);
    let rewritten = AtomicU64::new(0);
    line.redirect(level(VECTOR), false).unwrap();
    storm(&line, |serve| {
        let turn = turn.fetch_add(1, Ordering::Relaxed);
        let vector = VECTOR + 0x10 * (turn / 64 % 2) as u8;
        match turn % 32 {
            7 => {
                line.redirect(level(vector), true).unwrap();
                rewritten.fetch_add(1, Ordering::Relaxed);
            }
            15 | 31 => line.redirect(level(vector), false).unwrap(),
            _ => {}
        }
        let Some(vector) = vm.take_vector(0) else {
            return false;
        };
        serve();
        vm.lapic_eoi(0);
        eois.fetch_add(exits.on_vector(vector) as u64, Ordering::Relaxed);
        true
    });
    // Each EOI once; and once for each change of vector, as exported devices are on the line.
    let heard = super::heard(&ended);
    let (eois, rewritten) = (eois.into_inner(), rewritten.into_inner());
    assert!(
        (eois..=eois + rewritten).contains(&heard),
        "{eois} {heard} {rewritten}"
    );
}

#[test]
fn with_a_controller_of_the_vmms_own() {
    let (chip, line, exits) = bench::on_chip();
    storm(&line, |serve| {
        let taken = chip.take();
        if taken {
            serve();
            chip.end();
            assert_eq!(exits.on_pin(bench::GSI), 1);
        }
        taken
    });
    line.on_eoi().unwrap();
    assert!(!chip.level());
}
