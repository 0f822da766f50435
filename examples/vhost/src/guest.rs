// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Guest`]: a driver of a vsock device, in a few hundred bytes of code.
//!
//! It opens a connection and sends packets with numbers, each when the one before has come back. It
//! takes what comes on an interrupt alone: one that is lost stops it for good.

use examples::arguments::Idle;
use tiny_guest::iced_x86::code_asm::{
    CodeLabel, ax, dword_ptr, eax, ebx, ecx, esi, qword_ptr, r8d, r9d, r12, r12d, r12w, r13, r14,
    rax, rbx, rcx, rdi, word_ptr,
};
use tiny_guest::{Asm, Emitted, Error, Machine, Program, ROUND, Slot};
use vm_memory::{Bytes, GuestAddress};

use crate::ring::{BUFFER, Direction, ENTRIES, INDEX, NO_NOTIFY, RING, Ring, SIZE};
use crate::vsock::{
    Addresses, FORWARDED, HEADER, LENGTH, OPERATION, PACKET, PAYLOAD, Packet, READ_WRITE, REQUEST,
    RESET, RESPONSE,
};

/// The queue by which the guest receives.
pub const RECEIVE: usize = 0;
/// The queue by which the guest transmits.
pub const TRANSMIT: usize = 1;
/// How many queues there are.
pub const QUEUES: usize = 2;

/// The code with which the guest finishes when all packets have come back.
pub const DONE: u32 = 0;
/// The code with which it finishes when the peer has reset the connection.
pub const WAS_RESET: u32 = 1;

/// The queues of a guest in its RAM, and its counters.
#[derive(Debug)]
pub struct Guest {
    rings: [Ring; QUEUES],
    interrupts: [Slot; QUEUES],
    requests: Slot,
    answered: Slot,
    lost: Slot,
    doubled: Slot,
    others: Slot,
    kicks: Slot,
}

/// What the guest has counted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Packets that it has sent, without the one that asked for the connection.
    pub requests: u64,
    /// Packets that have come back when they were due.
    pub answered: u64,
    /// Packets that have come back before one that was due.
    pub lost: u64,
    /// Packets that have come back once more.
    pub doubled: u64,
    /// Packets without a number, but for the one that accepts the connection.
    pub others: u64,
    /// Kicks of both queues.
    pub kicks: u64,
    /// Interrupts of both queues.
    pub interrupts: u64,
}

/// What the guest waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Response,
    /// The packet with the number of this round.
    Echo,
}

/// How the guest reaches its device.
#[derive(Debug, Clone, Copy)]
pub struct Device {
    /// By queue: where its index is to be stored, in 2 bytes.
    pub notify: [u64; QUEUES],
    /// By queue: the vector of its interrupt.
    pub vectors: [u8; QUEUES],
}

impl Guest {
    /// Lays the queues out in the RAM of a machine, and fills the buffers as far as they stay the
    /// same.
    ///
    /// # Errors
    ///
    /// Where there is not enough RAM.
    pub fn new(machine: &Machine, addresses: &Addresses) -> Result<Self, Error> {
        let words = u32::try_from(RING / 8).unwrap_or(u32::MAX);
        let ring = || Ok::<_, Error>(Ring::new(machine.array(words)?.address()));
        let rings = [ring()?, ring()?];
        let [receive, transmit] = &rings;
        let memory = machine.memory();
        receive.prepare(memory, Direction::Receive)?;
        transmit.prepare(memory, Direction::Transmit(PACKET as u32))?;
        let packet = Packet::request(addresses).to_bytes();
        for number in 0..u64::from(SIZE) {
            let buffer = transmit.buffers() + number * BUFFER;
            memory.write_slice(&packet, GuestAddress(buffer))?;
        }
        Ok(Self {
            rings,
            interrupts: [machine.slot()?, machine.slot()?],
            requests: machine.slot()?,
            answered: machine.slot()?,
            lost: machine.slot()?,
            doubled: machine.slot()?,
            others: machine.slot()?,
            kicks: machine.slot()?,
        })
    }

