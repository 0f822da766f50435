// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The tables and registers that make a vCPU start in 64-bit mode, with paging on.

use kvm_bindings::{kvm_segment, kvm_sregs};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::{Error, layout};

const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
const WRITE_THROUGH: u64 = 1 << 3;
const CACHE_DISABLE: u64 = 1 << 4;
const PAGE_SIZE: u64 = 1 << 7;
const SIZE_2M: u64 = 1 << 21;

const CR0_PE: u64 = 1 << 0;
const CR0_ET: u64 = 1 << 4;
const CR0_NE: u64 = 1 << 5;
const CR0_WP: u64 = 1 << 16;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;

/// The descriptors of a 64-bit code segment and of a data segment, both flat and for ring 0.
const DESCRIPTORS: [u64; 3] = [0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff];
const DATA_SELECTOR: u16 = 0x10;
/// The selector of the code segment, in interrupt gates as in CS.
pub(crate) const CODE_SELECTOR: u16 = 0x08;

/// Writes the page tables and the GDT.
pub(crate) fn write_tables(memory: &GuestMemoryMmap) -> Result<(), Error> {
    write(memory, layout::PML4, layout::PDPT | WRITABLE | PRESENT)?;
    for gib in 0..4 {
        let directory = layout::PAGE_DIRECTORIES + gib * 0x1000;
        write(
            memory,
            layout::PDPT + gib * 8,
            directory | WRITABLE | PRESENT,
        )?;
    }
    // The four directories follow each other, and so do the pages they map.
    for page in 0..4 * 512 {
        let address = page * SIZE_2M;
        let caching = match address < layout::MAX_RAM {
            true => 0,
            false => CACHE_DISABLE | WRITE_THROUGH,
        };
        let entry = address | caching | PAGE_SIZE | WRITABLE | PRESENT;
        write(memory, layout::PAGE_DIRECTORIES + page * 8, entry)?;
    }
    for (address, descriptor) in (layout::GDT..).step_by(8).zip(DESCRIPTORS) {
        write(memory, address, descriptor)?;
    }
    Ok(())
}

/// Turns `sregs`, as they are after a reset, into those of a vCPU in 64-bit mode.
pub(crate) fn enter(sregs: &mut kvm_sregs, vcpu: u8) {
    sregs.cr0 = CR0_PG | CR0_WP | CR0_NE | CR0_ET | CR0_PE;
    sregs.cr3 = layout::PML4;
    sregs.cr4 = CR4_PAE;
    sregs.efer = EFER_LMA | EFER_LME;

    let data = kvm_segment {
        limit: u32::MAX,
        selector: DATA_SELECTOR,
        type_: 0b0011, // data, writable, accessed
        present: 1,
        s: 1,
        db: 1,
        g: 1,
        ..Default::default()
    };
    sregs.cs = kvm_segment {
        selector: CODE_SELECTOR,
        type_: 0b1011, // code, readable, accessed
        db: 0,
        l: 1,
        ..data
    };
    sregs.ds = data;
    sregs.es = data;
    sregs.fs = data;
    sregs.gs = data;
    sregs.ss = data;
    sregs.tr = kvm_segment {
        base: layout::TSS,
        limit: 0x67,
        type_: 0b1011, // 64-bit TSS, busy
        present: 1,
        ..Default::default()
    };
    sregs.gdt.base = layout::GDT;
    sregs.gdt.limit = size_of_val(&DESCRIPTORS) as u16 - 1;
    sregs.idt.base = layout::idt(vcpu);
    sregs.idt.limit = layout::IDT_SIZE as u16 - 1;
}

fn write(memory: &GuestMemoryMmap, address: u64, entry: u64) -> Result<(), Error> {
    Ok(memory.write_obj(entry, GuestAddress(address))?)
}
