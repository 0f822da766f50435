// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Programs: what they leave in slots and arrays, and how they end.

use kvm_test::{Trial, kvm};
use tiny_guest::iced_x86::code_asm::{rbx, rsi};
use tiny_guest::kvm_bindings::KVM_MAX_CPUID_ENTRIES;
use tiny_guest::{Error, Exit, Irqchip, Machine, Program, ROUND, layout};

use crate::support::{finish, guarded, machine, machine_with};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        kvm("slots_are_shared", slots_are_shared),
        kvm("loops_count_from_one", loops_count_from_one),
        kvm("a_loop_stops_when_it_is_told", a_loop_stops_when_it_is_told),
        kvm("no_kvm_is_an_error_with_its_cause", no_kvm),
        kvm("time_passes", time_passes),
        kvm("programs_run_one_after_the_other", one_after_the_other),
        kvm("a_fault_shuts_down", a_fault_shuts_down),
        kvm("halt_without_irqchip", halt_without_irqchip),
        kvm("limits_are_errors", limits_are_errors),
        kvm("vcpus_outlive_the_machine", vcpus_outlive_the_machine),
        kvm("each_vcpu_has_its_apic_id", each_vcpu_has_its_apic_id),
    ]
}

fn slots_are_shared() {
    let (machine, mut vcpu) = machine();
    let (wide, count) = (machine.slot().unwrap(), machine.slot().unwrap());
    count.store(40).unwrap();
    let program = Program::new(|asm| {
        asm.store(&wide, 0x1122_3344_5566_7788)?;
        asm.increment(&count)?;
        asm.increment_shared(&count)?;
        asm.finish(0xdead_beef)
    });
    vcpu.load(program.unwrap()).unwrap();
    assert_eq!(wide.load().unwrap(), 0);
    assert_eq!(finish(&mut vcpu), 0xdead_beef);
    assert_eq!(wide.load().unwrap(), 0x1122_3344_5566_7788);
    assert_eq!(count.fetch_add(8).unwrap(), 42);
    assert_eq!(count.load().unwrap(), 50);
}

fn loops_count_from_one() {
    let (machine, mut vcpu) = machine();
    let (sum, rounds, last, untouched) = (
        machine.slot().unwrap(),
        machine.slot().unwrap(),
        machine.slot().unwrap(),
        machine.slot().unwrap(),
    );
    let program = Program::new(|asm| {
        asm.mov(rbx, 0u64)?;
        asm.repeat(10, |asm| {
            asm.add(rbx, ROUND)?;
            asm.repeat(3, |asm| asm.increment(&rounds))?;
            asm.store(&last, ROUND) // the value of the outer loop again
        })?;
        asm.repeat(0, |asm| asm.increment(&untouched))?;
        asm.store(&sum, rbx)
    });
    vcpu.load(program.unwrap()).unwrap();
    assert_eq!(finish(&mut vcpu), 0); // it runs off its end
    assert_eq!(sum.load().unwrap(), 55);
    assert_eq!(rounds.load().unwrap(), 30);
    assert_eq!(last.load().unwrap(), 10);
    assert_eq!(untouched.load().unwrap(), 0);
}

fn a_loop_stops_when_it_is_told() {
    let (machine, mut vcpu) = machine();
    let (stop, rounds) = (machine.slot().unwrap(), machine.slot().unwrap());
    let program = Program::new(|asm| {
        asm.repeat_until_stopped(10, &stop, |asm| asm.increment(&rounds))?;
        asm.repeat_until_stopped(10, &stop, |asm| {
            asm.increment(&rounds)?;
            asm.store(&stop, 1)
        })?;
        asm.repeat_until_stopped(10, &stop, |asm| asm.increment(&rounds))
    });
    vcpu.load(program.unwrap()).unwrap();
    assert_eq!(finish(&mut vcpu), 0);
    assert_eq!(rounds.load().unwrap(), 11);
}

/// The error's text alone gives the reason, as programs print it.
fn no_kvm() {
    let error = Error::OpenKvm(std::io::Error::from_raw_os_error(13));
    let text = error.to_string();
    assert_eq!(
        text,
        "cannot open /dev/kvm: Permission denied (os error 13)"
    );
    assert!(std::error::Error::source(&error).is_none());
}

fn time_passes() {
    let (machine, mut vcpu) = machine();
    let (before, after) = (machine.slot().unwrap(), machine.slot().unwrap());
    let samples = machine.array(100).unwrap();
    let beyond = machine.slot().unwrap();
    let program = Program::new(|asm| {
        asm.store_tsc(&before)?;
        asm.repeat(samples.len(), |asm| asm.record_tsc(&samples))?;
        asm.store_tsc(&after)
    });
    vcpu.load(program.unwrap()).unwrap();
    finish(&mut vcpu);
    let mut all = vec![before.load().unwrap()];
    all.extend(samples.load().unwrap());
    all.push(after.load().unwrap());
    assert_eq!(all.len(), 102);
    assert!(all.is_sorted_by(|a, b| a < b), "{all:?}");
    assert_eq!(beyond.load().unwrap(), 0);
    assert!(vcpu.tsc_khz().unwrap() > 0);
}

