// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The constants that guest and device share.

/// How many vectors the device has.
pub(crate) const VECTORS: u16 = 32;
/// How many vCPUs take its interrupts.
pub(crate) const VCPUS: u8 = 2;

/// Where the device has its table, its pending bits and, for once not in a configuration space, the
/// Message Control register of its capability: offsets from the start of its region.
pub(crate) const TABLE: u64 = 0;
pub(crate) const PENDING: u64 = 0x1000;
pub(crate) const CONTROL: u64 = 0x2000;
pub(crate) const END: u64 = 0x3000;

/// Bits of Message Control (PCI Local Bus 3.0, 6.8.2.3).
pub(crate) const ENABLE: u16 = 1 << 15;
pub(crate) const FUNCTION_MASK: u16 = 1 << 14;

/// Bytes of an entry: address, data, Vector Control.
pub(crate) const ENTRY: u64 = 16;
pub(crate) const DATA: u64 = 8;
pub(crate) const VECTOR_CONTROL: u64 = 12;

/// The address of a message to the first vCPU, and how far that of the next is.
const MSI_ADDRESS: u32 = 0xfee0_0000;
const FIRST_INTERRUPT: u8 = 0x40;

/// How the host triggers a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// The next trigger comes only after the guest has counted the previous one.
    LockStep,
    /// As fast as the host can, so that triggers coalesce.
    Storm,
}

impl Part {
    pub(crate) fn of(vector: u16) -> Self {
        if vector < VECTORS / 2 {
            Self::LockStep
        } else {
            Self::Storm
        }
    }

    pub(crate) fn vectors(self) -> impl Iterator<Item = u16> {
        (0..VECTORS).filter(move |vector| Self::of(*vector) == self)
    }
}

/// Whether a vector is signalled by its notifier, as another process would.
pub(crate) fn is_exported(vector: u16) -> bool {
    vector % 2 == 1
}

/// The vCPU that programs a vector. Each vCPU has internal and exported vectors of both parts.
pub(crate) fn owner(vector: u16) -> u8 {
    u8::from(vector / 2 % 2 == 1)
}

/// The interrupt of a vector at a vCPU. Each vCPU has its own, so that a message with a new address
/// and old data, or the other way round, can be distinguished from a whole one.
pub(crate) fn interrupt(vector: u16, vcpu: u8) -> u8 {
    let number = u16::from(FIRST_INTERRUPT) + vector * u16::from(VCPUS) + u16::from(vcpu);
    u8::try_from(number).unwrap_or(u8::MAX)
}

/// The vector of an interrupt, and the vCPU that it is for.
pub(crate) fn sender(interrupt: u32) -> Option<(u16, u8)> {
    let number = interrupt.checked_sub(u32::from(FIRST_INTERRUPT))?;
    let vcpus = u32::from(VCPUS);
    let vector = u16::try_from(number / vcpus).ok()?;
    let vcpu = u8::try_from(number % vcpus).ok()?;
    (vector < VECTORS).then_some((vector, vcpu))
}

/// The address of messages to a vCPU.
pub(crate) fn address(vcpu: u8) -> u32 {
    MSI_ADDRESS | u32::from(vcpu) << 12
}
