// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The random sequences.

mod barrier;
mod guest;
mod ioctl;
mod pair;

use std::panic::AssertUnwindSafe;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use kvm_test::{Trial, bare, harmless_store, knows_logical_destinations, kvm};
use notify_sim::Profile;
use notify_sim::raw::{IoEventFd, IrqFd, IrqLevel, Msi, Routing, RoutingEntry};

use pair::Pair;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        kvm("capabilities", capabilities),
        kvm("interrupts", || interrupts(Profile::X86)),
        kvm("interrupts_of_a_split_irqchip", || {
            interrupts(Profile::X86Split { pins: 24 });
        }),
        kvm("interrupts_without_irqchip", || interrupts(Profile::None)),
        kvm("doorbells", doorbells),
        kvm("pins_and_their_guest", pins_and_their_guest),
    ]
}

/// xorshift64*: good enough to choose requests.
struct Random(AtomicU64);

impl Random {
    fn next(&self) -> u64 {
        let mut state = self.0.load(Ordering::Relaxed);
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        self.0.store(state, Ordering::Relaxed);
        state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&self, end: u64) -> u64 {
        self.next() % end
    }

    fn one_in(&self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn of<T: Copy>(&self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }

    /// The index of a file, mostly of an eventfd.
    fn file(&self) -> usize {
        let limit = if self.one_in(16) {
            Pair::NUMBERS
        } else {
            Pair::EVENTFDS
        };
        self.below(limit as u64) as usize
    }
}

fn variable(name: &str, default: u64) -> u64 {
    let value = std::env::var(name).ok();
    value
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

fn sequences(default: u64, run: impl Fn(&Random)) {
    let seed = variable("SIM_KVM_SEED", 1);
    for n in 0..variable("SIM_KVM_SEQUENCES", default) {
        let random = Random(AtomicU64::new(
            (seed + n).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        ));
        for _ in 0..8 {
            random.next();
        }
        let result = std::panic::catch_unwind(AssertUnwindSafe(|| run(&random)));
        assert!(result.is_ok(), "with SIM_KVM_SEED={}", seed + n);
    }
}

fn capabilities() {
    for profile in [Profile::X86, Profile::X86Split { pins: 24 }, Profile::None] {
        let pair = Pair::new(profile, 0, false);
        use kvm_bindings as kvm;
        for capability in [
            kvm::KVM_CAP_IRQCHIP,
            kvm::KVM_CAP_IRQ_ROUTING,
            kvm::KVM_CAP_IRQ_INJECT_STATUS,
            kvm::KVM_CAP_IRQFD,
            kvm::KVM_CAP_IRQFD_RESAMPLE,
            kvm::KVM_CAP_IOEVENTFD,
            kvm::KVM_CAP_IOEVENTFD_NO_LENGTH,
            kvm::KVM_CAP_IOEVENTFD_ANY_LENGTH,
            kvm::KVM_CAP_SIGNAL_MSI,
            kvm::KVM_CAP_MSI_DEVID,
            kvm::KVM_CAP_SPLIT_IRQCHIP,
            kvm::KVM_CAP_X2APIC_API,
            kvm::KVM_CAP_ENABLE_CAP_VM,
        ] {
            let real = pair.vm.check_extension_raw(capability.into());
            let sim = pair.sim.kvm_check_extension(capability).unwrap();
            let known: &[i32] = match capability {
                // Kernels that have no choice yet of whether EOIs are broadcast list two flags.
                kvm::KVM_CAP_X2APIC_API => &[sim, 3],
                _ => &[sim],
            };
            assert!(
                known.contains(&real),
                "{profile:?}, capability {capability}: KVM says {real}, SimVm says {sim}"
            );
        }
    }
}

const GSIS: [u32; 14] = [0, 1, 2, 5, 7, 8, 9, 10, 16, 20, 24, 100, 4095, 4096];

fn gsi(random: &Random) -> u32 {
    match random.below(24) {
        0 => u32::MAX,
        1 => random.below(30) as u32,
        _ => random.of(&GSIS),
    }
}

fn message(random: &Random, any_mode: bool) -> (u32, u32, u32) {
    let destination = random.of(&[0, 0, 0, 1, 2, 9, 0xff]);
    let hints: &[u32] = if knows_logical_destinations() {
        &[0, 0, 0, 0, 4, 8, 12]
    } else {
        &[0, 0, 0, 0, 8]
    };
    let hints = random.of(hints);
    let mode = match random.below(8) {
        // Not 2: whether an SMI is taken depends on the kernel's configuration.
        0 if any_mode => random.of(&[0, 1, 3, 4, 5, 6, 7]),
        0 | 1 => 1,
        2 => 7,
        _ => 0,
    };
    let level = random.of(&[0, 0, 0x8000, 0xc000]);
    let data = random.of(&[0x05, 0x30, 0x41, 0x42, 0x43, 0x55, 0xef]) | mode << 8 | level;
    let high = random.of(&[0, 0, 0, 0, 1, 0x100, 0xff]);
    (0xfee0_0000 | destination << 12 | hints, high, data)
}

fn entry(random: &Random, any_mode: bool) -> RoutingEntry {
    let gsi = random.of(&[0, 1, 2, 5, 7, 8, 9, 10, 16, 20, 24, 24, 100, 4095]);
    let mut entry = RoutingEntry {
        gsi: if random.one_in(40) { 4096 } else { gsi },
        ..RoutingEntry::default()
    };
    match random.below(24) {
        0 => entry.kind = random.of(refused_kinds()),
        1..=12 => {
            entry.kind = 1;
            let chip = random.of(&[0, 1, 2, 2, 2]);
            let pins = if chip == 2 { 24 } else { 8 };
            entry.u[0] = chip;
            entry.u[1] = random.below(pins) as u32;
            if random.one_in(40) {
                entry.u[0] = random.of(&[3, u32::MAX]);
            }
            if random.one_in(40) {
                entry.u[1] = random.of(&[8, 24, u32::MAX]);
            }
        }
        _ => {
            entry.kind = 2;
            let (low, high, data) = message(random, any_mode);
            entry.u = [low, high, data, 7, 0, 0, 0, 0];
            entry.flags = random.of(&[0, 0, 0, 0, 1]);
        }
    }
    if random.one_in(40) {
        entry.flags = random.of(&[1, 2, 3]);
    }
    entry
}

/// Kinds of routes that the kernel refuses: unknown ones, and those of Hyper-V and Xen guests where
/// it was built without them. `SimVm` behaves like a kernel without them.
fn refused_kinds() -> &'static [u32] {
    static KINDS: LazyLock<Vec<u32>> = LazyLock::new(|| {
        let vm = bare().unwrap();
        vm.create_irq_chip().unwrap();
        let is_refused = |kind: &u32| {
            let entry = RoutingEntry {
                gsi: 24,
                kind: *kind,
                ..RoutingEntry::default()
            };
            ioctl::set_gsi_routing(&vm, &Routing::of(&[entry])) < 0
        };
        let all = [0, 3, 4, 5, 6, u32::MAX].into_iter();
        all.filter(is_refused).collect()
    });
    &KINDS
}

fn table(random: &Random, any_mode: bool) -> Vec<RoutingEntry> {
    let mut entries: Vec<_> = (0..random.below(9))
        .map(|_| entry(random, any_mode))
        .collect();
    if random.one_in(2) {
        // The default routes mostly stay, so that pins have visible effects.
        for gsi in 0..16 {
            if entries.iter().all(|entry| entry.gsi != gsi) {
                let (mut pic, mut ioapic) = (RoutingEntry::default(), RoutingEntry::default());
                (pic.gsi, pic.kind, pic.u[0], pic.u[1]) = (gsi, 1, gsi / 8, gsi % 8);
                (ioapic.gsi, ioapic.kind, ioapic.u[0], ioapic.u[1]) = (gsi, 1, 2, gsi);
                entries.extend([ioapic, pic]);
            }
        }
    }
    entries
}

fn redirection(random: &Random, pin: u64) -> u64 {
    // No other pin may have the real-time clock's vector: KVM tracks EOIs by vector.
    let vector = if pin == 8 {
        0x68
    } else {
        random.of(&[0x31, 0x51, 0x71])
    };
    let mode = random.of(&[0, 0, 0, 1, 7]) << 8;
    let level = random.below(2) << 15;
    let masked = u64::from(random.one_in(5)) << 16;
    let destination = random.of(&[0, 0, 0, 1, 9, 0xff]) << 56;
    vector | mode | level | masked | destination
}

fn interrupt_step(random: &Random, pair: &mut Pair, any_mode: bool, vcpus: usize) {
    let pins = pair.sim.pic().is_some();
    match random.below(20) {
        0..=3 => {
            let flags = match random.below(12) {
                0 => random.of(&[4, 5, 0x8000_0000]),
                1..=3 => 1,
                4..=6 => 2,
                7 => 3,
                _ => 0,
            };
            pair.irqfd(IrqFd {
                fd: random.file() as i32,
                gsi: gsi(random),
                flags,
                // `SimVm` merges two signals of a semaphore within one call, so a semaphore is not
                // used here.
                resamplefd: match random.file() {
                    Pair::SEMAPHORE => 0,
                    file => file as i32,
                },
            });
        }
        4..=6 => {
            let entries = table(random, any_mode);
            let mut routing = Routing::of(&entries);
            if random.one_in(20) {
                routing.flags = 1;
            }
            if random.one_in(20) {
                routing.nr = random.of(&[4097, u32::MAX]);
            }
            pair.routing(&routing);
        }
        7 | 8 => {
            let (address_lo, address_hi, data) = message(random, any_mode);
            pair.msi(&Msi {
                address_lo,
                address_hi,
                data,
                flags: if random.one_in(10) {
                    random.of(&[1, 2, 3])
                } else {
                    0
                },
                devid: 3,
            });
        }
        9..=12 => {
            let level = random.of(&[0, 0, 1, 1, 7]);
            let irq = gsi(random);
            pair.line(&IrqLevel { irq, level }, random.one_in(2));
        }
        13..=15 => {
            let file = random.below(Pair::EVENTFDS as u64) as usize;
            // Only the kernel injects for 0, and for the second signal of a semaphore.
            pair.write(file, random.of(&[1, 1, 3]));
        }
        16 => pair.read(random.below(Pair::EVENTFDS as u64) as usize),
        17 if vcpus > 0 => {
            let vcpu = random.below(vcpus as u64) as usize;
            if random.one_in(2) {
                pair.clear_vectors(vcpu);
            } else if any_mode {
                pair.enable_lapic(vcpu, !random.one_in(4));
            }
        }
        18 if pins => {
            let pin = random.below(24);
            pair.redirect(pin as usize, redirection(random, pin));
        }
        19 if pins => {
            let elcr = [random.next() as u8 & 0xf8, random.next() as u8 & 0xde];
            let imr = [random.next() as u8, random.next() as u8];
            pair.elcr(elcr, if random.one_in(3) { imr } else { [0, 0] });
        }
        _ => {}
    }
}

fn interrupts(profile: Profile) {
    sequences(20, |random| {
        let vcpus = random.below(4) as usize;
        let mut pair = Pair::new(profile, vcpus, false);
        let lapics = profile != Profile::None;
        if lapics && random.one_in(4) {
            pair.x2apic_ids();
        }
        if lapics {
            for vcpu in 0..vcpus {
                pair.enable_lapic(vcpu, !random.one_in(4));
            }
        }
        for _ in 0..200 {
            if lapics {
                interrupt_step(random, &mut pair, true, vcpus);
            } else {
                interrupt_step(random, &mut pair, true, 0);
            }
            pair.compare();
        }
    });
}

fn doorbell(random: &Random) -> IoEventFd {
    let pio = random.one_in(2);
    let base = if pio { 0x500 } else { 0xd000_0ff8 };
    let addr = match random.below(40) {
        0 => random.of(&[u64::MAX, u64::MAX - 7, u64::MAX - 8]),
        1 if pio => random.of(&[0x20, 0x21, 0xa0, 0x4d0]),
        1 => random.of(&[0xfec0_0000, 0xfec0_0010, 0xfee0_00b0]),
        _ => base + random.below(20),
    };
    let match_value = random.one_in(3);
    let mut flags = u32::from(match_value) | u32::from(pio) << 1;
    if random.one_in(30) {
        flags |= random.of(&[0x8, 0x10, 0x20, 0x8000_0000]);
    }
    IoEventFd {
        datamatch: random.of(&[1, 2, 0x101, 0x1_0000_0001]),
        addr,
        len: if random.one_in(30) {
            random.of(&[3, 5, 16])
        } else {
            random.of(&[0, 1, 2, 4, 8])
        },
        fd: random.file() as i32,
        flags,
    }
}

fn doorbells() {
    sequences(20, |random| {
        let profile = random.of(&[Profile::X86, Profile::X86Split { pins: 24 }, Profile::None]);
        let mut pair = Pair::new(profile, 1, true);
        let mut bound: Vec<IoEventFd> = Vec::new();
        if random.one_in(2) {
            pair.coalesced(true, 0x500 + random.below(16), 4);
            pair.coalesced(false, 0xd000_0ff8 + random.below(16), 8);
        }
        for _ in 0..40 {
            // Deassignments take long, so they are few.
            if random.one_in(8) {
                for _ in 0..random.below(6) {
                    let mut args = if bound.is_empty() || random.one_in(4) {
                        doorbell(random)
                    } else {
                        random.of(&bound)
                    };
                    args.flags |= 4;
                    pair.ioeventfd(args);
                }
            }
            for _ in 0..random.below(4) {
                let args = doorbell(random);
                pair.ioeventfd(args);
                bound.push(args);
            }
            for _ in 0..8 {
                let pio = random.one_in(2);
                let value = [random.of(&[1, 2, 3]), random.of(&[0, 0, 1]), 0, 0];
                let wide = [value, [1, 0, 0, 0], [5; 4], [6; 4]].concat();
                let (len, address) = if pio {
                    (random.of(&[1, 2, 4]), 0x4fc + random.below(28))
                } else {
                    (random.of(&[1, 2, 4, 8, 16]), 0xd000_0ff0 + random.below(36))
                };
                let len = harmless_store(address, len);
                pair.guest_write(pio, address, &wide[..len]);
            }
            let file = random.below(Pair::EVENTFDS as u64) as usize;
            pair.read(file);
        }
        (0..Pair::EVENTFDS).for_each(|file| pair.read(file));
    });
}

fn pins_and_their_guest() {
    sequences(20, |random| {
        let mut pair = Pair::new(Profile::X86, 1, true);
        pair.enable_lapic(0, true);
        for _ in 0..200 {
            match random.below(12) {
                0..=1 => {
                    let pin = random.below(8) as u8;
                    // EOIs in all forms, or a new mask; interrupts are not taken.
                    let (port, value) = match random.below(8) {
                        0 => (0x21, random.next() as u8),
                        1 => (0xa1, random.next() as u8),
                        2 => (0x4d0, random.next() as u8),
                        3 => (0x4d1, random.next() as u8),
                        4 => (0x20, random.of(&[0x20, 0xa0, 0xc0 | pin, 0xe0 | pin])),
                        5 => (0xa0, random.of(&[0x20, 0xa0, 0xc0 | pin, 0xe0 | pin])),
                        6 => (0x20, 0x60 | pin),
                        _ => (0xa0, 0x60 | pin),
                    };
                    pair.guest_write(true, port, &[value]);
                }
                2 if random.one_in(4) => {
                    for (port, value) in [(0x20, 0x11), (0x21, 0x20), (0x21, 4), (0x21, 1)] {
                        let port = port + random.of(&[0, 0x80]);
                        pair.guest_write(true, port, &[value]);
                    }
                }
                3 => {
                    let pin = random.below(24);
                    let entry = redirection(random, pin).to_le_bytes();
                    let select = 0x10 + pin as u8 * 2;
                    pair.guest_write(false, 0xfec0_0000, &[select + 1, 0, 0, 0]);
                    pair.guest_write(false, 0xfec0_0010, &entry[4..]);
                    pair.guest_write(false, 0xfec0_0000, &[select, 0, 0, 0]);
                    pair.guest_write(false, 0xfec0_0010, &entry[..4]);
                }
                4..=5 => {
                    pair.take_vector(0);
                    pair.guest_write(false, 0xfee0_00b0, &[0; 4]);
                }
                _ => interrupt_step(random, &mut pair, false, 1),
            }
            pair.compare();
        }
        (0..Pair::EVENTFDS).for_each(|file| pair.read(file));
    });
}
