// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The x86 cases: a message shows in a local APIC, a pin in the result of KVM_IRQ_LINE_STATUS.

mod isolation;
mod stress;
mod wiring;

use irq_routing::{Error, IrqChip, MsiMessage, Pin, Platform, Route, RoutingTable, Wiring};
use kvm_test::{Machine, Trial, kvm, open_fds};
use notify_core::{LineStatus, Vm};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = wiring::trials();
    trials.extend(isolation::trials());
    trials.extend([
        kvm("messages_arrive_where_they_are_routed", messages_arrive),
        kvm("a_full_table_is_committed_and_emptied", full_table),
        kvm(
            "pins_replace_the_default_table",
            pins_replace_the_default_table,
        ),
        kvm("a_machine_without_irqchip_says_so", no_irqchip),
        kvm("a_retired_machine_says_so", retired),
        kvm("nothing_stays_open", nothing_stays_open),
    ]);
    // The longest come last.
    trials.extend(stress::trials());
    trials
}

/// A table without the pins that KVM has wired.
fn table() -> (Machine, RoutingTable) {
    let machine = Machine::new().unwrap();
    let builder = RoutingTable::builder(machine.vm()).wiring(Wiring::none(Platform::X86));
    (machine, builder.build().unwrap())
}

fn message(vector: u32) -> MsiMessage {
    MsiMessage::new(Machine::MSI_ADDRESS, vector)
}

#[track_caller]
fn expect_delivery(machine: &Machine, gsi: u32, vectors: &[u8]) {
    machine.clear().unwrap();
    machine.vm().irq_line_status(gsi, true).unwrap();
    assert_eq!(machine.delivered().unwrap(), vectors);
}

fn messages_arrive() {
    let (machine, table) = table();
    let one = table.lease_msi(message(0x41)).unwrap();
    let two = table.lease_msi(message(0x42)).unwrap();
    expect_delivery(&machine, one.gsi().number(), &[0x41]);
    expect_delivery(&machine, two.gsi().number(), &[0x42]);

    let mut transaction = table.transaction();
    transaction.route(&one, message(0x51)).unroute(&two);
    transaction.commit().unwrap();
    expect_delivery(&machine, one.gsi().number(), &[0x51]);
    expect_delivery(&machine, two.gsi().number(), &[]);

    let gsi = one.gsi().number();
    drop(one);
    expect_delivery(&machine, gsi, &[0x51]);
    table.flush().unwrap();
    expect_delivery(&machine, gsi, &[]);
}

fn full_table() {
    let (machine, table) = table();
    let leases: Vec<_> = std::iter::from_fn(|| table.lease().ok()).collect();
    let mut transaction = table.transaction();
    for (lease, vector) in leases.iter().zip((0x30..0xf0).cycle()) {
        transaction.route(lease, message(vector));
    }
    transaction.commit().unwrap();
    let (last, gsi) = (leases.last().unwrap(), 4095);
    assert_eq!(last.gsi().number(), gsi);
    let Some(Route::Msi(MsiMessage { data, .. })) = last.route() else {
        panic!("it was routed");
    };
    expect_delivery(&machine, gsi, &[u8::try_from(data).unwrap()]);
    drop(leases);
    table.flush().unwrap();
    expect_delivery(&machine, gsi, &[]);
}

fn pins_replace_the_default_table() {
    let (machine, table) = table();
    let raise = |gsi| machine.vm().irq_line_status(gsi, true).unwrap();
    assert_ne!(raise(1), LineStatus::Ignored, "KVM's default table");
    let mut transaction = table.transaction();
    let pin = Pin::new(IrqChip::PicMaster, 5).unwrap();
    transaction.wire(table.gsi(7).unwrap(), pin);
    transaction.commit().unwrap();
    assert_eq!(
        raise(1),
        LineStatus::Ignored,
        "pins that are left out lead nowhere"
    );
    assert_ne!(raise(7), LineStatus::Ignored);
}

fn no_irqchip() {
    let table = RoutingTable::new(Machine::without_irqchip().unwrap()).unwrap();
    let error = table.lease_msi(message(0x41)).unwrap_err();
    assert!(matches!(error, Error::NoIrqChip { cause: None, .. }));
    assert_eq!(table.leased(), 0);
}

fn retired() {
    let (machine, table) = table();
    let lease = table.lease_msi(message(0x41)).unwrap();
    machine.vm().retire();
    assert!(matches!(
        table.lease_msi(message(0x42)),
        Err(Error::Retired)
    ));
    assert!(matches!(table.recommit(), Err(Error::Retired)));
    drop(lease);
    assert_eq!(table.leased(), 0);
    table.flush().unwrap();
}

fn nothing_stays_open() {
    let before = open_fds().unwrap();
    messages_arrive();
    full_table();
    no_irqchip();
    retired();
    assert_eq!(open_fds().unwrap(), before);
}
