// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A guest's life with private vectors, on a thread whose system call filter kills the process at
//! anything but `write`, two ioctls, and what Rust's runtime needs.

use std::thread;

use irq_routing::RoutingTable;
use irqfd::msix::Table;
use irqfd::{Triggered, VectorState};
use kvm_test::{Machine, SystemCall, Trial, allow_only, kvm};

/// KVM_IRQFD and KVM_SET_GSI_ROUTING on x86, from `include/uapi/linux/kvm.h`.
const KVM_IRQFD: u32 = 0x4020_ae76;
const KVM_SET_GSI_ROUTING: u32 = 0x4008_ae6a;

const FILTER: [SystemCall; 3] = [
    (libc::SYS_write, None),
    (libc::SYS_ioctl, Some(KVM_IRQFD)),
    (libc::SYS_ioctl, Some(KVM_SET_GSI_ROUTING)),
];

/// Memory, locks, and the end of a thread.
const RUNTIME: [SystemCall; 12] = [
    (libc::SYS_brk, None),
    (libc::SYS_exit, None),
    (libc::SYS_futex, None),
    (libc::SYS_gettid, None),
    (libc::SYS_madvise, None),
    (libc::SYS_mmap, None),
    (libc::SYS_mprotect, None),
    (libc::SYS_mremap, None),
    (libc::SYS_munmap, None),
    (libc::SYS_rt_sigprocmask, None),
    (libc::SYS_sched_yield, None),
    (libc::SYS_sigaltstack, None),
];

pub(crate) fn trials() -> Vec<Trial> {
    vec![kvm("private_vectors_need_write_and_two_ioctls", life)]
}

/// Each trigger has a vector of its own, so that all of them show in the end.
fn life() {
    let machine = Machine::new().unwrap();
    let routing = RoutingTable::new(machine.vm()).unwrap();
    let table = Table::builder(&routing).vectors(2).private_irqfd(true);
    let table = table.build().unwrap();
    let guest = {
        let table = table.clone();
        thread::spawn(move || {
            allow_only(&[&FILTER[..], &RUNTIME[..]].concat()).unwrap();
            in_jail(&table);
        })
    };
    guest.join().unwrap();
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
    // A snapshot, with what comes while the table is paused.
    entry(0x45, 0);
    table.pause();
    assert!(matches!(vector.state(), VectorState::Paused));
    expect(Triggered::Kept);
    let snapshot = table.snapshot().unwrap();
    assert_eq!(snapshot.registers().unwrap().pending, [1]);
    assert!(table.resume().is_empty());
    // A reset of the function forgets what is pending.
    entry(0x46, 1);
    expect(Triggered::Kept);
    table.reset();
    expect(Triggered::Disabled);
    table.reset();
    assert!(table.set_control(true, false).is_empty());
    entry(0x46, 0);
    expect(Triggered::Signalled);
    // Restored in place: what was saved is delivered.
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
