// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Which messages vectors send, and when.

use irqfd::msi::Capability;
use irqfd::{ArmQueue, Triggered, VectorState};
use notify_sim::CallKind::{IrqFdAssign, SetGsiRouting};

use super::{Bench, LAPIC, SHAPES, driven, expect_kept, read32, vector, write32};

#[test]
fn a_vectors_number_replaces_the_low_bits_of_the_data() {
    for (granted, sent) in [
        (0, vec![0x47]),
        (1, vec![0x46, 0x47]),
        (2, vec![0x44, 0x45, 0x46, 0x47]),
        (5, (0x40..0x60).collect()),
    ] {
        let bench = Bench::new();
        let msi = driven(&bench, 32, granted, 0x47);
        for (number, sent) in (0..).zip(sent) {
            let vector = vector(&msi, number);
            assert_eq!(vector.trigger().unwrap(), Triggered::Delivered);
            bench.expect(&[sent]);
        }
    }
}

#[test]
fn vectors_that_were_not_granted_are_silent() {
    let bench = Bench::new();
    let msi = driven(&bench, 8, 1, 0x40);
    expect_kept(&msi, 2);
    assert_eq!(read32(&msi, 20), 0);
    bench.expect(&[]);
    // Fewer vectors: pending interrupts of the others are discarded.
    let msi = driven(&bench, 8, 2, 0x40);
    write32(&msi, 16, 0b1100);
    expect_kept(&msi, 2);
    expect_kept(&msi, 3);
    assert_eq!(read32(&msi, 20), 0b1100);
    let _ = msi.write(2, &[0x11]);
    assert_eq!(read32(&msi, 20), 0);
    let _ = msi.write(2, &[0x21]);
    write32(&msi, 16, 0);
    bench.expect(&[]);
    // All others have a new message now.
    vector(&msi, 3).trigger().unwrap();
    bench.expect(&[0x43]);
}

#[test]
fn another_number_of_vectors_changes_what_open_ones_send() {
    let bench = Bench::new();
    let msi = driven(&bench, 8, 0, 0x47);
    vector(&msi, 0).trigger().unwrap();
    bench.expect(&[0x47]);
    let _ = msi.write(2, &[0x31]);
    vector(&msi, 0).trigger().unwrap();
    vector(&msi, 7).trigger().unwrap();
    bench.expect(&[0x40, 0x47]);
    // The address that was written takes effect then, though no vector is opened.
    write32(&msi, 4, 0xfee0_1000);
    let _ = msi.write(2, &[0x11]);
    assert_eq!(vector(&msi, 0).message().address, 0xfee0_1000);
}

#[test]
fn masked_vectors_are_pending_until_they_are_not() {
    let bench = Bench::new();
    let msi = driven(&bench, 4, 2, 0x40);
    let notifier = vector(&msi, 2).export().unwrap();
    write32(&msi, 16, 0b0110);
    expect_kept(&msi, 1);
    notifier.notify().unwrap();
    vector(&msi, 3).trigger().unwrap();
    bench.expect(&[0x43]);
    assert_eq!(read32(&msi, 20), 0b0110);
    write32(&msi, 20, 0);
    assert_eq!(read32(&msi, 20), 0b0110);
    write32(&msi, 16, 0b0010);
    assert_eq!(read32(&msi, 20), 0b0010);
    bench.expect(&[0x42]);
    write32(&msi, 16, 0);
    bench.expect(&[0x41]);
    assert_eq!(read32(&msi, 20), 0);
}

#[test]
fn without_mask_bits_enabling_is_all_that_counts() {
    let bench = Bench::new();
    let msi = bench.builder().maskable(false).wide(false).build().unwrap();
    write32(&msi, 4, LAPIC as u32);
    write32(&msi, 8, 0x41);
    expect_kept(&msi, 0);
    assert_eq!(read32(&msi, 16), 0);
    let _ = msi.write(2, &[1]);
    bench.expect(&[0x41]);
    let _ = msi.write(2, &[0]);
    expect_kept(&msi, 0);
    let _ = msi.write(2, &[1]);
    bench.expect(&[0x41]);
}

