// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A guest that kicks by its clock, whether or not the device keeps up: an open loop.
//!
//! It puts an entry in a ring and rings a doorbell, unless the ring's flag suppresses the kick. An
//! entry holds how late the guest was, plus one; from it the host computes when it was made.
//!
//! Times are counted in beats of 256 ticks of the time-stamp counter, some 100 ns: the guest can
//! compare 32 bits in few instructions, and 32 bits of beats take minutes to wrap.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use ioeventfd::{Datamatch, IoAddress, IoEventFd, Width};
use notify_core::{EventNotifier, KvmVm};
use tiny_guest::iced_x86::code_asm::{
    dword_ptr, eax, edx, qword_ptr, r8d, r9d, r12, rax, rbx, rcx,
};
use tiny_guest::layout::DOORBELL;
use tiny_guest::{Array, Asm, Emitted, Exit, Machine, Program, Slot, Vcpu, host_tsc};

const MEMORY: u64 = 16 << 20;
/// Room for a phase at the highest rate.
const ENTRIES: u32 = 200_000;
/// Kicks in one iteration of the guest's loop, so that the loop itself costs little.
const UNROLLED: u32 = 8;
/// Ticks in a beat, as a power of two.
const BEAT: u32 = 8;

/// A VM with a ring and a doorbell.
pub(crate) struct Guest {
    vcpu: Vcpu,
    ring: Array,
    suppressed: Slot,
    start: Slot,
    /// How many ticks the guest's clock is ahead of the host's.
    offset: u64,
    ticks_per_ms: u64,
    pub(crate) kick: Arc<EventNotifier>,
    _doorbell: IoEventFd,
    _machine: Machine,
}

/// The ring as the device sees it.
pub(crate) struct Ring {
    entries: Array,
    suppressed: Slot,
    start: Slot,
    tail: u32,
    period: u32,
    offset: u64,
    ticks_per_ms: u64,
}

impl Guest {
    pub(crate) fn new() -> Result<Self, Box<dyn Error>> {
        let (machine, vcpus) = Machine::builder().memory(MEMORY).build()?;
        let mut vcpu = vcpus.into_iter().next().ok_or("a VM without a vCPU")?;
        let vm = Arc::new(KvmVm::try_from(machine.vm())?);
        let kick = Arc::new(EventNotifier::new()?);
        let address = IoAddress::Mmio(DOORBELL);
        let doorbell = IoEventFd::builder(vm, address, Datamatch::Width(Width::W4));
        let doorbell = doorbell.notifier(Arc::clone(&kick)).assign()?;
        let start = machine.slot()?;
        Ok(Self {
            offset: offset(&mut vcpu, &start)?,
            ticks_per_ms: vcpu.tsc_khz()?.into(),
            vcpu,
            ring: machine.array(ENTRIES)?,
            suppressed: machine.slot()?,
            start,
            kick,
            _doorbell: doorbell,
            _machine: machine,
        })
    }

    /// Loads the program that kicks `rate` times a second. Returns the number of kicks, and the
    /// ring for the device.
    pub(crate) fn load(
        &mut self,
        rate: u32,
        time: Duration,
    ) -> Result<(u32, Ring), Box<dyn Error>> {
        let kicks = u32::try_from(u128::from(rate) * time.as_millis() / 1000)?;
        let turns = kicks.min(ENTRIES) / UNROLLED;
        let period = u32::try_from((self.ticks_per_ms * 1000 / u64::from(rate)) >> BEAT)?;
        self.ring.clear()?;
        self.suppressed.store(0)?;
        self.start.store(0)?;
        self.kick.consume()?;
        let lead = i32::try_from(self.ticks_per_ms >> BEAT)?;
        let end = self.ring.address() + u64::from(turns * UNROLLED) * 8;
        let program = Program::new(|asm| {
            asm.mov(rbx, self.ring.address())?;
            asm.mov(r12, end)?;
            asm.mov(r9d, period)?;
            read_beats(asm)?;
            asm.add(eax, lead)?;
            asm.mov(r8d, eax)?;
            // Above 32 bits, so that it is not 0 whatever the time.
            asm.bts(rax, 32u32)?;
            asm.mov(qword_ptr(self.start.address()), rax)?;
            asm.mov(rcx, DOORBELL)?;
            let mut next = asm.create_label();
            asm.set_label(&mut next)?;
            // An instruction has one label, and the first kick begins with another.
            asm.nop()?;
            (0..UNROLLED).try_for_each(|_| kick(asm, &self.suppressed))?;
            asm.cmp(rbx, r12)?;
            asm.jb(next)
        })?;
        self.vcpu.load(program)?;
        let ring = Ring {
            entries: self.ring.clone(),
            suppressed: self.suppressed.clone(),
            start: self.start.clone(),
            tail: 0,
            period,
            offset: self.offset,
            ticks_per_ms: self.ticks_per_ms,
        };
        Ok((turns * UNROLLED, ring))
    }

