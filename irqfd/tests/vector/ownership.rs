// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What keeps what alive: every object is freed with its last holder.

use std::sync::Arc;

use irq_routing::RoutingTable;
use irqfd::{ArmQueue, Vector};

use super::{Machine, expect_state, queued, table};

/// Vectors of a queue, one in every state.
fn in_every_state(queue: &ArmQueue, table: &RoutingTable) -> Vec<Vector> {
    let all: Vec<_> = (0..6).map(|n| queued(queue, table, n).0).collect();
    all[1].unmask().unwrap();
    all[2].set_message(super::guilty(2)).unwrap();
    all[2].unmask().unwrap();
    drop(queue.run_pending());
    let leases: Vec<_> = std::iter::from_fn(|| table.lease().ok()).collect();
    all[3].unmask().unwrap();
    drop(queue.run_pending());
    drop(leases);
    all[4].unmask().unwrap();
    all[5].unexport().unwrap();
    all[5].unmask().unwrap();
    let states = [
        "Masked",
        "Armed",
        "Dead(Route",
        "Dead(NoGsi",
        "Queued",
        "Open",
    ];
    for (vector, state) in all.iter().zip(states) {
        expect_state(vector, state);
    }
    all
}

fn everything() -> (Arc<Machine>, RoutingTable, ArmQueue, Vec<Vector>) {
    let (vm, table) = table();
    let queue = ArmQueue::new(&table).unwrap();
    let vectors = in_every_state(&queue, &table);
    (vm, table, queue, vectors)
}

#[test]
fn vectors_first() {
    let (vm, table, queue, vectors) = everything();
    let notifiers: Vec<_> = vectors
        .iter()
        .filter_map(|vector| vector.notifier())
        .collect();
    drop(vectors);
    assert!(
        notifiers
            .iter()
            .all(|notifier| Arc::strong_count(notifier) == 1)
    );
    assert_eq!(table.leased(), 0);
    assert_eq!(queue.run_pending().armed, 0);
    drop((queue, table));
    assert_eq!(Arc::strong_count(&vm), 1);
}

#[test]
fn the_queue_first() {
    let (vm, table, queue, vectors) = everything();
    drop(queue);
    expect_state(&vectors[3], "Armed");
    expect_state(&vectors[4], "Armed");
    drop(vectors);
    assert_eq!(table.leased(), 0);
    drop(table);
    assert_eq!(Arc::strong_count(&vm), 1);
}

#[test]
fn the_table_first() {
    let (vm, table, queue, vectors) = everything();
    drop(table);
    drop(queue.run_pending());
    drop((vectors, queue));
    assert_eq!(Arc::strong_count(&vm), 1);
}

#[test]
fn a_round_that_reports_failures_holds_their_vectors() {
    let (vm, table) = table();
    let queue = ArmQueue::new(&table).unwrap();
    let (vector, notifier) = queued(&queue, &table, 1);
    vector.set_message(super::guilty(1)).unwrap();
    vector.unmask().unwrap();
    let round = queue.run_pending();
    drop((vector, queue));
    assert!(Arc::strong_count(&notifier) > 1);
    drop(round);
    assert_eq!(Arc::strong_count(&notifier), 1);
    drop(table);
    assert_eq!(Arc::strong_count(&vm), 1);
}

#[test]
fn a_vector_may_be_dropped_by_the_thread_that_triggers() {
    let (vm, table, queue, vectors) = everything();
    std::thread::scope(|scope| {
        for vector in vectors {
            scope.spawn(move || {
                vector.trigger().unwrap();
                drop(vector);
            });
        }
        drop(queue.run_pending());
    });
    drop(queue);
    assert_eq!(table.leased(), 0);
    drop(table);
    assert_eq!(Arc::strong_count(&vm), 1);
}