/// A driver without mask bits retargets while interrupts come: address, upper address, data.
#[test]
fn a_message_counts_from_when_its_data_is_written() {
    let bench = Bench::new();
    let msi = driven(&bench, 2, 1, 0x40);
    for (offset, word) in [(4, 0xfee0_1000), (8, 0)] {
        write32(&msi, offset, word);
        assert_eq!(read32(&msi, offset), word);
        vector(&msi, 1).trigger().unwrap();
        bench.expect(&[0x41]);
    }
    write32(&msi, 4, LAPIC as u32);
    let _ = msi.write(12, &[0x50]);
    vector(&msi, 1).trigger().unwrap();
    bench.expect(&[0x51]);
    // The upper byte of the data is data too.
    write32(&msi, 4, 0xfee0_1000);
    let _ = msi.write(13, &[0]);
    assert_eq!(vector(&msi, 1).message().address, 0xfee0_1000);
    // Not the reserved half behind it.
    write32(&msi, 4, LAPIC as u32);
    let _ = msi.write(14, &[0, 0]);
    assert_eq!(vector(&msi, 1).message().address, 0xfee0_1000);
    // Masking and unmasking has the same effect.
    write32(&msi, 16, 0b10);
    assert_eq!(vector(&msi, 1).message().address, 0xfee0_1000);
    write32(&msi, 16, 0);
    assert_eq!(vector(&msi, 1).message().address, LAPIC);
}

/// Address and data of the message of a vector.
fn sent(msi: &Capability, number: u16) -> (u64, u32) {
    let message = vector(msi, number).message();
    (message.address, message.data)
}

#[test]
fn extended_message_data_is_the_upper_half_while_it_is_enabled() {
    for shape in SHAPES.into_iter().filter(|(_, _, extended)| *extended) {
        let bench = Bench::new();
        let data = if shape.0 { 12 } else { 8 };
        let msi = bench.shaped(shape).vectors(4).build().unwrap();
        write32(&msi, 4, LAPIC as u32);
        write32(&msi, data, 0x1234_5678);
        let _ = msi.write(2, &0x21_u16.to_le_bytes());
        assert_eq!(sent(&msi, 3), (LAPIC, 0x567b), "not enabled");
        let _ = msi.write(2, &0x421_u16.to_le_bytes());
        assert_eq!(sent(&msi, 3), (LAPIC, 0x1234_567b));
        // The number replaces only low bits, whatever the upper half is.
        write32(&msi, data, 0xffff_ffff);
        assert_eq!(sent(&msi, 0), (LAPIC, 0xffff_fffc));
        let _ = msi.write(2, &0x21_u16.to_le_bytes());
        assert_eq!(sent(&msi, 0), (LAPIC, 0xfffc));
        msi.reset();
        assert_eq!((read32(&msi, data), read32(&msi, 0) >> 26), (0, 0));
    }
}

#[test]
fn each_half_of_the_data_completes_a_message_while_both_count() {
    let bench = Bench::new();
    let msi = bench.builder().extended_data(true).build().unwrap();
    let _ = msi.write(4, &LAPIC.to_le_bytes());
    write32(&msi, 12, 0x1_0040);
    let _ = msi.write(2, &0x401_u16.to_le_bytes());
    // One access: nothing in between is sent.
    write32(&msi, 4, 0xfee0_1000);
    assert_eq!(sent(&msi, 0), (LAPIC, 0x1_0040));
    write32(&msi, 12, 0x2_0050);
    assert_eq!(sent(&msi, 0), (0xfee0_1000, 0x2_0050));
    // Low, then high; and any byte of them.
    write32(&msi, 4, 0xfee0_2000);
    let _ = msi.write(12, &0x60_u16.to_le_bytes());
    assert_eq!(sent(&msi, 0), (0xfee0_2000, 0x2_0060));
    write32(&msi, 4, 0xfee0_3000);
    let _ = msi.write(14, &[3]);
    assert_eq!(sent(&msi, 0), (0xfee0_3000, 0x3_0060));
    write32(&msi, 4, 0xfee0_4000);
    let _ = msi.write(15, &[4]);
    assert_eq!(sent(&msi, 0), (0xfee0_4000, 0x403_0060));
    // Mask bits behind them do not, on a vector that stays open.
    write32(&msi, 4, LAPIC as u32);
    write32(&msi, 16, 0);
    assert_eq!(sent(&msi, 0), (0xfee0_4000, 0x403_0060));
    // Masked meanwhile, two accesses are taken whole.
    write32(&msi, 16, 1);
    let _ = msi.write(12, &0x70_u16.to_le_bytes());
    let _ = msi.write(14, &0_u16.to_le_bytes());
    write32(&msi, 16, 0);
    assert_eq!(sent(&msi, 0), (LAPIC, 0x70));
    vector(&msi, 0).trigger().unwrap();
    bench.expect(&[0x70]);
}

