// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Random doorbells and random writes. Each bus accepts what the planner accepts, and the matcher,
//! the simulated bus and the kernel's bus agree on where a write lands.

use std::sync::Arc;

use ioeventfd::{
    Conflict, Datamatch, Doorbell, DoorbellRegistry, DoorbellSet, Error, IoAddress, IoEventFd,
    Width, Window,
};
use kvm_test::{Trial, anywhere};
use notify_core::{Bus, EventNotifier, Vm};
use notify_sim::SimVm;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// Where doorbells and writes are: across a page boundary, at some ports, beside the PIC, at the
/// end of the I/O APIC.
const SPACES: [(Bus, u64, u64); 4] = [
    (Bus::Mmio, 0xd000_0ff0, 32),
    (Bus::Pio, 0xc000, 16),
    (Bus::Pio, 0x1c, 10),
    (Bus::Mmio, 0xfec0_00f8, 24),
];

const PAGE: u64 = 0x1000;

pub(crate) fn trials() -> Vec<Trial> {
    #[cfg_attr(
        not(target_arch = "x86_64"),
        allow(unused_mut, reason = "one more on x86")
    )]
    let mut trials = vec![anywhere(
        "matcher_and_planner_agree_with_the_simulated_bus",
        simulated,
    )];
    #[cfg(target_arch = "x86_64")]
    trials.push(kvm_test::kvm_x86(
        "random_writes_of_a_guest_land_where_simvm_says",
        real::run,
    ));
    trials
}

pub(crate) type Place = (IoAddress, Datamatch);

#[derive(Debug, Clone)]
pub(crate) struct Write {
    pub(crate) address: IoAddress,
    pub(crate) bytes: Vec<u8>,
}

fn address() -> impl Strategy<Value = IoAddress> {
    let within = |(space, offset): (usize, u64)| {
        let (bus, start, size) = SPACES[space];
        match bus {
            Bus::Mmio => IoAddress::Mmio(start + offset % size),
            _ => IoAddress::Pio((start + offset % size) as u16),
        }
    };
    (0..SPACES.len(), 0..64u64).prop_map(within)
}

fn width() -> impl Strategy<Value = Width> {
    use Width::{W1, W2, W4, W8};
    prop::sample::select(vec![W1, W2, W4, W8])
}

fn datamatch() -> impl Strategy<Value = Datamatch> {
    let value = (width(), 0..3u8).prop_map(|(width, value)| match width {
        Width::W1 => Datamatch::U8(value),
        Width::W2 => Datamatch::U16(value.into()),
        Width::W4 => Datamatch::U32(value.into()),
        Width::W8 => Datamatch::U64(value.into()),
    });
    prop_oneof![
        1 => Just(Datamatch::AnyWrite),
        3 => width().prop_map(Datamatch::Width),
        6 => value,
    ]
}

fn candidates() -> impl Strategy<Value = Vec<Place>> {
    prop::collection::vec((address(), datamatch()), 1..40)
}

/// Widths that a processor writes, with few different values, so that many match.
fn write() -> impl Strategy<Value = Write> {
    let parts = (address(), 0..5u32, 0..3u8, 0..3u8);
    parts.prop_map(|(address, width, low, high)| {
        let width = match address {
            IoAddress::Pio(_) => 1 << (width % 3),
            _ => 1 << width,
        };
        let mut bytes = vec![0; width];
        bytes[0] = low;
        if let Some(byte) = bytes.get_mut(8) {
            *byte = high;
        }
        Write { address, bytes }
    })
}

/// A write that rings a doorbell, unless another doorbell hides it.
pub(crate) fn aimed((address, datamatch): &Place) -> Write {
    let value = datamatch.value().unwrap_or(0).to_ne_bytes();
    let width = datamatch.bytes().max(1) as usize;
    let bytes = value[..width].to_vec();
    let address = *address;
    Write { address, bytes }
}

