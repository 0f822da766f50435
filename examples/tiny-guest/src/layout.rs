// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The map of the guest-physical address space.
//!
//! Addresses below 4 GiB are mapped one to one, so programs use the same addresses.

/// The page that holds the top-level page table.
pub const PML4: u64 = 0x1000;
/// The page that holds the only page-directory-pointer table.
pub const PDPT: u64 = 0x2000;
/// Four page directories of 2 MiB pages, one for each GiB.
pub const PAGE_DIRECTORIES: u64 = 0x3000;
/// The segment descriptors: null, code, data.
pub const GDT: u64 = 0x7000;
/// The task state. Nothing reads it, but a processor in 64-bit mode must have one.
pub const TSS: u64 = 0x8000;

/// The largest number of vCPUs.
pub const MAX_VCPUS: u8 = 15;
/// The size of each vCPU's private memory: its IDT, its stack and its code.
pub const PRIVATE_SIZE: u64 = 0x1_0000;
/// The size of the IDT: 256 gates of 16 bytes.
pub const IDT_SIZE: u64 = 0x1000;
/// The size of the stack.
pub const STACK_SIZE: u64 = 0x3000;
/// The largest code of a program, in bytes.
pub const CODE_SIZE: u64 = PRIVATE_SIZE - IDT_SIZE - STACK_SIZE;

/// Where slots and arrays begin. They end at the end of the RAM.
pub const DATA: u64 = 0x10_0000;
/// The distance between slots: a cache line, so that vCPUs that count do not slow each other down.
pub const SLOT_SIZE: u64 = 64;

/// The smallest RAM of a VM, in bytes.
pub const MIN_RAM: u64 = 0x20_0000;
/// The largest RAM of a VM, in bytes. Below it, an address fits a displacement of 32 signed bits.
pub const MAX_RAM: u64 = 0x8000_0000;

/// Addresses for devices, without RAM or interrupt controllers.
pub const DOORBELL: u64 = 0xd000_0000;
/// How many bytes are reserved from [`DOORBELL`] on.
pub const DOORBELL_SIZE: u64 = 0x40_0000;
/// The registers of the I/O APIC.
pub const IOAPIC: u64 = 0xfec0_0000;
/// The registers of the local APIC of the vCPU that accesses them.
pub const LAPIC: u64 = 0xfee0_0000;
/// One page for the identity map and three for the TSS, which KVM needs to run real-mode code on
/// Intel processors. Our guests run no such code, but vCPUs cannot be created without them.
pub const KVM_PRIVATE: u64 = 0xfffb_c000;

/// A program writes its 32-bit exit code to this port.
pub const FINISH_PORT: u16 = 0xf4;

/// The IDT of a vCPU.
pub const fn idt(vcpu: u8) -> u64 {
    (vcpu as u64 + 1) * PRIVATE_SIZE
}

/// The end of the stack of a vCPU, from where it grows down.
pub const fn stack_top(vcpu: u8) -> u64 {
    idt(vcpu) + IDT_SIZE + STACK_SIZE
}

/// The first instruction of the program of a vCPU.
pub const fn code(vcpu: u8) -> u64 {
    stack_top(vcpu)
}

/// The address of an MSI to a vCPU. The data of the message is the vector.
pub const fn msi_address(vcpu: u8) -> u64 {
    LAPIC | (vcpu as u64) << 12
}

// The private memory of vCPUs must not reach into the shared memory.
const _: () = assert!(idt(MAX_VCPUS) <= DATA);
const _: () = assert!(DATA < MIN_RAM);
