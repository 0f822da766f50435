// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the guest's driver does: accesses to the device, drawn at random.

use examples::random::Random;

use crate::layout::{
    CONTROL, DATA, ENABLE, ENTRY, FUNCTION_MASK, PENDING, TABLE, VCPUS, VECTOR_CONTROL, VECTORS,
    address, interrupt, owner,
};

/// One action of a vCPU; offsets are into the device's region.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Access {
    Write16(u64, u16),
    Write32(u64, u32),
    Write64(u64, u64),
    Read64(u64),
    /// Does nothing for so long: a few hundred nanoseconds each.
    Wait(u32),
}

/// How many actions a vCPU does before it starts from the beginning.
const STEPS: u32 = 160;

/// What a vCPU does once: it programs its vectors; the first vCPU enables the function.
pub(crate) fn start(vcpu: u8) -> Vec<Access> {
    let mut accesses = Vec::new();
    for vector in vectors_of(vcpu) {
        words(vector, vcpu, &mut accesses);
        accesses.push(Access::Write32(entry(vector) + VECTOR_CONTROL, 0));
    }
    if vcpu == 0 {
        accesses.push(Access::Write16(CONTROL, ENABLE));
    }
    accesses
}

/// What a vCPU does again and again. It leaves all its vectors open, and the function too.
pub(crate) fn steps(vcpu: u8, random: &mut Random) -> Vec<Access> {
    let vectors: Vec<u16> = vectors_of(vcpu).collect();
    let mut accesses = Vec::new();
    for _ in 0..STEPS {
        if vcpu == 0 && random.chance(16) {
            close_function(random, &mut accesses);
        } else if random.chance(16) {
            accesses.push(Access::Read64(PENDING));
        } else if let Some(vector) = pick(&vectors, random) {
            close_vector(vector, random, &mut accesses);
        }
        wait(random, &mut accesses);
    }
    accesses
}

/// Masks the function, or disables it, and opens it again.
fn close_function(random: &mut Random, accesses: &mut Vec<Access>) {
    let closed = [FUNCTION_MASK | ENABLE, 0];
    accesses.extend(pick(&closed, random).map(|control| Access::Write16(CONTROL, control)));
    wait(random, accesses);
    accesses.push(Access::Write16(CONTROL, ENABLE));
}

/// Masks a vector, retargets it or not, and unmasks it.
fn close_vector(vector: u16, random: &mut Random, accesses: &mut Vec<Access>) {
    let entry = entry(vector);
    accesses.push(Access::Write32(entry + VECTOR_CONTROL, 1));
    wait(random, accesses);
    let vcpu = u8::try_from(random.below(VCPUS.into())).unwrap_or(0);
    match random.below(4) {
        0 => {}
        // Two writes, of which the last opens the vector with its new data.
        1 => {
            let data = u64::from(interrupt(vector, vcpu));
            accesses.push(Access::Write64(entry, address(vcpu).into()));
            accesses.push(Access::Write64(entry + DATA, data));
            return;
        }
        _ => words(vector, vcpu, accesses),
    }
    wait(random, accesses);
    accesses.push(Access::Write32(entry + VECTOR_CONTROL, 0));
}

/// Address and data, word by word, as Linux writes them.
fn words(vector: u16, vcpu: u8, accesses: &mut Vec<Access>) {
    let entry = entry(vector);
    accesses.push(Access::Write32(entry, address(vcpu)));
    accesses.push(Access::Write32(entry + 4, 0));
    accesses.push(Access::Write32(
        entry + DATA,
        interrupt(vector, vcpu).into(),
    ));
}

fn wait(random: &mut Random, accesses: &mut Vec<Access>) {
    if random.chance(2) {
        accesses.push(Access::Wait(1 + random.below(40)));
    }
}

fn vectors_of(vcpu: u8) -> impl Iterator<Item = u16> {
    (0..VECTORS).filter(move |vector| owner(*vector) == vcpu)
}

fn entry(vector: u16) -> u64 {
    TABLE + u64::from(vector) * ENTRY
}

pub(crate) fn pick<T: Copy>(from: &[T], random: &mut Random) -> Option<T> {
    let count = u32::try_from(from.len()).ok().filter(|count| *count > 0)?;
    from.get(random.below(count) as usize).copied()
}