/// A set in a VM; each of its doorbells has its own notifier.
struct Rig<V> {
    vm: Arc<V>,
    set: DoorbellSet,
    notifiers: Vec<Arc<EventNotifier>>,
}

impl<V: Vm + 'static> Rig<V> {
    fn new(vm: Arc<V>) -> Self {
        let set = DoorbellSet::new(&DoorbellRegistry::new(
            vm.clone(),
            Window::of_irqchip(&*vm).unwrap(),
        ));
        let notifiers = Vec::new();
        Self { vm, set, notifiers }
    }

    /// Registers doorbells at all places, instead of the earlier ones.
    fn have(&mut self, places: &[Place]) {
        let new = |_: &Place| Arc::new(EventNotifier::new().unwrap());
        self.notifiers = places.iter().map(new).collect();
        let bells = (0..).zip(places).zip(&self.notifiers);
        let bells = bells.map(|((key, (address, datamatch)), one)| {
            Doorbell::new(key, *address, *datamatch, Arc::clone(one))
        });
        // In two steps, so that some of the later doorbells are below earlier ones.
        let bells: Vec<_> = bells.collect();
        for count in [bells.len() / 2, bells.len()] {
            let wanted = bells[..count].iter().cloned();
            let epoch = self.set.apply(self.set.plan(wanted).unwrap()).unwrap();
            self.set.vcpus_passed(epoch).unwrap();
        }
        // Drops the kicks of the earlier doorbells.
        self.rung();
    }

    /// Which doorbells rang, by index, since the last call.
    fn rung(&self) -> Vec<u64> {
        let count = |one: &Arc<EventNotifier>| one.consume().unwrap().map_or(0, u64::from);
        let counts = self.notifiers.iter().map(count);
        (0..)
            .zip(counts)
            .flat_map(|(key, count)| (0..count).map(move |_| key))
            .collect()
    }

    /// Where a write should land, by the matcher: the doorbells, and what exits.
    fn predicted(&self, write: &Write) -> Landed {
        let mut landed = Landed::default();
        let mut at = write.address;
        let mut rest = &write.bytes[..];
        while !rest.is_empty() {
            let room = match at {
                IoAddress::Mmio(number) => (PAGE - number % PAGE) as usize,
                _ => rest.len(),
            };
            let (fragment, behind) = rest.split_at(rest.len().min(room));
            let mut missed = false;
            for piece in fragment.chunks(8) {
                // After a miss, the rest of the fragment exits without a search.
                match self.set.key_of_write(at, piece).filter(|_| !missed) {
                    Some(key) => landed.rung.push(key),
                    None => {
                        missed = true;
                        landed.exits.push((at.number(), piece.to_vec()));
                    }
                }
                at = match at {
                    IoAddress::Mmio(number) => IoAddress::Mmio(number + piece.len() as u64),
                    port => port,
                };
            }
            rest = behind;
        }
        landed.rung.sort_unstable();
        landed
    }
}

/// Where a write landed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Landed {
    rung: Vec<u64>,
    exits: Vec<(u64, Vec<u8>)>,
}

impl Rig<SimVm> {
    /// Where the write does land, and whether a device takes some of it.
    fn land(&self, write: &Write) -> (Landed, bool) {
        let (bus, number) = (write.address.bus(), write.address.number());
        let written = self.vm.guest_write(bus, number, &write.bytes);
        let exits = written.exits.iter();
        let exits = exits.map(|exit| (exit.address, exit.bytes().to_vec()));
        let landed = Landed {
            rung: self.rung(),
            exits: exits.collect(),
        };
        (landed, written.devices > 0)
    }

