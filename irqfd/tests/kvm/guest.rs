// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A guest that takes interrupts and sends EOIs: a few dozen bytes in real mode.
#![allow(
    unsafe_code,
    reason = "guest memory, and a controller's state is a union"
)]

use std::sync::Arc;

use kvm_test::wait_until;

use irq_routing::{Platform, RoutingTable, Wiring};
use kvm_bindings::{
    KVM_CAP_SPLIT_IRQCHIP, KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE,
    KVM_MAX_CPUID_ENTRIES, kvm_enable_cap, kvm_irqchip, kvm_userspace_memory_region,
};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};
use notify_core::KvmVm;

/// The pin of all tests here.
pub(crate) const GSI: u32 = 10;
pub(crate) const VECTOR: u8 = 0x6a;

const MEMORY: usize = 0x1_0000;
const CODE: u16 = 0x1000;
const HANDLER: u16 = 0x1100;
const STACK: u64 = 0x8000;
/// Ports written by the main loop, when an interrupt was taken, and after its EOI.
const IDLE: u16 = 0x90;
const TAKEN: u16 = 0x91;
const ENDED: u16 = 0x92;

/// Enables the local APIC (by its MSR, in x2APIC mode) and interrupts, and waits.
const MAIN: [u8; 22] = [
    0x66, 0xb9, 0x0f, 0x08, 0, 0, // mov ecx, 0x80f
    0x66, 0xb8, 0xff, 0x01, 0, 0, // mov eax, 0x1ff
    0x66, 0x31, 0xd2, // xor edx, edx
    0x0f, 0x30, // wrmsr
    0xfb, // sti
    0xe6, 0x90, // out 0x90, al
    0xeb, 0xfc, // jmp back
];
const END_AT_PICS: [u8; 11] = [
    0xe6, 0x91, // out 0x91, al
    0xb0, 0x20, // mov al, 0x20
    0xe6, 0xa0, // out 0xa0, al
    0xe6, 0x20, // out 0x20, al
    0xe6, 0x92, // out 0x92, al
    0xcf, // iret
];
const END_AT_APIC: [u8; 19] = [
    0xe6, 0x91, // out 0x91, al
    0x66, 0xb9, 0x0b, 0x08, 0, 0, // mov ecx, 0x80b
    0x66, 0x31, 0xc0, // xor eax, eax
    0x66, 0x31, 0xd2, // xor edx, edx
    0x0f, 0x30, // wrmsr
    0xe6, 0x92, // out 0x92, al
    0xcf, // iret
];

/// The controller that the guest uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listens {
    Pics,
    IoApic,
    /// A split irqchip; the test emulates the IOAPIC.
    Messages,
}

pub(crate) struct Guest {
    pub(crate) vcpu: VcpuFd,
    pub(crate) vm_fd: VmFd,
    pub(crate) vm: Arc<KvmVm>,
    pub(crate) table: RoutingTable,
    memory: *mut u8,
    listens: Listens,
    /// Interrupts that were taken while nothing was in service at the PIC.
    uncounted: u32,
}

impl Guest {
    pub(crate) fn new(listens: Listens) -> Self {
        let kvm = Kvm::new().unwrap();
        let vm_fd = kvm.create_vm().unwrap();
        let split = listens == Listens::Messages;
        if split {
            let mut capability = kvm_enable_cap {
                cap: KVM_CAP_SPLIT_IRQCHIP,
                ..kvm_enable_cap::default()
            };
            capability.args[0] = 24;
            vm_fd.enable_cap(&capability).unwrap();
        } else {
            vm_fd.create_irq_chip().unwrap();
        }
        let handler: &[u8] = match listens {
            Listens::Pics => &END_AT_PICS,
            Listens::IoApic | Listens::Messages => &END_AT_APIC,
        };
        let memory = map(&vm_fd, handler);
        let vcpu = vm_fd.create_vcpu(0).unwrap();
        start(&kvm, &vcpu);
        match listens {
            Listens::Pics => listen_to_pics(&vm_fd),
            Listens::IoApic => listen_to_ioapic(&vm_fd),
            Listens::Messages => {}
        }
        let wiring = match split {
            true => Wiring::none(Platform::X86Split),
            false => Wiring::pc(),
        };
        let vm = Arc::new(KvmVm::try_from(&vm_fd).unwrap());
        let table = RoutingTable::builder(vm.clone())
            .wiring(wiring)
            .build()
            .unwrap();
        let mut guest = Self {
            vcpu,
            vm_fd,
            vm,
            table,
            memory,
            listens,
            uncounted: 0,
        };
        guest.expect_silence();
        guest
    }

