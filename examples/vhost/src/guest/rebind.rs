// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Change`]: what a guest does to its device while packets are in flight.

use irqfd::msix::NO_VECTOR;
use tiny_guest::iced_x86::code_asm::{
    CodeLabel, ax, eax, qword_ptr, r12, r13, r14, r14w, rax, rcx, word_ptr,
};
use tiny_guest::{Asm, Emitted};

use super::traffic::Due;
use super::{Guest, Load, QUEUES, RECEIVE};
use crate::registers::{BAR, PLACES, QUEUE_VECTOR, STATUS, SUSPEND, interrupt};
use crate::ring::{INDEX, SIZE};
use crate::vsock::{PAYLOAD, READ_WRITE};

/// How long a guest waits for the call after the reply is in the ring: some 10 us.
const PAUSES: u32 = 500;

/// What a guest does to its device while a packet is in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The guest masks the vector of the receive queue, sends the packet, and unmasks the vector
    /// when the reply is in the ring: only then the interrupt comes.
    Mask,
    /// The same, but the guest moves to another VM before it unmasks the vector, and again right
    /// after: KVM may not have injected the interrupt yet.
    MaskAndSuspend,
    /// The guest gives the vector of the receive queue another message.
    Retarget,
    /// The guest masks the vector of the receive queue, moves the queue to no vector, and then to
    /// another vector: the interrupt comes there.
    MoveQueue,
    /// The guest moves the BAR with the doorbells.
    MoveBar,
    /// The guest stops the device, resets its rings, and starts it. A packet that the device has
    /// not taken before is sent again.
    Reset,
    /// The guest moves to another VM.
    Suspend,
}

impl Change {
    /// How many times the guest moves to another VM.
    fn suspends(self) -> u32 {
        match self {
            Self::MaskAndSuspend => 2,
            Self::Suspend => 1,
            _ => 0,
        }
    }

    /// How many times the guest moves to another VM in its first `changes` changes.
    #[must_use]
    pub fn moves(changes: u32) -> u32 {
        let first = Self::ALL.into_iter().cycle().take(changes as usize);
        first.map(Self::suspends).sum()
    }

    /// All of them, in the order in which a guest makes them.
    pub const ALL: [Self; 7] = [
        Self::Mask,
        Self::MaskAndSuspend,
        Self::Retarget,
        Self::MoveQueue,
        Self::MoveBar,
        Self::Reset,
        Self::Suspend,
    ];
}

impl Guest {
    /// Sends the packet of the round, and makes the next change if one is due. Jumps to `come` if
    /// it has taken the interrupt, and to `answered` if it has taken the reply, too.
    pub(super) fn send_and_change(
        &self,
        asm: &mut Asm,
        load: &Load,
        come: CodeLabel,
        answered: CodeLabel,
    ) -> Emitted {
        let [mut none, mut done] = [(); 2].map(|()| asm.create_label());
        let countdown = self.bindings.countdown.address();
        asm.dec(qword_ptr(countdown))?;
        asm.jne(none)?;
        asm.store(&self.bindings.countdown, u64::from(load.change_every))?;
        asm.increment(&self.bindings.changes)?;
        let next = Change::ALL.into_iter().cycle().skip(1);
        for ((number, change), next) in (0..).zip(Change::ALL).zip(next) {
            let mut another = asm.create_label();
            asm.cmp(qword_ptr(self.bindings.next.address()), number)?;
            asm.jne(another)?;
            asm.store(&self.bindings.next, next as u64)?;
            match change {
                Change::Mask | Change::MaskAndSuspend => {
                    self.mask(asm, load, change == Change::MaskAndSuspend)?;
                    asm.jmp(come)?;
                }
                after => {
                    self.send(asm, READ_WRITE, PAYLOAD)?;
                    self.change(asm, after, answered)?;
                    asm.jmp(done)?;
                }
            }
            asm.set_label(&mut another)?;
            asm.nop()?;
        }
        asm.set_label(&mut none)?;
        self.send(asm, READ_WRITE, PAYLOAD)?;
        asm.set_label(&mut done)?;
        asm.nop()
    }

    /// Makes a change after the packet was sent.
    fn change(&self, asm: &mut Asm, change: Change, answered: CodeLabel) -> Emitted {
        match change {
            Change::Retarget => self.retarget(asm),
            Change::MoveQueue => self.move_queue(asm),
            Change::MoveBar => self.move_bar(asm),
            Change::Reset => self.reset(asm, answered),
            Change::Suspend => asm.mmio_write16(SUSPEND, 1),
            Change::Mask | Change::MaskAndSuspend => Ok(()),
        }
    }

