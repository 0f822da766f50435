// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Where signals go.

use std::sync::Arc;

use irq_routing::{Explanation, MsiMessage, RoutingTable, Wiring};
use kvm_test::Recorder;

use crate::{PC, dump};

const UNKNOWN: &str = "unknown: nothing was committed, and KVM's own table may be in place";
const NO_ROUTE: &str = "lost: the GSI has no route";

fn table(wiring: Wiring) -> RoutingTable {
    let builder = RoutingTable::builder(Arc::new(Recorder::default())).wiring(wiring);
    builder.build().unwrap()
}

/// Where a message goes in a dump of this platform.
fn message(platform: &str, address: u64, data: u32) -> Explanation {
    let text = format!("platform={platform}\ngsi=24 type=2 address={address:#x} data={data:#x}\n");
    dump(&text).explain(24)
}

/// The way of a message on x86, without the hints.
fn way(address: u64, data: u32) -> String {
    let text = format!("{:#}", message("x86", address, data));
    text.lines().next().unwrap().to_owned()
}

#[track_caller]
fn expect_lost(explanation: &Explanation, why: &str) {
    assert_eq!(explanation.to_string(), why);
    assert!(explanation.is_lost());
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
            "on the spot: a message; the dump does not contain the details",
        ),
        (
            15,
            "by a worker thread (several pins): PIC slave pin 7, IOAPIC pin 15",
        ),
        (16, "by a worker thread (a pin): IOAPIC pin 16"),
    ] {
        assert_eq!(pc.explain(gsi).to_string(), words);
        assert!(!pc.explain(gsi).is_lost());
    }
    expect_lost(&pc.explain(64), NO_ROUTE);
    expect_lost(
        &pc.explain(4096),
        "lost: the VM has no such GSI (it has 4096), yet KVM takes an irqfd on it",
    );
}

#[test]
fn a_gsi_without_a_route_says_why() {
    let table = table(Wiring::pc());
    let lease = table.lease().unwrap();
    let gsi = lease.gsi();
    for gsi in [gsi.number(), 3] {
        assert_eq!(table.explain(gsi).to_string(), UNKNOWN);
        assert!(!table.explain(gsi).is_lost());
    }
    expect_lost(
        &table.explain(4096u32),
        "lost: the VM has no such GSI (it has 4096), yet KVM takes an irqfd on it",
    );

    table.recommit().unwrap();
    expect_lost(
        &table.explain(gsi),
        "lost: the GSI is leased, and has no route yet",
    );
    expect_lost(&table.explain(2u32), NO_ROUTE);
    lease.set_route(MsiMessage::new(0xfee0_0000, 0x41)).unwrap();
    assert_eq!(
        table.explain(gsi).to_string(),
        "on the spot: fixed interrupt, vector 0x41, to APIC 0 (physical destination)"
    );
    drop(lease);
    expect_lost(
        &table.explain(gsi),
        "lost: its lease was dropped (the next commit removes what is left in the kernel)",
    );
    table.flush().unwrap();
    expect_lost(&table.explain(gsi), NO_ROUTE);
}

#[test]
fn pins_go_through_a_worker_on_x86_alone() {
    let table = table(Wiring::pc());
    table.recommit().unwrap();
    for (gsi, words) in [
        (
            4_u32,
            "by a worker thread (several pins): PIC master pin 4, IOAPIC pin 4",
        ),
        (20, "by a worker thread (a pin): IOAPIC pin 20"),
    ] {
        assert_eq!(table.explain(gsi).to_string(), words);
    }

    let gic = dump("platform=arm64-gic\ngsi=0 type=1 0 0\n");
    assert_eq!(
        gic.explain(0).to_string(),
        "on the spot: GIC pin 0; raised and never lowered by a plain irqfd: an SPI that the guest \
         has made level-triggered sticks"
    );
    let aplic = dump("platform=riscv64-aia\ngsi=0 type=1 0 0\ngsi=1 type=1 0 1\n");
    expect_lost(&aplic.explain(0), "lost: the APLIC has no source 0");
    assert_eq!(
        aplic.explain(1).to_string(),
        "on the spot: APLIC pin 1; raised and never lowered by a plain irqfd: a source for rising \
         edges takes only the first signal, until something lowers it"
    );
}

#[test]
fn messages_elsewhere_are_not_read_as_those_of_x86() {
    let riscv = message("riscv64-aia", 0x2800_0000, 1);
    assert_eq!(riscv.to_string(), "on the spot: MSI 0x1 to 0x28000000");
    expect_lost(
        &message("arm64-gic", 0x808_0040, 1),
        "lost: the message has no device id, and the ITS refuses it",
    );
    let arm = "platform=arm64-gic\ngsi=24 type=2 address=0x8080040 data=1 devid=8";
    assert_eq!(
        format!("{:#}", dump(arm).explain(24)).lines().nth(1),
        Some(
            "through the ITS at its address; by a worker thread until the ITS has translated it \
             once"
        )
    );
}

#[test]
fn sources_and_channels_are_injected_on_the_spot() {
    let dump = dump("gsi=1 type=4 vcpu=0 sint=2\ngsi=2 type=5 port=1 vcpu=0 priority=0\n");
    assert_eq!(dump.explain(1).to_string(), "on the spot: SINT 2 of vCPU 0");
    assert_eq!(
        dump.explain(2).to_string(),
        "on the spot: event channel 1 of vCPU 0, priority 0"
    );
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
        expect_lost(
            &dump(text).explain(5),
            "lost: KVM refuses a table with these entries",
        );
    }
}

