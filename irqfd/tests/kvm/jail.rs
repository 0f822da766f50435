// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A guest's life with private and exported vectors, irqfds and lines, on a thread whose system
//! call filter kills the process at all other calls. Allowed are `write`, a few ioctls, reads of a
//! counter, and what Rust's runtime needs.

use std::sync::Arc;

use irq_routing::{MsiMessage, RoutingTable};
use irqfd::msix::Table;
use irqfd::{IrqFd, LevelLine, Triggered, VectorState};
use kvm_test::{Machine, SystemCall, Trial, jailed, kvm};
use notify_core::{EventFd, EventNotifier};

/// KVM_IRQFD and KVM_SET_GSI_ROUTING on x86, from `include/uapi/linux/kvm.h`.
const KVM_IRQFD: u32 = 0x4020_ae76;
const KVM_SET_GSI_ROUTING: u32 = 0x4008_ae6a;

const FILTER: [SystemCall; 3] = [
    (libc::SYS_write, None),
    (libc::SYS_ioctl, Some(KVM_IRQFD)),
    (libc::SYS_ioctl, Some(KVM_SET_GSI_ROUTING)),
];

/// An eventfd is created and closed. (A standard library with debug assertions looks at a file
/// descriptor before it closes it.)
const MAKES: [SystemCall; 3] = [
    (libc::SYS_eventfd2, None),
    (libc::SYS_close, None),
    (libc::SYS_fcntl, Some(libc::F_GETFD.cast_unsigned())),
];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        kvm("private_vectors_need_write_and_two_ioctls", life),
        kvm("exported_vectors_need_preadv2_too", exported),
        kvm("exported_vectors_of_a_private_notifier_need_read", declared),
        kvm(
            "an_irqfd_asks_nothing_of_a_notifier_that_is_made_for_it",
            irqfds,
        ),
        kvm("a_line_is_paused_without_a_look_at_its_notifiers", line),
    ]
}

fn exported() {
    let machine = Machine::new().unwrap();
    let routing = RoutingTable::new(machine.vm()).unwrap();
    let table = Table::builder(&routing).vectors(1).build().unwrap();
    let notifier = table.vector(0).unwrap().export().unwrap();
    let preadv2 = (libc::SYS_preadv2, None);
    jailed(&[&FILTER[..], &[preadv2]].concat(), || {
        life_of(&table, &notifier)
    });
    assert_eq!(machine.delivered().unwrap(), [0x41, 0x42, 0x43]);
}

/// The VMM has created the eventfd, and no other process has it.
fn declared() {
    let machine = Machine::new().unwrap();
    let routing = RoutingTable::new(machine.vm()).unwrap();
    let table = Table::builder(&routing).vectors(1).build().unwrap();
    let notifier = Arc::new(EventNotifier::from(EventFd::new(0).unwrap()));
    notifier.declare_private().unwrap();
    // In a jail this would look at `/proc`.
    notifier.mode();
    let vector = table.vector(0).unwrap();
    vector.replace_notifier(Arc::clone(&notifier)).unwrap();
    let read = (libc::SYS_read, None);
    jailed(&[&FILTER[..], &[read]].concat(), || {
        life_of(&table, &notifier)
    });
    assert_eq!(machine.delivered().unwrap(), [0x41, 0x42, 0x43]);
    // Now the library exports it.
    vector.export().unwrap();
    assert!(!notifier.is_private());
}

/// Of one exported vector.
fn life_of(table: &Table, notifier: &EventNotifier) {
    let entry = |vector: u32, control: u32| {
        let address = table.write(0, &Machine::MSI_ADDRESS.to_le_bytes());
        let data = table.write(8, &vector.to_le_bytes());
        let control = table.write(12, &control.to_le_bytes());
        assert!(address.is_empty() && data.is_empty() && control.is_empty());
    };
    let pending = || {
        let mut bytes = [0; 8];
        table.pba_read(0, &mut bytes);
        u64::from_le_bytes(bytes)
    };
    assert!(table.set_control(true, false).is_empty());
    entry(0x41, 0);
    notifier.notify().unwrap();
    // A signal that a look has taken is delivered, together with later ones.
    entry(0x42, 1);
    notifier.notify().unwrap();
    assert_eq!((pending(), pending()), (1, 1));
    notifier.notify().unwrap();
    entry(0x42, 0);
    assert_eq!(pending(), 0);
    // A reset discards the signal that a look has taken.
    entry(0x44, 1);
    notifier.notify().unwrap();
    assert_eq!(pending(), 1);
    table.reset();
    assert_eq!(pending(), 0);
    assert!(table.set_control(true, false).is_empty());
    entry(0x43, 0);
    // A snapshot, with signals that come while the table is paused.
    table.pause();
    notifier.notify().unwrap();
    let snapshot = table.snapshot().unwrap();
    assert_eq!(snapshot.registers().unwrap().pending, [1]);
    assert_eq!(table.snapshot().unwrap(), snapshot, "it is still there");
    assert!(table.resume().is_empty());
}