fn one_after_the_other() {
    let (machine, mut vcpu) = machine();
    let slot = machine.slot().unwrap();
    for code in 1..=3u32 {
        let program = Program::new(|asm| {
            asm.add(rsi, 1)?; // registers start at 0 each time
            asm.store(&slot, rsi)?;
            asm.finish(code)
        });
        vcpu.load(program.unwrap()).unwrap();
        assert_eq!(finish(&mut vcpu), code);
        assert_eq!(slot.load().unwrap(), 1);
    }
}

fn a_fault_shuts_down() {
    let (_machine, mut vcpu) = machine();
    vcpu.load(Program::new(|asm| asm.ud2()).unwrap()).unwrap();
    guarded(&mut vcpu, |vcpu| {
        let exit = vcpu.run().unwrap();
        assert!(matches!(exit, Exit::Shutdown), "{exit:?}");
    });
}

fn halt_without_irqchip() {
    let (_machine, mut vcpu) = machine_with(Irqchip::None);
    vcpu.load(Program::new(|asm| asm.hlt()).unwrap()).unwrap();
    guarded(&mut vcpu, |vcpu| {
        let exit = vcpu.run().unwrap();
        assert!(matches!(exit, Exit::Halt), "{exit:?}");
    });
    assert_eq!(finish(&mut vcpu), 0); // it continues after the hlt
    assert!(vcpu.pending_vectors().is_err());
}

fn limits_are_errors() {
    let refused = |result: Result<_, Error>| matches!(result, Err(Error::Layout(_)));
    let build = |memory| Machine::builder().memory(memory).build().map(drop);
    assert!(refused(build(layout::MIN_RAM - 0x1000)));
    assert!(refused(build(layout::MIN_RAM + 1)));
    assert!(refused(build(layout::MAX_RAM + 0x1000)));
    assert!(refused(Machine::builder().vcpus(16).build().map(drop)));

    let smallest = Machine::builder().memory(layout::MIN_RAM).build();
    let (machine, mut vcpus) = smallest.unwrap();
    let words = (layout::MIN_RAM - layout::DATA) / 8;
    assert!(refused(machine.array(words as u32 + 1).map(drop)));
    let array = machine.array(words as u32).unwrap();
    assert_eq!(array.address(), layout::DATA);
    assert!(refused(machine.slot().map(drop)));

    let long = |bytes: usize| Program::new(|asm| asm.db(&vec![0x90; bytes])).unwrap();
    let vcpu = &mut vcpus[0];
    assert!(refused(vcpu.load(long(layout::CODE_SIZE as usize))));
    vcpu.load(long(100)).unwrap();
    assert_eq!(finish(vcpu), 0);
}

fn vcpus_outlive_the_machine() {
    let (machine, mut vcpu) = machine();
    let slot = machine.slot().unwrap();
    let program = Program::new(|asm| asm.store(&slot, 1)).unwrap();
    vcpu.load(program).unwrap();
    // A vCPU that the library does not know, with the page tables of one that it knows.
    let foreign = machine.vm().create_vcpu(1).unwrap();
    let cpuid = vcpu.fd().get_cpuid2(KVM_MAX_CPUID_ENTRIES).unwrap();
    foreign.set_cpuid2(&cpuid).unwrap();
    let mut sregs = vcpu.fd().get_sregs().unwrap();
    // The base of the first vCPU has a bit that no other may have.
    sregs.apic_base = foreign.get_sregs().unwrap().apic_base;
    foreign.set_sregs(&sregs).unwrap();
    let sees_page_tables = || foreign.translate_gva(layout::DATA).unwrap().valid == 1;

    drop(machine);
    assert_eq!(finish(&mut vcpu), 0);
    assert!(sees_page_tables());
    drop(vcpu);
    // The VM has no memory any more; the slot keeps it mapped.
    assert!(!sees_page_tables());
    assert_eq!(slot.load().unwrap(), 1);
}

fn each_vcpu_has_its_apic_id() {
    let (machine, mut vcpus) = Machine::builder().vcpus(15).build().unwrap();
    for (index, vcpu) in vcpus.iter_mut().enumerate() {
        assert_eq!(usize::from(vcpu.id()), index);
        let (cpuid, apic) = (machine.slot().unwrap(), machine.slot().unwrap());
        let program = Program::new(|asm| {
            use tiny_guest::iced_x86::code_asm::eax;
            asm.mov(eax, 1)?;
            asm.cpuid()?; // changes RBX, which no phrase does
            asm.store(&cpuid, rbx)?;
            asm.mmio_read32(layout::LAPIC + 0x20, &apic)
        });
        vcpu.load(program.unwrap()).unwrap();
        finish(vcpu);
        assert_eq!(cpuid.load().unwrap() as usize >> 24, index);
        assert_eq!(apic.load().unwrap() as usize >> 24, index);
    }
}
