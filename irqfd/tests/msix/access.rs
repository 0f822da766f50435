// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Accesses to the region of the table.

use irqfd::VectorError;
use irqfd::msix::Table;
use notify_sim::CallKind::{IrqFdAssign, IrqFdDeassign, SetGsiRouting};

use super::{Bench, LAPIC, program, read32, save, set_mask, vector, write32};

#[test]
fn an_entry_starts_masked_and_empty() {
    let bench = Bench::new();
    let table = bench.table(3);
    let mut beyond = [0; 4];
    table.read(48, &mut beyond);
    assert_eq!(beyond, [0xff; 4]);
    for entry in 0..3 {
        let words = [0, 4, 8, 12].map(|word| read32(&table, 16 * entry + word));
        assert_eq!(words, [0, 0, 0, 1]);
    }
}

#[test]
fn words_read_back_but_for_what_is_reserved() {
    let bench = Bench::new();
    let table = bench.table(2);
    for word in [16, 20, 24, 28] {
        write32(&table, word, 0xffff_ffff);
    }
    let words = [16, 20, 24, 28].map(|word| read32(&table, word));
    assert_eq!(words, [0xffff_fffc, 0xffff_ffff, 0xffff_ffff, 1]);
    assert_eq!([0, 4, 8, 12].map(|word| read32(&table, word)), [0, 0, 0, 1]);
    write32(&table, 28, 0xffff_fffe);
    assert_eq!(read32(&table, 28), 0);
}

#[test]
fn any_width_and_alignment_reads_and_writes_just_those_bytes() {
    let bench = Bench::new();
    let table = bench.table(3);
    let _ = table.write(0x15, &[0x11]);
    let _ = table.write(0x17, &[0x22, 0x33]);
    // The last byte of entry 0 and the first seven of entry 1.
    let _ = table.write(0x0f, &[0xff, 0x10, 1, 2, 3, 0x44, 0x55, 0x66]);
    let mut bytes = [0; 8];
    table.read(0x10, &mut bytes);
    assert_eq!(bytes, [0x10, 1, 2, 3, 0x44, 0x55, 0x66, 0x22]);
    let mut bytes = [0; 8];
    table.read(0x0c, &mut bytes);
    assert_eq!(bytes, [1, 0, 0, 0, 0x10, 1, 2, 3]);
    let mut byte = [0];
    table.read(0x18, &mut byte);
    assert_eq!(byte, [0x33]);
}