    /// Sends a packet while the vector is masked, and takes the interrupt after that.
    fn mask(&self, asm: &mut Asm, load: &Load, suspends: bool) -> Emitted {
        let [ring, _] = &self.rings;
        let [interrupts, _] = &self.interrupts;
        let [mut look, mut arrived, mut quiet] = [(); 3].map(|()| asm.create_label());
        self.bindings.set_mask(asm, true)?;
        self.bindings.read_mask(asm)?;
        asm.mov(r13, qword_ptr(interrupts.address()))?;
        self.send(asm, READ_WRITE, PAYLOAD)?;
        asm.set_label(&mut look)?;
        self.compare_used(asm, ring)?;
        asm.jne(arrived)?;
        asm.pause()?;
        asm.jmp(look)?;
        asm.set_label(&mut arrived)?;
        // The device calls after it has used the buffer.
        asm.repeat(PAUSES, |asm| asm.pause())?;
        if suspends {
            asm.mmio_write16(SUSPEND, 1)?;
        }
        asm.cmp(qword_ptr(interrupts.address()), r13)?;
        asm.je(quiet)?;
        asm.increment(&self.bindings.through_mask)?;
        asm.set_label(&mut quiet)?;
        self.bindings.set_mask(asm, false)?;
        if suspends {
            asm.mmio_write16(SUSPEND, 1)?;
        }
        self.wait(asm, load.idle)
    }

    fn retarget(&self, asm: &mut Asm) -> Emitted {
        asm.store(&self.bindings.settled, 0)?;
        asm.xor(qword_ptr(self.bindings.interrupt.address()), 1)?;
        self.bindings.program_entry(asm)?;
        self.bindings.settle(asm)
    }

    fn move_queue(&self, asm: &mut Asm) -> Emitted {
        asm.store(&self.bindings.settled, 0)?;
        self.bindings.set_mask(asm, true)?;
        asm.mmio_write16(QUEUE_VECTOR + 2 * RECEIVE as u64, NO_VECTOR)?;
        asm.xor(qword_ptr(self.bindings.entry.address()), QUEUES as i32)?;
        asm.mov(rax, qword_ptr(self.bindings.entry.address()))?;
        asm.shl(rax, 1)?;
        asm.add(rax, i32::from(interrupt(0, 0)))?;
        asm.mov(qword_ptr(self.bindings.interrupt.address()), rax)?;
        self.bindings.program_entry(asm)?;
        self.bindings.bind_receive(asm)?;
        self.bindings.settle(asm)
    }

    fn move_bar(&self, asm: &mut Asm) -> Emitted {
        let [first, second] = PLACES;
        asm.xor(qword_ptr(self.bindings.place.address()), 1)?;
        asm.mov(rax, qword_ptr(self.bindings.place.address()))?;
        asm.mov(rcx, BAR)?;
        asm.mov(word_ptr(rcx), ax)?;
        asm.mov(rax, first ^ second)?;
        asm.xor(qword_ptr(self.bindings.notify.address()), rax)
    }

    fn reset(&self, asm: &mut Asm, answered: CodeLabel) -> Emitted {
        let [_, transmit] = &self.rings;
        let [interrupts, _] = &self.interrupts;
        let [
            mut nothing,
            mut called,
            mut finished,
            mut on_its_way,
            mut done,
        ] = [(); 5].map(|()| asm.create_label());
        let is_completed = |asm: &mut Asm| {
            asm.movzx(eax, word_ptr(transmit.used() + INDEX))?;
            asm.cmp(ax, r14w)
        };
        asm.mmio_write16(STATUS, 0)?;
        self.take(asm, Due::Echo, |asm, _| asm.jmp(nothing))?;
        // The device is stopped, and every interrupt that it has sent was taken.
        asm.mov(rax, qword_ptr(interrupts.address()))?;
        asm.cmp(rax, r13)?;
        asm.jne(called)?;
        asm.increment(&self.bindings.early)?;
        asm.set_label(&mut called)?;
        asm.mov(r13, rax)?;
        is_completed(asm)?;
        asm.je(finished)?;
        asm.increment(&self.bindings.unfinished)?;
        asm.set_label(&mut finished)?;
        self.start_anew(asm)?;
        asm.jmp(answered)?;

        asm.set_label(&mut nothing)?;
        is_completed(asm)?;
        asm.je(on_its_way)?;
        self.start_anew(asm)?;
        self.send(asm, READ_WRITE, PAYLOAD)?;
        asm.jmp(done)?;
        asm.set_label(&mut on_its_way)?;
        self.start_anew(asm)?;
        asm.set_label(&mut done)?;
        asm.nop()
    }

    /// Resets both rings, and starts the device.
    fn start_anew(&self, asm: &mut Asm) -> Emitted {
        let [receive, transmit] = &self.rings;
        for (ring, available) in [(receive, SIZE), (transmit, 0)] {
            asm.mov(word_ptr(ring.available() + INDEX), u32::from(available))?;
            asm.mov(word_ptr(ring.used()), 0)?;
            asm.mov(word_ptr(ring.used() + INDEX), 0)?;
        }
        asm.mov(r12, 0_u64)?;
        asm.mov(r14, 0_u64)?;
        self.bindings.start(asm)
    }
}
