// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The code of the guest that sends packets and takes them.

use examples::arguments::Idle;
use tiny_guest::iced_x86::code_asm::{
    CodeLabel, ax, dword_ptr, eax, ebx, ecx, esi, qword_ptr, r8d, r9d, r12, r12d, r12w, r13, r14,
    rax, rbx, rcx, rdi, word_ptr,
};
use tiny_guest::{Asm, Emitted, ROUND};

use super::{Guest, RECEIVE, TRANSMIT, WAS_RESET};
use crate::registers::NOTIFY;
use crate::ring::{BUFFER, ENTRIES, INDEX, NO_NOTIFY, Ring, SIZE};
use crate::vsock::{FORWARDED, HEADER, LENGTH, OPERATION, READ_WRITE, RESET, RESPONSE};

/// What the guest waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Response,
    /// The packet with the number of this round.
    Echo,
}

impl Guest {
    /// Sends a packet with the number of the round, and kicks.
    pub(super) fn send(&self, asm: &mut Asm, operation: u16, length: u32) -> Emitted {
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
        self.kick(asm, TRANSMIT)
    }

    /// Makes one more buffer available. This is a barrier, too.
    fn make_available(&self, asm: &mut Asm, ring: &Ring) -> Emitted {
        asm.lock().inc(word_ptr(ring.available() + INDEX))
    }

    fn kick(&self, asm: &mut Asm, queue: usize) -> Emitted {
        asm.increment(&self.kicks)?;
        asm.mov(rcx, qword_ptr(self.bindings.notify.address()))?;
        let address = word_ptr(rcx + NOTIFY * queue as u64);
        asm.mov(address, queue as u32)
    }

    /// Waits for an interrupt, and takes packets until the one that is due has come. A jump to
    /// `come` skips the first wait.
    pub(super) fn receive(
        &self,
        asm: &mut Asm,
        due: Due,
        idle: Idle,
        come: &mut CodeLabel,
    ) -> Emitted {
        self.wait(asm, idle)?;
        asm.set_label(come)?;
        asm.nop()?;
        self.take(asm, due, |asm, look| {
            self.wait(asm, idle)?;
            asm.jmp(look)
        })
    }

    /// Takes packets until the one that is due has come. If the ring is empty, it runs `empty`,
    /// which jumps to the label or elsewhere.
    pub(super) fn take(
        &self,
        asm: &mut Asm,
        due: Due,
        empty: impl FnOnce(&mut Asm, CodeLabel) -> Emitted,
    ) -> Emitted {
        let [ring, _] = &self.rings;
        let [mut look, mut take, mut other, mut done] = [(); 4].map(|()| asm.create_label());
        asm.set_label(&mut look)?;
        self.compare_used(asm, ring)?;
        asm.jne(take)?;
        empty(asm, look)?;

        asm.set_label(&mut take)?;
        asm.mov(ecx, r12d)?;
        asm.and(ecx, u32::from(SIZE) - 1)?;
        asm.mov(rax, ring.used() + ENTRIES)?;
        asm.mov(ebx, dword_ptr(rax + rcx * 8))?;
        asm.shl(ebx, BUFFER.ilog2())?;
        asm.mov(rax, ring.buffers())?;
        asm.add(rbx, rax)?;
        asm.inc(r12)?;
        // The buffer belongs to the device again after this, so its fields are read now.
        asm.movzx(esi, word_ptr(rbx + OPERATION))?;
        asm.mov(r8d, dword_ptr(rbx + LENGTH))?;
        asm.mov(rdi, qword_ptr(rbx + HEADER))?;
        self.give_back(asm, ring)?;

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

    /// Compares the used index with the packets taken: "not equal" if a packet has come.
    pub(super) fn compare_used(&self, asm: &mut Asm, ring: &Ring) -> Emitted {
        asm.movzx(eax, word_ptr(ring.used() + INDEX))?;
        asm.cmp(ax, r12w)
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

    /// Makes the buffer that was taken last available again, and kicks if the device wants a kick.
    fn give_back(&self, asm: &mut Asm, ring: &Ring) -> Emitted {
        let mut quiet = asm.create_label();
        self.make_available(asm, ring)?;
        asm.movzx(eax, word_ptr(ring.used()))?;
        asm.test(eax, u32::from(NO_NOTIFY))?;
        asm.jne(quiet)?;
        self.kick(asm, RECEIVE)?;
        asm.set_label(&mut quiet)?;
        asm.nop()
    }

    /// Waits for an interrupt that was not counted yet.
    pub(super) fn wait(&self, asm: &mut Asm, idle: Idle) -> Emitted {
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
