// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Vectors on a real local APIC.

use std::convert::Infallible;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Instant;

use irq_routing::{MsiMessage, RoutingTable};
use irqfd::msix::{Binding, NO_VECTOR, Table};
use irqfd::{
    ArmQueue, IrqFd, IrqFdError, Triggered, Vector, VectorError, VectorHandle, VectorState,
};
use kvm_bindings::{KVM_CAP_X2APIC_API, KVM_X2APIC_API_USE_32BIT_IDS, kvm_enable_cap};
use kvm_test::{Machine, PATIENCE, Trial, kvm, open_fds, wait_until};
use notify_core::dispatcher::{Dispatcher, Turn};
use notify_core::{EventFd, EventNotifier};

use crate::storm::duration;
use crate::watched::Watched;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        kvm("an_internal_vector_delivers", internal_delivers),
        kvm("an_exported_vector_delivers", exported_delivers),
        kvm(
            "a_signal_before_a_short_unmask_is_delivered_once",
            short_unmask,
        ),
        kvm("a_trigger_empties_a_notifier_that_was_full", full),
        kvm("a_swap_loses_nothing", swap),
        kvm("a_swap_that_is_refused_changes_nothing", refused_swap),
        kvm("a_queue_commits_once_for_all", queue),
        kvm("a_dispatcher_runs_a_queue", dispatched_queue),
        kvm("a_message_that_kvm_refuses_kills_one_vector", isolation),
        kvm("everything_is_given_back", given_back),
        kvm(
            "a_queue_that_moves_has_each_signal_at_one_vector",
            queue_moves,
        ),
    ]
}

fn bench() -> (Machine, Arc<Watched>, RoutingTable) {
    let machine = Machine::new().unwrap();
    let vm = Arc::new(Watched::new(machine.vm()));
    let table = RoutingTable::new(vm.clone()).unwrap();
    (machine, vm, table)
}

fn message(vector: u32) -> MsiMessage {
    MsiMessage::new(Machine::MSI_ADDRESS, vector)
}

fn internal(table: &RoutingTable, vector: u32) -> Vector {
    let new = Vector::builder(table).build().unwrap();
    new.set_message(message(vector)).unwrap();
    new
}

#[track_caller]
fn expect(machine: &Machine, vectors: &[u8]) {
    assert_eq!(machine.delivered().unwrap(), vectors);
    machine.clear().unwrap();
}

/// A signal that is in a notifier when it is bound is delivered by a thread of the kernel.
#[track_caller]
fn expect_soon(machine: &Machine, vectors: &[u8]) {
    wait_until(|| machine.delivered().unwrap() == vectors);
    expect(machine, vectors);
}

/// A peer that holds the eventfd can fill it while it is not bound.
fn full() {
    let (machine, _, table) = bench();
    let vector = internal(&table, 0x41);
    let notifier = vector.export().unwrap();
    let eventfd: &EventFd = (*notifier).as_ref();
    eventfd.write(u64::MAX - 1).unwrap();
    vector.unmask().unwrap();
    expect_soon(&machine, &[0x41]);
    assert!(!notifier.try_notify().unwrap());
    expect(&machine, &[]);
    vector.trigger().unwrap();
    expect(&machine, &[0x41]);
    notifier.notify().unwrap();
    expect(&machine, &[0x41]);

    vector.mask();
    eventfd.write(u64::MAX - 1).unwrap();
    vector.unmask().unwrap();
    expect_soon(&machine, &[0x41]);
    vector.mask();
    vector.unmask().unwrap();
    notifier.notify().unwrap();
    expect(&machine, &[0x41]);
}

