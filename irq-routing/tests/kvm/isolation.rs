// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A bad message that only the kernel can detect: with 32-bit APIC ids it refuses a table in which
//! any of the bits 32 to 39 of an address is set, and the guest writes the addresses.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use irq_routing::{Error, GsiLease, MsiMessage, Route, RoutingTable};
use kvm_test::{Machine, Trial, kvm};

use super::{expect_delivery, message};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        kvm(
            "a_refused_message_leaves_every_other_device_working",
            one_after_the_other,
        ),
        kvm(
            "a_device_that_is_refused_all_the_time_disturbs_no_other",
            all_at_once,
        ),
    ]
}

fn table() -> (Machine, RoutingTable) {
    let (machine, table) = super::table();
    machine.use_32bit_ids().unwrap();
    (machine, table)
}

/// The guest's message: the low byte of `address_hi` is not zero.
fn bad(vector: u32) -> MsiMessage {
    MsiMessage::new(Machine::MSI_ADDRESS | 1 << 32, vector)
}

#[track_caller]
fn expect_refused(result: Result<(), Error>, lease: &GsiLease) {
    let Err(Error::Refused {
        edits: 1,
        first: Some(gsi),
        cause,
        ..
    }) = result
    else {
        panic!("{result:?}");
    };
    assert_eq!(gsi, lease.gsi());
    assert_eq!(cause.kind(), io::ErrorKind::InvalidInput);
}

fn one_after_the_other() {
    let (machine, table) = table();
    let victim = table.lease_msi(message(0x41)).unwrap();
    let guilty = table.lease_msi(message(0x51)).unwrap();
    let [victims, guiltys] = [&victim, &guilty].map(|lease| lease.gsi().number());

    expect_refused(guilty.set_route(bad(0x52)), &guilty);
    assert_eq!(guilty.route(), Some(Route::Msi(message(0x51))));
    expect_delivery(&machine, victims, &[0x41]);
    expect_delivery(&machine, guiltys, &[0x51]);

    // Nothing of it is left that could make a later commit fail.
    victim.set_route(message(0x42)).unwrap();
    expect_delivery(&machine, victims, &[0x42]);
    expect_delivery(&machine, guiltys, &[0x51]);
    expect_refused(guilty.set_route(bad(0x53)), &guilty);
    let third = table.lease_msi(message(0x61)).unwrap();
    expect_delivery(&machine, third.gsi().number(), &[0x61]);
    drop(guilty);
    table.flush().unwrap();
    table.recommit().unwrap();
    expect_delivery(&machine, guiltys, &[]);
    expect_delivery(&machine, victims, &[0x42]);

    let Err(error) = table.lease_msi(bad(0x71)) else {
        panic!("the kernel has 32-bit ids");
    };
    assert!(matches!(error, Error::Refused { .. }));
    assert_eq!(table.leased(), 2, "the lease went with the message");
    victim.set_route(message(0x43)).unwrap();
    expect_delivery(&machine, victims, &[0x43]);
}

fn all_at_once() {
    let (machine, table) = table();
    let guilty = table.lease_msi(message(0x30)).unwrap();
    let victims: Vec<_> = (0x40..0x47)
        .map(|vector| table.lease_msi(message(vector)).unwrap())
        .collect();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let refused = scope.spawn(|| {
            let mut refused = 0;
            while !over.load(Ordering::Relaxed) {
                expect_refused(guilty.set_route(bad(0x31)), &guilty);
                refused += 1;
            }
            refused
        });
        let devices: Vec<_> = (0x40..)
            .zip(&victims)
            .map(|(vector, lease)| {
                scope.spawn(move || {
                    for turn in 1..=200 {
                        lease.set_route(message(vector + turn % 8 * 0x10)).unwrap();
                    }
                })
            })
            .collect();
        let ended: Vec<_> = devices.into_iter().map(|device| device.join()).collect();
        over.store(true, Ordering::Relaxed);
        assert!(ended.iter().all(Result::is_ok));
        assert!(refused.join().unwrap() > 0);
    });
    for (vector, lease) in (0x40..).zip(&victims) {
        expect_delivery(&machine, lease.gsi().number(), &[vector]);
    }
    expect_delivery(&machine, guilty.gsi().number(), &[0x30]);
}
