// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Interrupt lines, through the I/O APIC and through the PICs.

use std::thread;

use kvm_test::{Trial, kvm};
use tiny_guest::{Asm, Eoi, Exit, Irqchip, Machine, Program, ROUND, Slot, Vcpu};

use crate::support::{await_slot, finish, guarded, machine, machine_with};

const ROUNDS: u32 = 100;
const LEVEL: u64 = 1 << 15;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        kvm("ioapic_pins", ioapic_pins),
        kvm("pic_pins", pic_pins),
        kvm("a_level_triggered_pic_pin_comes_again", level_triggered_pic),
        kvm("an_interrupt_window_opens", interrupt_window),
        kvm("split_eoi_reaches_the_host", split_eoi_reaches_the_host),
    ]
}

/// Edge-triggered: a level-triggered line that another thread lowers may still be high at the EOI,
/// and rightly interrupts once more.
fn ioapic_pins() {
    let (machine, mut vcpu) = machine();
    let (waits, ticks) = (machine.slot().unwrap(), machine.slot().unwrap());
    let main = |asm: &mut Asm| {
        asm.mask_pics()?;
        asm.enable_lapic()?;
        asm.redirect_pin(10, 0x50)?;
        asm.repeat(ROUNDS, |asm| {
            asm.store(&waits, ROUND)?;
            asm.halt_until(&ticks, ROUND)
        })
    };
    let program = Program::new(main).unwrap();
    let program = program.handler(0x50, |asm| asm.increment(&ticks)).unwrap();
    vcpu.load(program).unwrap();
    pulse(&machine, &mut vcpu, 10, &waits, &ticks);
}

fn pic_pins() {
    let (machine, mut vcpu) = machine();
    let (waits, ticks) = (machine.slot().unwrap(), machine.slot().unwrap());
    let main = |asm: &mut Asm| {
        asm.reset_pics(0x60)?;
        asm.repeat(ROUNDS, |asm| {
            asm.store(&waits, ROUND)?;
            asm.halt_until(&ticks, ROUND)
        })
    };
    let program = Program::new(main).unwrap();
    // Pin 10 is pin 2 of the second PIC.
    let program = program
        .handler_with(0x6a, Eoi::Pic, |asm| asm.increment(&ticks))
        .unwrap();
    vcpu.load(program).unwrap();
    pulse(&machine, &mut vcpu, 10, &waits, &ticks);
}

/// Raised once, an edge-triggered pin would interrupt once. The host lowers the line in the third
/// interrupt, before its EOI: while the line is high, a processor need not execute any instruction
/// between two interrupts.
fn level_triggered_pic() {
    const READY: u16 = 0x80;
    const TAKEN: u16 = 0x81;
    let (machine, mut vcpu) = machine();
    let ticks = machine.slot().unwrap();
    let main = |asm: &mut Asm| {
        asm.reset_pics(0x60)?;
        asm.level_trigger_pics(1 << 10)?;
        asm.port_write8(READY, 0)?;
        asm.halt_until(&ticks, 3)
    };
    let program = Program::new(main).unwrap();
    let program = program
        .handler_with(0x6a, Eoi::Pic, |asm| {
            asm.increment(&ticks)?;
            asm.port_write8(TAKEN, 0)
        })
        .unwrap();
    vcpu.load(program).unwrap();
    guarded(&mut vcpu, |vcpu| {
        let mut expect = |expected| match vcpu.run().unwrap() {
            Exit::PortWrite { port, .. } => assert_eq!(port, expected),
            other => panic!("{other:?}"),
        };
        expect(READY);
        assert_eq!(machine.pic_requests().unwrap(), 0);
        machine.vm().set_irq_line(10, true).unwrap();
        (0..3).for_each(|_| expect(TAKEN));
        assert_eq!(machine.pic_requests().unwrap() & 1 << 10, 1 << 10);
        assert_eq!(machine.ioapic_requests().unwrap(), 1 << 10);
        machine.vm().set_irq_line(10, false).unwrap();
        assert_eq!(machine.pic_requests().unwrap() & 1 << 10, 0);
        assert_eq!(machine.ioapic_requests().unwrap(), 0);
    });
    assert_eq!(finish(&mut vcpu), 0);
    assert_eq!(ticks.load().unwrap(), 3);
}