fn internal_delivers() {
    let (machine, vm, table) = bench();
    let vector = internal(&table, 0x41);
    assert_eq!(vector.trigger().unwrap(), Triggered::Kept);
    expect(&machine, &[]);
    vector.unmask().unwrap();
    expect(&machine, &[0x41]);
    vector.set_message(message(0x42)).unwrap();
    assert_eq!(vector.trigger().unwrap(), Triggered::Delivered);
    expect(&machine, &[0x42]);
    vector.mask();
    vector.trigger().unwrap();
    vector.set_message(message(0x43)).unwrap();
    expect(&machine, &[]);
    vector.unmask().unwrap();
    expect(&machine, &[0x43]);
    // No local APIC is at that address.
    vector
        .set_message(MsiMessage::new(0xfee0_5000, 0x44))
        .unwrap();
    assert_eq!(vector.trigger().unwrap(), Triggered::Blocked);
    assert_eq!((vm.commits(), table.leased()), (0, 0));
}

fn exported_delivers() {
    let (machine, vm, table) = bench();
    let vector = internal(&table, 0x41);
    vector.trigger().unwrap();
    let notifier = vector.export().unwrap();
    vector.unmask().unwrap();
    expect_soon(&machine, &[0x41]);
    notifier.notify().unwrap();
    expect(&machine, &[0x41]);
    vector.trigger().unwrap();
    expect(&machine, &[0x41]);

    vector.mask();
    notifier.notify().unwrap();
    vector.trigger().unwrap();
    expect(&machine, &[]);
    assert!(vector.is_pending());
    vector.set_message(message(0x42)).unwrap();
    vector.unmask().unwrap();
    expect_soon(&machine, &[0x42]);
    assert!(!vector.is_pending());
    assert_eq!(vm.commits(), 2);

    vector.mask();
    notifier.notify().unwrap();
    vector.unexport().unwrap();
    assert!(vector.is_pending());
    expect(&machine, &[]);
    vector.unmask().unwrap();
    expect(&machine, &[0x42]);
    notifier.notify().unwrap();
    expect(&machine, &[]);
    assert_eq!(table.leased(), 0);
}

fn short_unmask() {
    let (machine, _, table) = bench();
    let vector = internal(&table, 0x41);
    let notifier = vector.export().unwrap();
    for _ in 0..200 {
        notifier.notify().unwrap();
        vector.unmask().unwrap();
        vector.mask();
        // Complete: the kernel's thread has delivered everything.
        expect(&machine, &[0x41]);
        assert!(!vector.is_pending());
    }
    vector.unmask().unwrap();
    vector.mask();
    expect(&machine, &[]);
}

fn swap() {
    let (machine, _, table) = bench();
    let vector = internal(&table, 0x41);
    let old = vector.export().unwrap();
    vector.unmask().unwrap();
    let new = Arc::new(EventNotifier::builder().initial(1).build().unwrap());
    vector.replace_notifier(Arc::clone(&new)).unwrap();
    expect_soon(&machine, &[0x41]);
    new.notify().unwrap();
    expect(&machine, &[0x41]);
    old.notify().unwrap();
    expect(&machine, &[]);
    vector.mask();
    new.notify().unwrap();
    vector.replace_notifier(old).unwrap();
    assert!(vector.is_pending() && !new.is_signalled().unwrap());
    vector.unmask().unwrap();
    expect_soon(&machine, &[0x41]);
}

fn refused_swap() {
    let (machine, _, table) = bench();
    let other = IrqFd::builder(table.lease_msi(message(0x50)).unwrap());
    let other = other.assign().unwrap();
    let vector = internal(&table, 0x41);
    let old = vector.export().unwrap();
    vector.unmask().unwrap();
    let rejected = vector.replace_notifier(Arc::clone(other.notifier()));
    assert!(matches!(
        rejected.unwrap_err().error,
        VectorError::Arm(IrqFdError::AlreadyBound { .. })
    ));
    old.notify().unwrap();
    expect(&machine, &[0x41]);
    vector.trigger().unwrap();
    expect(&machine, &[0x41]);
}

