// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What becomes of signals.

use std::sync::Arc;

use irq_routing::{Delay, DeliveryMode, Explanation, Hint, Loss, MsiMessage, RoutingTable, Wiring};
use kvm_test::Recorder;

use crate::{PC, dump};

fn table(wiring: Wiring) -> (Arc<Recorder>, RoutingTable) {
    let vm = Arc::new(Recorder::default());
    let builder = RoutingTable::builder(vm.clone()).wiring(wiring);
    (vm, builder.build().unwrap())
}

/// What becomes of a message in a dump of this platform.
fn message(platform: &str, address: u64, data: u32) -> Explanation {
    let text = format!("platform={platform}\ngsi=24 type=2 address={address:#x} data={data:#x}\n");
    dump(&text).explain(24)
}

fn x86(address: u64, data: u32) -> Explanation {
    message("x86", address, data)
}

#[track_caller]
fn loss(explanation: &Explanation) -> Loss {
    match explanation {
        Explanation::Lost { reason, .. } => *reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_real_table_is_explained() {
    let pc = dump(PC);
    for (gsi, words) in [
        (
            0,
            "by a worker thread (several pins): PIC master pin 0, IOAPIC pin 2",
        ),
        (
            2,
            "on the spot: a message; the dump does not tell the details",
        ),
        (
            15,
            "by a worker thread (several pins): PIC slave pin 7, IOAPIC pin 15",
        ),
        (16, "by a worker thread (a pin): IOAPIC pin 16"),
        (64, "lost: nothing is routed there"),
        (
            4096,
            "lost: the VM has no such GSI (it has 4096), yet KVM takes an irqfd on it",
        ),
    ] {
        assert_eq!(pc.explain(gsi).to_string(), words);
    }
    let all = pc.explain_all();
    assert_eq!(all.len(), 64);
    for (gsi, explanation) in all {
        assert_eq!(pc.explain(gsi), explanation);
    }
}

#[test]
fn a_gsi_without_a_route_says_why() {
    let (_, table) = table(Wiring::pc());
    let lease = table.lease().unwrap();
    let gsi = lease.gsi();
    assert_eq!(table.explain(gsi), Explanation::Unknown);
    assert_eq!(table.explain(3u32), Explanation::Unknown);
    assert!(matches!(
        loss(&table.explain(4096u32)),
        Loss::OutOfRange { limit: 4096, .. }
    ));

    table.recommit().unwrap();
    assert_eq!(loss(&table.explain(gsi)), Loss::Unrouted);
    assert_eq!(loss(&table.explain(2u32)), Loss::NoRoute);
    lease.set_route(MsiMessage::new(0xfee0_0000, 0x41)).unwrap();
    assert!(matches!(table.explain(gsi), Explanation::InAtomic { .. }));
    drop(lease);
    assert_eq!(loss(&table.explain(gsi)), Loss::Stale);
    table.flush().unwrap();
    assert_eq!(loss(&table.explain(gsi)), Loss::NoRoute);
}

#[test]
fn pins_go_through_a_worker_on_x86_alone() {
    let (_, table) = table(Wiring::pc());
    table.recommit().unwrap();
    let reason = |gsi: u32| match table.explain(gsi) {
        Explanation::Deferred { reason, .. } => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(reason(4), Delay::SeveralPins);
    assert_eq!(reason(20), Delay::Pin);

    let gic = dump("platform=arm64-gic\ngsi=0 type=1 0 0\n");
    let Explanation::InAtomic { hints, .. } = gic.explain(0) else {
        panic!("{gic}");
    };
    assert_eq!(hints, [Hint::NeverLowered]);
    let aplic = dump("platform=riscv64-aia\ngsi=0 type=1 0 0\ngsi=1 type=1 0 1\n");
    assert_eq!(loss(&aplic.explain(0)), Loss::NoSource);
    let Explanation::InAtomic { hints, .. } = aplic.explain(1) else {
        panic!("{aplic}");
    };
    assert_eq!(hints, [Hint::FirstEdgeAlone]);
}

#[test]
fn messages_elsewhere_are_not_read_as_those_of_x86() {
    let riscv = message("riscv64-aia", 0x2800_0000, 1);
    assert_eq!(riscv.to_string(), "on the spot: MSI 0x1 to 0x28000000");
    assert_eq!(loss(&message("arm64-gic", 0x808_0040, 1)), Loss::NoDeviceId);
    let arm = "platform=arm64-gic\ngsi=24 type=2 address=0x8080040 data=1 devid=8";
    assert_eq!(dump(arm).explain(24).hints(), [Hint::Its]);
}

#[test]
fn sources_and_channels_are_injected_on_the_spot() {
    let dump = dump("gsi=1 type=4 vcpu=0 sint=2\ngsi=2 type=5 port=1 vcpu=0 priority=0\n");
    assert_eq!(dump.explain(1).to_string(), "on the spot: SINT 2 of vCPU 0");
    assert!(matches!(dump.explain(2), Explanation::InAtomic { .. }));
}

#[test]
fn what_kvm_refuses_is_lost() {
    for text in [
        "gsi=5 type=1 2 5\ngsi=5 type=1 2 6",
        "gsi=5 type=1 2 5\ngsi=5 type=2",
        "gsi=5 type=1 2 24",
        "gsi=5 type=3",
        "platform=x86-split\ngsi=5 type=1 2 5",
    ] {
        assert_eq!(loss(&dump(text).explain(5)), Loss::Refused, "{text}");
    }
}

#[test]
fn an_illegal_vector_is_lost() {
    assert!(matches!(
        x86(0xfee0_0000, 0x10),
        Explanation::InAtomic { .. }
    ));
    assert!(matches!(
        loss(&x86(0xfee0_0000, 0x0f)),
        Loss::IllegalVector { message, .. } if message.vector == 15
    ));
    assert!(matches!(
        loss(&x86(0xfee0_0000, 0x10f)),
        Loss::IllegalVector { .. }
    ));
    // An NMI has no vector.
    assert!(matches!(
        x86(0xfee0_0000, 0x400),
        Explanation::InAtomic { .. }
    ));
    assert!(matches!(
        loss(&x86(0xfee0_0000, 0x741)),
        Loss::ExtInt { .. }
    ));
    assert_eq!(
        x86(0, 0).to_string(),
        "lost: vector 0x00 is below 16, and a local APIC never delivers such (fixed interrupt, \
         vector 0x00, to APIC 0 (physical destination)); the message is all zero: the guest has \
         not programmed it"
    );
}

#[test]
fn a_broadcast_goes_through_a_worker() {
    for address in [0xfeef_f000, 0xfeef_f004] {
        assert!(matches!(
            x86(address, 0x41),
            Explanation::Deferred {
                reason: Delay::Broadcast,
                ..
            }
        ));
    }
    // 255 is everybody; 511 is somebody, or nobody.
    assert!(matches!(
        x86(0x100_feef_f000, 0x41),
        Explanation::InAtomic { .. }
    ));
}

#[test]
fn odd_messages_come_with_hints() {
    let hints = |address, data| x86(address, data).hints().to_vec();
    assert_eq!(hints(0xfee0_0000, 0x4041), []);
    assert_eq!(hints(0xfeef_e00c, 0xffff_4141), []);
    let address = 0xfed0_0000;
    assert_eq!(hints(address, 0x41), [Hint::NotToAnApic { address }]);
    assert_eq!(hints(0xfee0_0010, 0x41), [Hint::Remappable]);
    assert_eq!(hints(0xfee0_0ff0, 0x41), [Hint::Remappable]);
    assert_eq!(
        hints(0xfee0_3020, 0x41),
        [Hint::ExtendedDestination { destination: 0x103 }]
    );
    assert_eq!(
        hints(0xfeef_ffe0, 0x41)[0],
        Hint::ExtendedDestination {
            destination: 0x7fff
        }
    );
    assert_eq!(
        hints(0x100_fee0_0000, 0x41),
        [Hint::HighAddress { high: 0x100 }]
    );
    assert_eq!(
        hints(0xfee0_0000, 0x241),
        [Hint::NoInterrupt(DeliveryMode::Smi)]
    );
    assert_eq!(hints(0xfee0_0000, 0x1f), [Hint::ExceptionVector(0x1f)]);
    assert_eq!(hints(0xfee0_0000, 0x20), []);
    assert_eq!(hints(0xfee0_0000, 0x8041), [Hint::LevelTriggered]);
}
