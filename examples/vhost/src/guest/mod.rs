// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Guest`]: a driver of a vsock device, in a few hundred bytes of code.
//!
//! It opens a connection and sends packets with numbers, each when the packet before has come back.
//! It looks at the ring only after an interrupt: a lost one stops it for good. While a packet is in
//! flight it may rebind the device, see [`Change`].

mod bindings;
mod rebind;
mod traffic;

use examples::arguments::Idle;
use tiny_guest::iced_x86::code_asm::{r9d, r12, r13, r14};
use tiny_guest::{Error, Machine, Program, Slot};
use vm_memory::{Bytes, GuestAddress};

use crate::ring::{BUFFER, Direction, RING, Ring, SIZE};
use crate::vsock::{Addresses, PACKET, PAYLOAD, Packet, READ_WRITE, REQUEST};
use bindings::Bindings;
pub use rebind::Change;
use traffic::Due;

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
    bindings: Bindings,
    interrupts: [Slot; QUEUES],
    requests: Slot,
    answered: Slot,
    lost: Slot,
    doubled: Slot,
    others: Slot,
    kicks: Slot,
    began: Slot,
    ended: Slot,
    stop: Slot,
}

/// What the guest has counted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Packets that it has sent, without the connection request.
    pub requests: u64,
    /// Packets that came back in order.
    pub answered: u64,
    /// Packets that came back before one that was due.
    pub lost: u64,
    /// Packets that came back once more.
    pub doubled: u64,
    /// Packets without a number, except the one that accepts the connection.
    pub others: u64,
    /// Kicks of both queues.
    pub kicks: u64,
    /// Interrupts of both queues.
    pub interrupts: u64,
    /// Changes that it has made to the device.
    pub changes: u64,
    /// Interrupts that came while the vector was masked.
    pub through_mask: u64,
    /// Interrupts at the previous vector.
    pub stale: u64,
    /// Packets that had come back, but were not completed, when the guest stopped the device.
    pub unfinished: u64,
    /// Packets that it took after it had stopped the device, before an interrupt for them: the
    /// device may have been stopped before it called.
    pub early: u64,
}

/// The work of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// How many packets it sends.
    pub packets: u32,
    /// It makes a [`Change`] with every so many packets, all changes in turn; never if 0.
    pub change_every: u32,
    /// How it waits for an interrupt.
    pub idle: Idle,
}

impl Load {
    /// `packets` packets, with about `changes` changes among them.
    #[must_use]
    pub fn new(packets: u32, changes: u32, idle: Idle) -> Self {
        let change_every = packets.checked_div(changes).map_or(0, |every| every.max(1));
        Self {
            packets,
            change_every,
            idle,
        }
    }

    /// How many changes the guest makes.
    #[must_use]
    pub fn changes(&self) -> u32 {
        self.packets.checked_div(self.change_every).unwrap_or(0)
    }
}

impl Guest {
    /// Lays the queues out in the RAM of a VM, and fills in those parts of the buffers that never
    /// change.
    ///
    /// # Errors
    ///
    /// Where there is not enough RAM.
    pub fn new(machine: &Machine, addresses: &Addresses) -> Result<Self, Error> {
        let guest = Self::of(machine)?;
        let [receive, transmit] = &guest.rings;
        let memory = machine.memory();
        receive.prepare(memory, Direction::Receive)?;
        transmit.prepare(memory, Direction::Transmit(PACKET as u32))?;
        let packet = Packet::request(addresses).to_bytes();
        for number in 0..u64::from(SIZE) {
            let buffer = transmit.buffers() + number * BUFFER;
            memory.write_slice(&packet, GuestAddress(buffer))?;
        }
        Ok(guest)
    }

    /// A guest whose RAM was copied to this VM, which has no other data in it.
    ///
    /// # Errors
    ///
    /// Where there is not enough RAM.
    pub fn of(machine: &Machine) -> Result<Self, Error> {
        let words = u32::try_from(RING / 8).unwrap_or(u32::MAX);
        let ring = || Ok::<_, Error>(Ring::new(machine.array(words)?.address()));
        Ok(Self {
            rings: [ring()?, ring()?],
            bindings: Bindings::new(machine)?,
            interrupts: [machine.slot()?, machine.slot()?],
            requests: machine.slot()?,
            answered: machine.slot()?,
            lost: machine.slot()?,
            doubled: machine.slot()?,
            others: machine.slot()?,
            kicks: machine.slot()?,
            began: machine.slot()?,
            ended: machine.slot()?,
            stop: machine.slot()?,
        })
    }

    /// The queues, by number.
    #[must_use]
    pub fn rings(&self) -> &[Ring; QUEUES] {
        &self.rings
    }

    /// Makes the guest stop sending, and finish when the last packet has come back. The request may
    /// be lost if the guest moves to another VM meanwhile.
    ///
    /// # Errors
    ///
    /// None in practice.
    pub fn stop(&self) -> Result<(), Error> {
        self.stop.store(1)
    }

    /// How many packets have come back so far.
    ///
    /// # Errors
    ///
    /// None in practice.
    pub fn answered(&self) -> Result<u64, Error> {
        self.answered.load()
    }

    /// The ticks of the time-stamp counter from the first packet with a number to the end. Not
    /// valid if the guest has moved to another VM.
    ///
    /// # Errors
    ///
    /// None in practice.
    pub fn ticks(&self) -> Result<u64, Error> {
        Ok(self.ended.load()?.saturating_sub(self.began.load()?))
    }

    /// The guest's counters so far.
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
            changes: self.bindings.changes.load()?,
            through_mask: self.bindings.through_mask.load()?,
            stale: self.bindings.stale.load()?,
            unfinished: self.bindings.unfinished.load()?,
            early: self.bindings.early.load()?,
        })
    }

    /// The program that starts the device, and then sends packets and waits for each of them.
    ///
    /// R12 counts the received packets that it has taken, R13 the interrupts that it has seen, R14
    /// the packets that it has sent since the device was started, and R9D the bytes of payload that
    /// it has received.
    ///
    /// # Errors
    ///
    /// None in practice.
    pub fn program(&self, load: &Load) -> Result<Program, Error> {
        let idle = load.idle;
        let mut program = Program::new(|asm| {
            asm.enable_lapic()?;
            asm.sti()?;
            [r12, r13, r14]
                .into_iter()
                .try_for_each(|register| asm.mov(register, 0_u64))?;
            asm.xor(r9d, r9d)?;
            self.bindings.bind(asm, load)?;
            self.send(asm, REQUEST, 0)?;
            let mut come = asm.create_label();
            self.receive(asm, Due::Response, idle, &mut come)?;
            asm.store_tsc(&self.began)?;
            asm.repeat_until_stopped(load.packets, &self.stop, |asm| {
                let [mut come, mut answered] = [(); 2].map(|()| asm.create_label());
                asm.increment(&self.requests)?;
                match load.change_every {
                    0 => self.send(asm, READ_WRITE, PAYLOAD)?,
                    _ => self.send_and_change(asm, load, come, answered)?,
                }
                self.receive(asm, Due::Echo, idle, &mut come)?;
                asm.set_label(&mut answered)?;
                asm.nop()
            })?;
            asm.store_tsc(&self.ended)?;
            asm.finish(DONE)
        })?;
        for (queue, slot) in self.interrupts.iter().enumerate() {
            for interrupt in Bindings::interrupts(queue) {
                program = program.handler(interrupt, |asm| {
                    asm.increment(slot)?;
                    match queue {
                        RECEIVE => self.bindings.check(asm, interrupt),
                        _ => Ok(()),
                    }
                })?;
            }
        }
        Ok(program)
    }
}