fn queue() {
    let (machine, vm, table) = bench();
    let queue = ArmQueue::new(&table).unwrap();
    let vectors: Vec<_> = (0x40..0x80)
        .map(|data| {
            let vector = Vector::builder(&table).queue(&queue).build().unwrap();
            vector.set_message(message(data)).unwrap();
            vector.export().unwrap().notify().unwrap();
            vector.unmask().unwrap();
            vector
        })
        .collect();
    assert_eq!((vm.commits(), vm.assigned()), (0, 0));
    expect(&machine, &[]);
    assert_eq!(queue.run_pending().armed, 64);
    assert_eq!((vm.commits(), vm.assigned()), (1, 64));
    let all: Vec<u8> = (0x40..0x80).collect();
    expect_soon(&machine, &all);

    // All get another message: one commit more.
    for (data, vector) in (0x80..).zip(&vectors) {
        vector.mask();
        vector.set_message(message(data)).unwrap();
        vector.unmask().unwrap();
        vector.trigger().unwrap();
    }
    expect(&machine, &[]);
    assert_eq!(queue.run_pending().armed, 64);
    assert_eq!(vm.commits(), 2);
    let all: Vec<u8> = (0x80..0xc0).collect();
    expect_soon(&machine, &all);
}

/// As a VMM's device thread does it, beside a real local APIC.
fn dispatched_queue() {
    let (machine, vm, table) = bench();
    let queue = Arc::new(ArmQueue::new(&table).unwrap());
    let dispatcher = Dispatcher::new().unwrap();
    let handle = dispatcher.handle();
    let own = Arc::clone(&queue);
    let add = handle.add_fd(Arc::clone(&queue), move |ready| {
        assert!(ready.is_readable());
        assert_eq!(own.run_pending().armed, 64);
        Ok(())
    });
    let token = add.unwrap();
    let vectors: Vec<_> = (0x40..0x80)
        .map(|data| {
            let vector = Vector::builder(&table).queue(&queue).build().unwrap();
            vector.set_message(message(data)).unwrap();
            vector.export().unwrap().notify().unwrap();
            vector.unmask().unwrap();
            vector
        })
        .collect();
    let turn = dispatcher.run_once(Some(PATIENCE)).unwrap();
    assert_eq!(turn, Turn::Worked(1));
    assert_eq!((vm.commits(), vm.assigned()), (1, 64));
    let all: Vec<u8> = (0x40..0x80).collect();
    expect_soon(&machine, &all);
    assert_eq!(handle.remove(token).unwrap(), None);
    assert!(queue.waiting() == 0);
    drop(vectors);
}

fn isolation() {
    let (machine, _, table) = bench();
    let mut capability = kvm_enable_cap {
        cap: KVM_CAP_X2APIC_API,
        ..Default::default()
    };
    capability.args[0] = u64::from(KVM_X2APIC_API_USE_32BIT_IDS);
    machine.vm_fd().enable_cap(&capability).unwrap();
    let guilty = MsiMessage::new(Machine::MSI_ADDRESS | 1 << 32, 0x40);

    let alone = internal(&table, 0x41);
    alone.unmask().unwrap();
    alone.set_message(guilty).unwrap();
    assert!(matches!(
        alone.trigger(),
        Err(VectorError::MessageRefused { .. })
    ));
    assert!(matches!(alone.state(), VectorState::Dead(_)));
    alone.set_message(message(0x41)).unwrap();
    alone.trigger().unwrap();
    expect(&machine, &[0x41]);

    let queue = ArmQueue::new(&table).unwrap();
    let vectors: Vec<_> = (0x50..0x60)
        .map(|data| {
            let vector = Vector::builder(&table).queue(&queue).build().unwrap();
            vector.set_message(message(data)).unwrap();
            vector.export().unwrap();
            vector
        })
        .collect();
    vectors[5].set_message(guilty).unwrap();
    vectors.iter().for_each(|vector| vector.unmask().unwrap());
    vectors[5].trigger().unwrap();
    let round = queue.run_pending();
    assert_eq!(round.armed, 15);
    assert!(round.failed[0].vector == *vectors[5] && round.failed.len() == 1);
    assert!(matches!(&round.failed[0].reason, VectorError::Route { .. }));
    for (n, vector) in vectors.iter().enumerate().filter(|(n, _)| *n != 5) {
        vector.trigger().unwrap();
        expect(&machine, &[0x50 + u8::try_from(n).unwrap()]);
    }
    vectors[5].set_message(message(0x55)).unwrap();
    assert_eq!(queue.run_pending().armed, 1);
    expect_soon(&machine, &[0x55]);
}

