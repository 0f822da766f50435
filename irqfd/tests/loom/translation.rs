// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Vectors whose messages are retranslated, while they are masked, unmasked and triggered.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use irq_routing::{KernelRoute, MsiMessage, RoutingTable};
use irqfd::{IrqFd, Triggered, msix};
use loom::sync::atomic::AtomicU32;
use loom::thread;

use super::{Witness, explore, internal, is_armed, message};

/// Adds this number to the data of each message; one of 100 blocks it.
fn translating() -> (Arc<Witness>, RoutingTable, Arc<AtomicU32>) {
    let (witness, offset) = (Witness::witness(), Arc::new(AtomicU32::new(0)));
    let add = Arc::clone(&offset);
    let translate = move |mut message: MsiMessage| {
        message.data += add.load(Ordering::Relaxed);
        (message.data < 100).then_some(message)
    };
    let table = RoutingTable::builder(witness.clone()).translate(translate);
    let table = table.build().unwrap();
    (witness, table, offset)
}

fn sent(witness: &Witness) -> Vec<u32> {
    let messages = witness.messages.lock().unwrap();
    messages.iter().map(|message| message.data).collect()
}

#[test]
fn nothing_goes_where_the_old_translation_led_after_retranslate() {
    explore(3, || {
        let (witness, table, offset) = translating();
        let vector = internal(&table);
        let device = {
            let vector = vector.clone();
            thread::spawn(move || {
                vector.unmask().unwrap();
                vector.trigger().unwrap()
            })
        };
        offset.store(10, Ordering::Relaxed);
        table.retranslate().unwrap();
        let old = sent(&witness).len();
        device.join().unwrap();
        vector.trigger().unwrap();
        let sent = sent(&witness);
        assert_eq!(sent.len(), 2);
        assert!(sent.iter().skip(old).all(|data| *data == 11), "{sent:?}");
    });
}

#[test]
fn a_mask_during_retranslate_is_a_mask() {
    explore(3, || {
        let (witness, table, offset) = translating();
        let vector = internal(&table);
        vector.unmask().unwrap();
        offset.store(10, Ordering::Relaxed);
        let iommu = {
            let table = table.clone();
            thread::spawn(move || table.retranslate().unwrap())
        };
        vector.mask();
        witness.allowed.store(false, Ordering::Relaxed);
        assert_eq!(vector.trigger().unwrap(), Triggered::Kept);
        iommu.join().unwrap();
        assert_eq!(witness.injections(), 0);
        witness.allowed.store(true, Ordering::Relaxed);
        vector.unmask().unwrap();
        assert_eq!(sent(&witness), [11]);
    });
}

#[test]
fn two_retranslations_and_the_last_one_counts() {
    explore(2, || {
        let (witness, table, offset) = translating();
        let vector = internal(&table);
        vector.unmask().unwrap();
        offset.store(10, Ordering::Relaxed);
        let iommu = {
            let table = table.clone();
            thread::spawn(move || table.retranslate().unwrap())
        };
        offset.store(20, Ordering::Relaxed);
        table.retranslate().unwrap();
        vector.trigger().unwrap();
        iommu.join().unwrap();
        vector.trigger().unwrap();
        assert_eq!(sent(&witness), [21, 21]);
    });
}

/// The witness checks that no irqfd is without a route.
#[test]
fn an_exported_vector_is_unmasked_while_its_message_is_blocked_and_let_through() {
    explore(2, || {
        let (witness, table, offset) = translating();
        let vector = internal(&table);
        vector.export().unwrap();
        let guest = {
            let vector = vector.clone();
            thread::spawn(move || vector.unmask().unwrap())
        };
        offset.store(100, Ordering::Relaxed);
        table.retranslate().unwrap();
        let blocked = witness.bound().is_empty();
        assert!(blocked, "{:?}", witness.bound());
        guest.join().unwrap();
        assert!(witness.bound().is_empty() && !is_armed(&vector));
        offset.store(10, Ordering::Relaxed);
        table.retranslate().unwrap();
        assert!(is_armed(&vector));
        assert_eq!(witness.bound(), [Some(11)]);
    });
}

