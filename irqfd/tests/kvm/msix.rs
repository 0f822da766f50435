// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! MSI-X tables and MSI capabilities on a real local APIC.

use std::sync::Arc;

use irq_routing::RoutingTable;
use irqfd::msix::Table;
use irqfd::{ArmQueue, Triggered, VectorError, VectorHandle, VectorState, msi};
use kvm_bindings::{KVM_CAP_X2APIC_API, KVM_X2APIC_API_USE_32BIT_IDS, kvm_enable_cap};
use kvm_test::{Machine, Trial, kvm, wait_until};

use crate::watched::Watched;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        kvm("a_table_masks_both_kinds_of_vectors", both_kinds),
        kvm("a_function_is_opened_with_one_commit", one_commit),
        kvm("a_table_brought_up_by_a_queue_delivers", brought_up),
        kvm("a_bad_entry_kills_its_vector_only", bad_entry),
        kvm("a_table_moves_to_another_machine", moves),
        kvm("a_capability_sends_its_vectors_messages", capability),
    ]
}

struct Bench {
    machine: Machine,
    vm: Arc<Watched>,
    routing: RoutingTable,
}

impl Bench {
    fn new() -> Self {
        let machine = Machine::new().unwrap();
        let vm = Arc::new(Watched::new(machine.vm()));
        let routing = RoutingTable::new(vm.clone()).unwrap();
        Self {
            machine,
            vm,
            routing,
        }
    }

    #[track_caller]
    fn expect(&self, vectors: &[u8]) {
        assert_eq!(self.machine.delivered().unwrap(), vectors);
        self.machine.clear().unwrap();
    }

    /// A signal that is in a notifier when it is bound is delivered by a thread of the kernel.
    #[track_caller]
    fn expect_soon(&self, vectors: &[u8]) {
        wait_until(|| self.machine.delivered().unwrap() == vectors);
        self.expect(vectors);
    }
}

fn program(table: &Table, number: u64, vector: u32) {
    let _ = table.write(16 * number, &Machine::MSI_ADDRESS.to_le_bytes());
    let _ = table.write(16 * number + 8, &vector.to_le_bytes());
}

fn set_mask(table: &Table, number: u64, masked: bool) {
    let _ = table.write(16 * number + 12, &u32::from(masked).to_le_bytes());
}

fn pending(table: &Table) -> u64 {
    let mut bytes = [0; 8];
    table.pba_read(0, &mut bytes);
    u64::from_le_bytes(bytes)
}

fn both_kinds() {
    let bench = Bench::new();
    let table = Table::builder(&bench.routing).vectors(2).build().unwrap();
    let _ = table.set_control(true, false);
    let notifier = table.vectors()[1].export().unwrap();
    for (number, vector) in [(0, 0x41), (1, 0x42)] {
        program(&table, number, vector);
        set_mask(&table, number, false);
    }
    table.vectors()[0].trigger().unwrap();
    notifier.notify().unwrap();
    bench.expect(&[0x41, 0x42]);
    assert_eq!(pending(&table), 0);

    for close in [
        |table: &Table| (0..2).for_each(|number| set_mask(table, number, true)),
        |table: &Table| drop(table.set_control(true, true)),
        |table: &Table| drop(table.set_control(false, false)),
    ] {
        close(&table);
        assert!(!bench.vm.is_bound(&*notifier));
        table.vectors()[0].trigger().unwrap();
        notifier.notify().unwrap();
        bench.expect(&[]);
        assert_eq!(pending(&table), 0b11);
        let _ = table.set_control(true, false);
        (0..2).for_each(|number| set_mask(&table, number, false));
        bench.expect_soon(&[0x41, 0x42]);
        assert_eq!(pending(&table), 0);
    }

    // Another message, and the signals that came meanwhile go there.
    set_mask(&table, 1, true);
    notifier.notify().unwrap();
    program(&table, 1, 0x52);
    set_mask(&table, 1, false);
    bench.expect_soon(&[0x52]);
    table.reset();
    notifier.notify().unwrap();
    assert_eq!(table.vectors()[0].trigger().unwrap(), Triggered::Disabled);
    bench.expect(&[]);
}

fn one_commit() {
    let bench = Bench::new();
    let table = Table::builder(&bench.routing).vectors(64).build().unwrap();
    let notifiers: Vec<_> = table.vectors().iter().map(VectorHandle::export).collect();
    for number in 0..64 {
        program(&table, number, 0x40 + u32::try_from(number).unwrap());
        set_mask(&table, number, false);
    }
    let before = bench.vm.commits();
    let _ = table.set_control(true, false);
    assert_eq!((bench.vm.commits() - before, bench.vm.bound()), (1, 64));
    for notifier in &notifiers {
        notifier.as_ref().unwrap().notify().unwrap();
    }
    bench.expect(&(0x40..0x80).collect::<Vec<_>>());
    let _ = table.set_control(false, false);
    assert_eq!(bench.vm.bound(), 0);
    drop(table);
    assert_eq!(bench.routing.leased(), 0);
}

