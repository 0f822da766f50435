// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A guest that carries out orders, one access at a time.
//!
//! Its program is a loop: it reads the order in shared memory, carries it out, and exits by the
//! port that finishes programs. Interrupts are off, except in the window that one order opens.

use tiny_guest::iced_x86::code_asm::{
    al, ax, byte_ptr, dword_ptr, dx, eax, edx, qword_ptr, rax, rcx, rsi, rsp, word_ptr, xmm0,
    xmmword_ptr,
};
use tiny_guest::layout::FINISH_PORT;
use tiny_guest::{Asm, Emitted, Eoi, Exit, Machine, Program, Slot, Vcpu};

use super::ioctl;
use crate::backend::{Bus, ExitWrite};

/// The vectors of both PICs, as cases set them up.
const PIC_VECTORS: std::ops::Range<u8> = 0x60..0x70;
/// SSE instructions are allowed.
const CR4_OSFXSR: u64 = 1 << 9;
/// The stack offset of the flags that a handler restores, above three saved registers, RIP and CS.
const SAVED_FLAGS: i32 = 40;
const ALL_BUT_INTERRUPTS: i32 = !(1 << 9);

/// Written while interrupts are on.
const WINDOW_PORT: u16 = 0x80;

/// Too many exits are a failure, not a hang.
const MOST_EXITS: usize = 64;

/// Reads, which only cases for the kernel need.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Read {
    Mmio4,
    Pio2,
}

#[derive(Debug, Clone, Copy)]
#[repr(u8)]
enum Order {
    Mmio1,
    Mmio2,
    Mmio4,
    Mmio8,
    Mmio16,
    Pio1,
    Pio2,
    Pio4,
    PioString,
    ReadMmio4,
    ReadPio2,
    TakeInterrupt,
}

impl Order {
    const ALL: [Self; 12] = [
        Self::Mmio1,
        Self::Mmio2,
        Self::Mmio4,
        Self::Mmio8,
        Self::Mmio16,
        Self::Pio1,
        Self::Pio2,
        Self::Pio4,
        Self::PioString,
        Self::ReadMmio4,
        Self::ReadPio2,
        Self::TakeInterrupt,
    ];

    /// Expects the address in RCX and RDX, the low half of the value in RAX, and all of it on the
    /// stack.
    fn emit(self, asm: &mut Asm, count: &Slot) -> Emitted {
        match self {
            Self::Mmio1 => asm.mov(byte_ptr(rcx), al),
            Self::Mmio2 => asm.mov(word_ptr(rcx), ax),
            Self::Mmio4 => asm.mov(dword_ptr(rcx), eax),
            Self::Mmio8 => asm.mov(qword_ptr(rcx), rax),
            Self::Mmio16 => {
                asm.movdqu(xmm0, xmmword_ptr(rsp))?;
                asm.movdqu(xmmword_ptr(rcx), xmm0)
            }
            Self::Pio1 => asm.out(dx, al),
            Self::Pio2 => asm.out(dx, ax),
            Self::Pio4 => asm.out(dx, eax),
            Self::PioString => {
                asm.mov(rsi, rsp)?;
                asm.mov(rcx, qword_ptr(count.address()))?;
                asm.cld()?;
                asm.rep().outsw()
            }
            Self::ReadMmio4 => asm.mov(eax, dword_ptr(rcx)),
            Self::ReadPio2 => asm.in_(ax, dx),
            Self::TakeInterrupt => {
                // KVM and emulators check for interrupts on entry.
                asm.sti()?;
                asm.mov(edx, u32::from(WINDOW_PORT))?;
                asm.out(dx, al)?;
                asm.cli()
            }
        }
    }
}

pub(super) struct Guest {
    order: Slot,
    address: Slot,
    value: [Slot; 2],
    count: Slot,
    taken: Slot,
}

impl Guest {
    pub(super) fn load(machine: &Machine, vcpu: &mut Vcpu) -> Self {
        let slot = || machine.slot().unwrap();
        let guest = Self {
            order: slot(),
            address: slot(),
            value: [slot(), slot()],
            count: slot(),
            taken: slot(),
        };
        let mut program = Program::new(|asm| guest.main(asm)).unwrap();
        for vector in PIC_VECTORS {
            let handler = program.handler_with(vector, Eoi::None, |asm| {
                asm.store(&guest.taken, u64::from(vector))?;
                // One interrupt at a time.
                asm.and(qword_ptr(rsp + SAVED_FLAGS), ALL_BUT_INTERRUPTS)
            });
            program = handler.unwrap();
        }
        vcpu.load(program).unwrap();
        let mut sregs = vcpu.fd().get_sregs().unwrap();
        sregs.cr4 |= CR4_OSFXSR;
        vcpu.fd().set_sregs(&sregs).unwrap();
        guest
    }