    /// Runs the program to its end.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        match self.vcpu.run().map_err(|error| error.to_string())? {
            Exit::Finished(_) => Ok(()),
            other => Err(format!("the guest did something unexpected: {other:?}")),
        }
    }
}

/// Waits for the next time of the schedule, makes an entry, and rings the doorbell.
fn kick(asm: &mut Asm, suppressed: &Slot) -> Emitted {
    let (mut wait, mut done) = (asm.create_label(), asm.create_label());
    asm.set_label(&mut wait)?;
    read_beats(asm)?;
    asm.sub(eax, r8d)?;
    asm.jle(wait)?;
    // This is also a barrier: the entry is written before the flag is read.
    asm.xchg(qword_ptr(rbx), rax)?;
    asm.add(rbx, 8)?;
    asm.add(r8d, r9d)?;
    asm.cmp(qword_ptr(suppressed.address()), 0)?;
    asm.jne(done)?;
    asm.mov(dword_ptr(rcx), eax)?;
    asm.set_label(&mut done)?;
    asm.nop()
}

/// Reads the clock into EAX, in beats.
fn read_beats(asm: &mut Asm) -> Emitted {
    asm.rdtsc()?;
    asm.shrd(eax, edx, BEAT)
}

fn low(number: u64) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "the low half of it")]
    let low = number as u32;
    low
}

impl Ring {
    /// Takes the entries that are there, at most `most`; passes the age of each, in nanoseconds, to
    /// `made`.
    pub(crate) fn take(
        &mut self,
        most: u32,
        mut made: impl FnMut(u64),
    ) -> Result<u32, Box<dyn Error + Send + Sync>> {
        let mut taken = 0;
        while taken < most {
            let late = self.entries.get(self.tail)?;
            if late == 0 {
                break;
            }
            let (start, late) = (low(self.start.load()?), low(late));
            let at = start
                .wrapping_add(self.period.wrapping_mul(self.tail))
                .wrapping_add(late);
            let now = low(host_tsc().wrapping_add(self.offset) >> BEAT);
            let ago = now.wrapping_sub(at).cast_signed().max(0).cast_unsigned();
            made((u64::from(ago) << BEAT) * 1_000_000 / self.ticks_per_ms);
            self.tail += 1;
            taken += 1;
        }
        Ok(taken)
    }

    /// Sets whether the guest must not ring.
    pub(crate) fn suppress(&self, suppress: bool) -> Result<(), tiny_guest::Error> {
        // An exchange is a barrier: a look at the ring afterwards comes after it.
        let now = u64::from(suppress);
        let before = u64::from(!suppress);
        self.suppressed
            .fetch_add(now.wrapping_sub(before))
            .map(drop)
    }
}

/// How many ticks the guest's clock is ahead of the host's; 0 where possible.
fn offset(vcpu: &mut Vcpu, slot: &Slot) -> Result<u64, Box<dyn Error>> {
    let (mut least, mut most) = (i64::MIN, i64::MAX);
    for _ in 0..50 {
        vcpu.load(Program::new(|asm| asm.store_tsc(slot))?)?;
        let before = host_tsc();
        if !matches!(vcpu.run()?, Exit::Finished(0)) {
            return Err("the guest did not read its clock".into());
        }
        let (guest, after) = (slot.load()?, host_tsc());
        least = least.max(guest.wrapping_sub(after).cast_signed());
        most = most.min(guest.wrapping_sub(before).cast_signed());
    }
    let offset = if least <= 0 && most >= 0 {
        0
    } else {
        least + (most - least) / 2
    };
    Ok(offset.cast_unsigned())
}