fn irqfds() {
    let machine = Machine::new().unwrap();
    let routing = RoutingTable::new(machine.vm()).unwrap();
    let message = MsiMessage::new(Machine::MSI_ADDRESS, 0x41);
    let lease = routing.lease_msi(message).unwrap();
    jailed(&[&FILTER[..], &MAKES].concat(), || {
        let irq = IrqFd::builder(lease).assign().unwrap();
        irq.notifier().notify().unwrap();
        drop(irq);
    });
    let private = EventNotifier::builder().private(true).initial(1).build();
    let lease = routing.lease_msi(MsiMessage::new(Machine::MSI_ADDRESS, 0x42));
    let builder = IrqFd::builder(lease.unwrap()).notifier(Arc::new(private.unwrap()));
    let irq = jailed(&FILTER, || builder.assign().unwrap());
    let builder = irq.deassign().unwrap();
    let irq = jailed(&FILTER, || builder.assign().unwrap());
    drop(irq);
    assert_eq!(machine.delivered().unwrap(), [0x41, 0x42]);
}

fn line() {
    const KVM_IRQ_LINE_STATUS: u32 = 0xc008_ae67;
    const KVM_IRQ_LINE: u32 = 0x4008_ae61;
    let machine = Machine::new().unwrap();
    let routing = RoutingTable::new(machine.vm()).unwrap();
    let line = routing.line(5).unwrap();
    let line = LevelLine::builder(line).build().unwrap();
    let notifier = || Arc::new(EventNotifier::new().unwrap());
    let card = line.join_exported(None, notifier()).unwrap();
    let calls = [
        (libc::SYS_read, None),
        (libc::SYS_ioctl, Some(KVM_IRQ_LINE)),
        (libc::SYS_ioctl, Some(KVM_IRQ_LINE_STATUS)),
    ];
    jailed(&[&FILTER[..], &MAKES, &calls].concat(), || {
        line.pause().unwrap();
        card.trigger_notifier().unwrap().notify().unwrap();
        line.resume().unwrap();
    });
}

/// Each trigger has a vector of its own, so that all of them show in the end.
fn life() {
    let machine = Machine::new().unwrap();
    let routing = RoutingTable::new(machine.vm()).unwrap();
    let table = Table::builder(&routing).vectors(2).private_irqfd(true);
    let table = table.build().unwrap();
    jailed(&FILTER, || in_jail(&table));
    let delivered = machine.delivered().unwrap();
    assert_eq!(delivered, [0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47]);
}

fn in_jail(table: &Table) {
    let entry = |vector: u32, control: u32| {
        let address = table.write(0, &Machine::MSI_ADDRESS.to_le_bytes());
        let data = table.write(8, &vector.to_le_bytes());
        let control = table.write(12, &control.to_le_bytes());
        assert!(address.is_empty() && data.is_empty() && control.is_empty());
    };
    let vector = table.vector(0).unwrap();
    let expect = |triggered| assert_eq!(vector.trigger().unwrap(), triggered);
    let pending = || {
        let mut bytes = [0; 8];
        table.pba_read(0, &mut bytes);
        u64::from_le_bytes(bytes)
    };
    assert!(table.set_control(true, false).is_empty());

    // Unmask, and trigger.
    entry(0x41, 0);
    expect(Triggered::Signalled);
    // Mask, PBA, unmask.
    entry(0x42, 1);
    expect(Triggered::Kept);
    assert_eq!(pending(), 1);
    entry(0x42, 0);
    assert_eq!(pending(), 0);
    // Retarget while it is armed.
    entry(0x43, 0);
    expect(Triggered::Signalled);
    // Function mask.
    assert!(table.set_control(true, true).is_empty());
    entry(0x44, 0);
    expect(Triggered::Kept);
    assert!(table.set_control(true, false).is_empty());
    // A snapshot, with signals that come while the table is paused.
    entry(0x45, 0);
    table.pause();
    assert!(matches!(vector.state(), VectorState::Paused));
    expect(Triggered::Kept);
    let snapshot = table.snapshot().unwrap();
    assert_eq!(snapshot.registers().unwrap().pending, [1]);
    assert!(table.resume().is_empty());
    // A reset of the function discards pending signals.
    entry(0x46, 1);
    expect(Triggered::Kept);
    table.reset();
    expect(Triggered::Disabled);
    table.reset();
    assert!(table.set_control(true, false).is_empty());
    entry(0x46, 0);
    expect(Triggered::Signalled);
    // Restored in place: the saved signals are delivered.
    entry(0x46, 1);
    entry(0x47, 1);
    expect(Triggered::Kept);
    table.pause();
    let snapshot = table.snapshot().unwrap();
    table.reset();
    assert!(table.restore(&snapshot).unwrap().is_empty());
    assert!(table.resume().is_empty());
    entry(0x47, 0);
}