    /// The candidates that the planner accepts, each beside those before it. For the others, the VM
    /// is asked.
    fn choose(&mut self, candidates: &[Place]) -> Vec<Place> {
        let mut chosen: Vec<Place> = Vec::new();
        for &(address, datamatch) in candidates {
            let mut wanted = self.set.doorbells();
            let notifier = Arc::new(EventNotifier::new().unwrap());
            wanted.push(Doorbell::new(0, address, datamatch, notifier));
            let refused = match self.set.plan(wanted) {
                Ok(plan) => {
                    self.set.apply(plan).expect("what was planned");
                    chosen.push((address, datamatch));
                    // Registered after all the others, at any address.
                    assert!(self.land(&aimed(&(address, datamatch))).0.exits.is_empty());
                    continue;
                }
                Err(error) => error,
            };
            let bare = IoEventFd::builder(self.vm.clone(), address, datamatch).assign();
            match refused {
                Error::NoSuchWrite { .. } => assert!(bare.is_err()),
                Error::Conflict { cause, .. } => match *cause {
                    Conflict::Taken | Conflict::Wildcard { .. } => {
                        assert!(matches!(bare.unwrap_err().error, Error::Taken { .. }));
                    }
                    // The VM accepts these, though they would hide doorbells.
                    Conflict::Overlap { .. } | Conflict::Adjacent { .. } => drop(bare.unwrap()),
                    _ => drop(bare),
                },
                other => panic!("{other}"),
            }
        }
        chosen
    }
}

fn config() -> Config {
    Config {
        cases: 300,
        failure_persistence: None,
        ..Config::default()
    }
}

fn simulated() {
    let mut runner = TestRunner::new(config());
    let worlds = (candidates(), prop::collection::vec(write(), 200));
    let result = runner.run(&worlds, |(candidates, mut writes)| {
        let mut rig = Rig::new(Arc::new(SimVm::builder().build()));
        let chosen = rig.choose(&candidates);
        rig.have(&chosen);
        writes.extend(chosen.iter().map(aimed));
        for write in &writes {
            let predicted = rig.predicted(write);
            // The matcher does not know devices.
            let (landed, device) = rig.land(write);
            if !device {
                prop_assert_eq!(landed, predicted, "{:?} among {:?}", write, chosen);
            }
        }
        Ok(())
    });
    result.unwrap();
}

#[cfg(target_arch = "x86_64")]
pub(crate) mod real {
    //! The same on the kernel's bus, by a guest that does one write at a time.

    use kvm_test::harmless_store;
    use notify_core::KvmVm;
    use proptest::strategy::ValueTree;
    use tiny_guest::iced_x86::code_asm::{
        al, ax, byte_ptr, dword_ptr, dx, eax, edx, qword_ptr, rax, rcx, rsp, word_ptr, xmm0,
        xmmword_ptr,
    };
    use tiny_guest::layout::FINISH_PORT;
    use tiny_guest::{Asm, Emitted, Exit, Machine, Program, Slot, Vcpu};

    use super::*;

    const WORLDS: u32 = 60;
    const WRITES: usize = 100;
    /// SSE instructions are allowed.
    const CR4_OSFXSR: u64 = 1 << 9;

    /// The instruction of a write: by its length, ports from 32 on.
    const ORDERS: [u32; 8] = [1, 2, 4, 8, 16, 32 + 1, 32 + 2, 32 + 4];

    pub(crate) struct Guest {
        order: Slot,
        address: Slot,
        value: [Slot; 2],
    }

    impl Guest {
        pub(crate) fn load(machine: &Machine, vcpu: &mut Vcpu) -> Self {
            let slot = || machine.slot().unwrap();
            let guest = Self {
                order: slot(),
                address: slot(),
                value: [slot(), slot()],
            };
            vcpu.load(Program::new(|asm| guest.main(asm)).unwrap())
                .unwrap();
            let mut sregs = vcpu.fd().get_sregs().unwrap();
            sregs.cr4 |= CR4_OSFXSR;
            vcpu.fd().set_sregs(&sregs).unwrap();
            guest
        }

