// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Message-signalled interrupts, taken and pending.

use std::thread;

use kvm_test::{Trial, kvm};
use tiny_guest::kvm_bindings::{
    KVM_IRQ_ROUTING_MSI, KvmIrqRouting, kvm_irq_routing_entry, kvm_irq_routing_entry__bindgen_ty_1,
    kvm_irq_routing_msi,
};
use tiny_guest::{Asm, Emitted, Irqchip, Machine, Program, ROUND, Slot, Value, layout};
use vmm_sys_util::eventfd::EventFd;

use crate::support::{await_slot, finish, machine, machine_with, signal};

const ROUNDS: u32 = 1000;
const VECTOR: u8 = 0x40;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        kvm("lock_step_asleep", || lock_step(Asm::halt_until)),
        kvm("lock_step_spinning", || lock_step(Asm::spin_until)),
        kvm("an_irqfd_interrupts", an_irqfd_interrupts),
        kvm("two_vcpus_take_their_own", two_vcpus_take_their_own),
        kvm("handlers_save_registers", handlers_save_registers),
        kvm("pending_without_running", pending_without_running),
        kvm("disabled_takes_nothing", disabled_takes_nothing),
    ]
}

/// One interrupt at a time: the guest publishes that it waits, and then that it came.
fn lock_step(wait: fn(&mut Asm, &Slot, Value) -> Emitted) {
    for irqchip in [Irqchip::Full, Irqchip::Split { pins: 24 }] {
        let (machine, mut vcpu) = machine_with(irqchip);
        let (waits, ticks) = (machine.slot().unwrap(), machine.slot().unwrap());
        let program = waiting(&waits, &ticks, wait);
        vcpu.load(program).unwrap();
        thread::scope(|scope| {
            let run = scope.spawn(|| finish(&mut vcpu));
            for round in 1..=u64::from(ROUNDS) {
                await_slot(&waits, round);
                assert_eq!(ticks.load().unwrap(), round - 1);
                assert!(signal(&machine, 0, VECTOR));
                await_slot(&ticks, round);
            }
            assert_eq!(run.join().unwrap(), 0);
        });
        assert_eq!(ticks.load().unwrap(), u64::from(ROUNDS));
    }
}

fn waiting(waits: &Slot, ticks: &Slot, wait: fn(&mut Asm, &Slot, Value) -> Emitted) -> Program {
    let program = Program::new(|asm| {
        asm.enable_lapic()?;
        asm.repeat(ROUNDS, |asm| {
            asm.store(waits, ROUND)?;
            wait(asm, ticks, ROUND.into())
        })
    });
    let tick = |asm: &mut Asm| asm.increment(ticks);
    program.unwrap().handler(VECTOR, tick).unwrap()
}

fn an_irqfd_interrupts() {
    let (machine, mut vcpu) = machine();
    let (waits, ticks) = (machine.slot().unwrap(), machine.slot().unwrap());
    let route = kvm_irq_routing_entry {
        gsi: 30,
        type_: KVM_IRQ_ROUTING_MSI,
        u: kvm_irq_routing_entry__bindgen_ty_1 {
            msi: kvm_irq_routing_msi {
                address_lo: layout::msi_address(0) as u32,
                data: VECTOR.into(),
                ..Default::default()
            },
        },
        ..Default::default()
    };
    let routes = KvmIrqRouting::from_entries(&[route]).unwrap();
    machine.vm().set_gsi_routing(&routes).unwrap();
    let irqfd = EventFd::new(0).unwrap();
    machine.vm().register_irqfd(&irqfd, 30).unwrap();

    vcpu.load(waiting(&waits, &ticks, Asm::halt_until)).unwrap();
    thread::scope(|scope| {
        let run = scope.spawn(|| finish(&mut vcpu));
        for round in 1..=u64::from(ROUNDS) {
            await_slot(&waits, round);
            irqfd.write(1).unwrap();
            await_slot(&ticks, round);
        }
        assert_eq!(run.join().unwrap(), 0);
    });
}

fn two_vcpus_take_their_own() {
    let (machine, mut vcpus) = Machine::builder().vcpus(2).build().unwrap();
    // The same vector for both: they differ in the address.
    let slots = [(); 4].map(|()| machine.slot().unwrap());
    let [waits0, ticks0, waits1, ticks1] = &slots;
    let programs = [
        waiting(waits0, ticks0, Asm::halt_until),
        waiting(waits1, ticks1, Asm::halt_until),
    ];
    for (vcpu, program) in vcpus.iter_mut().zip(programs) {
        vcpu.load(program).unwrap();
    }
    thread::scope(|scope| {
        for vcpu in &mut vcpus {
            scope.spawn(|| assert_eq!(finish(vcpu), 0));
        }
        for round in 1..=u64::from(ROUNDS) {
            for (id, waits, ticks) in [(1, waits1, ticks1), (0, waits0, ticks0)] {
                await_slot(waits, round);
                assert_eq!(ticks.load().unwrap(), round - 1);
                assert!(signal(&machine, id, VECTOR));
                await_slot(ticks, round);
            }
        }
    });
}

/// A handler runs at a random place of a loop that uses all scratch registers.
fn handlers_save_registers() {
    use tiny_guest::iced_x86::code_asm::{rax, rcx, rdx};
    let (machine, mut vcpu) = machine();
    let ready = machine.slot().unwrap();
    let ticks = machine.slot().unwrap();
    let registers = [(); 3].map(|()| machine.slot().unwrap());
    let program = Program::new(|asm| {
        asm.enable_lapic()?;
        asm.store(&ready, 1)?;
        asm.mov(rax, 1u64)?;
        asm.mov(rcx, 2u64)?;
        asm.mov(rdx, 3u64)?;
        asm.sti()?;
        asm.hlt()?;
        asm.cli()?;
        let [a, c, d] = &registers;
        asm.push(rax)?; // `store` changes it
        asm.store(c, rcx)?;
        asm.store(d, rdx)?;
        asm.pop(rcx)?;
        asm.store(a, rcx)
    });
    let tick = |asm: &mut Asm| {
        asm.mov(rdx, 0u64)?;
        asm.mov(rcx, 0u64)?;
        asm.store(&ticks, 1)
    };
    vcpu.load(program.unwrap().handler(VECTOR, tick).unwrap())
        .unwrap();
    thread::scope(|scope| {
        let run = scope.spawn(|| finish(&mut vcpu));
        await_slot(&ready, 1);
        assert!(signal(&machine, 0, VECTOR));
        run.join().unwrap();
    });
    assert_eq!(ticks.load().unwrap(), 1);
    assert_eq!(registers.map(|slot| slot.load().unwrap()), [1, 2, 3]);
}

fn pending_without_running() {
    let (machine, vcpus) = Machine::builder().vcpus(2).build().unwrap();
    for vcpu in &vcpus {
        vcpu.enable_lapic().unwrap();
    }
    for vector in [0xee, 0x20, 0x41, 0x41] {
        assert!(signal(&machine, 1, vector));
    }
    assert_eq!(vcpus[0].pending_vectors().unwrap(), []);
    assert_eq!(vcpus[1].pending_vectors().unwrap(), [0x20, 0x41, 0xee]);
}

fn disabled_takes_nothing() {
    let (machine, vcpu) = machine();
    assert!(!signal(&machine, 0, VECTOR));
    assert_eq!(vcpu.pending_vectors().unwrap(), []);
    vcpu.enable_lapic().unwrap();
    assert!(signal(&machine, 0, VECTOR));
    assert_eq!(vcpu.pending_vectors().unwrap(), [VECTOR]);
}