    /// The queues, by number.
    #[must_use]
    pub fn rings(&self) -> &[Ring; QUEUES] {
        &self.rings
    }

    /// How many packets have come back so far.
    ///
    /// # Errors
    ///
    /// None in practice.
    pub fn answered(&self) -> Result<u64, Error> {
        self.answered.load()
    }

    /// What it has counted so far.
    ///
    /// # Errors
    ///
    /// None in practice.
    pub fn counts(&self) -> Result<Counts, Error> {
        let interrupts = self.interrupts.iter().map(Slot::load);
        Ok(Counts {
            requests: self.requests.load()?,
            answered: self.answered.load()?,
            lost: self.lost.load()?,
            doubled: self.doubled.load()?,
            others: self.others.load()?,
            kicks: self.kicks.load()?,
            interrupts: interrupts.sum::<Result<_, _>>()?,
        })
    }

    /// The program that sends so many packets and waits for each of them.
    ///
    /// R12 has how many received packets it has taken, R13 how many interrupts it knows of, R14 how
    /// many packets it has sent, and R9D how many bytes of payload it has received.
    ///
    /// # Errors
    ///
    /// None in practice.
    pub fn program(&self, packets: u32, idle: Idle, device: &Device) -> Result<Program, Error> {
        let mut program = Program::new(|asm| {
            asm.enable_lapic()?;
            asm.sti()?;
            [r12, r13, r14]
                .into_iter()
                .try_for_each(|register| asm.mov(register, 0_u64))?;
            asm.xor(r9d, r9d)?;
            self.send(asm, device, REQUEST, 0)?;
            self.receive(asm, device, Due::Response, idle)?;
            asm.repeat(packets, |asm| {
                asm.increment(&self.requests)?;
                self.send(asm, device, READ_WRITE, PAYLOAD)?;
                self.receive(asm, device, Due::Echo, idle)
            })?;
            asm.finish(DONE)
        })?;
        for (vector, slot) in device.vectors.into_iter().zip(&self.interrupts) {
            program = program.handler(vector, |asm| asm.increment(slot))?;
        }
        Ok(program)
    }

    /// Sends a packet with the number of the round, and kicks.
    fn send(&self, asm: &mut Asm, device: &Device, operation: u16, length: u32) -> Emitted {
        let [_, ring] = &self.rings;
        asm.mov(rbx, r14)?;
        asm.and(ebx, u32::from(SIZE) - 1)?;
        asm.shl(ebx, BUFFER.ilog2())?;
        asm.mov(rax, ring.buffers())?;
        asm.add(rbx, rax)?;
        asm.mov(word_ptr(rbx + OPERATION), u32::from(operation))?;
        asm.mov(dword_ptr(rbx + LENGTH), length)?;
        asm.mov(dword_ptr(rbx + FORWARDED), r9d)?;
        asm.mov(qword_ptr(rbx + HEADER), ROUND)?;
        asm.inc(r14)?;
        self.make_available(asm, ring)?;
        let [_, notify] = device.notify;
        self.kick(asm, notify, TRANSMIT)
    }

    /// Makes one more buffer available. This is a barrier, too.
    fn make_available(&self, asm: &mut Asm, ring: &Ring) -> Emitted {
        asm.lock().inc(word_ptr(ring.available() + INDEX))
    }

    fn kick(&self, asm: &mut Asm, notify: u64, queue: usize) -> Emitted {
        asm.increment(&self.kicks)?;
        asm.mmio_write16(notify, queue as u16)
    }