/// Each field where the processor manual has it, and the destination's high half where KVM has it.
#[test]
fn a_message_on_x86_is_read_as_kvm_reads_it() {
    for (address, data, words) in [
        (
            0xfeea_5000,
            0x4041,
            "fixed interrupt, vector 0x41, to APIC 165 (physical destination)",
        ),
        (
            0xfff0_0ff3,
            0xffff_00ff,
            "fixed interrupt, vector 0xff, to APIC 0 (physical destination)",
        ),
        (
            0xfee0_0004,
            0x20,
            "fixed interrupt, vector 0x20, to logical destination 0x0",
        ),
        (
            0xfee0_3008,
            0x20,
            "fixed interrupt, vector 0x20, to APIC 3 (physical destination), any one of them",
        ),
        (
            0xfee0_300c,
            0x8125,
            "lowest-priority interrupt, vector 0x25, to logical destination 0x3, any one of them, \
             level-triggered",
        ),
        // With 32-bit ids the high half holds all but the lowest byte.
        (
            0x1234_5600_fee7_8000,
            0x41,
            "fixed interrupt, vector 0x41, to APIC 305419896 (physical destination)",
        ),
        (
            0xff_fee7_8000,
            0x41,
            "fixed interrupt, vector 0x41, to APIC 120 (physical destination)",
        ),
    ] {
        assert_eq!(way(address, data), format!("on the spot: {words}"));
    }
}

#[test]
fn delivery_modes_are_numbered_as_in_the_processor_manual() {
    let modes = [
        "fixed interrupt, vector 0x41",
        "lowest-priority interrupt, vector 0x41",
        "SMI",
        "reserved delivery mode 3",
        "NMI",
        "INIT",
        "start-up",
    ];
    let to = "to APIC 0 (physical destination)";
    for (code, mode) in (0..).zip(modes) {
        let expected = format!("on the spot: {mode}, {to}");
        assert_eq!(way(0xfee0_0000, code << 8 | 0x41), expected);
    }
    expect_lost(
        &message("x86", 0xfee0_0000, 0x741),
        "lost: KVM ignores messages of delivery mode ExtINT (ExtINT, to APIC 0 (physical \
         destination)); it is not an interrupt, but ExtINT",
    );
}

#[test]
fn an_illegal_vector_is_lost() {
    assert!(!message("x86", 0xfee0_0000, 0x10).is_lost());
    for data in [0x0f, 0x10f] {
        let words = way(0xfee0_0000, data);
        let expected = "lost: vector 0x0f is below 16, and a local APIC never delivers it (";
        assert!(words.starts_with(expected), "{words}");
    }
    // An NMI has no vector.
    assert!(!message("x86", 0xfee0_0000, 0x400).is_lost());
    expect_lost(
        &message("x86", 0, 0),
        "lost: vector 0x00 is below 16, and a local APIC never delivers it (fixed interrupt, \
         vector 0x00, to APIC 0 (physical destination)); the message is all zero: the guest has \
         not programmed it",
    );
}

#[test]
fn a_broadcast_goes_through_a_worker() {
    for address in [0xfeef_f000, 0xfeef_f004] {
        assert_eq!(
            way(address, 0x441),
            "by a worker thread (a broadcast): NMI, to all APICs"
        );
    }
    // 255 is all local APICs; 511 is one APIC, or none.
    assert_eq!(
        way(0x100_feef_f000, 0x41),
        "on the spot: fixed interrupt, vector 0x41, to APIC 511 (physical destination)"
    );
}

#[test]
fn odd_messages_come_with_hints() {
    let hints = |address, data| {
        let text = format!("{:#}", message("x86", address, data));
        let hints = text.lines().skip(1).map(str::to_owned);
        hints.collect::<Vec<_>>()
    };
    let none = <[&str; 0]>::default();
    assert_eq!(hints(0xfee0_0000, 0x4041), none);
    assert_eq!(hints(0xfeef_e00c, 0xffff_4141), none);
    assert_eq!(hints(0xfee0_0000, 0x20), none);
    let remappable = "it is in remappable format (address bit 4): an IOMMU in the VMM must \
        translate it first, and KVM reads it as it is";
    let extended = |destination| {
        format!(
            "address bits 11 to 5 mean APIC {destination}: the VMM must translate it \
             (KVM_FEATURE_MSI_EXT_DEST_ID), and KVM reads 8 bits"
        )
    };
    for (address, data, hint) in [
        (
            0xfed0_0000,
            0x41,
            "address 0xfed00000 is not that of local APICs, 0xfeexxxxx; KVM does not check it",
        ),
        (0xfee0_0010, 0x41, remappable),
        (0xfee0_0ff0, 0x41, remappable),
        (0xfee0_3020, 0x41, &extended(0x103)),
        (0xfeef_ffe0, 0x41, &extended(0x7fff)),
        (
            0x100_fee0_0000,
            0x41,
            "the high half of the address is 0x100: it counts only with KVM_CAP_X2APIC_API and \
             32-bit ids",
        ),
        (0xfee0_0000, 0x241, "it is not an interrupt, but SMI"),
        (
            0xfee0_0000,
            0x1f,
            "vector 0x1f is one of the processor's exceptions",
        ),
        (
            0xfee0_0000,
            0x8041,
            "it is level-triggered, as a pin of an IOAPIC in user space may be, but not a PCI \
             device",
        ),
    ] {
        assert_eq!(hints(address, data), [hint]);
    }
    let both = message("x86", 0xfed0_0000, 0x1f).to_string();
    let expected = "; address 0xfed00000 is not that of local APICs, 0xfeexxxxx; KVM does not \
        check it; vector 0x1f is one of the processor's exceptions";
    assert!(both.ends_with(expected), "{both}");
}
