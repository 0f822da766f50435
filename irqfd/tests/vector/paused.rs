// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Pausing and resuming: the costs, and the interaction with the masks of the guest and of the VMM.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use irq_routing::{Platform, RoutingTable, Wiring};
use irqfd::{ArmQueue, ResumeBatch, Triggered, Vector, msix};

use super::{Machine, expect_state, exported, guilty, internal, message, table};

fn private(table: &RoutingTable, data: u32) -> Vector {
    let vector = Vector::builder(table).private_irqfd(true).build().unwrap();
    vector.set_message(message(data)).unwrap();
    vector
}

fn resume(vectors: &[Vector]) -> usize {
    let mut batch = ResumeBatch::default();
    for vector in vectors {
        vector.resume_in(&mut batch);
    }
    batch.run().len()
}

/// One vector of each kind, unmasked.
fn one_of_each(table: &RoutingTable) -> [Vector; 3] {
    let vectors = [
        internal(table, 0x40),
        private(table, 0x41),
        exported(table, 0x42).0,
    ];
    vectors.iter().for_each(|vector| vector.unmask().unwrap());
    vectors
}

#[test]
fn a_pause_costs_an_irqfd_each_and_a_resume_no_commit() {
    let (vm, table) = table();
    let vectors = one_of_each(&table);
    let gsis = vectors.each_ref().map(|vector| vector.gsi());
    vm.sim.reset_calls();
    vectors.iter().for_each(Vector::pause);
    vectors.iter().for_each(Vector::pause);
    vm.expect_calls([0, 0, 2, 0]);
    for vector in &vectors {
        expect_state(vector, "Paused");
        vector.trigger().unwrap();
        assert!(vector.is_pending());
    }
    assert_eq!(vectors.each_ref().map(|vector| vector.gsi()), gsis);
    assert_eq!(table.leased(), 2);
    vm.expect(&[]);
    assert_eq!(resume(&vectors), 0);
    vm.expect(&[0x40, 0x41, 0x42]);
    vm.expect_calls([0, 2, 0, 1]);
    assert_eq!(resume(&vectors), 0, "they run");
    vm.expect_calls([0, 0, 0, 0]);
}

/// The guest's accesses may be carried out meanwhile, for instance by a vCPU that had exited with
/// one.
#[test]
fn a_guest_arms_nothing_that_is_paused() {
    let (vm, table) = table();
    let vectors = one_of_each(&table);
    vectors.iter().for_each(Vector::pause);
    vm.sim.reset_calls();
    for (n, vector) in (0x50..).zip(&vectors) {
        vector.mask();
        expect_state(vector, "Masked");
        vector.set_message(message(n)).unwrap();
        vector.trigger().unwrap();
        vector.unmask().unwrap();
        expect_state(vector, "Paused");
    }
    vm.expect_calls([0, 0, 0, 0]);
    vm.expect(&[]);
    assert_eq!(resume(&vectors), 0);
    vm.expect(&[0x50, 0x51, 0x52]);
    vm.expect_calls([1, 2, 0, 1]);
}

#[test]
fn what_is_masked_while_it_is_resumed_stays_closed() {
    let (vm, table) = table();
    let vectors = one_of_each(&table);
    vectors.iter().for_each(Vector::pause);
    vectors.iter().for_each(Vector::mask);
    vm.sim.reset_calls();
    assert_eq!(resume(&vectors), 0);
    vm.expect_calls([0, 0, 0, 0]);
    vectors.iter().for_each(|vector| drop(vector.trigger()));
    vm.expect(&[]);
    vectors.iter().for_each(|vector| vector.unmask().unwrap());
    vm.expect(&[0x40, 0x41, 0x42]);
}

/// Each subset of the three reasons, taken away in each order: a vector is open when none is left.
#[test]
fn guest_vmm_and_pause_are_reasons_of_their_own() {
    type Change = fn(&Vector);
    let close: [Change; 3] = [Vector::mask, Vector::disable, Vector::pause];
    let open: [Change; 3] = [
        |vector| vector.unmask().unwrap(),
        |vector| vector.enable().unwrap(),
        |vector| vector.resume().unwrap(),
    ];
    let orders = [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ];
    for subset in 1..8 {
        for order in orders {
            let (vm, table) = table();
            for (vector, data) in one_of_each(&table).iter().zip([0x40, 0x41, 0x42]) {
                let mut reasons = 0;
                for reason in (0..3).filter(|reason| subset >> reason & 1 != 0) {
                    close[reason](vector);
                    reasons |= 1 << reason;
                }
                assert_eq!(vector.is_masked(), reasons & 1 != 0);
                for reason in order {
                    if reasons != 0 {
                        vector.trigger().unwrap();
                        vm.expect(&[]);
                    }
                    open[reason](vector);
                    let left = reasons & !(1 << reason);
                    match (reasons, left) {
                        (0, _) => vm.expect(&[]),
                        (_, 0) => vm.expect(&[data]),
                        _ => vm.expect(&[]),
                    }
                    reasons = left;
                }
            }
        }
    }
}