#[test]
fn extended_message_data_that_is_disabled_completes_nothing() {
    let bench = Bench::new();
    let msi = bench.builder().extended_data(true).build().unwrap();
    let _ = msi.write(4, &LAPIC.to_le_bytes());
    let _ = msi.write(12, &[0x40]);
    let _ = msi.write(2, &0x1_u16.to_le_bytes());
    write32(&msi, 4, 0xfee0_1000);
    let _ = msi.write(14, &[1, 0]);
    assert_eq!(sent(&msi, 0), (LAPIC, 0x40));
    // Enabling it does, as the specification's order is: data, extended data, enabled.
    let _ = msi.write(3, &[4]);
    assert_eq!(sent(&msi, 0), (0xfee0_1000, 0x1_0040));
    write32(&msi, 4, LAPIC as u32);
    let _ = msi.write(3, &[0]);
    assert_eq!(sent(&msi, 0), (LAPIC, 0x40));
}

#[test]
fn however_many_vectors_one_access_takes_one_commit() {
    for with_queue in [false, true] {
        let bench = Bench::new();
        let queue = ArmQueue::new(&bench.routing).unwrap();
        let mut builder = bench.builder().vectors(32);
        if with_queue {
            builder = builder.queue(&queue);
        }
        let msi = builder.build().unwrap();
        let vectors = msi.vectors().iter();
        let notifiers: Vec<_> = vectors.map(|vector| vector.export().unwrap()).collect();
        let _ = msi.write(4, &LAPIC.to_le_bytes());
        let _ = msi.write(12, &0x40_u16.to_le_bytes());
        bench.vm.reset_calls();
        let _ = msi.write(2, &[0x51]);
        let expected = if with_queue { (0, 0) } else { (1, 32) };
        let calls = || (bench.vm.calls(SetGsiRouting), bench.vm.calls(IrqFdAssign));
        assert_eq!(calls(), expected);
        let _ = queue.run_pending();
        assert_eq!(calls(), (1, 32));
        notifiers[9].notify().unwrap();
        bench.expect(&[0x49]);
        // The same value again has no effect. Another message for all is one commit again, and
        // deassigns no irqfd, unless it comes later.
        let _ = msi.write(12, &0x40_u16.to_le_bytes());
        assert_eq!(calls(), (1, 32));
        let _ = msi.write(12, &0x80_u16.to_le_bytes());
        notifiers[9].notify().unwrap();
        let _ = queue.run_pending();
        assert_eq!(calls(), (2, if with_queue { 64 } else { 32 }));
        bench.expect(&[0x89]);
        assert!(
            msi.vectors()
                .iter()
                .all(|vector| matches!(vector.state(), VectorState::Armed))
        );
    }
}

#[test]
fn a_reset_forgets_everything_but_who_was_exported() {
    let bench = Bench::new();
    let msi = driven(&bench, 4, 2, 0x40);
    let notifier = vector(&msi, 1).export().unwrap();
    write32(&msi, 16, 0b0011);
    expect_kept(&msi, 0);
    notifier.notify().unwrap();
    msi.reset();
    let mut bytes = [0xee; 24];
    msi.read(0, &mut bytes);
    let mut fresh = [0; 24];
    fresh[..4].copy_from_slice(&[5, 0, 0x84, 0x01]);
    assert_eq!(bytes, fresh);
    assert!(vector(&msi, 1).notifier().is_some());
    let _ = msi.write(4, &LAPIC.to_le_bytes());
    let _ = msi.write(12, &[0x40]);
    let _ = msi.write(2, &[0x21]);
    bench.expect(&[]);
}

#[test]
fn a_device_may_have_an_identity() {
    let bench = Bench::new();
    let msi = bench.builder().devid(0x18).build().unwrap();
    let _ = msi.write(2, &[1]);
    assert_eq!(vector(&msi, 0).message().devid, Some(0x18));
}