fn given_back() {
    let (machine, vm, table) = bench();
    let fds = open_fds().unwrap();
    let queue = ArmQueue::new(&table).unwrap();
    let vectors: Vec<_> = (0x40..0x48)
        .map(|data| {
            let vector = Vector::builder(&table).queue(&queue).build().unwrap();
            vector.set_message(message(data)).unwrap();
            vector.export().unwrap();
            vector.unmask().unwrap();
            vector
        })
        .collect();
    drop(queue.run_pending());
    assert_eq!(open_fds().unwrap(), fds + 3 + 8);
    for vector in &vectors[..4] {
        vector.unexport().unwrap();
    }
    assert_eq!((open_fds().unwrap(), table.leased()), (fds + 3 + 4, 4));
    // Vectors keep no descriptor of a queue that was dropped.
    drop(queue);
    assert_eq!((open_fds().unwrap(), table.leased()), (fds + 4, 4));
    drop(vectors);
    assert_eq!((open_fds().unwrap(), table.leased()), (fds, 0));
    assert_eq!(vm.bound(), 0);
    drop(table);
    assert_eq!(Arc::strong_count(&vm), 1);
    expect(&machine, &[]);
}

/// A back-end signals once in each round, while one vCPU moves its queue and another one masks the
/// vectors. The signal must be delivered at one vector: at none it is lost, at two it is doubled.
fn queue_moves() {
    let (machine, _, routing) = bench();
    let table = Table::builder(&routing).vectors(3).build().unwrap();
    let _ = table.set_control(true, false);
    for number in 0..3_u64 {
        let _ = table.write(16 * number, &Machine::MSI_ADDRESS.to_le_bytes());
        let data = 0x41 + u32::try_from(number).unwrap();
        let _ = table.write(16 * number + 8, &data.to_le_bytes());
    }
    let set_mask = |entry: u64, masked: bool| {
        let _ = table.write(16 * entry + 12, &u32::from(masked).to_le_bytes());
    };
    let queue = Binding::new(&table);
    // It waits in `set_call` while the back-end signals.
    let backend = Mutex::new(queue.call().unwrap());
    let bind = |number: u16| {
        let set_call = |call: &Arc<EventNotifier>| {
            *backend.lock().unwrap() = Arc::clone(call);
            Ok::<_, Infallible>(())
        };
        assert_eq!(queue.bind_call(number, set_call).unwrap(), number);
    };

    let mut at_vector = [0; 3];
    let end = Instant::now() + duration();
    for round in (0_u64..).take_while(|_| Instant::now() < end) {
        let start = Barrier::new(3);
        thread::scope(|scope| {
            scope.spawn(|| {
                start.wait();
                (0..round % 40).for_each(|_| thread::yield_now());
                backend.lock().unwrap().notify().unwrap();
            });
            scope.spawn(|| {
                start.wait();
                for step in round..round + 8 {
                    bind([0, NO_VECTOR, 2, 1, 0, 1, NO_VECTOR][(step % 7) as usize]);
                }
            });
            start.wait();
            for step in round..round + 12 {
                set_mask(step * 5 % 3, step % 4 < 2);
            }
        });
        if queue.number() == NO_VECTOR {
            bind(0);
        }
        (0..3).for_each(|entry| set_mask(entry, false));
        wait_until(|| !machine.delivered().unwrap().is_empty());
        // Complete: the kernel's thread has delivered everything.
        (0..3).for_each(|entry| set_mask(entry, true));
        let delivered = machine.delivered().unwrap();
        assert_eq!(delivered.len(), 1, "{delivered:x?} in round {round}");
        at_vector[usize::from(delivered[0] - 0x41)] += 1;
        machine.clear().unwrap();
        assert!(!table.vectors().iter().any(VectorHandle::is_pending));
    }
    println!("signals at each vector: {at_vector:?}");
}
