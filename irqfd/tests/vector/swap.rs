// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Exchanging the notifier: no signal is lost, and a refusal changes nothing.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;

use irq_routing::RoutingTable;
use irqfd::{ArmQueue, IrqFd, IrqFdError, Triggered, VectorError, VectorHandle, msix};
use kvm_test::ThreadId;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use notify_core::{EventFd, EventNotifier};
use notify_sim::CallKind;

use super::{expect_state, exported, guilty, internal, message, queued, table};

fn notifier() -> Arc<EventNotifier> {
    Arc::new(EventNotifier::new().unwrap())
}

/// A notifier that is bound elsewhere.
fn bound(table: &RoutingTable) -> (IrqFd, Arc<EventNotifier>) {
    let irq = IrqFd::builder(table.lease_msi(message(0x70)).unwrap());
    let irq = irq.assign().unwrap();
    let notifier = Arc::clone(irq.notifier());
    (irq, notifier)
}

#[track_caller]
fn swap(vector: &VectorHandle, new: &Arc<EventNotifier>) -> Option<Arc<EventNotifier>> {
    let old = vector.replace_notifier(Arc::clone(new)).unwrap();
    assert!(Arc::ptr_eq(&vector.notifier().unwrap(), new));
    old
}

#[test]
fn an_armed_vector_is_armed_with_the_new_one() {
    let (vm, table) = table();
    let (vector, old) = exported(&table, 0x40);
    vector.unmask().unwrap();
    vm.expect_calls([1, 1, 0, 0]);
    let new = notifier();
    assert!(Arc::ptr_eq(&swap(&vector, &new).unwrap(), &old));
    vm.expect_calls([0, 1, 1, 0]);
    expect_state(&vector, "Armed");
    new.notify().unwrap();
    vm.expect(&[0x40]);
    vector.trigger().unwrap();
    vm.expect(&[0x40]);
    old.notify().unwrap();
    vm.expect(&[]);
    assert_eq!(Arc::strong_count(&old), 1);
}

#[test]
fn a_new_notifier_that_is_signalled_already_is_delivered() {
    let (vm, table) = table();
    let (vector, _) = exported(&table, 0x40);
    vector.unmask().unwrap();
    let new = notifier();
    new.notify().unwrap();
    swap(&vector, &new);
    vm.expect(&[0x40]);
}

/// What a peer filled it with is delivered when it is bound; the trigger comes after that.
#[test]
fn a_trigger_that_comes_meanwhile_is_not_lost_in_a_new_notifier_that_is_full() {
    let (vm, table) = table();
    let (vector, _) = exported(&table, 0x40);
    vector.unmask().unwrap();
    let new = notifier();
    let eventfd: &EventFd = (*new).as_ref();
    eventfd.write(u64::MAX - 1).unwrap();
    let (other, machine) = (vector.clone(), Arc::clone(&vm));
    vm.during_bind(move || {
        machine.expect(&[0x40]);
        other.trigger().unwrap();
    });
    swap(&vector, &new);
    vm.expect(&[0x40]);
}

#[test]
fn a_masked_vector_keeps_its_signal() {
    let (vm, table) = table();
    let (vector, old) = exported(&table, 0x40);
    old.notify().unwrap();
    let new = notifier();
    swap(&vector, &new);
    assert!(!old.is_signalled().unwrap() && new.is_signalled().unwrap());
    assert!(vector.is_pending());
    vector.unmask().unwrap();
    vm.expect(&[0x40]);
}

#[test]
fn an_internal_vector_becomes_exported() {
    let (vm, table) = table();
    let vector = internal(&table, 0x40);
    vector.trigger().unwrap();
    let new = notifier();
    assert!(swap(&vector, &new).is_none());
    assert!(new.is_signalled().unwrap());
    vector.unmask().unwrap();
    vm.expect(&[0x40]);

    let vector = internal(&table, 0x41);
    vector.unmask().unwrap();
    assert!(swap(&vector, &notifier()).is_none());
    expect_state(&vector, "Armed");
}

#[test]
fn the_same_notifier_once_more_is_nothing() {
    let (vm, table) = table();
    let (vector, notifier) = exported(&table, 0x40);
    vector.unmask().unwrap();
    vm.expect_calls([1, 1, 0, 0]);
    swap(&vector, &notifier);
    vm.expect_calls([0, 0, 0, 0]);
}

#[test]
fn one_that_is_bound_elsewhere_is_refused_and_all_is_as_it_was() {
    let (vm, table) = table();
    let (vector, old) = exported(&table, 0x40);
    vector.unmask().unwrap();
    let (_irq, taken) = bound(&table);
    let before = (table.routes(), table.leased());
    let rejected = vector.replace_notifier(Arc::clone(&taken)).unwrap_err();
    assert!(matches!(
        rejected.error,
        VectorError::Arm(IrqFdError::AlreadyBound { .. })
    ));
    assert!(Arc::ptr_eq(&rejected.value, &taken));
    assert_eq!((table.routes(), table.leased()), before);
    assert!(Arc::ptr_eq(&vector.notifier().unwrap(), &old));
    expect_state(&vector, "Armed");
    old.notify().unwrap();
    vector.trigger().unwrap();
    vm.expect(&[0x40]);
}