    /// The next port that is written, or the vector of an EOI exit.
    fn run(&mut self) -> Result<u16, u8> {
        loop {
            match self.vcpu.run() {
                Ok(VcpuExit::IoOut(port, _)) => return Ok(port),
                Ok(VcpuExit::IoapicEoi(vector)) => return Err(vector),
                Ok(other) => panic!("{other:?}"),
                Err(error) if error.errno() == libc::EINTR => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// No interrupt comes.
    #[track_caller]
    pub(crate) fn expect_silence(&mut self) {
        (0..50).for_each(|_| assert_eq!(self.run(), Ok(IDLE)));
    }

    /// No interrupt comes, but for those of a host that runs guests by emulation: its local APIC
    /// ends an interrupt of the IOAPIC when it delivers it, while the pin is still high. Returns
    /// how many of these there were.
    #[track_caller]
    pub(crate) fn settle(&mut self) -> u64 {
        if self.listens != Listens::IoApic {
            self.expect_silence();
            return 0;
        }
        let (mut spurious, mut silent) = (0, 0);
        while silent < 50 {
            let taken = self.poll_interrupt(drop);
            silent = if taken { 0 } else { silent + 1 };
            spurious += u64::from(taken);
            assert!(spurious < 10, "the pin is stuck");
        }
        spurious
    }

    /// An interrupt comes, soon (a pin is raised by a thread of the kernel). The guest's handler
    /// calls `act`, then ends it. Returns the vectors of EOI exits.
    #[track_caller]
    pub(crate) fn expect_interrupt(&mut self, act: impl FnOnce()) -> Vec<u8> {
        wait_until(|| self.run() == Ok(TAKEN));
        act();
        self.end()
    }

    /// The same, if an interrupt comes before the main loop has gone round; EOI exits are returned.
    ///
    /// An emulated host can deliver an interrupt of the PICs twice. The second time nothing is in
    /// service, and it does not count; that is rare.
    pub(crate) fn poll_interrupt(&mut self, report: impl FnMut(u8)) -> bool {
        let taken = self.run() == Ok(TAKEN);
        let counts = taken && (self.listens != Listens::Pics || self.is_in_service());
        if taken {
            self.end().into_iter().for_each(report);
            self.uncounted += u32::from(!counts);
            assert!(self.uncounted < 10, "interrupts of no pin");
        }
        counts
    }

    /// Whether the interrupt of the pin has been taken from the PIC and not ended.
    fn is_in_service(&self) -> bool {
        let slave = chip(&self.vm_fd, KVM_IRQCHIP_PIC_SLAVE);
        // SAFETY: KVM filled the union as a PIC, whose fields are integers.
        unsafe { slave.chip.pic.isr & 1 << (GSI - 8) != 0 }
    }

    fn end(&mut self) -> Vec<u8> {
        let mut vectors = Vec::new();
        loop {
            match self.run() {
                Err(vector) => vectors.push(vector),
                Ok(port) => {
                    assert_eq!(port, ENDED);
                    return vectors;
                }
            }
        }
    }

    /// The level of the pin, as the IOAPIC sees it.
    pub(crate) fn pin(&self) -> bool {
        let chip = chip(&self.vm_fd, KVM_IRQCHIP_IOAPIC);
        // SAFETY: KVM filled the union as an IOAPIC, and what is read is an integer.
        unsafe { chip.chip.ioapic.irr & 1 << GSI != 0 }
    }

    /// Returns when the pin has this level.
    #[track_caller]
    pub(crate) fn wait_for_pin(&self, level: bool) {
        wait_until(|| self.pin() == level);
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length, and this process has no reference into it. A vCPU
        // that still used it would fault, but the vCPU does not run any more.
        unsafe { libc::munmap(self.memory.cast(), MEMORY) };
    }
}

fn map(vm_fd: &VmFd, handler: &[u8]) -> *mut u8 {
    // SAFETY: a new anonymous mapping overlays nothing.
    let memory = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            MEMORY,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    assert_ne!(memory, libc::MAP_FAILED);
    // SAFETY: it was mapped just now, with this length, zeroed, and nothing else has it.
    let bytes = unsafe { std::slice::from_raw_parts_mut(memory.cast::<u8>(), MEMORY) };
    for vector in bytes[..0x400].chunks_mut(4) {
        vector[..2].copy_from_slice(&HANDLER.to_le_bytes());
    }
    bytes[usize::from(CODE)..][..MAIN.len()].copy_from_slice(&MAIN);
    bytes[usize::from(HANDLER)..][..handler.len()].copy_from_slice(handler);
    let region = kvm_userspace_memory_region {
        memory_size: MEMORY as u64,
        userspace_addr: memory as u64,
        ..kvm_userspace_memory_region::default()
    };
    // SAFETY: the memory stays mapped until the guest runs no more.
    unsafe { vm_fd.set_user_memory_region(region) }.unwrap();
    memory.cast()
}

fn start(kvm: &Kvm, vcpu: &VcpuFd) {
    let cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).unwrap();
    vcpu.set_cpuid2(&cpuid).unwrap();
    let mut sregs = vcpu.get_sregs().unwrap();
    for segment in [&mut sregs.cs, &mut sregs.ds, &mut sregs.ss] {
        (segment.base, segment.selector) = (0, 0);
    }
    sregs.apic_base |= 3 << 10; // enabled, in x2APIC mode
    vcpu.set_sregs(&sregs).unwrap();
    let mut regs = vcpu.get_regs().unwrap();
    (regs.rip, regs.rsp, regs.rflags) = (CODE.into(), STACK, 2);
    vcpu.set_regs(&regs).unwrap();
}

pub(crate) fn chip(vm_fd: &VmFd, chip_id: u32) -> kvm_irqchip {
    let mut chip = kvm_irqchip {
        chip_id,
        ..kvm_irqchip::default()
    };
    vm_fd.get_irqchip(&mut chip).unwrap();
    chip
}

fn listen_to_pics(vm_fd: &VmFd) {
    let cascade = 1 << 2;
    for (chip_id, base, open, level) in [
        (KVM_IRQCHIP_PIC_MASTER, 0x60, cascade, 0),
        (KVM_IRQCHIP_PIC_SLAVE, 0x68, 1 << (GSI - 8), 1 << (GSI - 8)),
    ] {
        let mut chip = chip(vm_fd, chip_id);
        // SAFETY: KVM filled the union as a PIC, whose fields are integers.
        let pic = unsafe { &mut chip.chip.pic };
        (pic.irq_base, pic.imr, pic.elcr) = (base, !open, level);
        vm_fd.set_irqchip(&chip).unwrap();
    }
    let mut ioapic = chip(vm_fd, KVM_IRQCHIP_IOAPIC);
    // SAFETY: KVM filled the union as an IOAPIC, whose entries are integers.
    for entry in unsafe { &mut ioapic.chip.ioapic.redirtbl } {
        entry.bits = 1 << 16;
    }
    vm_fd.set_irqchip(&ioapic).unwrap();
}

fn listen_to_ioapic(vm_fd: &VmFd) {
    for chip_id in [KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE] {
        let mut pic = chip(vm_fd, chip_id);
        pic.chip.pic.imr = 0xff;
        vm_fd.set_irqchip(&pic).unwrap();
    }
    let mut ioapic = chip(vm_fd, KVM_IRQCHIP_IOAPIC);
    // SAFETY: as above.
    let entries = unsafe { &mut ioapic.chip.ioapic.redirtbl };
    entries[GSI as usize].bits = 1 << 15 | u64::from(VECTOR);
    vm_fd.set_irqchip(&ioapic).unwrap();
}
