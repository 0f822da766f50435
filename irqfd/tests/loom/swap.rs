// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! An armed vector that gets another notifier, or another message, while it is triggered and
//! masked.

use std::sync::Arc;

use irq_routing::RoutingTable;
use irqfd::Vector;
use loom::thread;
use notify_core::EventNotifier;

use super::{Witness, explore, internal, is_armed, message};

fn notifier() -> Arc<EventNotifier> {
    Arc::new(EventNotifier::new().unwrap())
}

/// With its notifier.
fn armed(table: &RoutingTable) -> (Arc<Vector>, Arc<EventNotifier>) {
    let vector = internal(table);
    let notifier = vector.export().unwrap();
    vector.unmask().unwrap();
    (vector, notifier)
}

/// The signals that the kernel takes when the vector is masked, which deassigns the irqfd, and
/// those that are left in these notifiers.
fn signals(witness: &Witness, vector: &Vector, notifiers: &[&Arc<EventNotifier>]) -> u64 {
    vector.mask();
    assert_eq!(witness.bound(), []);
    let left = notifiers.iter().map(|notifier| notifier.consume().unwrap());
    let left: u64 = left.map(|count| count.map_or(0, u64::from)).sum();
    witness.by_irqfd() + left
}

#[test]
fn a_swap_of_an_armed_vector_loses_no_trigger() {
    explore(3, || {
        let (witness, table) = Witness::new();
        let (vector, old) = armed(&table);
        let device = {
            let vector = vector.clone();
            thread::spawn(move || vector.trigger().unwrap())
        };
        let new = notifier();
        vector.replace_notifier(Arc::clone(&new)).unwrap();
        assert_eq!(witness.bound(), [Some(1)]);
        device.join().unwrap();
        // The trigger may have written to both.
        let signals = signals(&witness, &vector, &[&new]);
        assert!((1..=2).contains(&signals), "{signals}");
        // A trigger that wrote to the old one after the swap has written to the new one as well.
        let _ = old.consume();
    });
}

#[test]
fn a_swap_and_a_mask_leave_nothing_bound() {
    explore(3, || {
        let (witness, table) = Witness::new();
        let (vector, _old) = armed(&table);
        let new = notifier();
        let swaps = {
            let (vector, new) = (vector.clone(), Arc::clone(&new));
            thread::spawn(move || drop(vector.replace_notifier(new).unwrap()))
        };
        vector.mask();
        assert_eq!(witness.bound(), []);
        swaps.join().unwrap();
        assert_eq!(witness.bound(), []);
        vector.trigger().unwrap();
        assert!(new.is_signalled().unwrap());
    });
}

#[test]
fn of_two_swaps_one_counts() {
    explore(3, || {
        let (witness, table) = Witness::new();
        let (vector, _old) = armed(&table);
        let [first, second] = [notifier(), notifier()];
        let swaps = {
            let (vector, first) = (vector.clone(), Arc::clone(&first));
            thread::spawn(move || drop(vector.replace_notifier(first).unwrap()))
        };
        vector.replace_notifier(Arc::clone(&second)).unwrap();
        swaps.join().unwrap();
        assert_eq!(witness.bound(), [Some(1)]);
        vector.trigger().unwrap();
        let used = vector.notifier().unwrap();
        assert!(Arc::ptr_eq(&used, &first) || Arc::ptr_eq(&used, &second));
        assert_eq!(signals(&witness, &vector, &[&first, &second]), 1);
    });
}

#[test]
fn a_mask_during_an_exchange_of_the_route_masks() {
    explore(3, || {
        let (witness, table) = Witness::new();
        let (vector, _) = armed(&table);
        let guest = {
            let vector = vector.clone();
            thread::spawn(move || vector.set_message(message(2)).unwrap())
        };
        vector.mask();
        assert_eq!(witness.bound(), []);
        guest.join().unwrap();
        assert_eq!(witness.bound(), []);
        vector.unmask().unwrap();
        assert_eq!(witness.bound(), [Some(2)]);
    });
}

#[test]
fn of_two_exchanges_the_last_one_counts() {
    explore(3, || {
        let (witness, table) = Witness::new();
        let (vector, _) = armed(&table);
        let guest = {
            let vector = vector.clone();
            thread::spawn(move || vector.set_message(message(2)).unwrap())
        };
        vector.set_message(message(3)).unwrap();
        guest.join().unwrap();
        assert!(is_armed(&vector));
        assert_eq!(witness.bound(), [Some(vector.message().data)]);
        // The irqfd was never deassigned.
        assert_eq!(witness.deassigned(), 0);
    });
}

#[test]
fn an_exchange_that_is_refused_leaves_nothing_bound() {
    explore(3, || {
        let (witness, table) = Witness::new();
        let (vector, _) = armed(&table);
        witness.refuse_next();
        let device = {
            let vector = vector.clone();
            thread::spawn(move || vector.trigger().unwrap())
        };
        vector.set_message(message(2)).unwrap_err();
        assert_eq!(witness.bound(), []);
        device.join().unwrap();
        vector.set_message(message(2)).unwrap();
        assert_eq!(witness.bound(), [Some(2)]);
        assert_eq!(signals(&witness, &vector, &[]), 1);
    });
}