#[test]
fn a_vector_of_a_batch_that_is_refused_disturbs_no_other() {
    let (vm, table) = table();
    let vectors: Vec<_> = (0x40..0x44).map(|data| private(&table, data)).collect();
    vectors.iter().for_each(|vector| vector.unmask().unwrap());
    vectors.iter().for_each(Vector::pause);
    for vector in &vectors[1..] {
        vector.trigger().unwrap();
    }
    vectors[0].set_message(guilty(0x50)).unwrap();
    let mut batch = ResumeBatch::default();
    vectors
        .iter()
        .for_each(|vector| vector.resume_in(&mut batch));
    let dead = batch.run();
    assert_eq!(dead.len(), 1);
    assert!(dead[0].vector == *vectors[0]);
    vm.expect(&[0x41, 0x42, 0x43]);
}

#[test]
fn a_batch_that_is_dropped_has_resumed_its_vectors() {
    let (vm, table) = table();
    let vector = private(&table, 0x40);
    vector.pause();
    vector.unmask().unwrap();
    trigger_kept(&vector);
    let mut batch = ResumeBatch::default();
    vector.resume_in(&mut batch);
    expect_state(&vector, "Arming");
    trigger_kept(&vector);
    drop(batch);
    vm.expect(&[0x40]);
}

#[track_caller]
fn trigger_kept(vector: &Vector) {
    assert_eq!(vector.trigger().unwrap(), Triggered::Kept);
}

#[test]
fn a_batch_commits_once_for_each_table() {
    let machines = [table(), table()];
    let vectors: Vec<Vector> = (0x40..0x48)
        .map(|data| private(&machines[data as usize % 2].1, data))
        .collect();
    vectors.iter().for_each(Vector::pause);
    vectors.iter().for_each(|vector| vector.unmask().unwrap());
    vectors.iter().for_each(trigger_kept);
    assert_eq!(resume(&vectors), 0);
    for ((vm, _), first) in machines.iter().zip([0x40, 0x41]) {
        vm.expect_calls([1, 4, 0, 0]);
        vm.expect(&[first, first + 2, first + 4, first + 6]);
    }
}

#[test]
fn one_thread_pauses_and_another_one_resumes() {
    let (vm, table) = table();
    let vector = private(&table, 0x40);
    vector.unmask().unwrap();
    let vector = Arc::new(vector);
    let paused = thread::spawn({
        let vector = Arc::clone(&vector);
        move || vector.pause()
    });
    paused.join().unwrap();
    trigger_kept(&vector);
    let resumed = thread::spawn(move || {
        let mut batch = ResumeBatch::default();
        vector.resume_in(&mut batch);
        thread::spawn(move || batch.run().len()).join().unwrap()
    });
    assert_eq!(resumed.join().unwrap(), 0);
    vm.expect(&[0x40]);
}

/// A round of the queue is in the middle of its commit.
#[test]
fn a_pause_during_a_round_lets_nothing_be_armed() {
    let (vm, table) = table();
    let queue = ArmQueue::new(&table).unwrap();
    let builder = Vector::builder(&table).queue(&queue).private_irqfd(true);
    let vector = builder.build().unwrap();
    vector.set_message(message(0x40)).unwrap();
    vector.unmask().unwrap();
    let vector = Arc::new(vector);
    let pauses = Arc::clone(&vector);
    vm.during_commit(move || pauses.pause());
    assert_eq!(queue.run_pending().armed, 0);
    vm.expect_calls([1, 0, 0, 0]);
    expect_state(&vector, "Paused");
    trigger_kept(&vector);
    vector.resume().unwrap();
    expect_state(&vector, "Queued");
    assert_eq!(queue.run_pending().armed, 1);
    vm.expect(&[0x40]);
}

#[test]
fn a_paused_vector_that_is_reset_stays_paused() {
    let (vm, table) = table();
    let vector = private(&table, 0x40);
    vector.unmask().unwrap();
    vector.pause();
    trigger_kept(&vector);
    vector.reset();
    assert!(!vector.is_pending());
    vector.set_message(message(0x41)).unwrap();
    vector.unmask().unwrap();
    trigger_kept(&vector);
    vm.expect(&[]);
    vector.resume().unwrap();
    vm.expect(&[0x41]);
}

/// Many devices are restored with one commit, and the source keeps its own.
#[test]
fn devices_are_restored_with_one_commit() {
    let build = |table: &RoutingTable| -> Vec<msix::Table> {
        let builder = || msix::Table::builder(table).vectors(4).private_irqfd(true);
        (0..8).map(|_| builder().build().unwrap()).collect()
    };
    let (source, routing) = table();
    let devices = build(&routing);
    for (device, first) in devices.iter().zip((0x40..).step_by(4)) {
        assert!(device.set_control(true, false).is_empty());
        for n in 0..4_u32 {
            let offset = u64::from(16 * n);
            assert!(
                device
                    .write(offset, &message(0).address.to_le_bytes())
                    .is_empty()
            );
            let data = u64::from(first + n);
            assert!(device.write(offset + 8, &data.to_le_bytes()).is_empty());
        }
    }
    devices.iter().for_each(msix::Table::pause);
    let vectors = || devices.iter().flat_map(|device| device.vectors());
    vectors().for_each(|vector| assert_eq!(vector.trigger().unwrap(), Triggered::Kept));
    let snapshots: Vec<_> = devices.iter().map(|it| it.snapshot().unwrap()).collect();

    let (vm, routing) = table();
    let restored = build(&routing);
    restored.iter().for_each(msix::Table::pause);
    for (device, snapshot) in restored.iter().zip(&snapshots) {
        assert!(device.restore(snapshot).unwrap().is_empty());
    }
    vm.expect_calls([0, 0, 0, 0]);
    let mut batch = ResumeBatch::default();
    restored
        .iter()
        .for_each(|device| device.resume_in(&mut batch));
    assert!(batch.run().is_empty());
    vm.expect_calls([1, 32, 0, 0]);
    vm.expect(&(0x40..0x60).collect::<Vec<_>>());
    drop(source);
}