    fn main(&self, asm: &mut Asm) -> Emitted {
        let mut again = asm.create_label();
        asm.set_label(&mut again)?;
        for order in Order::ALL {
            let mut next = asm.create_label();
            asm.mov(rax, qword_ptr(self.order.address()))?;
            asm.cmp(eax, order as u32)?;
            asm.jne(next)?;
            for half in self.value.iter().rev() {
                asm.push(qword_ptr(half.address()))?;
            }
            asm.mov(rcx, qword_ptr(self.address.address()))?;
            asm.mov(edx, dword_ptr(self.address.address()))?;
            asm.mov(rax, qword_ptr(rsp))?;
            order.emit(asm, &self.count)?;
            asm.add(rsp, 16)?;
            asm.set_label(&mut next)?;
        }
        asm.mov(edx, u32::from(FINISH_PORT))?;
        asm.mov(eax, 0)?;
        asm.out(dx, eax)?;
        asm.jmp(again)
    }

    /// Writes, and returns what exited on the way.
    fn run(&self, vcpu: &mut Vcpu, order: Order, address: u64) -> Vec<ExitWrite> {
        self.order.store(order as u64).unwrap();
        self.address.store(address).unwrap();
        self.run_on(vcpu)
    }

    /// Continues the order.
    fn run_on(&self, vcpu: &mut Vcpu) -> Vec<ExitWrite> {
        let mut exits = Vec::new();
        for _ in 0..MOST_EXITS {
            exits.push(match vcpu.run().unwrap() {
                Exit::Finished(0) => return exits,
                Exit::MmioWrite { address, data } => ExitWrite::new(address, data),
                Exit::PortWrite { port, data } => ExitWrite::new(port.into(), data),
                // A read has no bytes yet.
                Exit::MmioRead { address, .. } => ExitWrite::new(address, &[]),
                Exit::PortRead { port, .. } => ExitWrite::new(port.into(), &[]),
                other => panic!("the guest does something else: {other:?}"),
            });
        }
        panic!("the guest does not come to an end: {exits:?}");
    }

    fn set_value(&self, bytes: &[u8]) {
        let mut value = [0; 16];
        value[..bytes.len()].copy_from_slice(bytes);
        for (half, bytes) in self.value.iter().zip(value.as_chunks().0) {
            half.store(u64::from_le_bytes(*bytes)).unwrap();
        }
    }

    pub(super) fn write(
        &self,
        vcpu: &mut Vcpu,
        bus: Bus,
        address: u64,
        bytes: &[u8],
    ) -> Vec<ExitWrite> {
        self.set_value(bytes);
        let order = match (bus, bytes.len()) {
            (Bus::Mmio, 1) => Order::Mmio1,
            (Bus::Mmio, 2) => Order::Mmio2,
            (Bus::Mmio, 4) => Order::Mmio4,
            (Bus::Mmio, 8) => Order::Mmio8,
            (Bus::Mmio, 16) => Order::Mmio16,
            (Bus::Pio, 1) => Order::Pio1,
            (Bus::Pio, 2) => Order::Pio2,
            (Bus::Pio, 4) => Order::Pio4,
            other => panic!("no instruction does that: {other:?}"),
        };
        self.run(vcpu, order, address)
    }

    pub(super) fn write_string(&self, vcpu: &mut Vcpu, port: u16, words: &[u16]) -> Vec<ExitWrite> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.set_value(&bytes);
        self.count.store(words.len() as u64).unwrap();
        self.run(vcpu, Order::PioString, port.into())
    }

    pub(super) fn read(&self, vcpu: &mut Vcpu, read: Read, address: u64) -> bool {
        let order = match read {
            Read::Mmio4 => Order::ReadMmio4,
            Read::Pio2 => Order::ReadPio2,
        };
        !self.run(vcpu, order, address).is_empty()
    }

    pub(super) fn take_interrupt(&self, vcpu: &mut Vcpu) -> Option<u8> {
        self.taken.store(0).unwrap();
        let exits = self.run(vcpu, Order::TakeInterrupt, 0);
        assert_eq!(exits.len(), 1, "the window: {exits:?}");
        self.taken()
    }

    /// KVM_INTERRUPT at a vCPU with interrupts on, which KVM does not check.
    pub(super) fn interrupted(&self, vcpu: &mut Vcpu, vector: u32) -> Option<u8> {
        self.taken.store(0).unwrap();
        self.order.store(Order::TakeInterrupt as u64).unwrap();
        let window = vcpu.run().unwrap();
        assert!(
            matches!(window, Exit::PortWrite { port, .. } if port == WINDOW_PORT),
            "{window:?}"
        );
        assert_eq!(ioctl::interrupt(vcpu.fd(), vector), Ok(0));
        assert_eq!(self.run_on(vcpu), []);
        self.taken()
    }

    fn taken(&self) -> Option<u8> {
        let vector = u8::try_from(self.taken.load().unwrap()).ok();
        vector.filter(|vector| *vector != 0)
    }
}
