// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Private vectors, and vectors that are paused and resumed, while a device triggers them and a
//! guest masks them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use irq_routing::RoutingTable;
use irqfd::{ResumeBatch, Triggered, Vector};
use loom::thread;

use super::{Witness, explore, internal, is_armed, message};

fn private(table: &RoutingTable) -> Arc<Vector> {
    let vector = Arc::new(Vector::builder(table).private_irqfd(true).build().unwrap());
    vector.set_message(message(1)).unwrap();
    vector
}

/// A device that triggers the vector once, on a thread.
fn device(vector: &Vector) -> thread::JoinHandle<Triggered> {
    let handle = vector.handle().clone();
    thread::spawn(move || handle.trigger().unwrap())
}

/// The signals that the kernel has taken, and those that the vector has kept.
fn signals(witness: &Witness, vector: &Vector) -> u64 {
    assert_eq!(witness.bound(), [], "it is closed");
    witness.by_irqfd() + u64::from(vector.is_pending())
}

#[test]
fn a_private_vectors_eventfd_is_not_written_while_it_is_not_bound() {
    explore(3, || {
        let (witness, table) = Witness::new();
        let vector = private(&table);
        vector.unmask().unwrap();
        let devices = [device(&vector), device(&vector)];
        vector.mask();
        assert_eq!(witness.bound(), []);
        let injected = witness.by_irqfd();
        vector.unmask().unwrap();
        let told = devices.map(|device| device.join().unwrap());
        vector.mask();
        let kept = told.iter().any(|told| *told == Triggered::Kept);
        let written = told.iter().filter(|told| **told == Triggered::Signalled);
        assert_eq!(
            signals(&witness, &vector),
            written.count() as u64 + u64::from(kept),
            "{told:?}, {injected} before the second unmask"
        );
        let left = witness.at_assign.load(Ordering::Relaxed);
        assert_eq!(left, 0, "written while it was not bound");
    });
}

#[test]
fn a_private_vector_that_is_exported_loses_no_trigger() {
    explore(3, || {
        let (witness, table) = Witness::new();
        let vector = private(&table);
        vector.unmask().unwrap();
        let device = device(&vector);
        vector.export().unwrap();
        device.join().unwrap();
        assert!(is_armed(&vector));
        vector.mask();
        assert_eq!(signals(&witness, &vector), 1);
    });
}

#[test]
fn a_private_vector_that_loses_its_notifier_keeps_a_trigger() {
    explore(3, || {
        let (witness, table) = Witness::new();
        let vector = private(&table);
        vector.export().unwrap();
        vector.unmask().unwrap();
        let device = device(&vector);
        let notifier = vector.take_notifier().unwrap();
        device.join().unwrap();
        // A late trigger may have written there and also triggered anew.
        let late = notifier.consume().unwrap().is_some();
        let signals = signals(&witness, &vector);
        assert!(signals == 1 || late && signals <= 2, "{signals}, {late}");
    });
}

/// A snapshot that is taken after the pause has each earlier trigger, unless the kernel has it; and
/// a guest that unmasks meanwhile arms nothing.
#[test]
fn a_pause_keeps_what_comes_and_lets_nothing_be_armed() {
    for private_vector in [false, true] {
        explore(3, move || {
            let (witness, table) = Witness::new();
            let vector = if private_vector {
                private(&table)
            } else {
                internal(&table)
            };
            let device = device(&vector);
            let guest = {
                let vector = vector.clone();
                thread::spawn(move || vector.unmask().unwrap())
            };
            vector.pause();
            let injected = witness.injections() as u64 + witness.by_irqfd();
            assert_eq!(witness.bound(), []);
            witness.allowed.store(false, Ordering::Relaxed);
            device.join().unwrap();
            guest.join().unwrap();
            assert_eq!(witness.bound(), []);
            assert_eq!(injected + u64::from(vector.is_pending()), 1);
            witness.allowed.store(true, Ordering::Relaxed);
            vector.resume().unwrap();
            vector.pause();
            let injected = witness.injections() as u64 + witness.by_irqfd();
            assert_eq!((injected, vector.is_pending()), (1, false));
        });
    }
}

/// A look has taken a signal from the notifier of an exported vector. At each moment a snapshot has
/// it, unless the kernel has; and if the first VM goes on, it is delivered there.
#[test]
fn what_a_look_has_found_is_in_a_snapshot_or_delivered() {
    explore(3, || {
        let (witness, table) = Witness::new();
        let vector = internal(&table);
        let notifier = vector.export().unwrap();
        notifier.notify().unwrap();
        assert!(vector.is_pending());
        assert!(notifier.consume().unwrap().is_none());
        let saver = {
            let (witness, vector) = (Arc::clone(&witness), vector.clone());
            thread::spawn(move || {
                vector.pause();
                let injected = witness.by_irqfd();
                assert!(injected > 0 || vector.is_pending(), "not in the snapshot");
            })
        };
        vector.unmask().unwrap();
        saver.join().unwrap();
        vector.resume().unwrap();
        vector.pause();
        assert!(!vector.is_pending());
        let injected = witness.by_irqfd();
        assert!((1..=2).contains(&injected), "{injected}");
    });
}

/// Two vectors are resumed together while the guest masks one of them and a device triggers it.
#[test]
fn a_batch_and_a_mask_agree() {
    explore(2, || {
        let (witness, table) = Witness::new();
        let vectors = [private(&table), private(&table)];
        vectors.iter().for_each(|vector| vector.pause());
        vectors.iter().for_each(|vector| vector.unmask().unwrap());
        let device = device(&vectors[0]);
        let guest = {
            let vector = vectors[0].clone();
            thread::spawn(move || vector.mask())
        };
        let mut batch = ResumeBatch::default();
        vectors
            .iter()
            .for_each(|vector| vector.resume_in(&mut batch));
        assert!(batch.run().is_empty());
        guest.join().unwrap();
        device.join().unwrap();
        assert!(is_armed(&vectors[1]));
        assert_eq!(witness.bound().len(), 1);
        let kept = u64::from(vectors[0].is_pending());
        assert_eq!(witness.by_irqfd() + kept, 1);
    });
}