#[test]
fn a_paused_vector_whose_notifier_is_exchanged_keeps_its_gsi() {
    let (vm, table) = table();
    let (vector, notifier) = exported(&table, 0x40);
    vector.unmask().unwrap();
    vector.pause();
    let gsi = vector.gsi();
    vector.take_notifier().unwrap();
    assert_eq!(vector.gsi(), gsi, "taken away");
    vector.replace_notifier(notifier).unwrap();
    vm.sim.reset_calls();
    vector.resume().unwrap();
    vm.expect_calls([0, 1, 0, 0]);
}

#[test]
fn a_guest_that_masks_and_unmasks_what_is_paused_leaves_it_its_gsi() {
    let (_vm, table) = table();
    let (vector, _) = exported(&table, 0x40);
    vector.unmask().unwrap();
    vector.pause();
    let gsi = vector.gsi();
    vector.mask();
    vector.unmask().unwrap();
    assert_eq!(vector.gsi(), gsi);
}

/// The translation changes while the VM is saved.
#[test]
fn a_new_translation_opens_nothing_that_is_paused() {
    let vm = Arc::new(Machine::default());
    let builder = RoutingTable::builder(vm.clone()).wiring(Wiring::none(Platform::X86));
    let table = builder.translate(Some).build().unwrap();
    let vectors = one_of_each(&table);
    vectors.iter().for_each(Vector::pause);
    vectors.iter().for_each(|vector| drop(vector.trigger()));
    table.retranslate().unwrap();
    vm.expect(&[]);
    vectors
        .iter()
        .for_each(|vector| expect_state(vector, "Paused"));
    assert_eq!(resume(&vectors), 0);
    vm.expect(&[0x40, 0x41, 0x42]);
}

#[test]
fn an_internal_vector_of_a_batch_whose_trigger_is_refused_is_reported() {
    let (vm, table) = table();
    let vectors = [internal(&table, 0), internal(&table, 0x41)];
    for vector in &vectors {
        vector.pause();
        vector.unmask().unwrap();
        trigger_kept(vector);
    }
    vectors[0].set_message(guilty(0x40)).unwrap();
    let mut batch = ResumeBatch::default();
    vectors
        .iter()
        .for_each(|vector| vector.resume_in(&mut batch));
    let dead = batch.run();
    assert_eq!(dead.len(), 1);
    assert!(dead[0].vector == *vectors[0]);
    vm.expect(&[0x41]);
}

/// The translation panics for the first vector.
#[test]
fn a_panic_for_one_vector_of_a_batch_is_told_when_the_others_are_resumed() {
    let vm = Arc::new(Machine::default());
    let builder = RoutingTable::builder(vm.clone()).wiring(Wiring::none(Platform::X86));
    let table = builder
        .translate(|message| {
            assert_ne!(message.data, 0x40, "as ordered");
            Some(message)
        })
        .build()
        .unwrap();
    let vectors = [internal(&table, 0x40), internal(&table, 0x41)];
    vectors.iter().for_each(Vector::pause);
    for vector in &vectors {
        vector.unmask().unwrap();
        trigger_kept(vector);
    }
    let mut batch = ResumeBatch::default();
    vectors
        .iter()
        .for_each(|vector| vector.resume_in(&mut batch));
    catch_unwind(AssertUnwindSafe(|| batch.run())).unwrap_err();
    vm.expect(&[0x41]);
    assert_eq!(vectors[0].trigger().unwrap(), Triggered::Dead);
}

#[test]
fn what_the_vmm_has_disabled_leaves_its_gsi_and_says_so() {
    let (vm, table) = table();
    let vectors = one_of_each(&table);
    assert_eq!(table.leased(), 2);
    vectors.iter().for_each(Vector::disable);
    assert_eq!(table.leased(), 0);
    for vector in &vectors {
        assert_eq!(vector.trigger().unwrap(), Triggered::Disabled);
        assert!(!vector.is_masked());
        expect_state(vector, "Masked");
    }
    vm.expect(&[]);
    for (vector, data) in vectors.iter().zip(0x40..) {
        vector.enable().unwrap();
        vm.expect(&[data]);
        assert_ne!(vector.trigger().unwrap(), Triggered::Disabled);
        vm.expect(&[data]);
    }
}