fn brought_up() {
    let bench = Bench::new();
    let queue = ArmQueue::new(&bench.routing).unwrap();
    let builder = Table::builder(&bench.routing).vectors(2048).queue(&queue);
    let table = builder.build().unwrap();
    let last = table.vectors()[2047].export().unwrap();
    let exported: Vec<_> = table.vectors()[..100]
        .iter()
        .map(VectorHandle::export)
        .collect();
    let _ = table.set_control(true, false);
    for number in 0..2048 {
        program(&table, number, 0x60);
        set_mask(&table, number, false);
    }
    assert_eq!((bench.vm.commits(), bench.vm.assigned()), (0, 0));
    last.notify().unwrap();
    let round = queue.run_pending();
    assert_eq!((round.armed, bench.vm.commits()), (exported.len() + 1, 1));
    bench.expect_soon(&[0x60]);
}

fn bad_entry() {
    let bench = Bench::new();
    let cap = kvm_enable_cap {
        cap: KVM_CAP_X2APIC_API,
        args: [KVM_X2APIC_API_USE_32BIT_IDS.into(), 0, 0, 0],
        ..kvm_enable_cap::default()
    };
    bench.machine.vm_fd().enable_cap(&cap).unwrap();
    let table = Table::builder(&bench.routing).vectors(8).build().unwrap();
    let exported: Vec<_> = table.vectors()[..4]
        .iter()
        .map(VectorHandle::export)
        .collect();
    for number in 0..8 {
        program(&table, number, 0x40 + u32::try_from(number).unwrap());
        set_mask(&table, number, false);
    }
    for bad in [2, 6] {
        let _ = table.write(16 * bad + 4, &[1, 0, 0, 0]);
    }
    let _ = table.set_control(true, false);
    // A trigger of an internal vector is not seen before it is sent.
    assert!(table.vectors()[6].trigger().is_err());
    let states = table.vectors().iter().map(|vector| vector.state());
    let dead = (0..).zip(states).filter_map(|(number, state)| match state {
        VectorState::Dead(reason) => Some((number, reason)),
        _ => None,
    });
    let dead: Vec<(u32, VectorError)> = dead.collect();
    let numbers: Vec<_> = dead.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [2, 6]);
    assert!(matches!(dead[0].1, VectorError::Route { .. }), "{dead:?}");
    assert!(
        matches!(dead[1].1, VectorError::MessageRefused { .. }),
        "{dead:?}"
    );
    for notifier in &exported {
        notifier.as_ref().unwrap().notify().unwrap();
    }
    for number in [4, 5, 7] {
        table.vectors()[number].trigger().unwrap();
    }
    bench.expect(&[0x40, 0x41, 0x43, 0x44, 0x45, 0x47]);
    // The guest corrects it: the signals that came meanwhile are delivered.
    set_mask(&table, 2, true);
    program(&table, 2, 0x42);
    set_mask(&table, 2, false);
    assert!(matches!(table.vectors()[2].state(), VectorState::Armed));
    bench.expect_soon(&[0x42]);
}

fn moves() {
    let bench = Bench::new();
    let table = Table::builder(&bench.routing).vectors(3).build().unwrap();
    let _ = table.set_control(true, false);
    for (number, vector) in [(0, 0x41), (1, 0x42), (2, 0x43)] {
        program(&table, number, vector);
        set_mask(&table, number, number == 2);
    }
    let notifier = table.vectors()[1].export().unwrap();
    table.vectors()[2].trigger().unwrap();
    table.pause();
    let snapshot = table.snapshot().unwrap();
    drop(table);

    let bench = Bench::new();
    let table = Table::builder(&bench.routing).vectors(3).build().unwrap();
    table.vectors()[1]
        .replace_notifier(Arc::clone(&notifier))
        .unwrap();
    table.pause();
    table.restore(&snapshot).unwrap();
    assert_eq!(table.snapshot().unwrap(), snapshot);
    assert!(table.resume().is_empty());
    bench.expect(&[]);
    notifier.notify().unwrap();
    table.vectors()[0].trigger().unwrap();
    bench.expect(&[0x41, 0x42]);
    set_mask(&table, 2, false);
    bench.expect(&[0x43]);
}

fn capability() {
    let bench = Bench::new();
    let msi = msi::Capability::builder(&bench.routing)
        .vectors(4)
        .build()
        .unwrap();
    let notifier = msi.vectors()[2].export().unwrap();
    let _ = msi.write(0x4, &Machine::MSI_ADDRESS.to_le_bytes());
    let _ = msi.write(0xc, &0x40_u16.to_le_bytes());
    let _ = msi.write(0x2, &[0x21]);
    msi.vectors()[3].trigger().unwrap();
    notifier.notify().unwrap();
    bench.expect(&[0x42, 0x43]);
    let _ = msi.write(0x10, &[0b0100]);
    notifier.notify().unwrap();
    bench.expect(&[]);
    let mut bits = [0; 4];
    msi.read(0x14, &mut bits);
    assert_eq!(bits, [0b0100, 0, 0, 0]);
    let _ = msi.write(0xc, &0x60_u16.to_le_bytes());
    let _ = msi.write(0x10, &[0]);
    bench.expect_soon(&[0x62]);
    msi.vectors()[1].trigger().unwrap();
    bench.expect(&[0x61]);
}
