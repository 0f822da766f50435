// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A guest cannot make the VMM allocate.

use std::sync::Arc;

use irq_routing::RoutingTable;
use irqfd::msix::{Binding, Table};
use kvm_test::Recorder;

use super::{program, set_mask, vector};

fn play(table: &Table, binding: &Binding) {
    let mut bytes = [0; 8];
    for offset in [0, 7, 12, 15, 4096, u64::MAX] {
        let _ = table.write(offset, &bytes);
        table.read(offset, &mut bytes);
        table.pba_read(offset, &mut bytes);
        let _ = table.config_write(offset, &bytes);
    }
    for number in 0..4 {
        program(table, number, 0x40);
        set_mask(table, number, true);
        vector(table, number as u16).trigger().unwrap();
        set_mask(table, number, false);
        let _ = table.set_control(true, true);
        let _ = table.set_control(true, false);
        binding.bind(number as u16 + 2);
        binding.trigger().unwrap();
    }
    let _ = table.set_control(false, false);
    table.reset();
}

#[test]
fn no_access_to_internal_vectors_allocates() {
    let routing = RoutingTable::new(Arc::new(Recorder::default())).unwrap();
    let table = Table::builder(&routing).vectors(4).build().unwrap();
    let binding = Binding::new(&table);
    play(&table, &binding);
    let counted = allocation_counter::measure(|| (0..100).for_each(|_| play(&table, &binding)));
    assert_eq!(counted.count_total, 0);

    let witness = allocation_counter::measure(|| drop(std::hint::black_box(Box::new(1))));
    assert_eq!(witness.count_total, 1, "the counter counts");
}