#[test]
fn a_semaphore_is_refused() {
    let (vm, table) = table();
    let (vector, _) = exported(&table, 0x40);
    let semaphore = EventNotifier::builder().semaphore(true).build().unwrap();
    let rejected = vector.replace_notifier(Arc::new(semaphore)).unwrap_err();
    assert!(matches!(rejected.error, VectorError::Semaphore));
    vector.unmask().unwrap();
    vector.trigger().unwrap();
    vm.expect(&[0x40]);
}

/// The new one is bound first, so a failure leaves the old one armed.
#[test]
fn a_failure_leaves_the_old_one_armed() {
    use notify_sim::CallKind::{IrqFdAssign, IrqFdDeassign};

    for call in [IrqFdAssign, IrqFdDeassign] {
        let (vm, table) = table();
        let (vector, old) = exported(&table, 0x40);
        vector.unmask().unwrap();
        vm.sim.fail(call, 1, libc::ENOMEM);
        let rejected = vector.replace_notifier(notifier()).unwrap_err();
        assert!(matches!(
            (rejected.error, call),
            (VectorError::Arm(IrqFdError::Refused { .. }), IrqFdAssign)
                | (VectorError::Arm(IrqFdError::Deassign { .. }), IrqFdDeassign)
        ));
        assert_eq!(Arc::strong_count(&rejected.value), 1);
        expect_state(&vector, "Armed");
        rejected.value.notify().unwrap();
        vm.expect(&[]);
        old.notify().unwrap();
        vector.trigger().unwrap();
        vm.expect(&[0x40]);
        let new = notifier();
        swap(&vector, &new);
        vector.mask();
        new.notify().unwrap();
        vm.expect(&[]);
    }
}

/// Neither can be deassigned: then both are bound, and the GSI is not used any more.
#[test]
fn if_neither_goes_the_gsi_is_not_used_again() {
    use notify_sim::CallKind::IrqFdDeassign;

    let (vm, table) = table();
    let (vector, _old) = exported(&table, 0x40);
    vector.unmask().unwrap();
    let gsi = table.routes()[0].0;
    vm.sim.fail(IrqFdDeassign, 1, libc::EIO);
    vm.sim.fail(IrqFdDeassign, 2, libc::EIO);
    let rejected = vector.replace_notifier(notifier()).unwrap_err();
    assert!(matches!(
        rejected.error,
        VectorError::Arm(IrqFdError::Deassign { .. })
    ));
    expect_state(&vector, "Armed");
    vector.mask();
    vector.unmask().unwrap();
    vector.trigger().unwrap();
    vm.expect(&[0x40]);
    drop(vector);
    assert!(table.lease_exact(gsi.number()).is_err());
    assert!(table.route(gsi).is_some());
}

/// Another message gets another GSI, whether the vector is disarmed for it or not.
#[test]
fn a_gsi_that_is_not_used_again_takes_no_message_either() {
    use notify_sim::CallKind::IrqFdDeassign;

    for has_queue in [false, true] {
        let (vm, table) = table();
        let queue = ArmQueue::new(&table).unwrap();
        let (vector, _old) = match has_queue {
            true => queued(&queue, &table, 0x40),
            false => exported(&table, 0x40),
        };
        vector.unmask().unwrap();
        let _ = queue.run_pending();
        vm.sim.fail(IrqFdDeassign, 1, libc::EIO);
        vm.sim.fail(IrqFdDeassign, 2, libc::EIO);
        vector.replace_notifier(notifier()).unwrap_err();
        vector.set_message(message(0x41)).unwrap();
        let _ = queue.run_pending();
        let _ = queue.run_pending();
        expect_state(&vector, "Armed");
        vector.trigger().unwrap();
        vm.expect(&[0x41]);
    }
}

#[test]
fn a_dead_vector_tries_the_new_one() {
    let (vm, table) = table();
    let (_irq, taken) = bound(&table);
    let vector = internal(&table, 0x40);
    swap(&vector, &taken);
    assert!(matches!(
        vector.unmask(),
        Err(VectorError::Arm(IrqFdError::AlreadyBound { .. }))
    ));
    expect_state(&vector, "Dead(Arm(AlreadyBound");
    swap(&vector, &notifier());
    expect_state(&vector, "Armed");
    vector.trigger().unwrap();
    vm.expect(&[0x40]);
}