        fn main(&self, asm: &mut Asm) -> Emitted {
            let mut again = asm.create_label();
            asm.set_label(&mut again)?;
            for order in ORDERS {
                let mut next = asm.create_label();
                asm.mov(rax, qword_ptr(self.order.address()))?;
                asm.cmp(eax, order)?;
                asm.jne(next)?;
                for half in self.value.iter().rev() {
                    asm.push(qword_ptr(half.address()))?;
                }
                asm.mov(rcx, qword_ptr(self.address.address()))?;
                asm.mov(edx, dword_ptr(self.address.address()))?;
                asm.mov(rax, qword_ptr(rsp))?;
                match order {
                    1 => asm.mov(byte_ptr(rcx), al)?,
                    2 => asm.mov(word_ptr(rcx), ax)?,
                    4 => asm.mov(dword_ptr(rcx), eax)?,
                    8 => asm.mov(qword_ptr(rcx), rax)?,
                    16 => {
                        asm.movdqu(xmm0, xmmword_ptr(rsp))?;
                        asm.movdqu(xmmword_ptr(rcx), xmm0)?;
                    }
                    33 => asm.out(dx, al)?,
                    34 => asm.out(dx, ax)?,
                    _ => asm.out(dx, eax)?,
                }
                asm.add(rsp, 16)?;
                asm.set_label(&mut next)?;
            }
            asm.mov(edx, u32::from(FINISH_PORT))?;
            asm.mov(eax, 0)?;
            asm.out(dx, eax)?;
            asm.jmp(again)
        }

        /// Writes, and returns what exited on the way.
        pub(crate) fn write(&self, vcpu: &mut Vcpu, write: &Write) -> Vec<(u64, Vec<u8>)> {
            let ports = if matches!(write.address, IoAddress::Pio(_)) {
                32
            } else {
                0
            };
            self.order.store(write.bytes.len() as u64 + ports).unwrap();
            self.address.store(write.address.number()).unwrap();
            let mut value = [0; 16];
            value[..write.bytes.len()].copy_from_slice(&write.bytes);
            for (half, bytes) in self.value.iter().zip(value.as_chunks().0) {
                half.store(u64::from_le_bytes(*bytes)).unwrap();
            }
            let mut exits = Vec::new();
            loop {
                exits.push(match vcpu.run().unwrap() {
                    Exit::Finished(0) => return exits,
                    Exit::MmioWrite { address, data } => (address, data.to_vec()),
                    Exit::PortWrite { port, data } => (port.into(), data.to_vec()),
                    other => panic!("the guest does something else: {other:?}"),
                });
            }
        }
    }

    pub(super) fn run() {
        let (machine, mut vcpus) = Machine::builder().build().unwrap();
        let vcpu = &mut vcpus[0];
        let guest = Guest::load(&machine, vcpu);
        let mut kvm = Rig::new(Arc::new(KvmVm::try_from(machine.vm()).unwrap()));
        let mut runner = TestRunner::new(config());
        let (mut rang, mut exited) = (0, 0);
        for _ in 0..WORLDS {
            let world = (candidates(), prop::collection::vec(write(), WRITES));
            let (candidates, mut writes) = world.new_tree(&mut runner).unwrap().current();
            let mut sim = Rig::new(Arc::new(SimVm::builder().build()));
            let chosen = sim.choose(&candidates);
            sim.have(&chosen);
            kvm.have(&chosen);
            writes.extend(chosen.iter().map(aimed));
            for write in &mut writes {
                let len = harmless_store(write.address.number(), write.bytes.len());
                write.bytes.truncate(len);
                let exits = guest.write(vcpu, write);
                let rung = kvm.rung();
                let real = Landed { rung, exits };
                let predicted = kvm.predicted(write);
                let (landed, device) = sim.land(write);
                assert_eq!(
                    real, landed,
                    "the kernel and SimVm: {write:?} among {chosen:?}"
                );
                if !device {
                    assert_eq!(
                        real, predicted,
                        "and the matcher: {write:?} among {chosen:?}"
                    );
                }
                rang += u32::from(!real.rung.is_empty());
                exited += u32::from(!real.exits.is_empty());
            }
        }
        // Both counts must be large, or the test shows nothing.
        assert!(rang > 500 && exited > 1000, "{rang} rang, {exited} exited");
    }
}