    /// Takes packets until the one that is due has come.
    fn receive(&self, asm: &mut Asm, device: &Device, due: Due, idle: Idle) -> Emitted {
        let [ring, _] = &self.rings;
        let [mut look, mut take, mut other, mut done] = [(); 4].map(|()| asm.create_label());
        asm.set_label(&mut look)?;
        asm.movzx(eax, word_ptr(ring.used() + INDEX))?;
        asm.cmp(ax, r12w)?;
        asm.jne(take)?;
        self.wait(asm, idle)?;
        asm.jmp(look)?;

        asm.set_label(&mut take)?;
        asm.mov(ecx, r12d)?;
        asm.and(ecx, u32::from(SIZE) - 1)?;
        asm.mov(rax, ring.used() + ENTRIES)?;
        asm.mov(ebx, dword_ptr(rax + rcx * 8))?;
        asm.shl(ebx, BUFFER.ilog2())?;
        asm.mov(rax, ring.buffers())?;
        asm.add(rbx, rax)?;
        asm.inc(r12)?;
        // It belongs to the device again after this, so what counts is kept.
        asm.movzx(esi, word_ptr(rbx + OPERATION))?;
        asm.mov(r8d, dword_ptr(rbx + LENGTH))?;
        asm.mov(rdi, qword_ptr(rbx + HEADER))?;
        self.give_back(asm, device, ring)?;

        let mut goes_on = asm.create_label();
        asm.cmp(esi, u32::from(RESET))?;
        asm.jne(goes_on)?;
        asm.finish(WAS_RESET)?;
        asm.set_label(&mut goes_on)?;
        match due {
            Due::Response => {
                asm.cmp(esi, u32::from(RESPONSE))?;
                asm.je(done)?;
            }
            Due::Echo => {
                asm.cmp(esi, u32::from(READ_WRITE))?;
                asm.jne(other)?;
                self.take_number(asm, look, done)?;
            }
        }
        asm.set_label(&mut other)?;
        asm.increment(&self.others)?;
        asm.jmp(look)?;
        asm.set_label(&mut done)?;
        asm.nop()
    }

    /// Compares the number of a packet that has come back, in RDI, with the one that is due.
    fn take_number(&self, asm: &mut Asm, look: CodeLabel, done: CodeLabel) -> Emitted {
        let [mut below, mut equal] = [(); 2].map(|()| asm.create_label());
        asm.add(r9d, r8d)?;
        asm.cmp(rdi, ROUND)?;
        asm.je(equal)?;
        asm.jb(below)?;
        asm.increment(&self.lost)?;
        asm.jmp(look)?;
        asm.set_label(&mut below)?;
        asm.increment(&self.doubled)?;
        asm.jmp(look)?;
        asm.set_label(&mut equal)?;
        asm.increment(&self.answered)?;
        asm.jmp(done)
    }

    /// Gives the buffer back that was taken last, and kicks if the device wants to know.
    fn give_back(&self, asm: &mut Asm, device: &Device, ring: &Ring) -> Emitted {
        let mut quiet = asm.create_label();
        self.make_available(asm, ring)?;
        asm.movzx(eax, word_ptr(ring.used()))?;
        asm.test(eax, u32::from(NO_NOTIFY))?;
        asm.jne(quiet)?;
        let [notify, _] = device.notify;
        self.kick(asm, notify, RECEIVE)?;
        asm.set_label(&mut quiet)?;
        asm.nop()
    }

    /// Waits until an interrupt has come that is not known yet.
    fn wait(&self, asm: &mut Asm, idle: Idle) -> Emitted {
        let [interrupts, _] = &self.interrupts;
        let [mut look, mut come] = [(); 2].map(|()| asm.create_label());
        asm.set_label(&mut look)?;
        if idle == Idle::Halt {
            asm.cli()?;
        }
        asm.mov(rax, qword_ptr(interrupts.address()))?;
        asm.cmp(rax, r13)?;
        asm.jne(come)?;
        match idle {
            Idle::Halt => {
                asm.sti()?;
                asm.hlt()?;
            }
            Idle::Spin => asm.pause()?,
        }
        asm.jmp(look)?;
        asm.set_label(&mut come)?;
        asm.mov(r13, rax)?;
        asm.sti()
    }
}