/// The host program emulates the PIC, and an exit reports when the guest can be interrupted.
fn interrupt_window() {
    let (_machine, mut vcpu) = machine_with(Irqchip::Split { pins: 24 });
    let program = Program::new(|asm| {
        asm.port_write8(0x80, 0)?;
        asm.sti()?;
        asm.repeat(100_000, |asm| asm.pause())?;
        asm.port_write8(0x81, 0)
    });
    vcpu.load(program.unwrap()).unwrap();
    vcpu.request_interrupt_window(true);
    let mut exits = Vec::new();
    guarded(&mut vcpu, |vcpu| {
        while exits.last() != Some(&0x81) {
            match vcpu.run().unwrap() {
                Exit::PortWrite { port, .. } => exits.push(port),
                Exit::InterruptWindow => {
                    exits.push(0);
                    assert!(vcpu.is_ready_for_interrupt());
                    vcpu.request_interrupt_window(false);
                }
                other => panic!("{other:?}"),
            }
            if exits == [0x80] {
                assert!(!vcpu.is_ready_for_interrupt(), "interrupts are off");
            }
        }
    });
    assert_eq!(exits, [0x80, 0, 0x81]);
}

/// Raises and lowers a line once for each round that the guest waits.
fn pulse(machine: &Machine, vcpu: &mut Vcpu, line: u32, waits: &Slot, ticks: &Slot) {
    thread::scope(|scope| {
        let run = scope.spawn(|| finish(vcpu));
        for round in 1..=u64::from(ROUNDS) {
            await_slot(waits, round);
            assert_eq!(ticks.load().unwrap(), round - 1);
            machine.vm().set_irq_line(line, true).unwrap();
            machine.vm().set_irq_line(line, false).unwrap();
            await_slot(ticks, round);
        }
        assert_eq!(run.join().unwrap(), 0);
    });
}

fn split_eoi_reaches_the_host() {
    use tiny_guest::kvm_bindings::*;
    let (machine, mut vcpu) = machine_with(Irqchip::Split { pins: 24 });
    let (waits, ticks) = (machine.slot().unwrap(), machine.slot().unwrap());
    let program = Program::new(|asm| {
        asm.enable_lapic()?;
        asm.store(&waits, 1)?;
        asm.halt_until(&ticks, 1)?;
        asm.port_write8(0x80, 0)
    });
    let program = program.unwrap();
    let program = program.handler(0x50, |asm| asm.increment(&ticks)).unwrap();
    vcpu.load(program).unwrap();

    // KVM reports the EOI of vectors that a route of one of the pins sends level-triggered.
    let data = 0x50 | LEVEL as u32;
    let address_lo = tiny_guest::layout::msi_address(0) as u32;
    let msi = kvm_irq_routing_msi {
        address_lo,
        data,
        ..Default::default()
    };
    let route = kvm_irq_routing_entry {
        gsi: 5,
        type_: KVM_IRQ_ROUTING_MSI,
        u: kvm_irq_routing_entry__bindgen_ty_1 { msi },
        ..Default::default()
    };
    let routes = KvmIrqRouting::from_entries(&[route]).unwrap();
    machine.vm().set_gsi_routing(&routes).unwrap();
    vcpu.enable_lapic().unwrap();
    let msi = kvm_msi {
        address_lo,
        data,
        ..Default::default()
    };
    assert_eq!(machine.vm().signal_msi(msi).unwrap(), 1);
    // The EOI may be reported late, but not later than at the next exit.
    let mut ends = Vec::new();
    guarded(&mut vcpu, |vcpu| {
        loop {
            match vcpu.run().unwrap() {
                Exit::IoapicEoi(vector) => ends.push(vector),
                Exit::PortWrite { port: 0x80, .. } => {}
                Exit::Finished(0) => break,
                other => panic!("{other:?}"),
            }
        }
    });
    assert_eq!(ends, [0x50]);
    assert_eq!(ticks.load().unwrap(), 1);
}
