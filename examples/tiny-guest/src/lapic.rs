// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The registers of a local APIC in KVM's form.

use kvm_bindings::kvm_lapic_state;

/// The spurious-interrupt vector register: bit 8 enables the APIC.
pub(crate) const SVR: usize = 0xf0;
/// Enabled, with 255 as the spurious vector.
pub(crate) const SVR_ENABLED: u32 = 0x1ff;
/// Interrupts that were accepted, but not yet taken: eight registers of 32 bits, 16 bytes apart.
const IRR: usize = 0x200;

pub(crate) fn enable(state: &mut kvm_lapic_state) {
    for (register, byte) in state
        .regs
        .iter_mut()
        .skip(SVR)
        .zip(SVR_ENABLED.to_le_bytes())
    {
        *register = byte.cast_signed();
    }
}

/// The vectors in the interrupt request register, in ascending order.
pub(crate) fn pending_vectors(state: &kvm_lapic_state) -> Vec<u8> {
    (0..=u8::MAX)
        .filter(|&vector| {
            let vector = usize::from(vector);
            let byte = IRR + vector / 32 * 16 + vector % 32 / 8;
            let bits = state.regs.get(byte).copied().unwrap_or(0).cast_unsigned();
            bits >> (vector % 8) & 1 == 1
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_where_the_manual_has_them() {
        let mut state = kvm_lapic_state::default();
        state.regs[0x210] = 0x02; // bit 1 of the register of vectors 32 to 63
        state.regs[0x273] = i8::MIN; // bit 31 of the register of vectors 224 to 255
        assert_eq!(pending_vectors(&state), [33, 255]);
    }

    #[test]
    fn enabling_touches_only_its_register() {
        let mut state = kvm_lapic_state::default();
        enable(&mut state);
        assert_eq!(state.regs[0xf0..0xf4], [-1, 1, 0, 0]);
        assert_eq!(state.regs.iter().filter(|&&byte| byte != 0).count(), 2);
    }
}