#[test]
fn an_irqfd_is_taken_off_while_its_message_is_blocked() {
    explore(3, || {
        let (witness, table, offset) = translating();
        let irq = IrqFd::builder(table.lease_msi(message(1)).unwrap());
        let irq = irq.assign().unwrap();
        offset.store(100, Ordering::Relaxed);
        let iommu = {
            let table = table.clone();
            thread::spawn(move || table.retranslate().unwrap())
        };
        let builder = irq.deassign().unwrap();
        assert!(witness.bound().is_empty());
        iommu.join().unwrap();
        let irq = builder.assign().unwrap();
        assert!(
            table.kernel_route(irq.gsi()) == KernelRoute::Blocked && witness.bound().is_empty()
        );
    });
}

/// Each changes the vector, and only the last change is armed, whatever commit comes first.
#[test]
fn two_callers_change_a_vector_and_a_third_masks_it() {
    explore(2, || {
        let (witness, table) = Witness::new();
        let vector = Arc::new(internal(&table));
        vector.export().unwrap();
        vector.unmask().unwrap();
        let change = |data| {
            let vector = Arc::clone(&vector);
            thread::spawn(move || vector.set_message(message(data)).unwrap())
        };
        let others = [change(2), change(3)];
        vector.mask();
        assert!(witness.bound().is_empty());
        vector.unmask().unwrap();
        others.into_iter().for_each(|other| other.join().unwrap());
        assert!(is_armed(&vector));
        assert_eq!(witness.bound(), [Some(vector.message().data)]);
    });
}

/// Neither relies on the other to arm it.
#[test]
fn a_vector_is_reset_while_it_is_unmasked() {
    explore(2, || {
        let (witness, table) = Witness::new();
        let vector = internal(&table);
        vector.export().unwrap();
        let guest = {
            let vector = vector.clone();
            thread::spawn(move || vector.unmask().unwrap())
        };
        vector.reset();
        guest.join().unwrap();
        assert_eq!(vector.is_masked(), !is_armed(&vector));
        assert_eq!(vector.is_masked(), witness.bound().is_empty());
    });
}

/// Both settle the vector, which is opened once: no trigger sees a mixture of two translations.
#[test]
fn two_callers_settle_a_vector() {
    explore(3, || {
        let (witness, table, offset) = translating();
        let vector = internal(&table);
        let guest = {
            let vector = vector.clone();
            thread::spawn(move || vector.unmask().unwrap())
        };
        vector.set_message(message(2)).unwrap();
        vector.trigger().unwrap();
        offset.store(10, Ordering::Relaxed);
        let first = sent(&witness);
        guest.join().unwrap();
        vector.trigger().unwrap();
        let sent = sent(&witness);
        assert_eq!(sent.len(), 2, "{sent:?}");
        if let Some(first) = first.first() {
            assert_eq!(sent[1], *first, "opened twice");
        }
    });
}

/// Two queues share a vector, which delivers a signal that a look has taken. Meanwhile its message
/// is blocked, and one of the queues moves to another vector: the signal stays with the other
/// queue.
#[test]
fn what_a_look_has_found_outlives_a_block_while_it_is_delivered() {
    explore(2, || {
        let (witness, routing, offset) = translating();
        let table = msix::Table::builder(&routing).vectors(2).build().unwrap();
        drop(table.set_control(true, false));
        drop(table.write(8, &[1, 0, 0, 0]));
        let queues = [msix::Binding::new(&table), msix::Binding::new(&table)];
        for queue in &queues {
            queue.bind_call(0, |_| Ok::<_, ()>(())).unwrap();
        }
        let vector = &table.vectors()[0];
        vector.trigger().unwrap();
        assert!(vector.is_pending());
        let guest = {
            let table = table.clone();
            thread::spawn(move || drop(table.write(12, &[0])))
        };
        offset.store(100, Ordering::Relaxed);
        routing.retranslate().unwrap();
        queues[1].bind_call(1, |_| Ok::<_, ()>(())).unwrap();
        guest.join().unwrap();
        let injected = witness.by_irqfd();
        assert!(injected > 0 || vector.is_pending());
    });
}