#[test]
fn what_is_beyond_the_end_reads_as_ones_and_takes_nothing() {
    let bench = Bench::new();
    let table = bench.table(2);
    for offset in [32, 33, 1 << 32, u64::MAX - 8, u64::MAX - 1, u64::MAX] {
        let _ = table.write(offset, &[0; 8]);
        let mut bytes = [0; 8];
        table.read(offset, &mut bytes);
        assert_eq!(bytes, [0xff; 8], "{offset:#x}");
    }
    // Across the end: the half that exists takes effect.
    let _ = table.write(28, &[0, 0, 0, 0, 7, 7, 7, 7]);
    let mut bytes = [0; 8];
    table.read(28, &mut bytes);
    assert_eq!(bytes, [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    assert_eq!([0, 4, 8, 12].map(|word| read32(&table, word)), [0, 0, 0, 1]);
}

#[test]
fn lengths_that_no_access_has_are_refused_without_effect() {
    let bench = Bench::new();
    let table = bench.table(2);
    for len in [0, 3, 5, 6, 7, 9, 16, 4096] {
        let _ = table.write(0, &vec![0x55; len]);
        let mut bytes = vec![0; len];
        table.read(0, &mut bytes);
        assert_eq!(bytes, vec![0xff; len]);
    }
    assert_eq!([0, 4, 8, 12].map(|word| read32(&table, word)), [0, 0, 0, 1]);
}

#[test]
fn a_masked_vector_takes_its_message_when_it_is_opened() {
    let bench = Bench::new();
    let table = bench.enabled(2);
    program(&table, 1, 0x41);
    set_mask(&table, 1, false);
    set_mask(&table, 1, true);
    let before = vector(&table, 1).message();
    write32(&table, 0x18, 0x42);
    assert_eq!(vector(&table, 1).message(), before);
    set_mask(&table, 1, false);
    vector(&table, 1).trigger().unwrap();
    bench.expect(&[0x42]);
}

/// A guest that does not mask first, as Linux before 5.14.
#[test]
fn an_open_vector_takes_each_access_at_once() {
    for exported in [false, true] {
        let bench = Bench::new();
        let table = bench.enabled(2);
        if exported {
            vector(&table, 1).export().unwrap();
        }
        program(&table, 1, 0x41);
        set_mask(&table, 1, false);
        bench.vm.reset_calls();
        // To a local APIC that does not exist, and back; then another interrupt.
        for (offset, word, sent) in [
            (0x10, 0xfee0_1000, None),
            (0x10, LAPIC as u32, Some(0x41)),
            (0x18, 0x42, Some(0x42)),
            (0x18, 0x42, Some(0x42)),
        ] {
            write32(&table, offset, word);
            assert_eq!(read32(&table, offset), word);
            vector(&table, 1).trigger().unwrap();
            bench.expect(sent.as_slice());
        }
        let calls = |call| bench.vm.calls(call);
        let expected = if exported { (3, 0, 0) } else { (0, 0, 0) };
        assert_eq!(
            (
                calls(SetGsiRouting),
                calls(IrqFdAssign),
                calls(IrqFdDeassign)
            ),
            expected
        );
    }
}

#[test]
fn eight_bytes_of_data_and_control_open_with_the_new_data() {
    let bench = Bench::new();
    let table = bench.enabled(1);
    let _ = table.write(0, &LAPIC.to_le_bytes());
    vector(&table, 0).trigger().unwrap();
    let _ = table.write(8, &0x47_u64.to_le_bytes());
    bench.expect(&[0x47]);
}

#[test]
fn one_access_may_close_one_vector_and_write_to_the_next() {
    let bench = Bench::new();
    let table = bench.enabled(2);
    program(&table, 0, 0x41);
    set_mask(&table, 0, false);
    let _ = table.write(12, &[1, 0, 0, 0, 0x00, 0x20, 0xe0, 0xfe]);
    assert!(vector(&table, 0).is_masked());
    assert_eq!(read32(&table, 16), 0xfee0_2000);
}

#[test]
fn a_device_may_have_an_identity() {
    let bench = Bench::new();
    let table = Table::builder(&bench.routing).devid(0x18).build().unwrap();
    let _ = table.set_control(true, false);
    program(&table, 0, 0x41);
    set_mask(&table, 0, false);
    let message = vector(&table, 0).message();
    assert_eq!((message.data, message.devid), (0x41, Some(0x18)));
    assert_eq!(message.address, LAPIC);
}

#[test]
fn tables_have_1_to_2048_entries() {
    let bench = Bench::new();
    for vectors in [0, 2049, usize::MAX] {
        let error = Table::builder(&bench.routing).vectors(vectors).build();
        let error = error.unwrap_err();
        assert!(matches!(error, VectorError::TableSize { vectors: found, .. } if found == vectors));
    }
    let table = bench.table(2048);
    let pba_len = |table: &Table| {
        let is_inside = |offset: &u64| {
            let mut bits = [0];
            table.pba_read(*offset, &mut bits);
            bits == [0]
        };
        (0..).take_while(is_inside).count()
    };
    assert_eq!(pba_len(&table), 256);
    assert_eq!(table.message_control(), 0x7ff);
    write32(&table, 32768 - 8, 5);
    assert_eq!(read32(&table, 32768 - 8), 5);
    assert_eq!(bench.table(1).message_control(), 0);
    assert_eq!(pba_len(&bench.table(64)), 8);
    assert_eq!(pba_len(&bench.table(65)), 16);
}

#[test]
fn a_write_of_no_bytes_is_none() {
    let bench = Bench::new();
    let table = bench.enabled(2);
    program(&table, 0, 0x40);
    set_mask(&table, 0, false);
    write32(&table, 8, 0x50);
    let before = save(&table);
    for offset in (0..=32).chain([u64::MAX]) {
        let _ = table.write(offset, &[]);
        let _ = table.config_write(offset, &[]);
        assert_eq!(save(&table), before);
    }
    vector(&table, 0).trigger().unwrap();
    bench.expect(&[0x50]);
}