#[test]
fn a_dead_vector_that_waits_for_a_round_with_the_new_one_is_not_dead() {
    let (vm, table) = table();
    let queue = ArmQueue::new(&table).unwrap();
    let (vector, _) = queued(&queue, &table, 0x40);
    vm.sim.fail(CallKind::SetGsiRouting, 1, libc::EINVAL);
    vector.unmask().unwrap();
    assert_eq!(queue.run_pending().failed.len(), 1);
    assert_eq!(vector.trigger().unwrap(), Triggered::Dead);
    swap(&vector, &notifier());
    expect_state(&vector, "Queued");
    assert_eq!(vector.trigger().unwrap(), Triggered::Signalled);
    assert_eq!(queue.run_pending().armed, 1);
    vm.expect(&[0x40]);
}

#[test]
fn a_dead_vector_that_the_new_one_arms_is_not_dead() {
    let (vm, table) = table();
    let (vector, _) = exported(&table, 0x40);
    vm.sim.fail(CallKind::IrqFdAssign, 1, libc::EINVAL);
    vector.unmask().unwrap_err();
    swap(&vector, &notifier());
    expect_state(&vector, "Armed");
    assert_eq!(vector.trigger().unwrap(), Triggered::Signalled);
    vm.expect(&[0x40]);
}

#[test]
fn a_dead_vector_with_a_bad_message_stays_dead_without_harm() {
    let (vm, table) = table();
    let vector = internal(&table, 0x40);
    vector.set_message(guilty(0x40)).unwrap();
    let old = vector.export().unwrap();
    vector.unmask().unwrap_err();
    old.notify().unwrap();
    swap(&vector, &notifier());
    expect_state(&vector, "Dead(Route");
    vector.set_message(message(0x40)).unwrap();
    vm.expect(&[0x40]);
}

#[test]
fn a_queued_vector_is_armed_with_the_new_one() {
    let (vm, table) = table();
    let queue = ArmQueue::new(&table).unwrap();
    let (vector, old) = queued(&queue, &table, 0x40);
    vector.unmask().unwrap();
    old.notify().unwrap();
    let new = notifier();
    swap(&vector, &new);
    expect_state(&vector, "Queued");
    assert_eq!(queue.run_pending().armed, 1);
    vm.expect(&[0x40]);
    new.notify().unwrap();
    vm.expect(&[0x40]);
    vm.expect_calls([1, 1, 0, 0]);
}

#[test]
fn during_a_commit_too() {
    let (vm, table) = table();
    let (vector, old) = exported(&table, 0x40);
    let (new, other) = (notifier(), vector.clone());
    let inner = Arc::clone(&new);
    vm.during_commit(move || {
        old.notify().unwrap();
        other.replace_notifier(inner).unwrap();
    });
    vector.unmask().unwrap();
    expect_state(&vector, "Armed");
    vm.expect(&[0x40]);
    new.notify().unwrap();
    vm.expect(&[0x40]);
}

/// A peer that shares the notifier fills it and makes it blocking. The triggering thread waits for
/// the peer; the exchange does not, and it passes the trigger on.
#[test]
fn a_trigger_that_a_peer_blocks_holds_up_nothing() {
    let (vm, table) = table();
    let device = msix::Table::builder(&table).vectors(2).build().unwrap();
    let _ = device.set_control(true, false);
    let _ = device.write(0, &0xfee0_0000_u64.to_le_bytes());
    let _ = device.write(8, &0x40_u64.to_le_bytes());
    let vector = device.vector(0).unwrap().clone();
    let old = vector.export().unwrap();
    let _ = device.write(12, &1_u32.to_le_bytes());
    let eventfd: &EventFd = (*old).as_ref();
    eventfd.write(u64::MAX - 1).unwrap();
    fcntl(&*old, FcntlArg::F_SETFL(OFlag::O_RDWR)).unwrap();
    let (tell, told) = channel();
    let other = vector.clone();
    let triggers = thread::spawn(move || {
        tell.send(ThreadId::current().unwrap()).unwrap();
        other.trigger().unwrap()
    });
    told.recv().unwrap().wait_until_asleep().unwrap();
    device.read(16, &mut [0; 4]);
    let new = notifier();
    swap(&vector, &new);
    triggers.join().unwrap();
    // Once for the old one's signals, and once for the trigger, which came too late for that. Which
    // of them is first is open: if it is the trigger, the vector has kept its signal.
    let count = new.consume().unwrap().map_or(0, u64::from);
    assert_eq!(count + u64::from(vector.is_pending()), 2);
    new.notify().unwrap();
    let _ = device.write(12, &0_u32.to_le_bytes());
    vm.expect(&[0x40]);
}

/// The new notifier is of a peer that has filled it and made it blocking.
#[test]
fn an_exchange_for_a_full_notifier_returns() {
    let (vm, table) = table();
    let (vector, old) = exported(&table, 0x40);
    old.notify().unwrap();
    let new = notifier();
    let eventfd: &EventFd = (*new).as_ref();
    eventfd.write(u64::MAX - 1).unwrap();
    fcntl(&*new, FcntlArg::F_SETFL(OFlag::O_RDWR)).unwrap();
    swap(&vector, &new);
    vector.unmask().unwrap();
    vm.expect(&[0x40]);
}
